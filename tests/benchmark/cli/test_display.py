"""What commands print of a run: counts, the time left, and lines for files that are no terminal."""

from __future__ import annotations

import io
from dataclasses import replace

import pandas as pd
import pytest
from engine import plan
from rich.console import Console

from benchmark.cli import display
from benchmark.run.runner import Event
from benchmark.run.store import Store


@pytest.fixture
def nodes():
    return plan({"seeds": 2}).nodes


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 seconds"), (59, "59 seconds"), (420, "7 minutes"), (12345, "3 hours and 25 minutes")],
)
def test_times_are_for_people(seconds, text):
    assert display.time_span(seconds) == text


def test_a_line_names_few_of_the_methods_that_are_skipped_for_one_reason():
    methods = ["noise", "random_real", "herding", "kmeans_real", "el2n", "forgetting", "aum", "ccs", "rded"]
    rules = [
        {"ipc": [1], "methods": methods[:6], "why": "six"},
        {"ipc": [2], "methods": methods[:8], "why": "eight"},
        {"ipc": [3], "why": "nine"},
    ]
    console = Console(file=io.StringIO(), width=200)
    console.print(display.plan_table(plan({"methods": methods, "ipc": [1, 2, 3, 4]}, exclude=rules), {}))
    first = "noise, random_real, herding, kmeans_real, el2n, forgetting"
    assert [line.rstrip() for line in console.file.getvalue().splitlines() if line.startswith("skipped")] == [
        f"skipped digits ({first}): six",
        f"skipped digits ({first} and 2 more): eight",
        "skipped digits (all 9 methods): nine",
    ]


def test_the_time_left_follows_the_records_of_the_past(nodes, tmp_path, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(display.time, "monotonic", lambda: clock[0])
    first, *others = nodes.values()
    expected = [replace(first, seconds=100.0), *(replace(node, seconds=500.0 / len(others)) for node in others)]
    progress = display.ProgressTable({node.key: node for node in expected}, Store(str(tmp_path)))
    assert progress.time_left() == "about 10 minutes of work"
    progress.update(Event(expected[0], "started"))
    clock[0] = 50.0
    progress.update(Event(expected[0], "done", seconds=100))
    assert progress.time_left() == "about 4 minutes", "500 of 600 seconds are left, at two seconds of work a second"


def test_without_past_records_the_nodes_of_this_run_count(nodes, tmp_path, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(display.time, "monotonic", lambda: clock[0])
    progress = display.ProgressTable(nodes, Store(str(tmp_path)))
    assert progress.time_left() == "unknown"
    clock[0] = 60.0
    progress.update(Event(next(iter(nodes.values())), "failed", seconds=60))
    assert progress.time_left() == f"about {len(nodes) - 1} minutes"
    assert (progress.finished, progress.failed) == (1, 1)


def test_a_node_runs_when_it_has_a_heartbeat_and_is_queued_before(nodes, tmp_path):
    store = Store(str(tmp_path))
    progress = display.ProgressTable(nodes, store)
    first, second, *_ = nodes.values()
    for node in (first, second):
        progress.update(Event(node, "started"))
    assert progress.running() == {}
    store.write_text(f".progress/{second.key}.json", "{}")
    assert list(progress.running()) == [second.key]
    progress.update(Event(second, "done", seconds=1))
    assert progress.running() == {}


def test_a_file_gets_a_line_for_every_node_that_has_ended(nodes, tmp_path):
    first, second, *_ = nodes.values()
    events = [Event(first, "started"), Event(first, "done", seconds=1.5), Event(second, "failed", "it broke")]
    console = Console(file=io.StringIO(), width=40)
    display.show_progress(events, display.ProgressTable(nodes, Store(str(tmp_path))), console)
    assert console.file.getvalue().splitlines() == [
        f"[1/{len(nodes)}] {first.stage} {first.title} done in 1.5 s",
        f"[2/{len(nodes)}] {second.stage} {second.title} failed: it broke",
    ]


def test_the_status_names_a_measure_that_failed_of_a_cell_that_is_ok():
    rows = [("digits", "ok", ""), ("digits", "ok", "measure: is too dark"), ("digits", "failed", "distill: diverged")]
    console = Console(file=io.StringIO(), width=120)
    console.print(display.status_table(pd.DataFrame(rows, columns=["dataset", "status", "reason"]), {}, {}))
    assert "  a measure failed of 1 of the ok cells: is too dark" in console.file.getvalue()
    assert "diverged" not in console.file.getvalue()
