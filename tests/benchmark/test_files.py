"""Files below a root: a folder and a bucket behave alike, and no reader sees half of a file."""

from __future__ import annotations

import errno
import hashlib
from pathlib import Path

import pytest

from benchmark.errors import BenchmarkError
from benchmark.files import Folder, checksum, file_name, parse_object, path_fault, write_atomically


@pytest.fixture(params=["folder", "file://", "memory://"])
def folder(request, tmp_path) -> Folder:
    return Folder(str(tmp_path / "root") if request.param == "folder" else f"{request.param}{tmp_path}/root")


def test_a_file_that_is_written_is_read_back(folder):
    assert folder.write("a/b.txt", b"one") == folder.address("a/b.txt") == f"{folder.root}/a/b.txt"
    folder.write("a/b.txt", b"two")
    folder.write("c.txt", b"three")
    assert folder.read(["c.txt", "nowhere", "a/b.txt"]) == {"c.txt": b"three", "a/b.txt": b"two"}
    assert (folder.files(""), folder.folders(""), folder.files("a")) == (["c.txt"], ["a"], ["b.txt"])
    assert folder.size("a/b.txt") == 3
    assert folder.checksum("a/b.txt") == hashlib.sha256(b"two").hexdigest()


def test_what_does_not_exist_is_no_error(folder, tmp_path):
    assert folder.read_file("x") is folder.size("x") is folder.checksum("x") is folder.local_path("x") is None
    assert folder.files("x") == folder.folders("x") == []
    folder.remove("x")
    folder.remove_folder("x")
    folder.download("x", tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/x", "a\\..\\x", "..", "x\0y"])
def test_no_name_leads_out_of_the_root(folder, name):
    for access in (
        lambda: folder.write(name, b""),
        lambda: folder.read_file(name),
        lambda: folder.size(name),
        lambda: folder.checksum(name),
        lambda: folder.local_path(name),
        lambda: folder.files(name),
        lambda: folder.remove(name),
        lambda: folder.remove_folder(name),
    ):
        with pytest.raises(BenchmarkError, match="leads out of this folder"):
            access()
    folder.write("a..b/...c", b"")  # dots alone are no harm


@pytest.mark.parametrize(
    "name", ["", "a/b", "..", ".hidden", "a\\b", "a\nb", "a\x1bb", "a\x9bb", "~x", "x" * 151, None, 7, ["a"]]
)
def test_what_cannot_be_a_part_of_a_path(name):
    assert path_fault(name)


@pytest.mark.parametrize("name", ["main", "wmdd[lambda=0.1]", "wmdd from resnet18", "timm.resnet-18", "wasserstein+bn"])
def test_what_can(name):
    assert path_fault(name) == ""


@pytest.mark.parametrize("scheme", ["", "file://", "memory://"])
def test_a_root_may_have_brackets_in_its_name(tmp_path, scheme):
    folder = Folder(f"{scheme}{tmp_path}/run[1]*")
    folder.write("a[2]/b?.txt", b"one")
    folder.write("a2/b1.txt", b"two")
    assert folder.read(["a[2]/b?.txt"]) == {"a[2]/b?.txt": b"one"}
    assert folder.folders("") == ["a2", "a[2]"]
    assert folder.files("a[2]") == ["b?.txt"]
    folder.remove("a[2]/b?.txt")
    folder.write("a[2]/c.txt", b"one")
    folder.remove_folder("a[2]")
    assert folder.folders("") == ["a2"]
    assert folder.read_file("a2/b1.txt") == b"two"


def test_files_and_folders_are_removed(folder):
    folder.write("a/b.txt", b"one")
    folder.write("a/c.txt", b"one")
    folder.remove("a/b.txt")
    assert folder.files("a") == ["c.txt"]
    folder.remove_folder("a")
    assert folder.folders("") == []


def test_files_are_copied_both_ways(folder, tmp_path):
    (tmp_path / "here").write_bytes(b"pixels")
    folder.write("a/b", b"")  # makes the folder
    folder.upload(tmp_path / "here", "a/there")
    folder.download("a/there", tmp_path / "deep" / "copy")
    assert (tmp_path / "deep" / "copy").read_bytes() == b"pixels"
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["copy"]


def test_only_a_local_file_has_a_path(folder):
    folder.write("a.txt", b"one")
    path = folder.local_path("a.txt")
    assert (path is not None) == folder.is_local
    assert path is None or path.read_bytes() == b"one"


def test_an_error_of_the_file_system_names_the_file(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    with pytest.raises(BenchmarkError, match=rf"{tmp_path}/file/a\.txt: cannot be written \(.+\)"):
        Folder(str(tmp_path / "file")).write("a.txt", b"")

    def refuse(*_args):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(BenchmarkError, match=rf"{tmp_path}/a\.txt: cannot be read \(Permission denied\)"):
        Folder(str(tmp_path)).read_file("a.txt")


def test_an_interrupted_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def write(error: type[BaseException] | None) -> None:
        with write_atomically(path) as temporary:
            temporary.write_text("new")
            assert path.read_text() == "old", "the new text does not show before it is complete"
            if error:
                raise error

    for error in (OSError, KeyboardInterrupt):
        with pytest.raises(error):
            write(error)
        assert [(item.name, item.read_text()) for item in tmp_path.iterdir()] == [("a.txt", "old")]
    write(None)
    assert [(item.name, item.read_text()) for item in tmp_path.iterdir()] == [("a.txt", "new")]


def test_two_writers_have_temporary_files_of_their_own(tmp_path):
    with write_atomically(tmp_path / "a") as first, write_atomically(tmp_path / "a") as second:
        assert first != second
        first.write_text("1")
        second.write_text("2")
    assert (tmp_path / "a").read_text() == "1", "the last rename wins"


@pytest.mark.parametrize("data", [None, b"", b"{", b"[1]", b"\xff"])
def test_damaged_json_is_no_object(data):
    assert parse_object(data) is None
    assert parse_object(b'{"a": 1}') == {"a": 1}


def test_a_checksum_is_sha256(tmp_path):
    (tmp_path / "a").write_bytes(b"pixels")
    assert checksum(tmp_path / "a") == hashlib.sha256(b"pixels").hexdigest()


def test_a_file_name_has_no_unusual_character():
    assert file_name("wmdd[lambda=0.5] a/b") == "wmdd_lambda_0.5_a_b"
