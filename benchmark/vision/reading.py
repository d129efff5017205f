"""Decode the images of a split to uint8 pixels [N, 3, S, S].

All images are decoded in the same way: open, convert to RGB, scale the short side (bicubic, antialiased), crop the
centre. A small dataset is decoded once, into a memory-mapped file; a large one is decoded at every read.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
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
from benchmark.vision.layouts import Pixels, Split
from benchmark.vision.listing import DIGEST

VERSION = 1  # part of every fingerprint; raised when `decode` may return other pixels
BROKEN = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)  # errors of Pillow for a broken file
CHUNK = 512  # images decoded between two writes
THREADS = min(16, os.cpu_count() or 1)  # Pillow releases the interpreter lock while it decodes and resizes


def decode(
    items: Sequence[str | Pixels], resize: int, resolution: int, digests: bytes = b""
) -> tuple[Pixels, list[str]]:
    """Decode images in threads.

    Args:
        items: paths or pixels, see `Split`.
        resize: length of the short side after scaling, in pixels.
        resolution: side S of the central square that is kept.
        digests: what the contents of the files must hash to, see `Split`; b"": anything.

    Returns:
        uint8 [n, 3, S, S], and a line "FILE: REASON" for every file that cannot be read; its image is black.
    """
    pixels = np.zeros((len(items), 3, resolution, resolution), np.uint8)

    def decode_one(i: int) -> str:
        try:
            content = _content(items[i], digests[i * DIGEST : (i + 1) * DIGEST])
            pixels[i] = _square(content, resize, resolution).transpose(2, 0, 1)
        except BROKEN as error:
            return f"{items[i]}: {str(error) or type(error).__name__}"
        return ""

    with ThreadPoolExecutor(THREADS) as pool:
        return pixels, [fault for fault in pool.map(decode_one, range(len(items))) if fault]


def chunks(split: Split, resize: int, resolution: int) -> Iterator[tuple[Pixels, list[str]]]:
    """Yield the results of `decode` for all images of a split, `CHUNK` images at a time."""
    for rows in torch.arange(len(split.items)).split(CHUNK):
        some = split.select(rows)
        yield decode(some.items, resize, resolution, some.digests)


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

    split: Split
    resize: int
    resolution: int

    def __call__(self, indices: Tensor) -> Tensor:
        """Return uint8 [n, 3, S, S]."""
        some = self.split.select(indices.cpu())
        pixels, faults = decode(some.items, self.resize, self.resolution, some.digests)
        raise_if_unreadable(faults)
        return torch.from_numpy(pixels)


def make_room(folder: Path, needed: int) -> None:
    """Make a folder; raise BenchmarkError if that fails or if fewer than ``needed`` bytes are free there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise BenchmarkError(f"{folder}: cannot be made a folder ({error.strerror})") from error
    if free < needed:
        raise BenchmarkError(f"{folder}: {naturalsize(needed)} are needed and {naturalsize(free)} are free")


def _content(item: str | Pixels, digest: bytes) -> io.BytesIO | Pixels:
    """Return the content of a file, or pixels as they are.

    Raises:
        ValueError: the file's content is not what was listed.
    """
    if not isinstance(item, str):
        return item
    data = Path(item).read_bytes()
    if digest and hashlib.sha256(data).digest() != digest:
        raise ValueError("damaged, or changed since its dataset was listed")
    return io.BytesIO(data)


def _square(item: io.BytesIO | Pixels, resize: int, resolution: int) -> Pixels:
    """Return the central square of an image, uint8 [S, S, 3]."""
    with Image.open(item) if isinstance(item, io.BytesIO) else Image.fromarray(item) as image:
        # A large JPEG is decoded at 1/2, 1/4 or 1/8 of its size, but at least at twice the size that is needed.
        image.draft("RGB", (2 * resize, 2 * resize))
        rgb = image.convert("RGB")
    side = min(rgb.size) * resolution / resize  # of the square, in pixels of the image before it is scaled
    left, top = (rgb.width - side) / 2, (rgb.height - side) / 2
    box = (left, top, left + side, top + side)
    return np.asarray(rgb.resize((resolution, resolution), Image.Resampling.BICUBIC, box=box))
