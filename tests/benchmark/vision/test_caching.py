"""A cache of pixels that is whole, or mended, or resumed."""

from __future__ import annotations

import logging
import multiprocessing
import os
import random
import signal
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from toy_folder import all_images, lay_down, toy

from benchmark.errors import BenchmarkError
from benchmark.vision import caching, reading
from benchmark.vision.datasets import open_train


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return lay_down(tmp_path)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of images of every call of `decode`."""
    counts: list[int] = []
    whole = reading.decode
    monkeypatch.setattr(reading, "decode", lambda items, *rest: counts.append(len(items)) or whole(items, *rest))
    return counts


def test_a_cache_is_written_once_and_again_when_it_is_damaged(root: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    first = all_images(open_train(toy(), root, cache))
    (path,) = cache.iterdir()
    written = path.stat().st_mtime_ns
    open_train(toy(mean=(0.1, 0.1, 0.1)), root, cache)
    assert [path] == list(cache.iterdir()) and path.stat().st_mtime_ns == written
    path.write_bytes(path.read_bytes()[:1000])
    assert torch.equal(all_images(open_train(toy(), root, cache)), first)


def test_two_writers_at_once_leave_one_sound_cache(root: Path, tmp_path: Path) -> None:
    results: list[torch.Tensor] = []
    barrier = threading.Barrier(4)

    def work() -> None:
        barrier.wait()
        results.append(all_images(open_train(toy(), root, tmp_path / "cache")))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4 and all(torch.equal(result, results[0]) for result in results)
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_a_full_disk_is_said_and_leaves_nothing(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("usage", (), {"free": 10}))
    with pytest.raises(BenchmarkError, match="10 Bytes are free"):
        open_train(toy(), root, tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


def test_no_folder_can_be_made_where_a_file_lies(root: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").touch()
    with pytest.raises(BenchmarkError, match="cannot be made a folder"):
        open_train(toy(), root, tmp_path / "cache")


@pytest.mark.parametrize("seed", range(4))
def test_a_flip_is_found_and_mended(
    root: Path, tmp_path: Path, seed: int, decoded: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    first = all_images(open_train(toy(), root, tmp_path / "cache"))
    (path,) = (tmp_path / "cache").iterdir()
    whole, dice = path.read_bytes(), random.Random(seed)
    places = [*range(0, 140), *(dice.randrange(len(whole)) for _ in range(40)), *range(len(whole) - 140, len(whole))]
    for at in dice.sample(places, 60):
        data = bytearray(whole)
        data[at] ^= 1 << dice.randrange(8)
        path.write_bytes(data)
        decoded.clear()
        caplog.clear()
        assert torch.equal(all_images(open_train(toy(), root, tmp_path / "cache")), first), at
        assert path.read_bytes() == whole and [*path.parent.iterdir()] == [path]
        assert sum(decoded) <= 1 and len(caplog.records) == 1 and "was damaged" in caplog.text


def test_a_cut_off_cache_keeps_its_sound_images(root: Path, tmp_path: Path, decoded: list[int]) -> None:
    open_train(toy(), root, tmp_path / "cache")
    (path,) = (tmp_path / "cache").iterdir()
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    all_images(open_train(toy(), root, tmp_path / "cache"))
    assert path.read_bytes() == whole


def test_damage_is_found_while_the_cache_is_in_use(
    root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train = open_train(toy(), root, tmp_path / "cache")
    other = open_train(toy(), root, tmp_path / "cache")
    first = all_images(train)
    (path,) = (tmp_path / "cache").iterdir()
    with path.open("r+b") as file:
        file.seek(5000)
        file.write(b"damaged")
    assert torch.equal(all_images(train), first) and torch.equal(all_images(other), first)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_damaged_whole_images_are_mended(root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    train = open_train(toy(whole=20), root, tmp_path / "cache")
    (squares,) = (tmp_path / "cache").iterdir()
    first, before = train.read_whole(torch.arange(60)), squares.read_bytes()
    (path,) = (path for path in (tmp_path / "cache").iterdir() if path != squares)
    whole = path.read_bytes()
    path.write_bytes(whole[:3000] + bytes(1500) + whole[4500:])
    again = open_train(toy(whole=20), root, tmp_path / "cache").read_whole(torch.arange(60))
    assert torch.equal(again, first) and path.read_bytes() == whole and squares.read_bytes() == before
    assert len(caplog.records) == 1 and "was damaged" in caplog.text


def test_a_disk_that_keeps_nothing_is_named(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train = open_train(toy(), root, tmp_path / "cache")
    monkeypatch.setattr(caching.Mapped, "_sound", lambda *_: False)
    with pytest.raises(BenchmarkError, match="cannot be kept on this disk"):
        all_images(train)


def test_a_killed_writer_is_resumed(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "CHUNK", 10)
    whole, counts = reading.decode, list[int]()

    def dies(items: list[str], *rest: object) -> object:
        counts.append(len(items))
        if len(counts) == 4:
            os.kill(os.getpid(), signal.SIGKILL)
        return whole(items, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(reading, "decode", dies)
        process = multiprocessing.get_context("fork").Process(target=open_train, args=(toy(), root, tmp_path / "cache"))
        process.start()
        process.join()
    assert process.exitcode == -signal.SIGKILL
    monkeypatch.setattr(reading, "decode", lambda items, *rest: counts.append(len(items)) or whole(items, *rest))
    reports: list[tuple[int, int]] = []
    resumed = all_images(open_train(toy(), root, tmp_path / "cache", "full", lambda *done: reports.append(done)))
    assert 30 <= sum(counts) <= 40 and reports[-1] == (60, 60) and reports[0][0] >= 30
    assert torch.equal(resumed, all_images(open_train(toy(), root, tmp_path / "other")))
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_the_cache_is_a_numpy_array(root: Path, tmp_path: Path) -> None:
    images = all_images(open_train(toy(), root, tmp_path / "cache"))
    (path,) = (tmp_path / "cache").iterdir()
    assert np.array_equal(np.load(path, mmap_mode="r"), images.numpy())
