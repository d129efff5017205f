"""Names that would become paths outside a store are refused in one line, wherever they enter."""

from __future__ import annotations

import pytest
from engine import suite_file
from fake_store import FakeStore

from benchmark.errors import BenchmarkError, Faults
from benchmark.plan.suite import load_suite
from leaderboards.results import records


@pytest.mark.parametrize("name", ["../../../escaped", "a/b", "..", ""])
def test_the_name_of_a_suite_is_checked(tmp_path, name):
    with pytest.raises(Faults, match=r"tiny\.yaml: name: .*(cannot be a part of a path|is no name)"):
        load_suite(suite_file(tmp_path, name=name))


def test_the_name_of_a_variant_is_checked(tmp_path):
    wrong = {"method": "../x", "base": "noise"}
    with pytest.raises(Faults, match="cannot be a part of a path"):
        load_suite(suite_file(tmp_path, {"methods": [wrong]}))


@pytest.mark.parametrize("axis", ["student", "dataset", "method", "protocol"])
def test_a_report_writes_nothing_outside(tmp_path, axis):
    store = FakeStore(str(tmp_path / "a" / "b" / "runs"))
    store.done(store.cell(**{axis: "x/../../../../EVIL"}))
    with pytest.raises(
        BenchmarkError, match=rf"manifest\.json: a cell is malformed: {axis}: .* cannot be a part"
    ) as caught:
        store.build()
    assert len(str(caught.value).splitlines()) == 1
    assert not [path for path in tmp_path.rglob("*EVIL*") if "leaderboards" not in str(path)]
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize(
    "cell", [7, "x", [], {}, {"dataset": "digits"}, {"nodes": 7}, {"nodes": {"distill": "abc"}}, {"ipc": None}]
)
def test_a_malformed_cell_is_one_line(tmp_path, cell):
    store = FakeStore(str(tmp_path))
    whole = store.cell()
    store.cells = [{**whole, **cell} if isinstance(cell, dict) and len(cell) and "dataset" not in cell else cell]
    with pytest.raises(BenchmarkError, match=r"manifest\.json: a cell is malformed: ") as caught:
        store.build()
    assert len(str(caught.value).splitlines()) == 1


def test_a_store_with_brackets_in_its_name_has_a_report(tmp_path):
    store = FakeStore(str(tmp_path / "run[1]"))
    store.done(store.cell(), 60.0)
    assert store.build().cells["top1"].tolist() == [60.0]
    assert records.suites(store.root) == ["main"]
