"""The sweep: what dead processes left goes, what a live one writes stays, whatever the clocks say."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from benchmark import locks
from benchmark.files import tagged, write_atomically
from benchmark.locks import writer_of
from benchmark.run import sweep
from benchmark.run.store import TIMEOUT, Store
from benchmark.run.sweep import Sweep

KEY, DAY = "0" * 32, 86_400


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(str(tmp_path / "runs"))


def dead(store: Store) -> None:
    """Let a process die with half of a node, half of a file, and a heartbeat."""
    script = (
        "import json, os, sys\n"
        "from pathlib import Path\n"
        "from benchmark.files import write_atomically\n"
        "from benchmark.run.heartbeat import Heartbeat\n"
        "from benchmark.run.store import Store\n"
        "store = Store(sys.argv[1])\n"
        f"Heartbeat(store, '{KEY}')(1, 2, {{}})\n"
        f"state = store.scratch('{KEY}', 'code') / 'state.pt'\n"
        f"with store.writing('{KEY}') as folder, write_atomically(state) as path:\n"
        "    path.write_text('half'), (folder / 'a.txt').write_text('half'), os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", script, store.files.path]).returncode == 9


def elsewhere(store: Store, name: str, age: float) -> str:
    """Write what looks like the leftover of a process on another machine."""
    path = store.disk / ".staging" / f"{name}.other-host@1@abc"
    path.mkdir(parents=True)
    os.utime(path, (time.time() - age,) * 2)
    return path.name


def staged(store: Store) -> set[str]:
    return {path.name for path in (store.disk / ".staging").iterdir()}


@pytest.fixture
def minutes(monkeypatch):
    """Let this process's own clock run ahead by some minutes."""
    clock = time.monotonic
    return lambda count: monkeypatch.setattr(sweep.time, "monotonic", lambda: clock() + 60 * count)


def test_what_a_dead_process_left_goes_at_once(store):
    dead(store)
    assert len(staged(store)) == len(list(store.scratch(KEY, "code").iterdir())) == 1
    assert list(store.heartbeats()) == [KEY]
    (store.scratch(KEY, "code") / "saved.pt").write_text("step 500")
    Sweep(store)
    assert staged(store) == set()
    assert store.heartbeats() == {}
    names = [path.name for path in store.scratch(KEY, "code").iterdir()]
    assert names == ["saved.pt"], "it is not done: its progress stays"


def test_a_live_node_stays_however_old_it_seems(store, minutes):
    with store.writing(KEY) as folder, write_atomically(store.disk / "a.json") as part:
        part.write_text("half")
        for path in (folder, part):
            os.utime(path, (0, 0))
        found = Sweep(store)
        minutes(5)
        store.write_text(f".progress/{KEY}.json", json.dumps({"step": 1, "total": 2, "when": 0}))
        found.finish()
        assert folder.is_dir()
    assert (store.disk / "a.json").read_text() == "half"


def test_a_lock_keeps_what_the_number_of_a_process_does_not(store, monkeypatch):
    """Two containers may have one name of a machine, and different numbers for one process."""
    monkeypatch.setattr(sweep, "has_ended", lambda host, pid: True)
    with store.writing(KEY) as folder:
        Sweep(store)
        assert folder.is_dir()


def test_a_container_has_a_name_of_its_own(monkeypatch):
    command = [sys.executable, "-c", "from benchmark.files import tagged; print(tagged('x'))"]
    inside = ["unshare", "--user", "--map-root-user", "--pid", "--fork", *command]
    if (
        not shutil.which("unshare")
        or (done := subprocess.run(inside, capture_output=True, text=True, check=False)).returncode
    ):
        pytest.skip("this machine lets nobody make a namespace")
    assert writer_of(tagged("x")) == os.getpid()
    assert writer_of(done.stdout) is None
    assert done.stdout.startswith(f"x.{socket.gethostname()}+")
    monkeypatch.setattr(locks, "Path", lambda _: Path("/nowhere"))
    assert locks.machine() == socket.gethostname(), "where there is no /proc"


@pytest.mark.parametrize(
    ("age", "beats", "stays"),
    [(2 * DAY, False, False), (2 * DAY, True, True), (60, False, True)],
    ids=["silent and old", "its heartbeat comes", "young"],
)
def test_what_another_machine_left_stays_while_its_heartbeat_comes(store, minutes, age, beats, stays):
    name = elsewhere(store, KEY, age)
    beat = {"step": 1, "total": 2, "when": 0.0, "host": "other-host", "pid": 1}
    store.write_text(f".progress/{KEY}.json", json.dumps(beat))
    found = Sweep(store)
    found.finish()
    assert staged(store) == {name}, "a run that is too short to know removes nothing"
    minutes(1 + TIMEOUT / 60)
    if beats:
        store.write_text(f".progress/{KEY}.json", json.dumps({**beat, "when": 1.0}))
    found.finish()
    assert staged(store) == ({name} if stays else set())
    assert set(store.heartbeats()) == ({KEY} if beats else set())


def test_a_clock_that_jumps_removes_nothing(store, monkeypatch):
    name, clock = elsewhere(store, KEY, age=0), time.time
    store.write_text(f".progress/{KEY}.json", json.dumps({"step": 1, "total": 2, "when": clock(), "host": "other"}))
    monkeypatch.setattr("time.time", lambda: clock() + 40 * DAY)
    Sweep(store).finish()
    assert staged(store) == {name}
    assert list(store.heartbeats()) == [KEY]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"step": "x"}', '{"step": 1, "total": 2, "when": "now"}', "\x00"])
def test_malformed_heartbeats_go(store, text):
    store.write_text(f".progress/{KEY}.json", text)
    assert store.heartbeats() == {}
    Sweep(store)
    assert store.files.files(".progress") == []


@pytest.mark.parametrize("beats", [False, True])
def test_what_is_saved_of_a_finished_node_goes_unless_another_driver_runs_it(store, beats):
    if beats:
        beat = {"step": 1, "total": 2, "when": 0.0, "host": "other-host", "pid": 1}
        store.write_text(f".progress/{KEY}.json", json.dumps(beat))
    (store.scratch(KEY, "code") / "state.pt").write_text("step 500")
    with store.writing(KEY) as folder:
        (folder / "a.txt").write_text("artifact")
        store.commit(KEY, folder, {"stage": "distill"})
    Sweep(store)
    assert bool(list((store.disk / ".scratch").iterdir())) is beats


def test_many_drivers_begin_at_once(store):
    faults = []

    def begin() -> None:
        try:
            for _ in range(15):
                store.open()
                Sweep(store)
        except Exception as error:
            faults.append(error)

    stop = threading.Event()

    def litter() -> None:
        while not stop.wait(0.002):
            path = store.disk / ".staging" / tagged(KEY).replace(f"@{os.getpid()}@", "@999999999@")
            path.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(OSError):
                (path / "a.txt").touch()
                path.rename(path.with_name(f"{path.name}x"))

    drivers = [threading.Thread(target=begin) for _ in range(4)]
    noise = threading.Thread(target=litter)
    for thread in (noise, *drivers):
        thread.start()
    for thread in drivers:
        thread.join()
    stop.set()
    noise.join()
    assert faults == []
