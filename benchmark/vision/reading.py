"""Decode the images of a split to uint8 pixels [N, 3, S, S].

All images are decoded in the same way: open, convert to RGB, scale the short side (bicubic, antialiased), crop the
centre. A small dataset is decoded once, into a memory-mapped file; a large one is decoded at every read.
"""

from __future__ import annotations

import math
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from humanize import naturalsize
from PIL import Image
from torch import Tensor

from benchmark.errors import BenchmarkError
from benchmark.files import write_atomically
from benchmark.vision.layouts import Pixels, Split

VERSION = 1  # part of every fingerprint; raised when `decode` may return other pixels
BROKEN = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)  # errors of Pillow for a broken file
CHUNK = 512  # images decoded between two writes
THREADS = min(16, os.cpu_count() or 1)  # Pillow releases the interpreter lock while it decodes and resizes


def decode(items: Sequence[str | Pixels], resize: int, resolution: int) -> tuple[Pixels, list[str]]:
    """Decode images in threads.

    Args:
        items: paths or pixels, see `Split`.
        resize: length of the short side after scaling, in pixels.
        resolution: side S of the central square that is kept.

    Returns:
        uint8 [n, 3, S, S], and a line "FILE: REASON" for every file that cannot be read; its image is black.
    """
    pixels = np.zeros((len(items), 3, resolution, resolution), np.uint8)

    def decode_one(i: int) -> str:
        try:
            pixels[i] = _square(items[i], resize, resolution).transpose(2, 0, 1)
        except BROKEN as error:
            return f"{items[i]}: {str(error) or type(error).__name__}"
        return ""

    with ThreadPoolExecutor(THREADS) as pool:
        return pixels, [fault for fault in pool.map(decode_one, range(len(items))) if fault]


def chunks(split: Split, resize: int, resolution: int) -> Iterator[tuple[Pixels, list[str]]]:
    """Yield the results of `decode` for all images of a split, `CHUNK` images at a time."""
    for start in range(0, len(split.items), CHUNK):
        yield decode(split.items[start : start + CHUNK], resize, resolution)


def raise_if_unreadable(faults: Sequence[str]) -> None:
    """Raise one BenchmarkError that names the files that cannot be read, if there are any."""
    if faults:
        more = f"\n  and {len(faults) - 20} more" if len(faults) > 20 else ""
        lines = "\n  ".join(faults[:20])
        remedy = "Replace them from the original archive, or delete them."
        raise BenchmarkError(f"{len(faults)} image files cannot be read:\n  {lines}{more}\n{remedy}")


@dataclass(frozen=True)
class Streamed:
    """Pixels that are decoded at every read."""

    items: Sequence[str | Pixels]
    resize: int
    resolution: int

    def __call__(self, indices: Tensor) -> Tensor:
        """Return uint8 [n, 3, S, S]."""
        pixels, faults = decode([self.items[i] for i in indices.tolist()], self.resize, self.resolution)
        raise_if_unreadable(faults)
        return torch.from_numpy(pixels)


@dataclass(frozen=True)
class Mapped:
    """Pixels in a memory-mapped file."""

    pixels: Pixels

    def __call__(self, indices: Tensor) -> Tensor:
        """Return uint8 [n, 3, S, S]."""
        return torch.from_numpy(self.pixels[indices.cpu().numpy()])


def mapped(path: Path, split: Split, resize: int, resolution: int) -> Mapped:
    """Return a split's pixels from the cache file ``path``; an absent or damaged cache is written first.

    Raises:
        BenchmarkError: an image cannot be read, or the disk has no room for the cache.
    """
    shape = (len(split.items), 3, resolution, resolution)
    try:
        return _map(path, shape)
    except (OSError, ValueError, EOFError):
        _write(path, shape, chunks(split, resize, resolution))
        return _map(path, shape)


def _map(path: Path, shape: tuple[int, ...]) -> Mapped:
    pixels = np.load(path, mmap_mode="r")
    if pixels.shape != shape:
        raise ValueError(f"{path}: has the shape {pixels.shape}, not {shape}")
    return Mapped(pixels)


def _write(path: Path, shape: tuple[int, ...], parts: Iterator[tuple[Pixels, list[str]]]) -> None:
    """Write the cache; two processes may do so at the same time."""
    _remove_abandoned(path)
    make_room(path.parent, math.prod(shape))
    faults: list[str] = []
    try:
        with write_atomically(path) as temporary:
            with temporary.open("wb") as file:
                np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
                for pixels, broken in parts:
                    file.write(pixels.data)
                    faults += broken
            raise_if_unreadable(faults)
    except OSError as error:
        raise BenchmarkError(f"{path}: cannot be written ({error.strerror})") from error


def _remove_abandoned(path: Path) -> None:
    """Remove the temporary files of writers that were killed more than a day ago."""
    for temporary in path.parent.glob(f".{path.name}.*.part"):
        if temporary.exists() and time.time() - temporary.stat().st_mtime > 24 * 3600:
            temporary.unlink(missing_ok=True)


def make_room(folder: Path, needed: int) -> None:
    """Make a folder; raise BenchmarkError if that fails or if fewer than ``needed`` bytes are free there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise BenchmarkError(f"{folder}: cannot be made a folder ({error.strerror})") from error
    if free < needed:
        raise BenchmarkError(f"{folder}: {naturalsize(needed)} are needed and {naturalsize(free)} are free")


def _square(item: str | Pixels, resize: int, resolution: int) -> Pixels:
    """Return the central square of an image, uint8 [S, S, 3]."""
    with Image.open(item) if isinstance(item, str) else Image.fromarray(item) as image:
        # A large JPEG is decoded at 1/2, 1/4 or 1/8 of its size, but at least at twice the size that is needed.
        image.draft("RGB", (2 * resize, 2 * resize))
        rgb = image.convert("RGB")
    side = min(rgb.size) * resolution / resize  # of the square, in pixels of the image before it is scaled
    left, top = (rgb.width - side) / 2, (rgb.height - side) / 2
    box = (left, top, left + side, top + side)
    return np.asarray(rgb.resize((resolution, resolution), Image.Resampling.BICUBIC, box=box))
