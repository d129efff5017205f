"""Lists of files: every content is hashed once, and no change goes unnoticed."""

from __future__ import annotations

import os
import random
import threading
from pathlib import Path

import pytest
from toy_folder import all_images, lay_down, toy, write_image

from benchmark.errors import BenchmarkError
from benchmark.vision import datasets, listing
from benchmark.vision.datasets import info, load_dataset, open_train

HOUR = 3600 * 10**9


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The toy dataset with files of an hour ago."""
    lay_down(tmp_path)
    for path in tmp_path.rglob("*.png"):
        when = path.stat().st_mtime_ns - HOUR
        os.utime(path, ns=(when, when))
    return tmp_path


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are hashed."""
    names: list[str] = []
    whole = listing._digest
    monkeypatch.setattr(listing, "_digest", lambda path: names.append(path.name) or whole(path))
    return names


def edit(path: Path) -> None:
    """Change a file without a change of its size."""
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


def stored(root: Path) -> Path:
    (path,) = (root / ".cache").glob("toy-train-*.files")
    return path


def test_an_edit_without_a_change_of_size_changes_the_fingerprint(root: Path) -> None:
    first = info(toy(), root).fingerprint
    edit(root / "toy/train/bee/train03.png")
    second = info(toy(), root).fingerprint
    edit(root / "toy/val/ant/val01.png")
    assert len({first, second, info(toy(), root).fingerprint}) == 3
    edit(root / "toy/train/bee/train03.png")
    edit(root / "toy/val/ant/val01.png")
    assert info(toy(), root).fingerprint == first


def test_a_new_name_is_no_change(root: Path) -> None:
    first = info(toy(), root).fingerprint
    (root / "toy/train/bee/train03.png").rename(root / "toy/train/bee/train03b.png")
    assert info(toy(), root).fingerprint == first


def test_digits_have_the_fingerprint_of_their_records(tmp_path: Path) -> None:
    assert info(load_dataset("digits"), tmp_path).fingerprint == "323cd0ee9c082a1018e01a397c75adb7"


def test_a_content_is_hashed_once(root: Path, hashed: list[str]) -> None:
    info(toy(), root)
    assert len(hashed) == 72
    hashed.clear()
    info(toy(resolution=12, folder="toy"), root)
    open_train(toy(), root, root / ".cache")
    assert hashed == []
    write_image(root / "toy/train/bee/new.png", 3)
    edit(root / "toy/train/bee/train03.png")
    info(toy(), root)
    assert sorted(hashed) == ["new.png", "train03.png"]


def test_a_young_file_is_hashed_again(root: Path) -> None:
    path = root / "toy/train/bee/new.png"
    write_image(path, 3)
    first, facts = info(toy(), root).fingerprint, path.stat()
    edit(path)
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))  # as where a clock ticks too slowly
    assert info(toy(), root).fingerprint != first


def test_workers_list_no_files(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = toy()
    planned = info(config, root)
    monkeypatch.setattr(os, "scandir", lambda _: pytest.fail("files were listed"))
    assert info(config, root, quick=True) == planned
    assert open_train(config, root, root / ".cache").info == planned


def test_workers_notice_new_files(root: Path) -> None:
    planned = info(toy(), root)
    write_image(root / "toy/train/bee/new.png", 3)
    assert info(toy(), root, quick=True) == info(toy(), root) != planned


@pytest.mark.parametrize("streaming", [False, True])
def test_what_is_decoded_is_what_was_listed(root: Path, streaming: bool) -> None:
    planned = info(toy(), root)
    edit(root / "toy/train/bee/train03.png")
    assert info(toy(), root, quick=True) == planned, "no folder has changed"
    with pytest.raises(BenchmarkError, match=r"train03\.png: damaged, or changed since its dataset was listed"):
        all_images(open_train(toy(streaming=streaming), root, root / ".cache"))


def test_hashing_goes_on_where_it_was_interrupted(
    root: Path, hashed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "AT_ONCE", 10)
    reports: list[tuple[int, int]] = []

    def interrupt(done: int, total: int) -> None:
        reports.append((done, total))
        if len(reports) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        info(toy(), root, report=interrupt)
    assert reports == [(10, 60), (20, 60), (30, 60)] and len(hashed) == 30
    info(toy(), root)
    assert len(hashed) == 72 and reports[:3] == [(10, 60), (20, 60), (30, 60)]


def test_a_damaged_list_is_made_again(root: Path) -> None:
    first, dice = info(toy(), root), random.Random(0)
    path = stored(root)
    whole = path.read_bytes()
    for _ in range(100):
        data = bytearray(whole)
        data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
        path.write_bytes(data[: dice.choice([len(data), dice.randrange(len(data))])])
        assert info(toy(), root, quick=dice.random() < 0.5) == first


def test_processes_do_not_hash_the_same_files_twice(root: Path, hashed: list[str]) -> None:
    threads = [threading.Thread(target=info, args=(toy(), root)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(hashed) == 72


def test_a_list_moves_with_the_data(root: Path, hashed: list[str]) -> None:
    (root / "here").mkdir()
    (root / "toy").rename(root / "here/toy")
    first = info(toy(), root / "here")
    hashed.clear()
    (root / "here").rename(root / "there")
    assert info(toy(), root / "there") == first and hashed == []


def test_a_list_that_cannot_be_stored_is_done_without(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = info(toy(), root)
    (root / "file").touch()
    monkeypatch.setattr(datasets, "cache_folder", lambda _: root / "file" / "cache")
    assert info(toy(), root) == first


def test_what_is_no_file_is_left_out_and_a_link_to_nothing_is_named(root: Path) -> None:
    first = info(toy(), root)
    os.mkfifo(root / "toy/train/bee/pipe.png")
    assert info(toy(), root) == first
    (root / "toy/train/bee/link.png").symlink_to("nowhere")
    assert info(toy(), root).train_counts == (20, 21, 20)
    with pytest.raises(BenchmarkError, match=r"link\.png"):
        open_train(toy(), root, root / ".cache")
