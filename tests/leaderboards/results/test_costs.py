"""Costs: what a method needed and the control did not, graphics cards, and which timings may be compared."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from fake_store import FakeStore, key

from leaderboards import report
from leaderboards.results import costs, records


@pytest.fixture
def store(tmp_path: Path) -> FakeStore:
    return FakeStore(str(tmp_path))


def table(store: FakeStore) -> pd.DataFrame:
    board = store.summarise().leaderboard
    return costs.table(records.read(store.root, "main"), board).set_index(["method", "ipc"])


def test_what_the_control_does_not_need_is_the_cost_of_a_method(store):
    for protocol in ("standard", "hard"):
        for method in ("wmdd", "gvbsm", "random_real"):
            cell = store.cell(method=method, protocol=protocol)
            nodes = cell["nodes"]
            if method == "gvbsm":
                nodes["teacher"].append(key("teacher", "second"))
            if method == "random_real":
                nodes["prepare"] = []
                nodes["teacher"] = nodes["teacher"] if protocol == "standard" else []
            store.done(cell, seconds=6.0)
    rows = table(store).reset_index().set_index(["protocol", "method"])
    needed = {axes: row["needed_seconds"] for axes, row in rows.iterrows()}
    assert needed == {
        ("standard", "random_real"): 0,
        ("standard", "wmdd"): 6,  # its preparation; the teacher gives the labels of the control too
        ("standard", "gvbsm"): 12,  # and the second teacher
        ("hard", "random_real"): 0,
        ("hard", "wmdd"): 12,  # and the teacher, which hard labels do not need
        ("hard", "gvbsm"): 18,
    }
    assert rows.loc[("standard", "gvbsm"), "distill_seconds"] == 12  # one more set; two units


def test_costs_are_amortised_over_a_stated_number_of_sets_whatever_the_suite_holds(store):
    store.done(store.cell(method="wmdd"), seconds=6.0)
    alone = table(store).loc[("wmdd", 10)]
    for method, ipc in (("wmdd", 1), ("mmd", 10)):
        store.done(store.cell(method=method, ipc=ipc), seconds=6.0)
    among_others = table(store).loc[("wmdd", 10)]
    for row in (alone, among_others):
        assert row[["teacher_seconds", "prepare_seconds", "amortised_over"]].tolist() == [6, 6, costs.SETS]
        assert row["amortised_seconds"] == pytest.approx(12 + 12 / costs.SETS)
        assert row["total_seconds"] == pytest.approx(12 + 6 + 6 + 12 / costs.SETS)


def test_the_leaderboard_has_what_a_method_needed(store):
    store.done(store.cell(method="wmdd"), seconds=6.0)
    store.cell(method="mmd")
    board = store.summarise().leaderboard.set_index("method")
    assert board.loc["wmdd", "needed_seconds"] == 12
    assert board.loc["wmdd", "amortised_seconds"] == pytest.approx(13.2)
    assert pd.isna(board.loc["mmd", "needed_seconds"])


def test_seconds_count_as_many_times_as_graphics_cards_were_used(store):
    store.done(store.cell("a", method="on_gpu"), seconds=6.0, gpus=0.5)
    store.done(store.cell("b", method="on_cpu"), seconds=6.0, gpus=0)
    store.done(store.cell("c", method="of_old"), seconds=6.0)
    found = table(store).reset_index("ipc")
    assert found.loc["on_gpu", "gpu_seconds"] == pytest.approx(found.loc["on_gpu", "total_seconds"] / 2)
    assert found.loc["on_cpu", "gpu_seconds"] == 0
    assert pd.isna(found.loc["of_old", "gpu_seconds"])  # what is not recorded is empty, never 0


def test_rows_are_means_over_cells(store):
    store.done(store.cell(seed=0), seconds=2.0)
    store.done(store.cell(seed=1), seconds=4.0)
    row = table(store).loc[("wmdd", 10)]
    assert row[["cells", "evaluate_seconds", "distill_seconds"]].tolist() == [2, 3, 6]
    assert row[["images_bytes", "labels_bytes"]].tolist() == [6000, 1000]


def test_peak_memory_is_the_largest_of_all_stages_but_the_teachers(store):
    cell = store.cell()
    store.done(cell, peak_memory_mb=100.0)
    store.done(cell, stages=("distill",), peak_memory_mb=300.0)
    store.done(cell, stages=("teacher",), peak_memory_mb=900.0)
    assert table(store).loc[("wmdd", 10), "peak_memory_mb"] == 300


def test_images_forwarded_are_those_of_all_stages(store):
    store.done(store.cell(), images_forwarded=5)
    forwarded = table(store).loc[("wmdd", 10), "images_forwarded"]
    assert forwarded == 5 * 4 + 2 * 5 / costs.SETS  # two units, labels, student; a share of teacher and preparation


@pytest.mark.parametrize(
    ("cost", "exclusive", "comparable"),
    [
        ({"exclusive": True}, "yes", "with rows of the same device"),
        ({"exclusive": False}, "no", "no: other work ran on the machine"),
        ({"exclusive": True, "resumed": {}}, "yes", "no: a node went on after an interruption; its time is not known"),
        ({}, "", "unknown: the records do not say whether other work ran on the machine"),
    ],
)
def test_only_exclusive_timings_compare(store, cost, exclusive, comparable):
    store.done(store.cell(), **cost)
    row = table(store).loc[("wmdd", 10)]
    assert (row["exclusive"], row["comparable"]) == (exclusive, comparable)


def test_one_node_that_shared_its_machine_spoils_a_row_but_the_teacher_does_not(store):
    cell, other = store.cell(), store.cell(method="mmd")
    store.done(cell, exclusive=True)
    store.done(cell, stages=("teacher",), exclusive=False)
    store.done(other, exclusive=True)
    store.done(other, stages=("relabel",), exclusive=False)
    found = table(store)
    assert found.loc[("wmdd", 10), "exclusive"] == "yes"
    assert found.loc[("mmd", 10), "exclusive"] == "no"


def test_the_time_of_a_node_that_was_interrupted_is_not_known(store):
    cells = [store.cell(seed=seed) for seed in range(2)]
    for cell, seconds in zip(cells, (2.0, 4.0), strict=True):
        store.done(cell, seconds=seconds, images_forwarded=7)
    unit = cells[0]["nodes"]["distill"][0]
    record = store.read(f"{unit}/record.json")
    record["cost"]["resumed"] = {name: record["cost"].pop(name) for name in ("seconds", "images_forwarded")}
    store.write(f"{unit}/record.json", record)
    row, board = table(store).loc[("wmdd", 10)], store.summarise().leaderboard.set_index("method")
    assert row["distill_seconds"] == board.loc["wmdd", "distill_seconds"] == 8, "two units of the other seed"
    assert row["comparable"].startswith("no: a node went on after an interruption")


def test_rows_of_two_devices_do_not_compare(store):
    store.done(store.cell(seed=0), exclusive=True)
    store.done(store.cell(seed=1), exclusive=True, device="another GPU")
    assert table(store).loc[("wmdd", 10), "comparable"] == "no: more than one device"


def test_the_table_is_written_and_lists_finished_rows_only(store):
    store.done(store.cell())
    store.cell(method="mmd")
    built = store.build()
    lines = (Path(built.folder) / "costs.csv").read_text().splitlines()
    assert lines[0].split(",") == costs.COLUMNS
    assert len(lines) == 2
    assert isinstance(built, report.Report)
