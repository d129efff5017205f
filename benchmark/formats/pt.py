"""Distilled sets as one ``.pt`` file, in the layout of DC, DSA and DM, which DC-BENCH reads.

``{"data": [[images, labels]], "mean": ..., "std": ..., "pixels": "uint8" or "float32", "class_names": ...}``, with
``"weights"`` and ``"classes"`` where a set has them. The images are normalised, ready for a network, by the mean and
deviation of the dataset: ``(pixels - mean) / std`` of pixels in [0, 1]. DD-Ranking takes the same two tensors:
``torch.load(FILE)["data"][0]``. The files of DC and DSA also hold accuracies as NumPy numbers, under
``accs_all_exps``; they are not used.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmark.api import DatasetInfo
from benchmark.errors import BenchmarkError, one_line
from benchmark.formats.files import check_file
from benchmark.formats.tensors import NOTES, as_classes, as_images, as_targets, unread
from benchmark.synthetic import CLASSES, SyntheticSet, to_uint8

MARGIN = 0.01  # images whose values leave [0, 1] by more are normalised
PAIR = {"images", "labels"}  # what a file holds, unless it holds "data"
READ = {"mean", "std", "pixels", "class_names", "weights", CLASSES, "accs_all_exps"}  # what it may hold beside
NUMBERS = "?bhilqBHILQefd"  # the kinds of NumPy numbers that a file may hold beside tensors


@dataclass(frozen=True)
class Normalisation:
    """The normalisation ``(pixels - mean) / std`` of pixels in [0, 1], per channel.

    Raises:
        ValueError: a value is not finite, a deviation is not above 0, or their numbers differ.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        """Check the values."""
        if len(self.mean) != len(self.std) or not self.std:
            raise ValueError(f"mean {self.mean} and std {self.std} need one value per channel")
        if not all(math.isfinite(value) for value in (*self.mean, *self.std)) or min(self.std) <= 0:
            raise ValueError(f"mean {self.mean} and std {self.std}: std is above 0, and both are finite")

    def apply(self, pixels: Tensor) -> Tensor:
        """Return normalised images [N, C, H, W] from pixels in [0, 1]."""
        return (pixels - self._column(self.mean, pixels)) / self._column(self.std, pixels)

    def undo(self, images: Tensor) -> Tensor:
        """Return pixels in [0, 1] from normalised images [N, C, H, W]."""
        return images * self._column(self.std, images) + self._column(self.mean, images)

    @staticmethod
    def _column(values: Sequence[float], like: Tensor) -> Tensor:
        return torch.tensor(values, dtype=like.dtype).view(1, -1, 1, 1)


def write(images: SyntheticSet, info: DatasetInfo, path: Path) -> None:
    """Write a set to a file, with the mean and deviation of its dataset."""
    pixels = images.images.float() / 255 if images.images.dtype == torch.uint8 else images.images
    content = {
        "data": [[Normalisation(info.mean, info.std).apply(pixels), images.targets]],
        "mean": list(info.mean),
        "std": list(info.std),
        "pixels": str(images.images.dtype).removeprefix("torch."),
        "class_names": list(info.class_names),
    }
    content |= {} if images.weights is None else {"weights": images.weights}
    torch.save(content | ({CLASSES: images.extras[CLASSES]} if CLASSES in images.extras else {}), path)


def read(path: Path) -> SyntheticSet:
    """Read what `write` wrote, or images and labels that other code saved.

    Args:
        path: a file with ``{"data": [[images, labels], ...]}`` (the last pair is read), ``{"images": ..., "labels":
            ...}``, a pair of tensors, or images alone if ``labels*.pt`` lies beside ``images*.pt``.

    Returns:
        The set. A normalisation that the file names is undone.

    Raises:
        BenchmarkError: the file is damaged, holds objects that are no tensors, numbers or text, or no images.
    """
    content = _load(path)
    image_values, labels, notes = _pair(path, content)
    facts = content if isinstance(content, dict) else {}
    try:
        images, targets = as_images(image_values), as_targets(labels)
        if not bool(torch.isfinite(images).all()):
            raise ValueError("some values are not finite")
        if images.dtype == torch.uint8:
            pixels = images
        elif "mean" in facts:
            pixels = Normalisation(tuple(facts["mean"]), tuple(facts["std"])).undo(images)
        else:
            pixels = _pixels(images)
        if (kind := facts.get("pixels", "float32")) not in ("uint8", "float32"):
            raise ValueError(f"pixels are {kind!r}, neither 'uint8' nor 'float32'")
        pixels = to_uint8(pixels) if kind == "uint8" else pixels
        extras = as_classes(facts.get(CLASSES), images)
        notes += unread({CLASSES} & facts.keys() - extras.keys())
        return SyntheticSet(pixels, targets, facts.get("weights"), extras, {NOTES: notes})
    except (ValueError, TypeError, RuntimeError, KeyError) as error:
        raise BenchmarkError(f"{path}: not images [N, C, H, W] with labels [N] ({one_line(error)[:200]})") from error


def _pair(path: Path, content: Any) -> tuple[Any, Any, list[str]]:
    """Return images and labels from any of the layouts that `read` lists, and notes."""
    notes = unread(content.keys() - READ - ({"data"} & content.keys() or PAIR)) if isinstance(content, dict) else []
    if isinstance(content, dict) and isinstance(content.get("data"), list | tuple) and content["data"]:
        if len(content["data"]) > 1:
            notes.append(f"it holds {len(content['data'])} sets; the last one is taken")
        content = content["data"][-1]
    if isinstance(content, dict) and content.keys() >= PAIR:
        return content["images"], content["labels"], notes
    if isinstance(content, list | tuple) and len(content) == 2:
        return content[0], content[1], notes
    labels_path = path.with_name(path.name.replace("images", "labels"))
    if isinstance(content, Tensor) and labels_path != path and labels_path.exists():
        return content, _load(labels_path), notes
    raise BenchmarkError(
        f"{path}: holds no pair of images and labels, and no labels*.pt lies beside it; "
        'save {"images": [N, C, H, W], "labels": [N]} with torch.save'
    )


def _load(path: Path) -> Any:
    """Return the content of a file; tensors, plain values and NumPy numbers are allowed, nothing that runs code."""
    check_file(path)
    try:
        with torch.serialization.safe_globals(_allowed()), warnings.catch_warnings(action="ignore"):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can fail in any way
        raise BenchmarkError(
            f"{path}: damaged, or holds more than tensors; save tensors with torch.save ({one_line(error)[:200]})"
        ) from error


def _allowed() -> list[Callable[..., Any] | tuple[Callable[..., Any], str]]:
    """Return what a file of NumPy numbers needs: ``scalar`` and ``dtype``, under the names of NumPy 1 and 2."""
    scalar: Any = np.float64().__reduce__()[0]
    old_name, new_name = "numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar"
    return [(scalar, old_name), (scalar, new_name), np.dtype, *(type(np.dtype(kind)) for kind in NUMBERS)]


def _pixels(images: Tensor) -> Tensor:
    """Return images clamped to [0, 1]; those whose values leave it by more than a margin are returned unchanged."""
    low, high = (float(value) for value in images.aminmax())
    return images.clamp(0, 1) if low >= -MARGIN and high <= 1 + MARGIN else images
