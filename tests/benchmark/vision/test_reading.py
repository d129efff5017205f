"""Pixels that are what they should be, from a cache that is whole or absent."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from toy_folder import CLASSES, all_images, lay_down, toy, write_image

from benchmark.errors import BenchmarkError, one_line
from benchmark.vision import reading
from benchmark.vision.boxes import crop_resize, sample_boxes
from benchmark.vision.datasets import (
    check,
    open_train,
)
from benchmark.vision.layouts import Split

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


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("kind", "transparent"), [("png", bytes([0, 128])), ("png", 1), ("gif", 1)])
def test_the_colour_below_transparent_pixels_is_read(tmp_path: Path, kind: str, transparent: bytes | int) -> None:
    image = Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8) % 4).convert("P")
    image.putpalette([200, 0, 0, 0, 200, 0, 0, 0, 200, 9, 9, 9])
    image.save(tmp_path / f"a.{kind}", transparency=transparent)
    image.save(tmp_path / f"b.{kind}")
    (ours, opaque), faults = reading.decode([str(tmp_path / f"{name}.{kind}") for name in "ab"], 8, 8)
    assert not faults
    assert (ours == opaque).all() and ours.max() == 200


def test_a_crop_of_a_squeezed_image_is_a_crop_of_the_image(tmp_path: Path) -> None:
    from torchvision.transforms import v2

    x, y = np.meshgrid(np.linspace(0, 3, 180), np.linspace(0, 2, 120))
    smooth = (128 + 100 * np.stack([np.sin(x), np.cos(y), np.sin(x + y)], -1)).astype(np.uint8)
    Image.fromarray(smooth).save(tmp_path / "a.png")
    squeezed, faults = reading.decode([str(tmp_path / "a.png")], None, 64)
    assert not faults and squeezed.shape == (1, 3, 64, 64)
    boxes = sample_boxes(8, torch.Generator().manual_seed(0), aspects=torch.full((8,), 1.5))
    pixels = torch.from_numpy(squeezed).float().expand(8, -1, -1, -1)
    ours = crop_resize(pixels, boxes, torch.zeros(8, dtype=torch.bool), 32)
    for crop, box in zip(ours, boxes.tolist(), strict=True):
        left, top, w, h = (round(side * part) for side, part in zip((180, 120, 180, 120), box, strict=True))
        image = torch.from_numpy(smooth).permute(2, 0, 1).float()
        theirs = v2.functional.resized_crop(image, top, left, h, w, [32, 32], antialias=True)
        assert (crop - theirs).abs().max() < 4 and (crop - theirs).abs().mean() < 1.5


def test_sizes_are_read_by_several_threads_and_broken_files_left_out(root: Path, monkeypatch) -> None:
    both, opened = threading.Barrier(2), Image.open

    def waits(file: str, **options: object) -> Image.Image:
        both.wait(timeout=10)
        return opened(file, **options)

    paths = [root / f"{name}.png" for name in "abcd"]
    for index, path in enumerate(paths):
        write_image(path, index, (40, 30 + 10 * (index == 1)))
    paths[2].write_bytes(b"no image")
    monkeypatch.setattr(reading, "THREADS", 2)
    monkeypatch.setattr(Image, "open", waits)
    split = Split(("a",), torch.zeros(4, dtype=torch.int64), list(map(str, paths)), b"")
    assert reading.sizes([split]) == {(40, 30): 2, (40, 40): 1}


def of_shapes(root: Path) -> Path:
    """Give every training image of the toy dataset a shape of its own, and return the data directory."""
    for label, name in enumerate(CLASSES):
        for i in range(20):
            write_image(root / f"toy/train/{name}/train{i:02d}.png", 60 * label + i, size=(20 + i, 30 + 10 * label))
    return root


@pytest.mark.parametrize("streaming", [False, True])
def test_whole_images_and_their_aspects_are_in_the_order_of_the_labels(
    root: Path, tmp_path: Path, streaming: bool
) -> None:
    train = open_train(toy(whole=20, streaming=streaming), of_shapes(root), tmp_path / "cache")
    expected = torch.tensor([(20 + i) / (30 + 10 * label) for label in range(3) for i in range(20)])
    some = torch.tensor([41, 3, 3, 17])
    assert torch.equal(train.aspects(some), expected[some])
    assert train.read_whole(some).shape == (4, 3, 20, 20) and train.read(some).shape == (4, 3, 16, 16)
    whole = train.read_whole(torch.arange(60))
    assert torch.equal(whole[some], train.read_whole(some))
    brightness = whole.float().mean((1, 2, 3)) - 9.5
    assert (brightness - 60 * train.labels - torch.arange(20).repeat(3)).abs().max() < 2
    held = open_train(toy(whole=20, streaming=streaming), root, tmp_path / "cache", "holdout")
    assert set(held.aspects(torch.arange(len(held))).tolist()) < set(expected.tolist())


def test_without_whole_images_the_squares_are_read(root: Path, tmp_path: Path) -> None:
    train = open_train(toy(), root, tmp_path / "cache")
    assert train.aspects(torch.arange(3)) is None
    assert torch.equal(train.read_whole(torch.arange(3)), train.read(torch.arange(3)))


def test_whole_images_are_opened_when_they_are_asked_for(root: Path, tmp_path: Path) -> None:
    train, cache = open_train(toy(whole=20), root, tmp_path / "cache"), tmp_path / "cache"
    assert [path.suffix for path in cache.iterdir()] == [".npy"]
    train.aspects(torch.arange(1))
    train.read_whole(torch.arange(1))
    assert sorted(path.suffix for path in cache.iterdir()) == [".aspects", ".npy", ".npy"]


@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: b"", lambda data: data[:-1] + b"?"])
def test_damaged_aspects_are_read_again(root: Path, tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    def aspects() -> torch.Tensor | None:
        return open_train(toy(whole=20), root, tmp_path / "cache").aspects(torch.arange(60))

    first = aspects()
    (path,) = (tmp_path / "cache").glob("*.aspects")
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    assert torch.equal(aspects(), first) and path.read_bytes() == whole
    write_image(root / "toy/train/ant/other.png", 0, size=(50, 25))
    assert torch.equal(aspects()[:2], torch.tensor([2.0, 4 / 3])), "another list of files"


def test_a_header_that_cannot_be_read_is_named(root: Path, tmp_path: Path) -> None:
    (root / "toy/train/ant/text.png").write_text("no image")
    train = open_train(toy(whole=20, streaming=True), root, tmp_path / "cache")
    with pytest.raises(BenchmarkError, match=r"text\.png"):
        train.aspects(torch.arange(1))
    assert not (tmp_path / "cache").exists()


def test_an_image_of_the_right_size_is_left_alone() -> None:
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    assert np.array_equal(reading.decode([image], 16, 16)[0][0], image.transpose(2, 0, 1))


@pytest.mark.parametrize(("mode", "suffix"), MODES)
def test_every_colour_mode_becomes_rgb(tmp_path: Path, mode: str, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.new("RGB", (30, 40), (255, 255, 255)).convert(mode).save(path)
    pixels, faults = reading.decode([str(path)], 16, 16)
    assert not faults and (pixels > 240).all()


def test_more_than_eight_bits_are_not_clipped(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(np.linspace(0, 65535, 32 * 32).astype(np.uint16).reshape(32, 32)).save(path)
    _, faults = reading.decode([str(path)], 16, 16)
    assert "more than 8 bits" in " ".join(map(str, faults))


def test_bad_files_are_named_together_with_a_remedy(root: Path, tmp_path: Path) -> None:
    ant = root / "toy/train/ant"
    write_image(ant / "whole.jpg", 3, size=(300, 300))
    (ant / "cut.jpg").write_bytes((ant / "whole.jpg").read_bytes()[:2000])
    (ant / "text.png").write_text("no image")
    (ant / "empty.png").touch()
    (ant / "figure.eps").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 16 16\n%%EndComments\n%%EOF\n")
    for junk in (".DS_Store", "Thumbs.db", "notes.txt", "._train00.png"):
        (ant / junk).write_text("junk")
    with pytest.raises(BenchmarkError) as caught:
        open_train(toy(), root, tmp_path / "cache")
    text = str(caught.value)
    assert "4 image files" in text and "BytesIO" not in text
    assert not list((tmp_path / "cache").iterdir())
    found = check(toy(), root)
    bad = " ".join(found.unreadable)
    assert all(name in bad for name in ("cut.jpg", "text.png", "empty.png", "figure.eps: cannot"))
    assert len(found.unreadable) == 4 and found.train == {"ant": 25, "bee": 20, "cat": 20}
    assert found.test == dict.fromkeys(CLASSES, 4)
    with pytest.raises(BenchmarkError, match=r"cut\.jpg"):
        all_images(open_train(toy(streaming=True), root, tmp_path / "cache"))


@pytest.mark.parametrize(
    ("count", "listed"),
    [
        (2, "file0: bad; file1: bad"),
        (25, "file0: bad; file1: bad; file2: bad; and 22 more, which `data check DATASET` prints"),
    ],
)
def test_the_first_bad_files_are_listed_on_one_line(count, listed) -> None:
    with pytest.raises(BenchmarkError) as caught:
        reading.raise_if_unreadable([f"file{i}: bad" for i in range(count)])
    remedy = "Convert, replace or delete them."
    assert one_line(caught.value) == f"{count} image files cannot be read: {listed}. {remedy}"
