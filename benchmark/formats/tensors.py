"""Images and labels from values that other code has saved, and sets of NumPy arrays (``.npz``, ``.npy``).

``.npz`` holds images and labels under ``images`` and ``labels`` (or ``x`` and ``y``, or without names); ``.npy`` holds
images, and ``labels*.npy`` lies beside ``images*.npy``. RFAD and other kernel methods save label matrices there that
are no probabilities but targets of a regression.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmark.errors import BenchmarkError, one_line
from benchmark.formats.files import check_file
from benchmark.synthetic import CLASSES, SyntheticSet, are_probabilities

NAMES = (("images", "labels"), ("x", "y"), ("arr_0", "arr_1"))  # the names of images and labels in a .npz file
LABELS = "labels"  # the extra of a set with the label matrix as it was saved
NOTES = "notes"  # the metadata of a set with sentences about how its file was understood


def as_images(value: Any) -> Tensor:
    """Return images [N, C, H, W] as uint8 or float32.

    Raises:
        ValueError: they are complex, boolean or bytes with a sign, or have other dimensions.
    """
    images = torch.as_tensor(value).detach()
    if images.is_complex() or images.dtype in (torch.bool, torch.int8) or images.layout != torch.strided:
        raise ValueError(f"images are {images.dtype}, {images.layout}")
    if images.dim() != 4 or not images.numel():
        raise ValueError(f"images are {list(images.shape)}")
    return images if images.dtype == torch.uint8 else images.float()


def as_targets(value: Any) -> Tensor:
    """Return the classes of images as int64 [N], or their soft labels as float32 [N, classes].

    Raises:
        ValueError: they are complex or boolean, have other dimensions, or are neither classes nor soft labels.
    """
    labels = torch.as_tensor(value).detach()
    if labels.is_complex() or labels.dtype == torch.bool:
        raise ValueError(f"labels are {labels.dtype}")
    if labels.dim() == 2:
        return labels.float()
    if labels.dim() != 1:
        raise ValueError(f"labels are {list(labels.shape)}")
    classes = labels.long()
    if labels.is_floating_point() and not torch.equal(classes.to(labels.dtype), labels):
        example = labels[classes.to(labels.dtype) != labels][0]
        raise ValueError(f"a label is {float(example):.4g}, which is no class")
    return classes


def as_classes(value: Any, images: Tensor) -> dict[str, Tensor]:
    """Return the extra with the class of each image, int64 [N]; {} where a value is no array of N integers."""
    is_array = isinstance(value, Tensor | np.ndarray) and value.ndim == 1 and len(value) == len(images)
    classes = torch.as_tensor(value) if is_array and np.issubdtype(np.asarray(value).dtype, np.integer) else None
    return {} if classes is None else {CLASSES: classes.detach().long()}


def read_arrays(path: Path) -> SyntheticSet:
    """Read a ``.npz`` or ``.npy`` file.

    Labels that are no probabilities are kept as they are, in the extras of the set; the class with the largest value is
    the target.

    Raises:
        BenchmarkError: the file is damaged, or holds objects, or no images with labels.
    """
    notes = list[str]()
    try:
        image_values, label_values, others = _pair(path)
        if image_values.ndim == 4 and image_values.shape[1] > 3 and image_values.shape[3] in (1, 3):
            image_values = np.moveaxis(image_values, 3, 1)
            notes.append("its images are [N, H, W, C]; they are taken as [N, C, H, W]")
        images, targets = as_images(np.array(image_values)), as_targets(np.array(label_values))
        classes = as_classes(others.get(CLASSES), images)
        notes += unread(others.keys() - classes.keys())
        if targets.dim() == 1 or are_probabilities(targets):
            return SyntheticSet(images, targets, extras=classes, metadata={NOTES: notes})
        if not bool(torch.isfinite(targets).all()):
            raise ValueError("labels are not finite")
        low, high = float(targets.min()), float(targets.max())
        notes.append(
            f"its labels, from {low:.3g} to {high:.3g}, are no probabilities; they are kept with their scale, "
            "and the class with the largest one is the target"
        )
        return SyntheticSet(images, targets.argmax(1), None, {LABELS: targets}, {NOTES: notes})
    except (ValueError, TypeError, RuntimeError, KeyError, OSError, EOFError, MemoryError) as error:
        raise BenchmarkError(
            f"{path}: not images [N, C, H, W] with labels [N] or [N, classes] ({one_line(error)[:200]})"
        ) from error


def unread(names: Iterable[str]) -> list[str]:
    """Return a note for a user whose file holds more than what is read; [] where there are no such names."""
    text = ", ".join(sorted(map(str, names)))
    return [f"it holds {text} too, which are not read"] if text else []


def _pair(path: Path) -> tuple[Any, Any, dict[str, Any]]:
    """Return images, labels and what else the file holds by name; objects, which could run code, are refused."""
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as arrays:
            for images, labels in NAMES:
                if {images, labels} <= set(arrays.files):
                    others = {name: arrays[name] for name in arrays.files if name not in (images, labels)}
                    return arrays[images], arrays[labels], others
            raise ValueError(f"it has {', '.join(arrays.files[:8]) or 'nothing'}, not 'images' and 'labels'")
    labels_path = path.with_name(path.name.replace("images", "labels"))
    if labels_path == path:
        raise ValueError("no labels*.npy belongs to it: name the files images*.npy and labels*.npy, or save a .npz")
    check_file(labels_path)
    return *(np.load(file, mmap_mode="r", allow_pickle=False) for file in (path, labels_path)), {}
