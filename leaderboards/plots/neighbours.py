"""Distilled images among real ones, as PNG: beside their nearest neighbours, and on a map of their class."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from benchmark.files import Folder
from leaderboards.plots.images import FONT, GAP, Picture, class_name, encoded, picture_of, tile_of, tile_size
from leaderboards.results.axes import METHOD, axis_values
from leaderboards.results.measures import measured
from leaderboards.results.records import Stored

VERSION = 2  # raise it when pictures change
FILES = {"neighbours": "neighbours.npz", "map": "map.npz"}  # the arrays of a picture, beside the record of the measure
TILE = 64  # pixels per side of an image, at least
COLUMN_GAP, LINE = 14, 18  # pixels: between groups of columns; per line of text
FRAME = "#D55E00"  # around neighbours of another class
Arrays = Mapping[str, Any]


def paint(stored: Stored, known: Sequence[str]) -> Iterator[tuple[Picture, bytes | None]]:
    """Yield the pictures of every measured set (of its first draw) with their PNG, None for a picture that exists.

    Args:
        stored: the records of a suite.
        known: names of the pictures that exist.
    """
    painted_sets = set()
    for cell, key, measure, _ in sorted(measured(stored), key=lambda entry: int(entry.cell["draw"])):
        axes = axis_values(cell, METHOD)
        if (axes, measure) in painted_sets:
            continue
        painted_sets.add((axes, measure))
        names = stored.class_names.get(cell["dataset"], ())
        for kind, file in FILES.items():
            picture = picture_of(cell, kind, VERSION, key, *names)
            if picture.name in known:
                yield picture, None
            elif arrays := _read(stored.folder, f"{key}/{file}"):
                make = neighbours if kind == "neighbours" else _map
                yield picture, make(arrays, picture.method, names)


def neighbours(arrays: Arrays, method: str, names: Sequence[str]) -> bytes:
    """Return a sheet with a row per class: a synthetic image, then its nearest real images by each extractor."""
    height, width = arrays["synthetic"].shape[-2:]
    tile = tile_size(height, width, TILE)
    labels = arrays["labels"].tolist()
    font = ImageFont.load_default(FONT)
    margin = max(int(font.getlength(class_name(label, names))) for label in labels) + 10
    extractors, nearest = arrays["real"].shape[1:3]
    step, group = tile[0] + GAP, nearest * (tile[0] + GAP) + COLUMN_GAP
    starts = [margin, *(margin + step + COLUMN_GAP + i * group for i in range(extractors))]
    size = (starts[-1] + group, 2 * LINE + len(labels) * (tile[1] + GAP) + LINE)
    sheet = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(sheet)
    pen.text((starts[1], 2), "nearest real images in the features of", fill="black", font=font)
    for start, text in zip(starts, [method, *(f"the {name} network" for name in arrays["extractors"])], strict=True):
        pen.text((start, LINE), text, fill="black", font=font)
    pen.text((margin, size[1] - LINE + 2), "framed: of another class", fill=FRAME, font=font)
    for row, label in enumerate(labels):
        top = 2 * LINE + row * (tile[1] + GAP)
        pen.text((margin - 6, top + tile[1] / 2), class_name(label, names), fill="black", font=font, anchor="rm")
        sheet.paste(tile_of(arrays["synthetic"][row], tile), (margin, top))
        for (extractor, rank), other in np.ndenumerate(arrays["real_labels"][row]):
            left = starts[1 + extractor] + rank * step
            sheet.paste(tile_of(arrays["real"][row, extractor, rank], tile), (left, top))
            if other != label:
                pen.rectangle((left, top, left + tile[0] - 1, top + tile[1] - 1), outline=FRAME, width=3)
    return encoded(sheet)


def _map(arrays: Arrays, method: str, names: Sequence[str]) -> bytes:
    from leaderboards.plots import feature_map, style  # slow to import, and only needed for a new picture

    return style.images(feature_map.feature_map(arrays, method, names))["png"]


def _read(folder: Folder, name: str) -> Arrays:
    """Return the arrays of a file, {} where there is no such file."""
    data = folder.read([name]).get(name)
    return dict(np.load(io.BytesIO(data))) if data else {}
