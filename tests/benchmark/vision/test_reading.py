"""Pixels that are what they should be, from a cache that is whole or absent."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from toy_folder import CLASSES, all_images, lay_down, toy, write_image

from benchmark.errors import BenchmarkError
from benchmark.vision import reading
from benchmark.vision.datasets import (
    check,
    open_train,
)

MODES = (("L", "jpg"), ("CMYK", "jpg"), ("P", "png"), ("RGBA", "png"), ("1", "png"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return lay_down(tmp_path)


def test_a_square_is_what_torchvision_crops(tmp_path: Path) -> None:
    from torchvision.transforms import v2

    smooth = np.linspace(0, 255, 90 * 60 * 3).reshape(60, 90, 3).astype(np.uint8)
    Image.fromarray(smooth).save(tmp_path / "a.png")
    ours, faults = reading.decode([str(tmp_path / "a.png")], 32, 24)
    scale = v2.Resize(32, interpolation=v2.InterpolationMode.BICUBIC, antialias=True)
    theirs = np.asarray(v2.CenterCrop(24)(scale(Image.fromarray(smooth)))).transpose(2, 0, 1)
    assert not faults
    assert np.abs(ours[0].astype(int) - theirs).max() <= 2


def test_an_image_of_the_right_size_is_left_alone() -> None:
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    assert np.array_equal(reading.decode([image], 16, 16)[0][0], image.transpose(2, 0, 1))


@pytest.mark.parametrize(("mode", "suffix"), MODES)
def test_every_colour_mode_becomes_rgb(tmp_path: Path, mode: str, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.new("RGB", (30, 40), (255, 255, 255)).convert(mode).save(path)
    pixels, faults = reading.decode([str(path)], 16, 16)
    assert not faults and (pixels > 240).all()


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


def test_what_a_killed_writer_left_is_removed_after_a_day(root: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    open_train(toy(), root, cache)
    (path,) = cache.iterdir()
    path.unlink()
    old, young = (cache / f".{path.name}.{word}.part" for word in ("old", "young"))
    old.touch()
    young.touch()
    os.utime(old, (0, 0))
    open_train(toy(), root, cache)
    assert set(cache.iterdir()) == {path, young}


def test_bad_files_are_named_together_with_a_remedy(root: Path, tmp_path: Path) -> None:
    ant = root / "toy/train/ant"
    write_image(ant / "whole.jpg", 3, size=(300, 300))
    (ant / "cut.jpg").write_bytes((ant / "whole.jpg").read_bytes()[:2000])
    (ant / "text.png").write_text("no image")
    (ant / "empty.png").touch()
    for junk in (".DS_Store", "Thumbs.db", "notes.txt", "._train00.png"):
        (ant / junk).write_text("junk")
    with pytest.raises(BenchmarkError) as caught:
        open_train(toy(), root, tmp_path / "cache")
    text = str(caught.value)
    assert "3 image files" in text and all(name in text for name in ("cut.jpg", "text.png", "empty.png", "delete them"))
    assert not list((tmp_path / "cache").iterdir())
    found = check(toy(), root)
    assert len(found.unreadable) == 3 and found.train == {"ant": 24, "bee": 20, "cat": 20}
    assert found.test == dict.fromkeys(CLASSES, 4)
    with pytest.raises(BenchmarkError, match=r"cut\.jpg"):
        all_images(open_train(toy(streaming=True), root, tmp_path / "cache"))


def test_only_the_first_bad_files_are_listed() -> None:
    with pytest.raises(BenchmarkError, match="and 5 more") as caught:
        reading.raise_if_unreadable([f"file{i}: bad" for i in range(25)])
    assert "file19:" in str(caught.value) and "file20:" not in str(caught.value)
