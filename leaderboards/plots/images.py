"""Contact sheets of distilled sets, and strips that show their images from iteration to iteration, as PNG.

A sheet has a row per class, the same classes for every method, and up to ten images of each class. Its name contains a
hash of the keys of its nodes and of the names of its classes: a sheet that exists is up to date, and not painted again.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from safetensors import safe_open
from safetensors.numpy import load

from benchmark.files import Folder, file_name
from leaderboards.results.axes import METHOD, axis_values
from leaderboards.results.records import Record, Stored, keys_of
from leaderboards.results.text import ipc_text

VERSION = 2  # raise it when sheets change
CLASSES, IMAGES = 10, 10  # rows and columns of a sheet, at most
SMALLEST, LARGEST = 32, 96  # pixels of a side of an image on a sheet
REMOTE = 64_000_000  # bytes; a larger set is not downloaded from a bucket
GAP, FONT = 2, 12  # pixels
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Picture:
    """A picture of a distilled set."""

    name: str  # the name of its file
    dataset: str
    ipc: int
    method: str
    kind: str  # sheet, strip, neighbours or map; `neighbours` paints the last two


@dataclass(frozen=True)
class Chosen:
    """The images of a set that a sheet shows."""

    classes: tuple[int, ...]
    rows: tuple[Pixels, ...]  # per class [n, C, H, W]
    snapshots: tuple[Pixels, ...]  # per class [T, C, H, W], of its first image; () where the method kept none


def paint(stored: Stored, known: Sequence[str]) -> Iterator[tuple[Picture, bytes | None]]:
    """Yield the pictures of every distilled set (of its first draw) with their PNG, None for a picture that exists.

    Args:
        stored: the records of a suite.
        known: names of the pictures that exist.
    """
    for cell in _sets(stored):
        records = stored.records(cell, "distill")
        names = stored.class_names.get(cell["dataset"], ())
        pictures = [picture_of(cell, kind, VERSION, *keys_of(cell, "distill"), *names) for kind in ("sheet", "strip")]
        existing = [picture for picture in pictures if picture.name in known]
        if existing:  # a strip is always painted together with its sheet
            yield from ((picture, None) for picture in existing)
        elif sample := _choose(stored.folder, records):
            yield pictures[0], encoded(_sheet(sample, names))
            if sample.snapshots:
                yield pictures[1], encoded(_strip(sample, names))


def picture_of(cell: Record, kind: str, *identity: object) -> Picture:
    """Return a picture of the set of a cell; the name of its file has a hash of the identity, all that it shows."""
    dataset, ipc, method = axis_values(cell, METHOD)
    end = hashlib.sha256(repr([*identity]).encode()).hexdigest()[:8]
    start = file_name(f"{dataset}_ipc{ipc_text(ipc)}_{method}")
    return Picture(f"{start}_{kind}_{end}.png", dataset, ipc, method, kind)


def thumbnail(png: bytes) -> bytes:
    """Return a picture as a JPEG of a few kilobytes, for a page."""
    buffer = io.BytesIO()
    Image.open(io.BytesIO(png)).convert("RGB").save(buffer, "JPEG", quality=80)
    return buffer.getvalue()


def _sets(stored: Stored) -> list[Record]:
    """Return a cell for every finished set: the first draw of each dataset, IPC and method."""
    cells: dict[Any, Record] = {}
    for cell in sorted(stored.cells, key=lambda cell: int(cell["draw"])):
        if stored.records(cell, "distill"):
            cells.setdefault(axis_values(cell, METHOD), cell)
    return list(cells.values())


def _choose(folder: Folder, records: Sequence[Record]) -> Chosen | None:
    """Return the images that a sheet shows, or None where the files of the set cannot be read."""
    units = [(record["key"], record.get("identity", {}).get("unit", {})) for record in records]
    labels = sorted({label for _, unit in units for label in unit.get("classes", ())})
    if not labels:
        return None
    positions = np.linspace(0, len(labels) - 1, min(CLASSES, len(labels))).round().astype(int)
    classes = tuple(labels[position] for position in positions)
    rows: dict[int, list[Pixels]] = {label: [] for label in classes}
    snapshots: dict[int, Pixels] = {}
    for key, unit in units:
        labels_to_read = [label for label in classes if label in unit["classes"] and len(rows[label]) < IMAGES]
        if labels_to_read and not _read_unit(folder, f"{key}/images.safetensors", labels_to_read, rows, snapshots):
            return None
    return Chosen(classes, tuple(np.stack(rows[c]) for c in classes), tuple(snapshots[c] for c in snapshots))


def _read_unit(
    folder: Folder, name: str, classes: Sequence[int], rows: dict[int, list[Pixels]], snapshots: dict[int, Pixels]
) -> bool:
    """Add the images of some classes of a unit to `rows`; return False where its file is missing or too large."""
    path = folder.local_path(name)
    if path is None:
        data = folder.read([name]).get(name) if (folder.size(name) or 0) <= REMOTE else None
        if data is None:
            return False
        return _add_images(load(data), classes, rows, snapshots)
    with safe_open(path, framework="np") as file:  # reads only the images of the sheet
        tensors = {key: file.get_slice(key) for key in file.keys()}  # noqa: SIM118
        return _add_images(tensors, classes, rows, snapshots)


def _add_images(
    tensors: Any, classes: Sequence[int], rows: dict[int, list[Pixels]], snapshots: dict[int, Pixels]
) -> bool:
    labels = tensors["targets"][:]
    if labels.ndim == 2:  # soft labels; where they were learned, an extra says the class of an image
        labels = tensors["extra.classes"][:] if "extra.classes" in tensors else labels.argmax(1)
    frames = tensors.get("extra.snapshots")
    for label in classes:
        for index in np.flatnonzero(labels == label)[: IMAGES - len(rows[label])].tolist():
            if frames is not None and label not in snapshots:
                snapshots[label] = _pixels(frames[index : index + 1])[0]
            rows[label].append(_pixels(tensors["images"][index : index + 1])[0])
    return True


def _pixels(images: Any) -> Pixels:
    if images.dtype == np.uint8:
        return np.asarray(images)
    return np.rint(np.clip(images, 0, 1) * 255).astype(np.uint8)


def _sheet(sample: Chosen, names: Sequence[str]) -> Image.Image:
    return _grid(sample.rows, [class_name(label, names) for label in sample.classes])


def _strip(sample: Chosen, names: Sequence[str]) -> Image.Image:
    """Return a strip: the first image of every class from iteration to iteration, the finished image last."""
    rows = [np.concatenate([frames, images[:1]]) for frames, images in zip(sample.snapshots, sample.rows, strict=True)]
    return _grid(rows, [class_name(label, names) for label in sample.classes])


def class_name(label: int, names: Sequence[str]) -> str:
    """Return the name of a class, or its number where it has no name."""
    return names[label] if label < len(names) else f"{label}"


def _grid(rows: Sequence[Pixels], names: Sequence[str]) -> Image.Image:
    """Return a picture of rows of images [n, C, H, W] with a name on the left of each row."""
    font = ImageFont.load_default(FONT)
    margin = max(int(font.getlength(name)) for name in names) + 10
    tile = tile_size(*rows[0].shape[-2:])
    size = (margin + max(map(len, rows)) * (tile[0] + GAP), len(rows) * (tile[1] + GAP))
    sheet = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(sheet)
    for row, (images, name) in enumerate(zip(rows, names, strict=True)):
        top = row * (tile[1] + GAP)
        pen.text((margin - 6, top + tile[1] / 2), name, fill="black", font=font, anchor="rm")
        for column, image in enumerate(images):
            sheet.paste(tile_of(image, tile), (margin + column * (tile[0] + GAP), top))
    return sheet


def tile_size(height: int, width: int, smallest: int = SMALLEST) -> tuple[int, int]:
    """Return the width and height that an image has on a sheet."""
    scale = smallest / height if height < smallest else min(1.0, LARGEST / height)
    return round(width * scale), round(height * scale)


def tile_of(image: Pixels, size: tuple[int, int]) -> Image.Image:
    """Return an image [C, H, W] scaled to a width and height."""
    pixels = image[0] if len(image) == 1 else image.transpose(1, 2, 0)  # [H, W] or [H, W, C]
    enlarge = size[1] > image.shape[-2]
    return Image.fromarray(pixels).resize(size, Image.Resampling.NEAREST if enlarge else Image.Resampling.LANCZOS)


def encoded(image: Image.Image) -> bytes:
    """Return an image as PNG."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
