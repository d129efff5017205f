"""A set of a run is found by its names; where they name several sets, the choices are said."""

from __future__ import annotations

import pytest
import torch
from fake_store import FakeStore, identity

from benchmark.errors import BenchmarkError
from benchmark.identity import key_of
from benchmark.run.find import SetQuery, find_set
from benchmark.run.stages import IMAGES
from benchmark.run.store import Store
from benchmark.synthetic import SyntheticSet


@pytest.fixture
def runs(tmp_path) -> str:
    """A run with two teachers: `wmdd` has a set of each, with the number of the teacher as pixels, the others one."""
    made, store = FakeStore(str(tmp_path)), Store(str(tmp_path))
    provenance = {"versions": {"torch": "2.15.0"}, "commit": "abc"}
    for method in ("wmdd", "noise", "full"):
        for teacher in range(2):
            cell = made.cell(method=method, teacher=teacher, draw=0, ipc=0 if method == "full" else 10)
            pixel = teacher if method == "wmdd" else 0
            facts = identity(cell, "distill")
            facts = {**facts, "dataset": {"name": "digits", "fingerprint": "f"}, "parents": {"teachers": [str(pixel)]}}
            cell["nodes"]["distill"] = [key := key_of(facts)]
            if store.record(key) is None:
                with store.writing(key) as folder:
                    SyntheticSet(torch.full((2, 3, 4, 4), pixel, dtype=torch.uint8), torch.arange(2)).save(
                        folder / IMAGES
                    )
                    record = {
                        "stage": "distill",
                        "identity": facts,
                        "metrics": {},
                        "cost": {},
                        "provenance": provenance,
                    }
                    store.commit(key, folder, record)
    made.cell(method="wmdd", teacher=0, draw=1)  # is not distilled
    made.write_manifest()
    return str(tmp_path)


@pytest.mark.parametrize(("method", "teacher", "pixel"), [("wmdd", 0, 0), ("wmdd", 1, 1), ("noise", None, 0)])
def test_the_set_of_a_teacher(runs, method, teacher, pixel):
    found = find_set(runs, "main", SetQuery("digits", 10, method, teacher=teacher))
    assert set(found.images.images.flatten().tolist()) == {pixel}
    assert ("teacher" in str(found.query)) == (teacher is not None)


@pytest.mark.parametrize(
    ("teacher", "said"),
    [
        (None, "wmdd on digits, 10 images per class, draw 0: each teacher has another set; name one (--teacher)"),
        (2, "unknown teacher '2'. Available: 0, 1"),
    ],
)
def test_a_set_that_is_not_one(runs, teacher, said):
    with pytest.raises(BenchmarkError) as caught:
        find_set(runs, "main", SetQuery("digits", 10, "wmdd", teacher=teacher))
    assert str(caught.value).startswith(said)
    assert "Available: 0, 1" in str(caught.value)


def test_only_what_is_distilled_is_offered(runs):
    with pytest.raises(BenchmarkError, match=r"^unknown draw '7'\. .*Available: 0 \(in suite"):
        find_set(runs, "main", SetQuery("digits", 10, "wmdd", draw=7))
    with pytest.raises(BenchmarkError, match="is not distilled yet"):
        find_set(runs, "main", SetQuery("digits", 10, "wmdd", draw=1))


def test_a_set_that_does_not_depend_on_ipc(runs):
    found = find_set(runs, "main", SetQuery("digits", 1, "full"))
    assert str(found.query) == "full on digits, for every IPC, draw 0"
    assert found.facts["images per class"] == "all"
    with pytest.raises(BenchmarkError, match=r"^unknown ipc '1'\. .*Available: 10 \(in suite"):
        find_set(runs, "main", SetQuery("digits", 1, "noise"))
