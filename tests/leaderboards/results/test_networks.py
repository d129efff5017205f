"""The quality of every network that a method needs stands in a table."""

from __future__ import annotations

from pathlib import Path

from fake_store import FakeStore, key

from leaderboards import report
from leaderboards.results import networks, records


def second_teacher(store: FakeStore, top1: float, seed: int) -> None:
    cell = store.cell(method="gvbsm", seed=seed)
    node = key("teacher", "second", seed)
    cell["nodes"]["teacher"] = [key("teacher", "digits"), node]
    store.done(cell, top1=50.0 + seed)
    record = store.read(f"{node}/record.json")
    record["identity"]["component"] = {"name": "mobilenetv2", "version": 1, "params": {}}
    store.write(f"{node}/record.json", {**record, "metrics": {"top1": top1}})


def test_a_second_teacher_is_worse_and_the_table_says_so(tmp_path: Path):
    store = FakeStore(str(tmp_path))
    for seed in range(2):
        control = store.cell(method="random_real", seed=seed)
        control["nodes"]["prepare"] = []
        store.done(control, top1=40.0 + seed)
        second_teacher(store, 56.0 + seed, seed)
    store.cell(method="wmdd")  # has not run
    store.write_manifest()
    stored = records.read(store.root, "main")
    rows = networks.table(stored).set_index("network")
    assert rows.loc["mobilenetv2", ["seeds", "top1_mean", "control", "methods"]].tolist() == [2, 56.5, "no", "gvbsm"]
    assert rows[rows["stage"] == "teacher"]["control"].tolist() == ["yes", "no"]
    (table,) = [sheet for sheet in report.results_of(stored).overviews if sheet.name == "needed_digits"]
    texts = {line.heading: [cell.text for cell in line.cells] for line in table.lines}
    assert texts["mobilenetv2"] == ["56.5 ± 0.7", "2", "2 s", "no", "gvbsm"]
    assert "networks.csv" in report.results_of(stored).files
