"""Distilled sets from other code: read a file and check it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import save

from benchmark.api import DatasetInfo, SyntheticSet
from benchmark.errors import Faults
from benchmark.formats.export import check_labels, read_images
from benchmark.formats.pt import Normalisation
from benchmark.formats.scale import ValueRange, to_pixels
from benchmark.formats.tensors import LABELS, NOTES
from benchmark.synthetic import CLASSES, are_probabilities, are_weights
from benchmark.vision.datasets import DatasetConfig


@dataclass(frozen=True)
class Artifact:
    """An external distilled set in pixel space.

    Attributes:
        name: the name of the file or folder.
        images: the set, class by class.
        checksum: SHA-256 of images, targets and weights; it does not depend on the format of the file.
        notes: sentences about how the file was understood.
    """

    name: str
    images: SyntheticSet
    checksum: str
    notes: tuple[str, ...]


def read(path: Path, config: DatasetConfig, info: DatasetInfo) -> SyntheticSet:
    """Read an external set, with the scale of its file; its notes say how the file was understood.

    Args:
        path: whatever `export.read_images` reads.
        config: the dataset.
        info: facts about the dataset.

    Raises:
        BenchmarkError: the file cannot be read.
    """
    class_names, class_notes = _class_names(path, config, info)
    file_set = read_images(path, class_names)
    return replace(file_set, metadata={NOTES: [*class_notes, *file_set.metadata.get(NOTES, ())]})


def of_set(
    user_set: SyntheticSet,
    name: str,
    info: DatasetInfo,
    ipc: int,
    value_range: ValueRange = "auto",
    normalisation: Normalisation | None = None,
) -> Artifact:
    """Check a set against its dataset and return it in pixel space, class by class.

    Args:
        user_set: the set, on the CPU; its metadata may have notes.
        name: what messages call it: the path of its file, say.
        info: facts about the dataset.
        ipc: the number of images that every class must have.
        value_range: the scale of the values.
        normalisation: the normalisation of the images, if the user knows it.

    Raises:
        Faults: all reasons why it is no set of this dataset and IPC.
        BenchmarkError: its labels are not those of the dataset, or the scale of its values is not clear.
    """
    check_labels(name, user_set, info.classes)
    _check(name, user_set, info, ipc)
    pixels, notes = to_pixels(user_set.images, info, value_range, name, normalisation)
    order = torch.argsort(user_set.classes, stable=True)
    weights = None if user_set.weights is None else user_set.weights[order]
    extras = {key: user_set.extras[key][order] for key in (LABELS, CLASSES) if key in user_set.extras}
    if user_set.targets.dim() == 1 or torch.equal(user_set.classes, user_set.targets.argmax(1)):
        extras.pop(CLASSES, None)  # the targets say them; not every format writes them then
    images = SyntheticSet(pixels[order], user_set.targets[order], weights, extras)
    return Artifact(Path(name).name, images, checksum(images), (*user_set.metadata.get(NOTES, ()), *notes))


def checksum(images: SyntheticSet) -> str:
    """Return the SHA-256 of images, targets, weights and the label matrix, if there is one."""
    tensors = {"images": images.images, "targets": images.targets, "weights": images.weights, **images.extras}
    return hashlib.sha256(save({name: t.contiguous() for name, t in tensors.items() if t is not None})).hexdigest()


def _class_names(path: Path, config: DatasetConfig, info: DatasetInfo) -> tuple[Sequence[str], list[str]]:
    """Return the names of the class folders of an ImageFolder in the order of the classes, and notes."""
    folders = sorted((entry.name for entry in path.iterdir() if entry.is_dir()) if path.is_dir() else [], key=_natural)
    folder_of = {readable: folder for folder, readable in config.class_names.items()}
    dataset_folders = [folder_of.get(name, name) for name in info.class_names]
    if set(dataset_folders) <= set(folders):
        return dataset_folders, []  # one more folder is refused when the images are read
    if len(folders) != info.classes or set(folders) & {*info.class_names, *dataset_folders}:
        return info.class_names, []
    return folders, [f"class folders {folders[0]}, {folders[1]}, ... taken for the classes 0, 1, ... in this order"]


def _natural(name: str) -> tuple[bool, int, str]:
    """Return a sort key that puts folder 2 before folder 10."""
    is_number = name.isdecimal()
    return not is_number, int(name) if is_number else 0, name


def _check(name: str, images: SyntheticSet, info: DatasetInfo, ipc: int) -> None:
    faults, shape = [], (info.channels, info.resolution, info.resolution)
    if (file_shape := tuple(images.images.shape[1:])) != shape:
        faults.append(f"{name}: images are {list(file_shape)}, but those of {info.name} are {list(shape)}")
    counts = torch.bincount(images.classes, minlength=info.classes).tolist()
    wrong_counts = {label: count for label, count in zip(info.class_names, counts, strict=True) if count != ipc}
    if wrong_counts:
        examples = ", ".join(f"'{label}' has {count}" for label, count in list(wrong_counts.items())[:5])
        is_guessed = images.targets.dim() == 2 and CLASSES not in images.extras
        origin = " (classes are the largest soft labels; save the true ones as 'classes')" if is_guessed else ""
        faults.append(
            f"{name}: not --ipc {ipc}: {len(wrong_counts)} of {info.classes} classes have another number: "
            f"{examples}{origin}"
        )
    if not bool(torch.isfinite(images.images.float()).all()):
        faults.append(f"{name}: some values are not finite")
    if images.targets.dim() == 2 and not are_probabilities(images.targets):
        faults.append(f"{name}: its soft labels are no probabilities that sum to 1; take the softmax of logits first")
    if images.weights is not None and not are_weights(images.weights):
        faults.append(f"{name}: its weights are not finite, not 0 or more, or all 0")
    if faults:
        raise Faults(faults)
