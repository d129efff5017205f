"""Tensors of a file are those that were saved, and take no more memory than the part that is read."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from memory import MEGABYTE, needs_linux, peak
from safetensors.torch import load_file, save_file
from torchvision.transforms.functional import pil_to_tensor

from benchmark.errors import BenchmarkError
from benchmark.synthetic import SyntheticSet, TensorFile, as_image, to_uint8


def test_tensors_are_those_that_were_saved(tmp_path: Path):
    saved = {"rows": torch.arange(6.0).view(2, 3), "counts": torch.tensor([1, 2]), "none": torch.zeros(0, 4)}
    save_file(saved, tmp_path / "a.safetensors")
    tensors = TensorFile(tmp_path / "a.safetensors")
    assert len(tensors) == 3
    assert set(tensors) == set(saved)
    for name, value in tensors.items():
        assert value.dtype == saved[name].dtype
        assert torch.equal(value, saved[name])
    with pytest.raises(KeyError):
        tensors["columns"]


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB")])
def test_pixels_are_a_grey_or_a_coloured_image(channels, mode):
    pixels = torch.arange(channels * 9 * 7, dtype=torch.uint8).view(channels, 9, 7)
    image = as_image(pixels)
    assert (image.mode, image.size) == (mode, (7, 9))
    assert torch.equal(pil_to_tensor(image), pixels)


def test_fractions_become_the_nearest_byte():
    every_byte = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_uint8(every_byte.float() / 255), every_byte)
    assert to_uint8(torch.tensor([-0.1, 0.4 / 255, 0.6 / 255, 1.1])).tolist() == [0, 0, 1, 255]


def test_a_tensor_may_be_changed_without_changing_the_file(tmp_path: Path):
    save_file({"rows": torch.ones(3)}, tmp_path / "a.safetensors")
    tensors = TensorFile(tmp_path / "a.safetensors")
    tensors["rows"].zero_()
    assert tensors["rows"].tolist() == [1, 1, 1]


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="asks the Linux kernel for resident memory")
def test_memory_holds_what_is_read_and_not_the_file(tmp_path: Path):
    path = tmp_path / "large.safetensors"
    save_file({"rows": torch.ones(64, MEGABYTE // 4)}, path)  # 64 rows of 1 MB
    tensors, before = TensorFile(path), _resident()
    assert sum(float(tensors["rows"][row].sum()) for row in range(64)) == 16 * MEGABYTE
    assert _resident() - before < 16 * MEGABYTE
    whole = load_file(path)["rows"]
    assert float(whole.sum()) == 16 * MEGABYTE
    assert _resident() - before > 48 * MEGABYTE, "held at once, all of it counts"


def _resident() -> int:
    """Return the bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_joined_units_are_in_the_order_of_their_classes():
    generator = torch.Generator().manual_seed(0)
    parts = [
        SyntheticSet(
            torch.rand(6, 3, 4, 4, generator=generator),
            torch.arange(3).repeat(2),
            weights=torch.rand(6, generator=generator),
            extras={"atoms": torch.rand(6, 2, generator=generator)},
        )
        for _ in range(3)
    ]
    whole = SyntheticSet.merge(parts)
    order = torch.argsort(torch.cat([part.targets for part in parts]), stable=True)
    assert torch.equal(whole.targets, torch.tensor([0] * 6 + [1] * 6 + [2] * 6))
    assert torch.equal(whole.images, torch.cat([part.images for part in parts])[order])
    assert torch.equal(whole.weights, torch.cat([part.weights for part in parts])[order])
    assert torch.equal(whole.extras["atoms"], torch.cat([part.extras["atoms"] for part in parts])[order])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"images": torch.full((3, 3, 4, 4), 255, dtype=torch.uint8)}, "torch.float32, torch.uint8"),
        ({"targets": torch.eye(3)}, "torch.float32, torch.int64"),
        ({"weights": torch.ones(3, dtype=torch.float64)}, "torch.float32, torch.float64"),
    ],
)
def test_units_of_different_types_are_not_joined(change, said):
    part = SyntheticSet(torch.rand(3, 3, 4, 4), torch.arange(3), weights=torch.ones(3))
    with pytest.raises(BenchmarkError, match=said):
        SyntheticSet.merge([part, replace(part, **change)])


@needs_linux
@pytest.mark.parametrize("megabytes", [16, 32, 64])
def test_joining_units_takes_the_set_twice_once_of_it_mapped(tmp_path: Path, megabytes: int):
    """The mapped half is a file's, which the system may drop; ImageNet-1K at IPC 100 has 15 GB and 15 GB mapped."""
    paths = [tmp_path / f"{index}.safetensors" for index in range(16)]
    count = megabytes * MEGABYTE // len(paths) // (3 * 64 * 64)
    for index, path in enumerate(paths):
        SyntheticSet(torch.zeros(count, 3, 64, 64, dtype=torch.uint8), torch.full((count,), index)).save(path)
    size = len(paths) * count * 3 * 64 * 64
    assert peak(lambda: SyntheticSet.merge([SyntheticSet.load(path) for path in paths])) <= 2 * size + 6 * MEGABYTE
