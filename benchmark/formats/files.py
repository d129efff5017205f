"""Checks before a file from elsewhere is opened, and the decoding of its images."""

from __future__ import annotations

import io
import zipfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmark.errors import BenchmarkError
from benchmark.synthetic import SyntheticSet
from benchmark.vision.layouts import IGNORED
from benchmark.vision.reading import BROKEN, DEEP, KINDS, reason

Pixels: TypeAlias = np.ndarray[Any, np.dtype[np.uint8]]
MOST_PIXELS = 2**26  # a larger image is none of a distilled set, and may fill the memory
MOST_BYTES = 2**30  # the most bytes that an archive unpacks to, unless it is large itself
COMPRESSION = 100  # an archive that unpacks to more than this many times its size may fill the memory
BEGINNINGS = {
    b"version https://git-lfs": "is a Git-LFS pointer and not the file itself; fetch it by `git lfs pull`",
    b"<!doctype html": "is a web page and not a distilled set; download the file itself",
    b"<html": "is a web page and not a distilled set; download the file itself",
}


def check_file(path: Path) -> None:
    """Check that a path is a file with content of its own.

    Raises:
        BenchmarkError: it does not exist, is a folder, a pipe or a device, is empty, a Git-LFS pointer or a web page,
            or an archive that would fill the memory.
    """
    if path.is_symlink() and not path.exists():
        raise BenchmarkError(f"{path}: is a link to a file that does not exist")
    if not path.is_file():  # opening a pipe would wait for a writer for ever
        raise BenchmarkError(f"{path}: {'is no file' if path.exists() else 'does not exist'}")
    with path.open("rb") as file:
        start = file.read(64)
    if not start:
        raise BenchmarkError(f"{path}: is empty")
    if reason_to_refuse := next((text for mark, text in BEGINNINGS.items() if start.lower().startswith(mark)), ""):
        raise BenchmarkError(f"{path}: {reason_to_refuse}")
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            unpacked_bytes = sum(entry.file_size for entry in archive.infolist())
        if unpacked_bytes > max(MOST_BYTES, COMPRESSION * path.stat().st_size):
            raise BenchmarkError(f"{path}: unpacks to {unpacked_bytes / 1e9:.0f} GB; such a file may fill the memory")


def decode(source: Path | bytes, name: str) -> Pixels:
    """Return an image as RGB, uint8 [H, W, 3].

    Args:
        source: an image file, or its content.
        name: what messages call it.

    Raises:
        BenchmarkError: it is no image, is damaged, has more than 8 bits per channel, is too large, or holds several.
    """
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=KINDS) as image:
            if image.width * image.height > MOST_PIXELS:
                raise BenchmarkError(
                    f"{name}: {image.width} x {image.height} pixels; such an image may fill the memory"
                )
            if image.mode in DEEP:
                raise BenchmarkError(f"{name}: has more than 8 bits per channel; save it with 8 bits")
            if (pages := getattr(image, "n_frames", 1)) > 1:
                raise BenchmarkError(f"{name}: holds {pages} images; save the one that is meant")
            return np.array(image.convert("RGB"))
    except BROKEN as error:
        why = reason(error).replace(str(source), "the file")
        raise BenchmarkError(f"{name}: cannot be read as an image ({why})") from error


def stack(arrays: Sequence[Pixels], name: str) -> Tensor:
    """Return images of one size as uint8 [N, 3, H, W].

    Raises:
        BenchmarkError: there is none, or they have different sizes.
    """
    if not arrays:
        raise BenchmarkError(f"{name}: holds no images")
    if len({array.shape for array in arrays}) != 1:
        raise BenchmarkError(f"{name}: the images have different sizes")
    return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).contiguous()


def read_folder(folder: Path, class_names: Sequence[str]) -> SyntheticSet:
    """Return the set in a folder that holds one folder of images per class, such as `export_folder` writes.

    Hidden files and those that file managers leave (``Thumbs.db``, say) are ignored.

    Raises:
        BenchmarkError: a class has no folder, a folder is no class or is that of two classes, or a file is no image or
            of another size.
    """
    folders = sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    strays = [name for name in folders if name not in class_names]
    if missing_names := [name for name in class_names if not (folder / name).is_dir()]:
        more = f" and {len(missing_names) - 5} more" if len(missing_names) > 5 else ""
        no_class = f"; no class: {', '.join(strays[:5])}" if strays else ""
        raise BenchmarkError(
            f"{folder}: no folder for the classes {', '.join(missing_names[:5])}{more}{no_class}; "
            "images lie in CLASS/*.png"
        )
    if strays:
        raise BenchmarkError(
            f"{folder}: {len(folders)} class folders for {len(class_names)} classes; no class: {', '.join(strays[:5])}"
        )
    places = {name: (folder / name).resolve() for name in class_names}
    counts = Counter(places.values())
    if linked_names := [name for name, place in places.items() if counts[place] > 1]:
        raise BenchmarkError(f"{folder}: the classes {', '.join(linked_names[:5])} are links to one folder")
    arrays, labels = list[Pixels](), list[int]()
    for label, name in enumerate(class_names):
        for path in sorted((folder / name).iterdir()):
            if path.name.startswith(".") or path.suffix.lower() in IGNORED:
                continue
            check_file(path)
            arrays.append(decode(path, str(path)))
            labels.append(label)
    return SyntheticSet(stack(arrays, str(folder)), torch.tensor(labels))
