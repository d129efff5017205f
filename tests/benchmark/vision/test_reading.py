"""Pixels that are what they should be, from a cache that is whole or absent."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
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
