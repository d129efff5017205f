"""The store: whole or absent, whoever is killed, whatever breaks."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from benchmark.errors import BenchmarkError
from benchmark.record import RECORD, SEAL
from benchmark.run.store import ERROR, SCAN_LIMIT, Store

KEY = "0" * 32


@pytest.fixture(autouse=True)
def own_temporary_folder(tmp_path, monkeypatch):
    """Copies of a bucket's files lie in the temporary folder."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


@pytest.fixture(params=["folder", "file://", "memory://"])
def store(request, tmp_path) -> Store:
    """A store of every kind: a folder, the same as a URL, and a bucket, which cannot rename."""
    if request.param == "folder":
        return Store(str(tmp_path / "runs"))
    return Store(f"{request.param}{tmp_path}/runs")


def put(store: Store, key: str = KEY, text: str = "artifact", **record) -> None:
    with store.writing(key) as folder:
        (folder / "sub").mkdir()
        (folder / "a.txt").write_text(text)
        (folder / "sub" / "b.txt").write_text("more")
        store.commit(key, folder, {"stage": "distill", **record})


def damage(store: Store, name: str, data: bytes | None) -> None:
    path = f"{KEY}/{name}"
    store.files.remove(path) if data is None else store.files.write(path, data)


def test_what_is_committed_is_read_back(store):
    assert store.state(KEY) == "absent"
    put(store)
    assert store.state(KEY) == "done"
    assert (store.folder(KEY) / "a.txt").read_text() == "artifact"
    assert (store.folder(KEY) / "sub" / "b.txt").read_text() == "more"
    assert [record["key"] for record in store.records()] == [KEY]
    assert store.record(KEY)["files"].keys() == {"a.txt", "sub/b.txt"}


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.txt", b"artifacT"),
        ("a.txt", b"arti"),
        ("a.txt", None),
        ("sub/b.txt", None),
        (RECORD, b'{"key": "'),
        (RECORD, b"[]"),
        (RECORD, b"{}"),
    ],
)
def test_damage_is_found_and_discarded(store, name, data):
    put(store)
    damage(store, name, data)
    if store.files.is_local or data != b"artifacT":  # on a bucket, a scan compares sizes
        assert store.state(KEY) == "corrupt"
    store.discard(KEY)
    assert store.state(KEY) == "absent"
    put(store)
    assert store.state(KEY) == "done"


def test_damage_that_a_scan_misses_is_found_at_use_and_computed_anew(store, monkeypatch):
    monkeypatch.setattr("benchmark.run.store.SCAN_LIMIT", 0)
    assert SCAN_LIMIT > 0
    put(store)
    damage(store, "a.txt", b"artifacT")
    assert store.state(KEY) == "done"
    with pytest.raises(BenchmarkError, match=r"a\.txt: not what was recorded; run the command again"):
        store.folder(KEY)
    assert store.state(KEY) == "absent"


def test_a_copy_of_a_buckets_file_is_checked_too(tmp_path):
    store = Store(f"memory://{tmp_path}/runs")
    put(store)
    copy = store.folder(KEY) / "a.txt"
    copy.write_text("artifacT")
    assert (store.folder(KEY) / "a.txt").read_text() == "artifact"


def test_a_writer_that_is_killed_before_the_record_leaves_nothing_that_counts(tmp_path):
    script = (
        "import os, sys; from benchmark.run.store import Store; store = Store(sys.argv[1])\n"
        f"with store.writing('{KEY}') as folder:\n"
        "    (folder / 'a.txt').write_text('artifact'); os._exit(9)"
    )
    root = str(tmp_path / "runs")
    assert subprocess.run([sys.executable, "-c", script, root]).returncode == 9
    store = Store(root)
    assert store.state(KEY) == "absent"
    assert list(store.records()) == []
    assert list((tmp_path / "runs" / ".staging").iterdir()), "the test has not killed where it meant to"
    put(store)
    assert store.state(KEY) == "done"


def test_a_folder_without_a_record_is_absent_and_replaced(store):
    damage(store, "a.txt", b"half of an upload")
    assert store.state(KEY) == "absent"
    with pytest.raises(BenchmarkError, match="is missing; run the command again"):
        store.folder(KEY)
    put(store)
    assert (store.folder(KEY) / "a.txt").read_text() == "artifact"


def test_a_result_that_was_damaged_meanwhile_is_replaced_by_the_next_writer(tmp_path):
    store = Store(str(tmp_path / "runs"))
    put(store)
    damage(store, "a.txt", b"artifacT")
    put(store)
    assert (store.folder(KEY) / "a.txt").read_text() == "artifact"


def test_a_failure_satisfies_nobody_and_gives_way_to_success(store):
    store.fail(KEY, {"message": "no"})
    assert store.state(KEY) == "absent"
    assert store.read_json(f"{KEY}/{ERROR}")["message"] == "no"
    put(store)
    assert store.state(KEY) == "done"
    assert store.read_json(f"{KEY}/{ERROR}") is None
    store.fail(KEY, {"message": "too late"})
    assert store.read_json(f"{KEY}/{ERROR}") is None, "a failure never hides a result"


def test_two_writers_of_one_key_leave_one_whole_result(tmp_path):
    store, both = Store(str(tmp_path / "runs")), threading.Barrier(8)

    def write(who: int) -> None:
        with store.writing(KEY) as folder:
            (folder / "a.txt").write_text("artifact")
            both.wait()
            store.commit(KEY, folder, {"who": who})

    threads = [threading.Thread(target=write, args=(who,)) for who in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.state(KEY) == "done"
    assert list((tmp_path / "runs" / ".staging").iterdir()) == []


def test_the_first_writer_wins(store):
    put(store, who=1)
    put(store, text="other bytes", who=2)
    assert store.record(KEY)["who"] == 1
    assert (store.folder(KEY) / "a.txt").read_text() == "artifact"


def test_messages_name_the_address_as_the_user_typed_it(store):
    """The path of a bucket alone is no address: it lacks the scheme."""
    with pytest.raises(BenchmarkError) as missing:
        store.folder(KEY)
    assert str(missing.value).startswith(f"{store.files.root}/{KEY}: is missing")
    store.files.write(f"{KEY}/{RECORD}", b"{}")
    with pytest.raises(BenchmarkError) as damaged:
        store.folder(KEY)
    assert str(damaged.value).startswith(f"{store.files.root}/{KEY}/{RECORD}: ")


def test_a_place_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    root = tmp_path / "file" / "runs"
    with pytest.raises(BenchmarkError, match=rf"--runs {root}: cannot be written .*choose another place"):
        Store(str(root)).open()
    assert Store(str(root)).state(KEY) == "absent"


def test_no_space_is_said(tmp_path, monkeypatch):
    store = Store(str(tmp_path / "runs"))

    def full(*_args, **_options):
        raise OSError(errno.ENOSPC, "No space left on device")

    with store.writing(KEY) as folder:
        monkeypatch.setattr(Path, "write_text", full)
        monkeypatch.setattr(Path, "write_bytes", full)
        for write in (store.open, lambda: store.fail(KEY, {}), lambda: store.commit(KEY, folder, {})):
            with pytest.raises(BenchmarkError, match=r"\(No space left on device\); free some space"):
                write()
    monkeypatch.undo()
    assert store.state(KEY) == "absent"


def test_a_store_that_cannot_be_read_is_said(tmp_path, monkeypatch):
    store = Store(str(tmp_path / "runs"))

    def refuse(_path):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(BenchmarkError, match=rf"{KEY}/{RECORD}: cannot be read \(Permission denied\)"):
        store.state(KEY)


def test_an_unknown_kind_of_address_is_said():
    with pytest.raises(BenchmarkError, match="--runs nothing://here: cannot be opened"):
        Store("nothing://here")


def test_a_number_that_was_changed_is_no_result(store):
    put(store, metrics={"top1": 50.0})
    path = f"{KEY}/{RECORD}"
    text = store.files.read_file(path).decode()
    store.files.write(path, text.replace("50.0", "99.9").encode())
    assert store.state(KEY) == "corrupt"
    assert store.record(KEY) is None
    assert list(store.records()) == []
    with pytest.raises(BenchmarkError, match=rf"{KEY}/{RECORD}: was changed after it was written; run again"):
        store.folder(KEY)
    store.files.write(path, json.dumps(json.loads(text)).encode())
    assert store.state(KEY) == "done", "the same values in other white space"


def test_a_record_without_a_checksum_does_not_count(store):
    put(store)
    record = store.record(KEY)
    del record[SEAL]
    store.write_text(f"{KEY}/{RECORD}", json.dumps(record))
    assert store.state(KEY) == "corrupt"
    assert store.record(KEY) is None


def test_records_of_somebody_else_are_no_records(store):
    put(store)
    store.write_text(f"{'1' * 32}/{RECORD}", json.dumps({"key": KEY}))
    store.write_text(f"{'2' * 32}/{RECORD}", "{}")
    assert [record["key"] for record in store.records()] == [KEY]
    assert store.state("1" * 32) == "corrupt"


def test_scratch_outlives_an_attempt_and_goes_with_success(store):
    (store.scratch(KEY, "code") / "state").write_text("step 3")
    beat = {"step": 3, "total": 4, "when": 0.5}
    store.write_text(f".progress/{KEY}.json", json.dumps(beat))
    assert (store.scratch(KEY, "code") / "state").read_text() == "step 3"
    assert store.heartbeats() == {KEY: beat}
    store.clear_scratch(KEY)
    assert not (store.scratch(KEY, "code") / "state").exists()
    assert store.heartbeats() == {}
    store.clear_scratch(KEY)  # twice does no harm


def test_a_file_is_no_store(tmp_path):
    path = tmp_path / "runs"
    path.write_text("a file")
    with pytest.raises(BenchmarkError, match=f"^--runs {path}: is a file, not a folder; choose another place"):
        Store(str(path))
