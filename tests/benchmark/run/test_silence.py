"""A worker that lives and is stopped: its heartbeat does not change, by this driver's own clock."""

from __future__ import annotations

import json

import pytest

from benchmark.plan.nodes import Needs, Node
from benchmark.run import silence
from benchmark.run.silence import Silence
from benchmark.run.store import Store

NODE = Node("0" * 32, "distill", {}, Needs(silent_seconds=600.0), "digits/1 noise")


@pytest.fixture
def clock(monkeypatch):
    """Set this process's own clock."""
    return lambda seconds: monkeypatch.setattr(silence.time, "monotonic", lambda: seconds)


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(str(tmp_path))


def beat(store: Store, **changes) -> dict:
    heartbeat = {"step": 1, "total": 2, "when": 0.0, "owner": "me", **changes}
    store.write_text(f".progress/{NODE.key}.json", json.dumps(heartbeat))
    return heartbeat


def test_a_heartbeat_that_does_not_change_is_told_once_in_its_limit(store, clock):
    clock(0.0)
    silent = Silence(store, "me")
    heartbeat, told = beat(store), []
    for seconds in range(20, 2000, 20):
        clock(float(seconds))
        told += [(seconds, found) for found in silent.look([NODE])]
    assert [seconds for seconds, _ in told] == [620, 1240, 1860]
    assert told[0][1] == (NODE, heartbeat)


@pytest.mark.parametrize("changes", [{"owner": "other"}, {"step": "x"}], ids=["another driver", "malformed"])
def test_what_is_not_ours_is_not_told(store, clock, changes):
    clock(0.0)
    silent = Silence(store, "me")
    beat(store, **changes)
    for seconds in (20.0, 2000.0):
        clock(seconds)
        assert list(silent.look([NODE])) == []


def test_a_heartbeat_that_comes_and_a_node_without_one_are_not_told(store, clock):
    clock(0.0)
    silent = Silence(store, "me")
    for seconds in (20.0, 900.0, 1800.0):
        clock(seconds)
        assert list(silent.look([NODE])) == []
        beat(store, step=seconds)
