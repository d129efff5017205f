"""A store in a bucket: damage is seen and replaced, killed uploads leave nothing half, copies are bounded."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from bucket import ROOT, environment, python, server
from engine import BLOCK, campaign, finish, suite_file
from short import ENVIRONMENT

from benchmark.errors import BenchmarkError
from benchmark.files import Folder
from benchmark.record import RECORD
from benchmark.run import copies
from benchmark.run.store import TRACEBACK, Store
from benchmark.run.sweep import Sweep

pytestmark = pytest.mark.usefixtures("short_training")
pytest.importorskip("moto.server")
KEY, OTHER = "0" * 32, "1" * 32


@pytest.fixture(scope="module")
def variables() -> Iterator[dict[str, str]]:
    with server() as found:
        yield found


@pytest.fixture
def root(variables, monkeypatch, tmp_path) -> str:
    """The address of a new store in a bucket; copies lie below the test's folder."""
    import boto3

    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    name = f"bucket-{uuid.uuid4().hex[:12]}"
    boto3.client("s3").create_bucket(Bucket=name)
    return f"s3://{name}/runs"


def put(store: Store, key: str = KEY, text: str = "artifact") -> None:
    with store.writing(key) as folder:
        (folder / "sub").mkdir()
        (folder / "a.txt").write_text(text)
        (folder / "sub" / "b.txt").write_text("more")
        store.commit(key, folder, {"stage": "distill"})


def test_a_bucket_keeps_what_is_committed(root):
    store = Store(root)
    assert store.state(KEY) == "absent" and list(store.records()) == []
    put(store)
    assert store.state(KEY) == "done" and [record["key"] for record in store.records()] == [KEY]
    assert (store.folder(KEY) / "sub" / "b.txt").read_text() == "more"


def test_a_result_replaces_the_failure_of_an_earlier_attempt(root):
    store = Store(root)
    store.fail(KEY, {"error": "no memory"})
    store.write_text(f"{KEY}/{TRACEBACK}", "Traceback")
    put(store)
    assert store.files.facts(f"{KEY}/{TRACEBACK}") is None and store.state(KEY) == "done"


def test_a_flip_is_seen_by_the_scan_of_every_machine(root, tmp_path, monkeypatch):
    put(Store(root))
    Store(root).files.write(f"{KEY}/a.txt", b"artifacT")
    assert Store(root).state(KEY) == "corrupt"
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "another machine"))
    assert Store(root).state(KEY) == "corrupt" and not Store(root).mend(KEY)
    with pytest.raises(BenchmarkError, match=r"a\.txt: not what was recorded; run the command again"):
        Store(root).folder(KEY)
    assert Store(root).state(KEY) == "absent"


@pytest.mark.parametrize("damage", [b"artifacT", b"art", None])
def test_a_machine_with_a_sound_copy_replaces_a_bad_object(root, damage):
    store = Store(root)
    put(store)
    store.folder(KEY)
    name = f"{KEY}/a.txt"
    store.files.remove(name) if damage is None else store.files.write(name, damage)
    assert store.mend(KEY) and store.state(KEY) == "done"
    assert store.files.read_file(name) == b"artifact"


def test_the_same_content_written_anew_is_sound(root, monkeypatch):
    store = Store(root)
    put(store)
    monkeypatch.setattr(Folder, "facts", lambda self, name: (8 if "a.txt" in name else 4, "copied elsewhere"))
    assert store.state(KEY) == "done"


def test_a_copy_that_is_damaged_on_its_way_is_fetched_once_more(root, monkeypatch):
    store, whole, calls = Store(root), Folder.download, []
    put(store)

    def cut_off(self, name: str, path: Path) -> None:
        whole(self, name, path)
        calls.append(name)
        if len(calls) == 1:
            path.write_bytes(path.read_bytes()[:-1])

    monkeypatch.setattr(Folder, "download", cut_off)
    assert (store.folder(KEY) / "a.txt").read_text() == "artifact" and len(calls) == 3


def test_an_endpoint_that_does_not_answer_is_one_line(root, monkeypatch):
    for name, value in {**environment("http://127.0.0.1:9"), "AWS_MAX_ATTEMPTS": "1"}.items():
        monkeypatch.setenv(name, value)
    script = (
        "import sys\nfrom benchmark.errors import BenchmarkError\nfrom benchmark.run.store import Store\n"
        "for act in (lambda s: s.open(), lambda s: s.state('0' * 32), lambda s: list(s.records())):\n"
        "    try:\n        act(Store(sys.argv[1]))\n    except BenchmarkError as error:\n        print(error)\n"
    )
    done = python(script, root)
    lines = done.stdout.splitlines()
    assert len(lines) == 3 and done.returncode == 0, done.stderr
    assert all(root in line and "Could not connect to the endpoint URL" in line for line in lines)


KILLED = """
import os, signal, sys
from benchmark.files import Folder
from benchmark.run.store import Store

root, at = sys.argv[1], int(sys.argv[2])
calls = 0

def dying(whole):
    def call(self, *arguments):
        global calls
        if calls == at:
            os.kill(os.getpid(), signal.SIGKILL)
        calls += 1
        return whole(self, *arguments)
    return call

for name in ("upload", "write", "facts", "remove"):
    setattr(Folder, name, dying(getattr(Folder, name)))
store = Store(root)
with store.writing("0" * 32) as folder:
    for name in ("a.txt", "b.txt", "c.txt"):
        (folder / name).write_text("artifact " + name)
    store.commit("0" * 32, folder, {"stage": "distill"})
"""


def test_a_killed_upload_leaves_nothing_that_counts(root, tmp_path):
    statuses = []
    for at in range(10):
        done = python(KILLED, f"{root}/{at}", at, TMPDIR=str(tmp_path))
        statuses.append(done.returncode)
        store = Store(f"{root}/{at}")
        complete = store.files.read_file(f"{KEY}/{RECORD}") is not None
        assert store.state(KEY) == ("done" if complete else "absent")
        assert complete == (at > 6), done.stderr
        put(store)
        assert store.state(KEY) == "done"
    assert statuses == [-signal.SIGKILL] * 9 + [0]


def test_copies_are_bounded_and_swept(root, monkeypatch):
    store = Store(root)
    for key in (KEY, OTHER):
        put(store, key)
        store.folder(key)
    (store.disk / ".scratch" / KEY).mkdir(parents=True)
    monkeypatch.setattr(copies, "LIMIT", 20)
    copies.used(store.disk, OTHER)
    assert (store.disk / KEY).exists(), "it may be in use"
    os.utime(store.disk / KEY, (0, time.time() - copies.IDLE - 1))
    copies.used(store.disk, OTHER)
    assert not (store.disk / KEY).exists() and (store.disk / OTHER).exists()
    os.utime(store.disk / OTHER, (0, 0))
    Sweep(store)
    assert [path.name for path in store.disk.iterdir() if path.is_dir() and path.name != ".staging"] == [".scratch"]
    assert (store.folder(OTHER) / "a.txt").read_text() == "artifact"


def test_of_too_many_copies_the_oldest_go_and_no_more_than_needed(tmp_path, monkeypatch):
    monkeypatch.setattr(copies, "LIMIT", 25)
    for hours, name in enumerate("bdac", start=7):  # of 10 bytes each; "c" was not used for the longest time
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.txt").write_text("0123456789")
        os.utime(tmp_path / name, (0, time.time() - hours * 3600))
    copies.used(tmp_path, "b")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b", "d"]


DRIVER = """
import sys
from pathlib import Path
import short
from benchmark.plan.suite import Selection
from benchmark.run.campaign import RunOptions, connect, open_campaign

short.shorten()
suite, runs, data = sys.argv[1:]
options = RunOptions(runs=runs, data=Path(data), runner="ray", device="cpu")
events = list(open_campaign(suite, Selection(), options).run(connect(options)[0]))
print(sorted(event.status for event in events))
sys.exit(any(event.status in ("failed", "blocked") for event in events))
"""


@pytest.mark.ray
@pytest.mark.slow
def test_two_drivers_of_ray_fill_one_bucket(root, tmp_path):
    block = {**BLOCK, "methods": ["random_real", "noise"], "seeds": 2}
    (tmp_path / "alone").mkdir()
    alone = campaign(tmp_path / "alone", block)
    finish(alone)
    command = [sys.executable, "-c", DRIVER, suite_file(tmp_path, block), root, str(tmp_path / "data")]
    environ = {**os.environ, **ENVIRONMENT}
    drivers = [subprocess.Popen(command, env=environ, cwd=ROOT, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for driver in drivers:
        _, errors = driver.communicate(timeout=600)
        assert driver.returncode == 0, errors
    found = {record["key"]: record for record in Store(root).records()}
    for record in alone.store.records():
        sums = {name: facts["sha256"] for name, facts in found[record["key"]]["files"].items()}
        assert sums == {name: facts["sha256"] for name, facts in record["files"].items()}
        assert found[record["key"]]["metrics"] == record["metrics"]
    assert all(Store(root).state(key) == "done" for key in found)
