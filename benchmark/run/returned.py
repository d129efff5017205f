"""The check of what a method returned, before it is stored: a set that does not fit its unit has no score."""

from __future__ import annotations

import json
from collections.abc import Iterator

import torch
from torch import Tensor

from benchmark.api import DatasetInfo, Distiller, SyntheticSet, Unit
from benchmark.errors import BenchmarkError

FURTHEST = 100.0  # pixels of methods that never clip stay within [-FURTHEST, FURTHEST]; 1 is white
MARGIN = 0.01  # below -MARGIN, a pixel is not black by rounding


def check(returned: object, method: Distiller, unit: Unit, info: DatasetInfo) -> SyntheticSet:
    """Return what ``method.distill`` returned for a unit if it is a set of this unit.

    Raises:
        BenchmarkError: all reasons why it is not, in one line.
    """
    if not isinstance(returned, SyntheticSet):
        raise BenchmarkError(f"{method.name()} returned {type(returned).__name__}, not a SyntheticSet")
    if faults := [*_image_faults(returned.images, info), *_label_faults(returned, method, unit, info)]:
        raise BenchmarkError(f"{method.name()} returned a wrong set: {'; '.join(faults)}")
    return returned


def _image_faults(images: Tensor, info: DatasetInfo) -> Iterator[str]:
    shape = (info.channels, info.resolution, info.resolution)
    if tuple(images.shape[1:]) != shape:
        yield f"its images are {list(images.shape[1:])}, but those of {info.name} are {list(shape)}"
    if images.dtype == torch.uint8 or not images.numel():
        return
    if broken := int((~torch.isfinite(images)).flatten(1).any(1).sum()):
        yield f"{broken} of {len(images)} images have pixels that are NaN or infinite"
        return
    low, high, mean, deviation = (float(value) for value in (*images.aminmax(), images.mean(), images.std()))
    facts = f"pixels from {low:.3g} to {high:.3g}, mean {mean:.2g}, deviation {deviation:.2g}"
    if max(-low, high) > FURTHEST:
        yield f"{facts}: float images are in [0, 1], where 1 is white; divide by 255"
    elif low < -MARGIN and mean < sum(info.mean) / len(info.mean) / 2 and deviation > (1 + max(info.std)) / 2:
        yield f"{facts}: they look normalised; return pixels in [0, 1] (benchmark.vision.augment.denormalize)"


def _label_faults(images: SyntheticSet, method: Distiller, unit: Unit, info: DatasetInfo) -> Iterator[str]:
    """Yield the faults of targets, weights, metadata and extras."""
    if images.targets.dim() == 2 and not _are_numbers_of(info.classes, images.targets):
        yield f"its soft labels are not {info.classes} finite numbers per image"
        return
    labels, expected = images.classes.cpu(), unit.labels
    if method.uses_ipc and len(labels) != len(expected):
        yield (
            f"{len(labels)} images, but the unit has {len(expected)}: "
            f"{len(unit.classes)} classes of {len(unit.slots)} images"
        )
    elif not method.uses_ipc:  # it returns all images that there are of these classes
        expected = labels.sort().values
        if set(expected.tolist()) != set(unit.classes):
            yield "its labels are not the classes of the unit"
    if len(labels) == len(expected) and not torch.equal(labels, expected):
        wrong = int((labels != expected).sum())
        yield f"{wrong} of {len(labels)} labels differ from unit.labels: images come class by class, in this order"
    weights = images.weights
    if weights is not None and not (bool((weights >= 0).all()) and 0 < float(weights.sum()) < float("inf")):
        yield "its weights are not finite, not 0 or more, or all 0"
    try:
        json.dumps(dict(images.metadata), allow_nan=False)
    except (TypeError, ValueError) as error:
        yield f"its metadata are no JSON of finite numbers ({error})"
    if short := [name for name, tensor in images.extras.items() if len(tensor) != len(images)]:
        yield f"extras {', '.join(short)}: not one row per image"


def _are_numbers_of(classes: int, targets: Tensor) -> bool:
    return targets.shape[1] == classes and bool(torch.isfinite(targets).all())
