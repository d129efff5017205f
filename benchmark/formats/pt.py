"""Distilled sets as one ``.pt`` file, in the layout of DC, DSA and DM, which DC-BENCH reads.

``{"data": [[images, labels]], "mean": ..., "std": ..., "pixels": "uint8" or "float32", "class_names": ...}``. The
images are normalised, ready for a network: ``(pixels - mean) / std`` of pixels in [0, 1], with the mean and deviation
of the dataset. DD-Ranking takes the same two tensors: ``torch.load(FILE)["data"][0]``.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmark.api import DatasetInfo
from benchmark.errors import BenchmarkError
from benchmark.synthetic import SyntheticSet, to_uint8

MARGIN = 0.01  # images whose values leave [0, 1] by more are normalised


@dataclass(frozen=True)
class Normalisation:
    """The normalisation ``(pixels - mean) / std`` of pixels in [0, 1], per channel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

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
    torch.save(content | ({} if images.weights is None else {"weights": images.weights}), path)


def read(path: Path, normalisation: Normalisation | None = None) -> SyntheticSet:
    """Read what `write` wrote, or images and labels that other code saved.

    Args:
        path: a file with ``{"data": [[images, labels], ...]}`` (the last pair is read), ``{"images": ..., "labels":
            ...}``, a pair of tensors, or images alone if ``labels*.pt`` lies beside ``images*.pt``.
        normalisation: the normalisation of the images, if the file does not name it. Images that are uint8, or whose
            values lie in [0, 1], are not normalised.

    Raises:
        BenchmarkError: the file is damaged, holds objects that are no tensors, numbers or text, or no images.
    """
    content = _load(path)
    image_values, labels = _pair(path, content)
    facts = content if isinstance(content, dict) else {}
    try:
        images, targets = torch.as_tensor(image_values).detach(), torch.as_tensor(labels).detach()
        if images.dtype == torch.uint8:
            pixels = images
        elif "mean" in facts:
            pixels = Normalisation(tuple(facts["mean"]), tuple(facts["std"])).undo(images.float())
        else:
            pixels = _pixels(path, images.float(), normalisation)
        pixels = to_uint8(pixels) if facts.get("pixels") == "uint8" else pixels
        targets = targets.float() if targets.dim() == 2 else targets.long().flatten()
        return SyntheticSet(pixels, targets, facts.get("weights"))
    except (ValueError, TypeError, RuntimeError, KeyError) as error:
        raise BenchmarkError(f"{path}: not images [N, C, H, W] with labels [N] ({error})") from error


def _pair(path: Path, content: Any) -> tuple[Any, Any]:
    """Return images and labels from any of the layouts that `read` lists."""
    if isinstance(content, dict) and content.get("data"):
        content = content["data"][-1]
    if isinstance(content, dict) and {"images", "labels"} <= content.keys():
        return content["images"], content["labels"]
    if isinstance(content, list | tuple) and len(content) == 2:
        return content[0], content[1]
    beside = path.with_name(path.name.replace("images", "labels"))
    if isinstance(content, Tensor) and beside != path and beside.exists():
        return content, _load(beside)
    raise BenchmarkError(
        f"{path}: holds no pair of images and labels, and no labels*.pt lies beside it; "
        'save {"images": [N, C, H, W], "labels": [N]} with torch.save'
    )


def _load(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)  # does not run code that a file may hold
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, OSError) as error:
        raise BenchmarkError(f"{path}: damaged, or holds more than tensors; save tensors with torch.save") from error


def _pixels(path: Path, images: Tensor, normalisation: Normalisation | None) -> Tensor:
    """Return images as pixels in [0, 1]; images whose values leave [0, 1] are normalised."""
    low, high = float(images.min()), float(images.max())
    if low >= -MARGIN and high <= 1 + MARGIN:
        return images.clamp(0, 1)
    if normalisation is None:
        raise BenchmarkError(
            f"{path}: values from {low:.2f} to {high:.2f}: its images are normalised, but it does not say how; "
            'add "mean" and "std" (per channel) to the file, beside "data" or "images"'
        )
    return normalisation.undo(images)
