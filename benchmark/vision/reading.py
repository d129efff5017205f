"""From listed images to uint8 pixels [N, 3, S, S].

Every pixel goes one way: open, convert to RGB, scale the short side (bicubic, antialiased), crop the centre. Small sets
go that way once, into a memory-mapped file; large ones each time that they are read.
"""

from __future__ import annotations

import math
import os
import shutil
import time
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmark.errors import BenchmarkError
from benchmark.vision.layouts import Pixels, Split

VERSION = 1  # of the preprocessing, part of every fingerprint; raised when `decode` may return other pixels
BROKEN = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)  # what Pillow raises for a bad file
CHUNK = 512  # images decoded between two writes
THREADS = min(16, os.cpu_count() or 1)  # Pillow decodes and resizes without the interpreter lock


def decode(items: Sequence[str | Pixels], resize: int, resolution: int) -> tuple[Pixels, list[str]]:
    """Decode images in threads.

    Args:
        items: files or pixels, see `Split`.
        resize: what the short side is scaled to.
        resolution: side S of the central square that is kept.

    Returns:
        uint8 [n, 3, S, S], black where a file cannot be read; and one line "FILE: reason" for each of these.
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
    """Decode a whole split, some images at a time."""
    for start in range(0, len(split.items), CHUNK):
        yield decode(split.items[start : start + CHUNK], resize, resolution)


def refuse(faults: Sequence[str]) -> None:
    """Raise one BenchmarkError that names the unreadable files, if there are any."""
    if faults:
        more = f"\n  and {len(faults) - 20} more" if len(faults) > 20 else ""
        listed = "\n  ".join(faults[:20])
        remedy = "Replace them from the original archive, or delete them."
        raise BenchmarkError(f"{len(faults)} image files cannot be read:\n  {listed}{more}\n{remedy}")


@dataclass(frozen=True)
class Streamed:
    """Pixels decoded on every read."""

    items: Sequence[str | Pixels]
    resize: int
    resolution: int

    def __call__(self, indices: Tensor) -> Tensor:
        """Return uint8 [n, 3, S, S]."""
        pixels, faults = decode([self.items[i] for i in indices.tolist()], self.resize, self.resolution)
        refuse(faults)
        return torch.from_numpy(pixels)


@dataclass(frozen=True)
class Mapped:
    """Pixels in a memory-mapped file."""

    pixels: Pixels

    def __call__(self, indices: Tensor) -> Tensor:
        """Return uint8 [n, 3, S, S]."""
        return torch.from_numpy(self.pixels[indices.cpu().numpy()])


def mapped(path: Path, split: Split, resize: int, resolution: int) -> Mapped:
    """Return a split's pixels from the cache file ``path``, which is written first where it is absent or damaged.

    Raises:
        BenchmarkError: unreadable images, or no room for the cache.
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
        raise ValueError(f"{path}: {pixels.shape} in place of {shape}")
    return Mapped(pixels)


def _write(path: Path, shape: tuple[int, ...], parts: Iterator[tuple[Pixels, list[str]]]) -> None:
    """Write the cache beside its place and rename it, so that two processes may do so at once."""
    _remove_abandoned(path)
    make_room(path.parent, math.prod(shape))
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    faults: list[str] = []
    try:
        with temporary.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
            for pixels, broken in parts:
                file.write(pixels.data)
                faults += broken
        refuse(faults)
        temporary.replace(path)
    except OSError as error:
        raise BenchmarkError(f"{path}: cannot be written ({error.strerror})") from error
    finally:
        temporary.unlink(missing_ok=True)


def _remove_abandoned(path: Path) -> None:
    for part in path.parent.glob(f".{path.name}.*.part"):  # left by a process that was killed
        if part.exists() and time.time() - part.stat().st_mtime > 24 * 3600:
            part.unlink(missing_ok=True)


def make_room(folder: Path, needed: int) -> None:
    """Make a folder, and raise BenchmarkError where that fails or fewer than ``needed`` bytes are free."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise BenchmarkError(f"{folder}: cannot be made a folder ({error.strerror})") from error
    if free < needed:
        raise BenchmarkError(f"{folder}: {needed / 1e6:,.0f} MB are needed and {free / 1e6:,.0f} MB are free")


def _square(item: str | Pixels, resize: int, resolution: int) -> Pixels:
    """Return the central square of an image, uint8 [S, S, 3]."""
    with Image.open(item) if isinstance(item, str) else Image.fromarray(item) as image:
        image.draft(
            "RGB", (2 * resize, 2 * resize)
        )  # large JPEGs decode at 1/2, 1/4 or 1/8, never below twice the need
        rgb = image.convert("RGB")
    side = min(rgb.size) * resolution / resize  # of the square, in pixels of the image as it is
    left, top = (rgb.width - side) / 2, (rgb.height - side) / 2
    box = (left, top, left + side, top + side)
    return np.asarray(rgb.resize((resolution, resolution), Image.Resampling.BICUBIC, box=box))
