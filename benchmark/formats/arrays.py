"""Distilled sets from Python: a set of this benchmark, or images and labels as tensors, arrays or lists."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from benchmark.api import SyntheticSet
from benchmark.errors import BenchmarkError
from benchmark.formats.tensors import as_images, as_targets

NAME = "images, labels"  # what messages call a set from Python


def as_set(images: Any, labels: Any) -> SyntheticSet:
    """Return a set on the CPU, without metadata.

    Args:
        images: a set, or images [N, C, H, W]: whole numbers from 0 to 255, or floats from 0 to 1.
        labels: None for a set; else the class of each image, int [N], or its soft label, float [N, classes].

    Raises:
        BenchmarkError: labels are missing or given twice, or values have another shape, type or range.
    """
    if isinstance(images, SyntheticSet):
        if labels is not None:
            raise BenchmarkError("labels: the set has its own")
        return _on_cpu(images)
    user_set = _from_arrays(images, labels)
    if user_set.images.is_floating_point() and not ((user_set.images >= 0) & (user_set.images <= 1)).all():
        raise BenchmarkError("images: floats must lie in [0, 1]; undo a normalisation, and clamp")
    return user_set


def _on_cpu(images: SyntheticSet) -> SyntheticSet:
    weights = None if images.weights is None else images.weights.detach().cpu()
    extras = {name: value.detach().cpu() for name, value in images.extras.items()}
    return SyntheticSet(images.images.detach().cpu(), images.targets.detach().cpu(), weights, extras)


def _from_arrays(images: Any, labels: Any) -> SyntheticSet:
    if labels is None:
        raise BenchmarkError("labels: needed beside images; give one class per image")
    try:
        return SyntheticSet(_pixels(torch.as_tensor(images).cpu()), as_targets(labels).cpu())
    except (RuntimeError, TypeError, ValueError) as error:
        raise BenchmarkError(f"{NAME}: not images [N, C, H, W] with labels [N] or [N, classes] ({error})") from error


def _pixels(values: Tensor) -> Tensor:
    """Return images as float32, or as uint8 where they are whole numbers of any type.

    Raises:
        ValueError: `as_images` refuses them, or whole numbers leave 0 to 255.
    """
    images = as_images(values)
    if values.is_floating_point():
        return images
    if images.min() < 0 or images.max() > 255:
        raise ValueError("whole numbers must lie from 0 to 255")
    return images.to(torch.uint8)
