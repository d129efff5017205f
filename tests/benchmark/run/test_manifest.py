"""A manifest has the cells of a suite, and what earlier runs added to it while it would be measured in the same way."""

from __future__ import annotations

import json

import pytest
from engine import campaign

from benchmark.errors import BenchmarkError
from benchmark.files import Folder
from benchmark.plan.suite import MethodEntry, Selection
from benchmark.record import SEAL, read_manifest, sealed
from benchmark.run.manifest import merged
from benchmark.vision import datasets

pytestmark = pytest.mark.usefixtures("short_training")
TWO = {"methods": ["random_real", "noise"]}


def written(folder, *blocks, **changes) -> dict:
    found = campaign(folder, *blocks, **changes)
    found.write_manifest()
    manifest = found.store.read_json("leaderboards/tiny/manifest.json")
    del manifest[SEAL]
    return manifest


def cells(manifest: dict) -> set[tuple]:
    return {(cell["method"], cell["ipc"], cell["seed"]) for cell in manifest["cells"]}


def test_a_selection_expects_the_whole_suite(tmp_path):
    manifest = written(tmp_path, TWO, selection=Selection(methods=("noise",)))
    assert cells(manifest) == {("random_real", 1, 0), ("noise", 1, 0)}


def test_what_joined_a_suite_stays_until_its_version_rises(tmp_path):
    written(tmp_path, selection=Selection(methods=("noise",), seeds=2))
    all_ = {("random_real", 1, 0), ("noise", 1, 0), ("noise", 1, 1)}
    assert cells(written(tmp_path)) == all_
    assert cells(written(tmp_path, version=2)) == {("random_real", 1, 0)}


@pytest.mark.parametrize(("checksums", "version"), [(("a", "b"), 1), (("a", "a"), 2)])
def test_a_row_has_no_cells_of_an_earlier_method_of_its_name(tmp_path, monkeypatch, checksums, version):
    def added(checksum: str, seeds: int) -> Selection:
        entry = MethodEntry(method="mine", base="external", set={"checksum": checksum})
        return Selection(entries=(entry,), methods=("noise",), seeds=seeds)

    written(tmp_path, selection=added(checksums[0], 3))
    monkeypatch.setattr("methods.external.External.version", version)
    line = campaign(tmp_path, selection=added(checksums[1], 1)).write_manifest()
    assert ("another set of the same name; give each set a --method-name" in line) == (version == 1)
    assert ("another key now" in line) == (version == 2)
    after = written(tmp_path, selection=added(checksums[1], 1))
    assert {cell for cell in cells(after) if cell[0] == "mine"} == {("mine", 1, 0)}
    assert {cell for cell in cells(after) if cell[0] == "noise"} == {("noise", 1, seed) for seed in range(3)}


def test_one_name_has_one_set_under_all_protocols(tmp_path):
    def added(checksum: str, protocol: str) -> Selection:
        entry = MethodEntry(method="mine", base="external", set={"checksum": checksum})
        return Selection(entries=(entry,), methods=("noise",), protocols=(protocol,))

    written(tmp_path, selection=added("a", "hard"))
    protocols = {cell["protocol"] for cell in written(tmp_path, selection=added("a", "soft"))["cells"]}
    assert {"hard", "soft"} <= protocols
    after = written(tmp_path, selection=added("b", "soft"))
    assert {cell["protocol"] for cell in after["cells"] if cell["method"] == "mine"} == {"soft"}
    assert {cell["protocol"] for cell in after["cells"] if cell["method"] == "noise"} >= {"hard", "soft"}


@pytest.fixture
def longer(monkeypatch):
    """Change the file of digits: students train for more epochs."""

    def change() -> None:
        load = datasets.load_dataset

        def changed(name: str) -> datasets.DatasetConfig:
            config = load(name)
            return config.model_copy(update={"student": config.student.model_copy(update={"epochs": 11})})

        monkeypatch.setattr(datasets, "load_dataset", changed)

    return change


ADDED = [
    Selection(methods=("noise",)),
    Selection(seeds=2),
    Selection(ipc=(2,)),
    Selection(entries=(MethodEntry(method="mine", base="external", set={"checksum": "a"}),)),
]


@pytest.mark.parametrize("selection", ADDED)
def test_what_joined_a_suite_leaves_it_when_a_dataset_changes(tmp_path, longer, selection):
    of_file = {("random_real", 1, 0)}
    written(tmp_path, selection=selection)
    longer()
    opened = campaign(tmp_path)
    line = opened.write_manifest()
    assert "have another key now: their dataset, protocol or method has changed" in line
    assert opened.write_manifest() == ""
    assert cells(written(tmp_path)) == of_file
    assert cells(written(tmp_path, selection=selection)) > of_file


@pytest.mark.parametrize("selection", ADDED)
def test_what_joined_a_suite_stays_when_another_method_changes(tmp_path, monkeypatch, selection):
    before = written(tmp_path, selection=selection)
    monkeypatch.setattr("methods.random_real.RandomReal.version", 99)
    assert cells(written(tmp_path)) >= {cell for cell in cells(before) if cell[0] != "random_real"}


@pytest.mark.parametrize("selection", [Selection(), Selection(methods=("noise",))])
def test_what_leaves_the_file_of_a_suite_leaves_its_tables(tmp_path, selection):
    written(tmp_path, {**TWO, "seeds": 2}, selection=Selection(ipc=(1, 2)))
    opened = campaign(tmp_path, TWO, selection=selection)
    assert opened.write_manifest().startswith(
        "cells of earlier runs that tables leave out: 6 are not in the file of the suite, which has changed (their"
    )
    assert cells(written(tmp_path, TWO)) == {("random_real", 1, 0), ("noise", 1, 0)}


def test_a_cell_whose_method_is_gone_is_left_out(tmp_path):
    manifest = written(tmp_path)
    (cell,) = manifest["cells"]
    gone = {**manifest, "cells": [cell, {**cell, "method": "gone", "base": "gone"}]}
    (tmp_path / "runs" / "leaderboards" / "tiny" / "manifest.json").write_text(json.dumps(sealed(gone)))
    assert ": 1 need a file that is not here, as of a method; name its folder by --extra" in (
        campaign(tmp_path).write_manifest()
    )
    assert written(tmp_path) == manifest


def test_a_cell_that_is_excluded_now_has_no_result(tmp_path):
    written(tmp_path, TWO)
    after = written(tmp_path, TWO, exclude=[{"methods": ["noise"], "why": "is too dark"}])
    assert {cell["method"] for cell in after["cells"] if cell["nodes"]} == {"random_real"}


def test_keys_outlive_data_that_are_gone(tmp_path, monkeypatch):
    before = written(tmp_path)
    monkeypatch.setattr("benchmark.vision.datasets.status", lambda config, root: "not on disk: fetch it")
    (cell,) = written(tmp_path)["cells"]
    assert cell["skipped"] == "not on disk: fetch it"
    assert cell["nodes"] == before["cells"][0]["nodes"]
    assert written(tmp_path)["class_names"] == {"digits": [str(label) for label in range(10)]}


def test_a_later_plan_wins(tmp_path):
    opened = campaign(tmp_path)
    one = opened.plan
    assert merged([one, one], {}, opened.planner) == merged([one], {}, opened.planner)


def test_columns_of_cells_that_were_added_stay(tmp_path):
    written(tmp_path, selection=Selection(protocols=("robust",)))
    assert written(tmp_path)["columns"]["evaluate"].keys() == {"accuracy", "robustness"}
    assert written(tmp_path, version=2)["columns"]["evaluate"].keys() == {"accuracy"}


@pytest.mark.parametrize(
    "wrong",
    [7, {}, {"student": "x/../../EVIL"}, {"ipc": "ten"}, {"dataset": None}, {"nodes": {"distill": ["../x"]}}],
)
def test_a_malformed_cell_does_not_survive(tmp_path, wrong):
    whole = written(tmp_path)
    (cell,) = whole["cells"]
    broken = {**cell, "seed": 9, **wrong} if isinstance(wrong, dict) and wrong else wrong
    damaged = {**whole, "cells": [cell, broken]}
    (tmp_path / "runs" / "leaderboards" / "tiny" / "manifest.json").write_text(json.dumps(sealed(damaged)))
    assert written(tmp_path) == whole


@pytest.mark.parametrize("cells", [None, 7, {"a": 1}, "cells"])
def test_cells_that_are_no_list_do_not_survive(tmp_path, cells):
    whole = written(tmp_path)
    path = tmp_path / "runs" / "leaderboards" / "tiny" / "manifest.json"
    path.write_text(json.dumps(sealed({**whole, "cells": cells})))
    assert written(tmp_path) == whole


def test_a_broken_manifest_is_written_anew(tmp_path):
    whole = written(tmp_path)
    (tmp_path / "runs" / "leaderboards" / "tiny" / "manifest.json").write_text('{"suite": "ti')
    assert written(tmp_path) == whole


def test_a_manifest_that_was_altered_is_written_anew(tmp_path):
    whole = written(tmp_path, selection=Selection(seeds=2))
    path = tmp_path / "runs" / "leaderboards" / "tiny" / "manifest.json"
    path.write_text(path.read_text().replace('"seed": 1', '"seed": 9'))
    with pytest.raises(BenchmarkError, match=r"manifest\.json is damaged: run"):
        read_manifest(Folder(str(tmp_path / "runs")), "tiny")
    assert written(tmp_path, selection=Selection(seeds=2)) == whole
