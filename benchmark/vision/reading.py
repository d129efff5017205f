"""Decode the images of a split to uint8 pixels [N, 3, S, S].

All images are decoded in the same way: open, convert to RGB, scale the short side (bicubic, antialiased), crop the
centre. For random crops, an image is squeezed into a square as a whole. A small dataset is decoded once, into a
memory-mapped file; a large one is decoded at every read.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import re
import shutil
from collections import Counter
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
from benchmark.vision.listing import DIGEST, THREADS, Report, load_checked, save_checked

VERSION = 1  # part of every fingerprint; raised when `decode` may return other pixels
BROKEN = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)  # errors of Pillow for a broken file
KINDS = ("JPEG", "PNG", "WEBP", "BMP", "PPM", "GIF", "TIFF")  # the files that are opened: no others start a program
DEEP = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")  # modes of Pillow with more than 8 bits, which it would clip
CHUNK = 512  # images decoded between two writes
SHOWN = 3  # broken files that a message names: an error of a run is one short line


def decode(
    items: Sequence[str | Pixels], resize: int | None, resolution: int, digests: bytes = b""
) -> tuple[Pixels, list[str]]:
    """Decode images in threads.

    Args:
        items: paths or pixels, see `Split`.
        resize: length of the short side after scaling, in pixels; None: the whole image is squeezed into a square.
        resolution: side S of the square, which is the central one where the image is not squeezed.
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
            return f"{items[i]}: {reason(error)}"
        return ""

    with ThreadPoolExecutor(THREADS) as pool:
        return pixels, [fault for fault in pool.map(decode_one, range(len(items))) if fault]


def chunks(split: Split, resize: int, resolution: int) -> Iterator[tuple[Pixels, list[str]]]:
    """Yield the results of `decode` for all images of a split, `CHUNK` images at a time."""
    for rows in torch.arange(len(split.items)).split(CHUNK):
        chunk = split.select(rows)
        yield decode(chunk.items, resize, resolution, chunk.digests)


def raise_if_unreadable(faults: Sequence[str]) -> None:
    """Raise one BenchmarkError that names the files that cannot be read, if there are any."""
    if faults:
        ending = [f"and {len(faults) - SHOWN} more, which `data check DATASET` prints"] if len(faults) > SHOWN else []
        listed = "; ".join([*faults[:SHOWN], *ending])
        remedy = "Convert, replace or delete them."
        raise BenchmarkError(f"{len(faults)} image files cannot be read: {listed}. {remedy}")


@dataclass(frozen=True)
class Streamed:
    """Pixels that are decoded at every read."""

    split: Split
    resize: int | None
    resolution: int

    def __call__(self, indices: Tensor) -> Tensor:
        """Return uint8 [n, 3, S, S]."""
        chunk = self.split.select(indices.cpu())
        pixels, faults = decode(chunk.items, self.resize, self.resolution, chunk.digests)
        raise_if_unreadable(faults)
        return torch.from_numpy(pixels)


def aspects(split: Split, store: Path, report: Report) -> Tensor:
    """Return width / height of all images of a split, float32 [N], from their headers.

    Args:
        split: the images.
        store: a file that keeps the result for equal splits. One that is damaged is written again; one that cannot be
            written is skipped.
        report: called with the images done and the images in total.

    Raises:
        BenchmarkError: an image cannot be read.
    """
    if (data := load_checked(store)) is not None:
        return torch.from_numpy(np.frombuffer(data, "<f4").copy())
    ratios, faults = list[float](), list[str]()
    for headers in _headers(split.items):
        ratios += [width / height for width, height, _ in headers]
        faults += [fault for _, _, fault in headers if fault]
        report(len(ratios), len(split.items))
    raise_if_unreadable(faults)
    save_checked(store, np.array(ratios, "<f4").tobytes())
    return torch.tensor(ratios)


def sizes(splits: Sequence[Split]) -> Counter[tuple[int, int]]:
    """Return how many files have which width and height, in pixels, from their headers; broken files are left out."""
    files = [item for split in splits for item in split.items if isinstance(item, str)]
    headers = itertools.chain.from_iterable(_headers(files))
    return Counter((width, height) for width, height, fault in headers if not fault)


def _headers(items: Sequence[str | Pixels]) -> Iterator[list[tuple[int, int, str]]]:
    """Yield the results of `_header` for all images, `CHUNK` images at a time."""
    with ThreadPoolExecutor(THREADS) as pool:
        for start in range(0, len(items), CHUNK):
            yield list(pool.map(_header, items[start : start + CHUNK]))


def _header(item: str | Pixels) -> tuple[int, int, str]:
    """Return width and height of an image, and "FILE: REASON" if its header cannot be read."""
    try:
        with Image.open(item, formats=KINDS) if isinstance(item, str) else Image.fromarray(item) as image:
            return image.width, image.height, ""
    except BROKEN as error:
        return 1, 1, f"{item}: {reason(error)}"


def reason(error: Exception) -> str:
    """Return why an image cannot be read, without the name that Pillow gives to a file in memory."""
    return re.sub(r" <_io\.BytesIO [^>]*>", "", str(error)) or type(error).__name__


def make_room(folder: Path, size: int) -> None:
    """Make a folder; raise BenchmarkError if that fails or if fewer than ``size`` bytes are free there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise BenchmarkError(f"{folder}: cannot be made a folder ({error.strerror})") from error
    if free < size:
        raise BenchmarkError(f"{folder}: {naturalsize(size)} are needed and {naturalsize(free)} are free")


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


def _square(item: io.BytesIO | Pixels, resize: int | None, resolution: int) -> Pixels:
    """Return the central square of an image, or the whole image squeezed into a square: uint8 [S, S, 3]."""
    enough = 2 * (resize or resolution)
    with Image.open(item, formats=KINDS) if isinstance(item, io.BytesIO) else Image.fromarray(item) as image:
        # A large JPEG is decoded at 1/2, 1/4 or 1/8 of its size, but at least at twice the size that is needed.
        image.draft("RGB", (enough, enough))
        if image.mode in DEEP:
            raise ValueError("has more than 8 bits per channel; save it with 8 bits")
        image.info.pop("transparency", None)  # it is ignored in any case; Pillow would warn about it
        rgb = image.convert("RGB")
    box = _central(rgb, resize, resolution) if resize else None
    return np.asarray(rgb.resize((resolution, resolution), Image.Resampling.BICUBIC, box=box))


def _central(image: Image.Image, resize: int, resolution: int) -> tuple[float, float, float, float]:
    """Return the corners (x0, y0, x1, y1) of the central square, in pixels of the image before it is scaled."""
    side = min(image.size) * resolution / resize
    left, top = (image.width - side) / 2, (image.height - side) / 2
    return left, top, left + side, top + side
