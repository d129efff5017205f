"""Finished artifacts from elsewhere: read, checked, and put into the store as if a method had made them.

The classic trap is normalisation: images that were saved as a network sees them look like pixels of another contrast.
So what the values are is found out from their statistics, and where these say "normalised", it must be confirmed.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch
from safetensors.torch import save
from torch import Tensor

from benchmark.api import DatasetInfo, SyntheticSet
from benchmark.errors import BenchmarkError, Faults
from benchmark.formats.export import Normalisation, read_images
from benchmark.plan.discovery import method_names
from benchmark.plan.suite import MethodEntry, Selection, Suite
from benchmark.run import provenance
from benchmark.run.campaign import Campaign
from benchmark.run.stages import IMAGES
from benchmark.vision.datasets import DatasetConfig

Scale: TypeAlias = Literal["0-1", "0-255", "normalised"]  # of an image's values
ValueRange: TypeAlias = Literal["auto", "0-1", "0-255", "normalised"]  # auto: their statistics say it
METHOD = "external"  # the file in ``methods/`` that stands for what was made elsewhere
MARGIN = 0.01  # by which pixels may leave [0, 1] unnoticed
LARGEST = 8.0  # which no image reaches that is normalised by a dataset's mean and deviation


@dataclass(frozen=True)
class Artifact:
    """A distilled set in pixel space.

    Attributes:
        name: of the file or folder that it was read from.
        images: class by class.
        checksum: SHA-256 of images, targets and weights, whatever file held them.
        notes: what was concluded in reading it, in words.
    """

    name: str
    images: SyntheticSet
    checksum: str
    notes: tuple[str, ...]


def read(path: Path, config: DatasetConfig, info: DatasetInfo, ipc: int, given: ValueRange = "auto") -> Artifact:
    """Read an artifact and check it against its dataset.

    Args:
        path: what `exports.read_images` reads: an ImageFolder, ``.safetensors``, ``.pt``, parquet files.
        config: the dataset.
        info: of the dataset.
        ipc: images that every class must have.
        given: what the values are said to be.

    Raises:
        Faults: everything by which it differs from a set of that size on that dataset.
        BenchmarkError: it cannot be read, or nobody knows what its values mean.
    """
    names, notes = _class_names(path, config, info)
    as_it_is = Normalisation((0.0,) * info.channels, (1.0,) * info.channels)  # the statistics decide, below
    found = read_images(path, names, as_it_is)
    _check_form(path, found, info, ipc)
    pixels, said = in_pixels(found.images, info, given, str(path))
    order = torch.argsort(found.classes, stable=True)
    weights = None if found.weights is None else found.weights[order]
    images = SyntheticSet(pixels[order], found.targets[order], weights)
    return Artifact(path.name, images, checksum(images), (*notes, *said))


def checksum(images: SyntheticSet) -> str:
    """Return the SHA-256 of images, targets and weights, the same for the same set in whatever file."""
    tensors = {"images": images.images, "targets": images.targets, "weights": images.weights}
    return hashlib.sha256(save({name: t.contiguous() for name, t in tensors.items() if t is not None})).hexdigest()


def looks_like(images: Tensor) -> Scale:
    """Return what the statistics of values say that they are.

    Values in [0, 1] deviate by 0.5 at most, so what deviates more and falls below 0, or is negative on average, has
    been normalised. Pixels that a method has pushed out of [0, 1] do neither. Values in [0, 255] are large on average,
    too: normalised images that a method has never clipped may reach as far, but about 0.
    """
    if images.dtype == torch.uint8 or (float(images.max()) > LARGEST and float(images.mean()) > 1):
        return "0-255"
    below = float(images.min()) < -MARGIN
    return "normalised" if below and (float(images.std()) > 0.5 or float(images.mean()) < 0) else "0-1"


def in_pixels(images: Tensor, info: DatasetInfo, given: ValueRange, name: str) -> tuple[Tensor, list[str]]:
    """Return images in pixel space, and what is to be said of it.

    Args:
        images: [N, C, S, S] with whatever values.
        info: gives mean and deviation.
        given: what the values are said to be; "auto" takes what they look like, but for "normalised".
        name: how messages call the artifact.

    Raises:
        BenchmarkError: values that cannot be what they are said to be, or that look normalised and nobody says so.
    """
    guess, low, high = looks_like(images), float(images.min()), float(images.max())
    facts = (
        f"values from {low:.3g} to {high:.3g}, mean {images.float().mean():.3g}, deviation {images.float().std():.3g}"
    )
    if given == "auto" and guess == "normalised":
        raise BenchmarkError(
            f"{name}: {facts}: its images look normalised already; say --value-range normalised (undone with the mean "
            f"{info.mean} and deviation {info.std} of {info.name}), or --value-range 0-1 if they are pixels"
        )
    if (given == "normalised" and low >= 0) or (given == "0-255" and high <= 1) or (given == "0-1" and high > LARGEST):
        raise BenchmarkError(f"{name}: {facts}: that is not --value-range {given}; it looks like {guess}")
    if images.dtype == torch.uint8:
        return images, []
    values, scale = images.float(), guess if given == "auto" else given
    if scale == "normalised":
        return _settled(Normalisation(info.mean, info.std).undo(values), "normalised images, undone")
    return _settled(values) if scale == "0-1" else _settled(values / 255, "pixels from 0 to 255")


def joining(artifact: Artifact, name: str, suite: Suite) -> MethodEntry:
    """Return the artifact as an entry of a suite.

    Raises:
        BenchmarkError: the name is that of a method of ours, beside which it could not be told apart.
    """
    ours = {*method_names(), *(entry.method for block in suite.blocks for entry in block.methods)}
    if name in ours or not name.strip():
        raise BenchmarkError(f"--method-name {name!r}: is taken by a method of this suite; choose another one")
    return MethodEntry.model_validate({"method": name, "base": METHOD, "set": {"checksum": artifact.checksum}})


def selection(entry: MethodEntry, dataset: str, ipc: int, **axes: Any) -> Selection:
    """Return the cells of an artifact: one set, judged by as many students as a suite has seeds."""
    return Selection(datasets=(dataset,), ipc=(ipc,), entries=(entry,), draws=1, **axes)


def admit(found: Campaign, artifact: Artifact) -> Campaign:
    """Put an artifact into the store as the set that its cells ask for; return the campaign in which it is done.

    Its record holds no seconds: what it cost is not known here.

    Raises:
        BenchmarkError: every cell is skipped, with the first reason; or the store cannot be written.
    """
    reasons = [cell.skipped for cell in found.plan.cells]
    if all(reasons):
        raise BenchmarkError(f"{artifact.name}: nothing can be evaluated: {reasons[0]}")
    keys = {key for key, node in found.todo.items() if node.stage == "distill"}
    for key in keys:
        if key in found.corrupt:
            found.store.discard(key)
        with found.store.writing(key) as folder:
            artifact.images.save(folder / IMAGES)
            now = provenance.now()
            record = {
                "stage": "distill",
                "identity": found.plan.nodes[key].identity,
                "metrics": {"images": len(artifact.images), "artifact": artifact.name, "notes": list(artifact.notes)},
                "cost": {"bytes": {"images": artifact.images.images_bytes}},
                "provenance": {"started": now, "finished": now, "versions": provenance.versions()},
            }
            found.store.commit(key, folder, record)
    return replace(found, done=found.done | keys, corrupt=found.corrupt - keys)


def _class_names(path: Path, config: DatasetConfig, info: DatasetInfo) -> tuple[Sequence[str], list[str]]:
    """Return what the class folders of an ImageFolder are called, in the order of the classes."""
    folders = sorted((entry.name for entry in path.iterdir() if entry.is_dir()) if path.is_dir() else [], key=_natural)
    known_as = {readable: folder for folder, readable in config.class_names.items()}
    original = [known_as.get(name, name) for name in info.class_names]
    if set(original) == set(folders):
        return original, []
    if len(folders) != info.classes or set(folders) & {*info.class_names, *original}:
        return info.class_names, []
    return folders, [f"class folders {folders[0]}, {folders[1]}, ... taken for the classes 0, 1, ... in this order"]


def _natural(name: str) -> tuple[bool, int, str]:
    """Sort numbers by value: folder 2 comes before folder 10."""
    number = name.isdecimal()
    return not number, int(name) if number else 0, name


def _check_form(path: Path, found: SyntheticSet, info: DatasetInfo, ipc: int) -> None:
    faults, wanted = [], (info.channels, info.resolution, info.resolution)
    if (form := tuple(found.images.shape[1:])) != wanted:
        faults.append(f"{path}: images are {list(form)}, where {info.name} has {list(wanted)}; choose another dataset")
    counts = torch.bincount(found.classes, minlength=info.classes).tolist()
    wrong = {name: n for name, n in zip(info.class_names, counts, strict=True) if n != ipc}
    if wrong:
        some = ", ".join(f"'{name}' has {count}" for name, count in list(wrong.items())[:5])
        faults.append(f"{path}: --ipc {ipc} images per class, but {len(wrong)} of {info.classes} have not: {some}")
    if not bool(torch.isfinite(found.images.float()).all()):
        faults.append(f"{path}: some values are not finite")
    if found.targets.dim() == 2 and not _are_shares(found.targets):
        faults.append(f"{path}: its soft labels are no probabilities that sum to 1; take the softmax of logits first")
    weights = torch.ones(1) if found.weights is None else found.weights
    if not (bool((weights >= 0).all()) and 0 < float(weights.sum()) < math.inf):
        faults.append(f"{path}: its weights are not finite, not 0 or more, or all 0")
    if faults:
        raise Faults(faults)


def _are_shares(targets: Tensor) -> bool:
    return bool((targets >= 0).all()) and bool(((targets.sum(1) - 1).abs() < 0.01).all())


def _settled(pixels: Tensor, *notes: str) -> tuple[Tensor, list[str]]:
    """Return pixels in [0, 1], as uint8 where that is what they once were, and a word on those that leave it."""
    low, high, steps = float(pixels.min()), float(pixels.max()), pixels * 255
    if low < -MARGIN or high > 1 + MARGIN:
        return pixels, [*notes, f"pixels from {low:.3g} to {high:.3g} leave [0, 1]; kept as they are"]
    eight_bit = bool(((steps - steps.round()).abs() < 0.01).all())
    return (steps.round().clamp(0, 255).byte() if eight_bit else pixels), list(notes)
