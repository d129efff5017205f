"""Campaigns: nothing is computed twice, nothing is lost, and a run that is cut off ends where the others do."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest
from engine import campaign, finish, suite_file
from short import ENVIRONMENT

from benchmark.errors import BenchmarkError, Faults
from benchmark.identity import key_of
from benchmark.plan.suite import Selection
from benchmark.run.runner import Event
from benchmark.synthetic import SyntheticSet
from leaderboards import report

NUMBERS = ["dataset", "ipc", "method", "protocol", "student", "status", "reason", "top1_mean", "top1_std", "seeds"]
pytestmark = pytest.mark.usefixtures("short_training")
TWO = {"methods": ["random_real", "noise"]}


def statuses(events: list[Event]) -> list[str]:
    return [event.status for event in events if event.status != "started"]


def board(folder) -> pd.DataFrame:
    report.build(str(folder / "runs"), "tiny")
    return pd.read_csv(folder / "runs" / "leaderboards" / "tiny" / "leaderboard.csv")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A store with six nodes, all done."""
    folder = tmp_path_factory.mktemp("campaign")
    assert statuses(finish(campaign(folder, TWO))) == ["done"] * 6
    return folder


class TestOneRun:
    """What comes after a run, on one store."""

    def test_a_second_run_computes_nothing(self, folder):
        again = campaign(folder, TWO)
        assert again.todo == {}
        assert finish(again) == []

    def test_other_suites_find_what_is_there(self, folder):
        assert campaign(folder, {"ipc": [1], "methods": ["noise"]}, name="other").todo == {}

    def test_every_key_is_recomputable_from_its_record(self, folder):
        records = list(campaign(folder, TWO).store.records())
        assert len(records) == 6
        for record in records:
            assert key_of(record["identity"]) == record["key"]

    def test_time_left_is_estimated_from_records(self, folder):
        seconds, unknown = campaign(folder, {**TWO, "seeds": 3}).seconds_left()
        assert seconds > 0
        assert unknown == 0
        seconds, unknown = campaign(folder, {"protocols": ["standard"]}).seconds_left()
        assert unknown == 1, "no teacher has been trained yet"

    def test_a_corrupted_result_is_computed_anew_and_nothing_else(self, folder):
        found = campaign(folder, TWO)
        before = board(folder)
        (key,) = [k for k, node in found.plan.nodes.items() if node.stage == "distill" and "noise" in node.title]
        path = folder / "runs" / key / "images.safetensors"
        path.write_bytes(path.read_bytes()[:-1])
        damaged = campaign(folder, TWO)
        assert damaged.corrupt == {key}
        assert damaged.todo.keys() == {key}
        assert statuses(finish(damaged)) == ["done"]
        assert campaign(folder, TWO).todo == {}
        assert before[NUMBERS].equals(board(folder)[NUMBERS])

    def test_a_failure_is_a_row_and_is_tried_again(self, folder, monkeypatch):
        block = {**TWO, "ipc": [2]}

        def fail(*_args):
            raise RuntimeError("it broke")

        monkeypatch.setattr("methods.noise.Noise.distill", fail)
        assert sorted(statuses(finish(campaign(folder, block)))) == [
            "blocked",
            "blocked",
            "done",
            "done",
            "done",
            "failed",
        ]
        rows = board(folder).query("ipc == 2").set_index("method")
        assert rows.loc["noise", "status"] == "failed"
        assert "it broke" in rows.loc["noise", "reason"]
        assert rows.loc["random_real", "status"] == "ok"
        monkeypatch.undo()
        assert statuses(finish(campaign(folder, block))) == ["done"] * 3
        assert set(board(folder).query("ipc == 2")["status"]) == {"ok"}


@pytest.mark.parametrize("wrong", [math.nan, 930, -1.0, "9", None, [10, 20]])
def test_an_accuracy_that_is_no_percentage_fails_its_node_alone(tmp_path, monkeypatch, wrong):
    first = iter([{"top1": wrong}])
    monkeypatch.setattr("evaluators.students.accuracy.Accuracy.evaluate", lambda *_: next(first, {"top1": 10.0}))
    events = finish(campaign(tmp_path, TWO))
    assert sorted(statuses(events)) == ["done"] * 5 + ["failed"]
    (reason,) = (event.message for event in events if event.status == "failed")
    assert reason == f"accuracy returned top1 = {wrong!r}, which is no number from 0 to 100"


def test_metadata_of_a_set_that_are_no_percentage_fail_its_node_alone(tmp_path, monkeypatch):
    def distill(_self, data, unit, _context) -> SyntheticSet:
        return SyntheticSet(data.read(unit.labels), unit.labels, metadata={"top1": [10, 20]})

    monkeypatch.setattr("methods.random_real.RandomReal.distill", distill)
    events = finish(campaign(tmp_path, TWO))
    assert sorted(statuses(events)) == ["blocked"] * 2 + ["done"] * 3 + ["failed"]
    (reason,) = (event.message for event in events if event.status == "failed")
    assert reason == "random_real returned top1 = [10, 20], which is no number from 0 to 100"


def test_wrong_names_of_a_selection_come_at_once(tmp_path):
    wrong = Selection(datasets=("digit",), methods=("wmd",), students=("tset",), protocols=("herd",), ipc=(0,))
    with pytest.raises(Faults) as caught:
        campaign(tmp_path, selection=wrong)
    flags = [fault.partition(":")[0] for fault in caught.value.faults]
    assert flags == ["--datasets", "--methods", "--students", "--protocols", "--ipc"]


def test_a_store_that_cannot_be_written_is_said_before_anything_runs(tmp_path):
    (tmp_path / "runs" / ".writable").mkdir(parents=True)  # where a file is written first
    with pytest.raises(BenchmarkError, match="cannot be written"):
        finish(campaign(tmp_path))


@pytest.mark.slow
def test_a_run_that_is_killed_goes_on_and_ends_with_the_same_leaderboard(tmp_path):
    block = {**TWO, "seeds": 2}
    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
    finish(campaign(tmp_path / "whole", block))
    folder = tmp_path / "cut"
    words = ["run", "--suite", suite_file(folder, block), "--runner", "serial", "--device", "cpu"]
    places = ["--runs", str(folder / "runs"), "--data", str(folder / "data")]
    driver = subprocess.Popen(
        [sys.executable, "-m", "short", *words, *places], env={**os.environ, **ENVIRONMENT}, stdout=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 300
        while len(list(folder.glob("runs/*/record.json"))) < 8 and driver.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        os.kill(driver.pid, signal.SIGKILL)
        driver.wait()
    left = campaign(folder, block)
    assert 0 < len(left.todo) <= 4, "the run was not cut off in its middle"
    assert not left.corrupt
    assert set(statuses(finish(left))) == {"done"}
    assert board(tmp_path / "whole")[NUMBERS].equals(board(folder)[NUMBERS])
