"""The check of what a method returned, before it is stored: a set that does not fit its unit has no score."""

from __future__ import annotations

import json
from collections.abc import Iterator

import torch
from torch import Tensor

from benchmark.api import DatasetInfo, Distiller, SyntheticSet, Unit
from benchmark.errors import BenchmarkError
from benchmark.synthetic import CLASSES, are_probabilities, are_weights

FURTHEST = 100.0  # pixels of methods that never clip stay within [-FURTHEST, FURTHEST]; 1 is white
FAR = (-1.0, 2.0)  # beyond, a pixel is far from [0, 1]
MOST_FAR = 0.1  # the largest share of pixels that may be far
MOST_METADATA = 10**6  # characters of JSON
MARGIN = 0.01  # below -MARGIN, a pixel is not black by rounding


def check(returned: object, method: Distiller, unit: Unit, info: DatasetInfo) -> SyntheticSet:
    """Return what ``method.distill`` returned for a unit as a plain set, if it is a set of this unit.

    Raises:
        BenchmarkError: all reasons why it is not, in one line.
    """
    if not isinstance(returned, SyntheticSet):
        raise BenchmarkError(f"{method.name()} returned {type(returned).__name__}, not a SyntheticSet")
    weights = None if returned.weights is None else returned.weights.detach()
    extras = {name: tensor.detach() for name, tensor in returned.extras.items()}
    fields = (returned.images.detach(), returned.targets.detach(), weights, extras, returned.metadata)
    images = SyntheticSet(*fields)  # a subclass could save something else
    labels = _label_faults(images, method, unit, info)
    if faults := [*_image_faults(images.images, info), *labels, *_other_faults(images)]:
        raise BenchmarkError(f"{method.name()} returned a wrong set: {'; '.join(faults)}")
    return images


def _image_faults(images: Tensor, info: DatasetInfo) -> Iterator[str]:
    shape = (info.channels, info.resolution, info.resolution)
    if tuple(images.shape[1:]) != shape:
        yield f"its images are {list(images.shape[1:])}, but those of {info.name} are {list(shape)}"
    if not images.numel():
        return
    if images.dtype == torch.uint8:
        if int(images.max()) == 1:
            yield "its bytes are only 0 and 1, but 255 is white; return floats, or multiply by 255"
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
    elif (far := float(((images < FAR[0]) | (images > FAR[1])).float().mean())) > MOST_FAR:
        yield f"{facts}: {far:.0%} of them lie beyond {FAR[0]:g} and {FAR[1]:g}, but pixels are in [0, 1]"


def _label_faults(images: SyntheticSet, method: Distiller, unit: Unit, info: DatasetInfo) -> Iterator[str]:
    """Yield the faults of targets."""
    if images.targets.dim() == 2:
        if not _are_numbers_of(info.classes, images.targets):
            yield f"its soft labels are not {info.classes} finite numbers per image"
            return
        if not are_probabilities(images.targets):
            yield "its soft labels are no probabilities that sum to 1; return the softmax of logits"
    labels, right_labels = images.classes.cpu(), unit.labels
    if method.uses_ipc and len(labels) != len(right_labels):
        yield (
            f"{len(labels)} images, but the unit has {len(right_labels)}: "
            f"{len(unit.classes)} classes of {len(unit.slots)} images"
        )
    elif not method.uses_ipc:  # it returns all images that there are of these classes
        right_labels = labels.sort().values
        if set(right_labels.tolist()) != set(unit.classes):
            yield "its labels are not the classes of the unit"
    if len(labels) == len(right_labels) and not torch.equal(labels, right_labels):
        start = f"{int((labels != right_labels).sum())} of {len(labels)} labels differ from unit.labels"
        if images.targets.dim() == 2 and CLASSES not in images.extras:
            advice = f'where it was made for another one, add extras={{"{CLASSES}": unit.labels}}'
            yield f"{start}: the class of an image is that of its largest soft label; {advice}"
        else:
            yield f"{start}: images come class by class, in this order"


def _other_faults(images: SyntheticSet) -> Iterator[str]:
    """Yield the faults of weights, metadata and extras."""
    if images.weights is not None and not are_weights(images.weights):
        yield "its weights are not finite, not 0 or more, or all 0"
    try:
        characters = len(json.dumps(dict(images.metadata), allow_nan=False))
        if characters > MOST_METADATA:
            yield f"its metadata take {characters:,} characters of JSON; at most {MOST_METADATA:,}"
    except (TypeError, ValueError) as error:
        yield f"its metadata are no JSON of finite numbers ({error})"
    if short := [name for name, tensor in images.extras.items() if len(tensor) != len(images)]:
        yield f"extras {', '.join(short)}: not one row per image"


def _are_numbers_of(classes: int, targets: Tensor) -> bool:
    return targets.shape[1] == classes and bool(torch.isfinite(targets).all())
