"""Several drivers on one store: a node is run by one of them, and by another when that one's heartbeat stops."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from engine import campaign, suite_file
from short import ENVIRONMENT

from benchmark.plan.nodes import Needs, Node
from benchmark.run import claims, runner
from benchmark.run.claims import Watch, claim, fingerprint
from benchmark.run.execution import execute
from benchmark.run.heartbeat import Heartbeat
from benchmark.run.options import NodeOptions, Outcome
from benchmark.run.runner import SerialRunner
from benchmark.run.store import TIMEOUT, Store

pytestmark = pytest.mark.usefixtures("short_training")
KEY = "0" * 32
ELSEWHERE = {"step": 1, "total": 2, "when": 0.0, "host": "other-host", "pid": 1, "owner": "other"}


@pytest.fixture(params=["folder", "memory://"])
def store(request, tmp_path, monkeypatch) -> Store:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(claims, "SETTLE", 0.0)
    return Store(str(tmp_path / "runs") if request.param == "folder" else f"memory://{tmp_path}/runs")


@pytest.fixture
def minutes(monkeypatch):
    """Let this process's own clock run ahead by some minutes."""
    clock = time.monotonic
    return lambda count: monkeypatch.setattr(claims.time, "monotonic", lambda: clock() + 60 * count)


def beat(store: Store, **changes) -> bytes:
    store.write_text(f".progress/{KEY}.json", json.dumps({**ELSEWHERE, **changes}))
    return store.files.read_file(f".progress/{KEY}.json")


def mine(store: Store, owner: str = "me") -> dict:
    return Heartbeat(store, KEY, owner).now()


class TestClaim:
    def test_a_node_that_nobody_runs_is_mine(self, store):
        assert claim(store, KEY, mine(store), "") is None
        assert store.heartbeats()[KEY]["owner"] == "me"
        assert claim(store, KEY, mine(store), "") is None, "after a worker of mine has died"

    @pytest.mark.parametrize("when", [0.0, 1e12])
    def test_what_another_driver_runs_is_theirs_whatever_the_clocks_say(self, store, when):
        beat(store, when=when)
        assert claim(store, KEY, mine(store), "")["host"] == "other-host"
        assert store.heartbeats()[KEY]["owner"] == "other"

    def test_a_process_of_this_machine_that_has_ended_runs_nothing(self, store):
        beat(store, machine=mine(store)["machine"], pid=999_999_999)
        assert claim(store, KEY, mine(store), "") is None

    def test_a_process_of_another_container_may_run_under_the_same_name_of_the_host(self, store):
        beat(store, host=mine(store)["host"], machine=f"{mine(store)['host']}+1", pid=999_999_999)
        assert claim(store, KEY, mine(store), "") is not None

    def test_a_heartbeat_that_has_stopped_is_taken_over_unless_it_came_again(self, store):
        stopped = fingerprint(beat(store))
        beat(store, step=2)
        assert claim(store, KEY, mine(store), stopped) is not None
        stopped = fingerprint(beat(store, step=2))
        assert claim(store, KEY, mine(store), stopped) is None

    @pytest.mark.parametrize("text", ["", "{}", "[1]", '{"step": "x", "owner": "other"}'])
    def test_a_malformed_heartbeat_keeps_nobody_out(self, store, text):
        store.write_text(f".progress/{KEY}.json", text)
        assert claim(store, KEY, mine(store), "") is None

    def test_of_many_that_claim_at_once_one_wins(self, tmp_path):
        store, start, won = Store(str(tmp_path / "runs")), threading.Barrier(8), []

        def compete(owner: str) -> None:
            start.wait()
            if claim(Store(str(tmp_path / "runs")), KEY, mine(store, owner), "") is None:
                won.append(owner)

        threads = [threading.Thread(target=compete, args=(str(number),)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(won) == 1

    def test_on_a_bucket_the_last_writer_of_two_wins(self, tmp_path, monkeypatch):
        store = Store(f"memory://{tmp_path}/runs")
        monkeypatch.setattr(claims.time, "sleep", lambda seconds: beat(store))
        assert claim(store, KEY, mine(store), "")["owner"] == "other"


class TestWatch:
    def test_a_heartbeat_that_comes_is_watched_for_ever(self, store, minutes):
        watch = Watch(store)
        for minute in range(5):
            beat(store, step=minute, when=0.0)
            minutes(2 * minute)
            assert watch.look(KEY) == watch.look(KEY) == ("theirs", "")

    def test_a_heartbeat_that_stops_is_free_after_a_minute(self, store, minutes):
        watch, data = Watch(store), beat(store)
        assert watch.look(KEY) == ("theirs", "")
        minutes(0.9)
        assert watch.look(KEY) == ("theirs", "")
        minutes(TIMEOUT / 60 + 0.1)
        assert watch.look(KEY) == ("free", fingerprint(data))

    def test_no_heartbeat_is_free_and_a_result_is_done(self, store):
        watch = Watch(store)
        assert watch.look(KEY) == ("free", "")
        with store.writing(KEY) as folder:
            (folder / "a.txt").write_text("artifact")
            store.commit(KEY, folder, {"stage": "distill"})
        beat(store)
        assert watch.look(KEY) == ("done", "")


def node(key: str, parents: tuple[str, ...] = ()) -> Node:
    return Node(key, "distill", {"parents": {"all": parents}, "dataset": {"name": "digits"}}, Needs(), key)


def test_a_runner_waits_for_what_is_theirs_and_takes_over_what_has_stopped(monkeypatch):
    verdicts = {"a": [("theirs", ""), ("done", "")], "b": [("theirs", ""), ("free", "stopped here")]}
    attempts, given = Counter(), []

    def run(key, _identity, options):
        attempts[key] += 1
        given.append((key, options.stopped))
        theirs = key in verdicts and attempts[key] == 1
        return Outcome(key, "theirs", "another driver runs it on x") if theirs else Outcome(key, "done")

    monkeypatch.setattr(runner, "execute", run)
    monkeypatch.setattr(runner, "POLL", 0.0)
    monkeypatch.setattr(Watch, "look", lambda self, key: verdicts[key].pop(0))
    nodes = {n.key: n for n in (node("a"), node("b"), node("c", ("a",)), node("d", ("b",)), node("e"))}
    events = [(e.node.key, e.status) for e in SerialRunner().run(nodes, NodeOptions("nowhere", "nowhere"))]
    assert attempts == {"a": 1, "b": 2, "c": 1, "d": 1, "e": 1}
    assert ("b", "stopped here") in given
    assert [event for event in events if event[1] == "theirs"] == [("a", "theirs"), ("b", "theirs")]
    assert {key for key, status in events if status == "done"} == set("abcde")
    assert events.index(("e", "done")) < events.index(("a", "done")), "what is free goes first"


def test_a_node_beats_while_it_reports_nothing_and_is_silent_after(store, monkeypatch):
    monkeypatch.setattr("benchmark.run.heartbeat.BEAT_INTERVAL", 0.02)
    heartbeat = Heartbeat(store, KEY, "me")
    assert claim(store, KEY, heartbeat.now(), "") is None
    with heartbeat.beating():
        seen = set()
        deadline = time.monotonic() + 10
        while len(seen) < 3 and time.monotonic() < deadline:
            seen.add(store.files.read_file(f".progress/{KEY}.json"))
            time.sleep(0.01)
        assert len(seen) >= 3
    time.sleep(0.1)
    assert store.heartbeats() == {}


def test_what_another_driver_runs_is_left_alone(tmp_path):
    (key, wanted), *_ = campaign(tmp_path).plan.nodes.items()
    store = Store(str(tmp_path / "runs"))
    store.write_text(f".progress/{key}.json", json.dumps(ELSEWHERE))
    outcome = execute(key, wanted.identity, NodeOptions(store.files.path, str(tmp_path / "data")))
    assert (outcome.status, outcome.message) == ("theirs", "another driver runs it on other-host")
    assert store.state(key) == "absent"
    assert store.heartbeats()[key] == ELSEWHERE


def test_what_another_driver_repaired_is_not_discarded(tmp_path):
    opened = campaign(tmp_path)
    list(opened.run(SerialRunner()))
    key = next(iter(opened.plan.nodes))
    path = tmp_path / "runs" / key / "record.json"
    whole = path.read_text()
    path.write_text("{")
    late = campaign(tmp_path)
    assert late.corrupt == {key}
    path.write_text(whole)  # another driver repairs it
    before = path.stat().st_ino
    assert [event.status for event in late.run(SerialRunner())] == ["started", "done"]
    assert path.stat().st_ino == before


def test_no_update_of_a_manifest_is_lost(store):
    def add(number: int) -> None:
        other = Store(store.files.root)
        for step in range(5):
            name = f"{number}.{step}"
            other.update_json("m.json", lambda now, name=name: {"names": sorted({*now.get("names", []), name})})

    threads = [threading.Thread(target=add, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store.read_json("m.json")["names"]) == 20


DRIVERS = """
import os, sys
from pathlib import Path
import short
import torch
from benchmark.plan.suite import Selection
from benchmark.run import stages
from benchmark.run.campaign import RunOptions, open_campaign
from benchmark.run.runner import SerialRunner

short.shorten()
suite, runs, log = sys.argv[1:]
whole = stages.NodeRun.run

def counted(self):
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{self.key}\\n".encode())
    os.close(descriptor)
    whole(self)

stages.NodeRun.run = counted
children = []
for _ in range(4):
    if not (child := os.fork()):
        torch.set_num_threads(1)
        options = RunOptions(runs=runs, data=Path(runs) / "data", runner="serial", device="cpu")
        events = list(open_campaign(suite, Selection(), options).run(SerialRunner()))
        os._exit(0 if not [event for event in events if event.status in ("failed", "blocked")] else 1)
    children.append(child)
sys.exit(max(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children))
"""


@pytest.mark.slow
def test_four_drivers_execute_24_nodes_24_times(tmp_path):
    suite = suite_file(tmp_path, {"methods": ["random_real", "noise"], "seeds": 4})
    log, runs = tmp_path / "log", tmp_path / "runs"
    environment = {**os.environ, **ENVIRONMENT}
    command = [sys.executable, "-c", DRIVERS, suite, str(runs), str(log)]
    assert subprocess.run(command, env=environment, cwd=Path.cwd(), timeout=600).returncode == 0
    counts = Counter(log.read_text().split())
    assert len(counts) == 24
    assert set(counts.values()) == {1}
    store = Store(str(runs))
    assert all(store.state(key) == "done" for key in counts)
    assert store.heartbeats() == {}
