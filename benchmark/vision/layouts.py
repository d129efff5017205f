"""Layouts of image folders: list the images of a split without decoding them."""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from benchmark.errors import BenchmarkError
from benchmark.identity import seed_of

CIFAR = "cifar-10-batches-py"  # the folder that torchvision unpacks CIFAR-10 to
IGNORED = {".txt", ".csv", ".db", ".ini"}  # files that are no images, some of them written by file managers
HELD_OUT = 0.1  # share of a class that `hold_out` leaves out of training

Pixels: TypeAlias = np.ndarray[Any, np.dtype[np.uint8]]


@dataclass(frozen=True)
class Split:
    """The images of one split, not decoded yet.

    Attributes:
        classes: names of the class folders, sorted.
        labels: int64 [N], indices into ``classes``.
        items: [N] the path of a file, or its pixels: uint8 [H, W] or [H, W, 3].
        keys: [N] a text that identifies an image: its class, file name and number of bytes, or a hash of its pixels.
    """

    classes: tuple[str, ...]
    labels: Tensor
    items: Sequence[str | Pixels]
    keys: Sequence[str]

    def select(self, indices: Tensor) -> Split:
        """Return a split with the images at ``indices`` [n] only."""
        rows = indices.tolist()
        return Split(self.classes, self.labels[indices], [self.items[i] for i in rows], [self.keys[i] for i in rows])

    def counts(self) -> dict[str, int]:
        """Return the number of images of each class."""
        return dict(zip(self.classes, torch.bincount(self.labels, minlength=len(self.classes)).tolist(), strict=True))

    def fingerprint(self) -> str:
        """Return a hash of the keys of all images, in their order."""
        return hashlib.sha256("\n".join(self.keys).encode()).hexdigest()


def is_dataset(folder: Path) -> bool:
    """Return whether a folder has a training and a test split in a layout that `list_split` knows."""
    return ((folder / "train").is_dir() and (folder / "val").is_dir()) or _is_cifar(folder)


def list_split(folder: Path, split: Literal["train", "val"]) -> Split:
    """Return the images of one split, not decoded.

    Known layouts: ``SPLIT/CLASS/*`` (also with folders inside a class, as in Tiny ImageNet's ``train``), Tiny
    ImageNet's ``val`` with ``val_annotations.txt``, and CIFAR-10's ``cifar-10-batches-py``.

    Raises:
        BenchmarkError: files of the layout are damaged or missing.
    """
    if _is_cifar(folder):
        return _cifar(folder, split)
    root = folder / split
    if (root / "val_annotations.txt").is_file() and (root / "images").is_dir():
        return _annotated(root)
    classes = sorted(entry.name for entry in _entries(root) if entry.is_dir())
    return _files({name: _images(root / name) for name in classes})


def list_digits() -> tuple[Split, Split]:
    """Return scikit-learn's digits as (train, test): every fifth image of a class, in file order, is a test image."""
    table = _digits_table()
    labels = torch.from_numpy(table[:, -1]).long()
    rank = (labels[:, None] == labels[None]).tril().sum(1) - 1  # [N] position among the images of the same class
    pixels = (table[:, :-1].reshape(-1, 8, 8) * (255 / 16)).round().astype(np.uint8)  # [N, 8, 8], from 0..16
    digits = _arrays(tuple(str(digit) for digit in range(10)), labels, pixels)
    is_test = rank % 5 == 4
    return digits.select((~is_test).nonzero()[:, 0]), digits.select(is_test.nonzero()[:, 0])


def _digits_table() -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return scikit-learn's file of digits, [1797, 65]: 64 pixels and the class; its own reader imports for seconds."""
    package = importlib.util.find_spec("sklearn")
    if package is None or not package.submodule_search_locations:
        raise BenchmarkError("dataset 'digits': it is a file of scikit-learn: pip install scikit-learn")
    path = Path(package.submodule_search_locations[0]) / "datasets" / "data" / "digits.csv.gz"
    with gzip.open(path, "rt", encoding="ascii") as lines:
        return np.loadtxt(lines, delimiter=",")


def hold_out(split: Split) -> tuple[Split, Split]:
    """Divide every class with a fixed seed: nine tenths to train on, and one tenth (at least one image) to test on."""
    held = torch.zeros(len(split.labels), dtype=torch.bool)
    for label in range(len(split.classes)):
        members = (split.labels == label).nonzero()[:, 0]
        order = np.random.default_rng(seed_of("holdout", label)).permutation(len(members))
        held[members[order[: max(1, round(HELD_OUT * len(members)))]]] = True
    return split.select((~held).nonzero()[:, 0]), split.select(held.nonzero()[:, 0])


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return [entry for entry in entries if not entry.name.startswith(".")]


def _images(folder: Path) -> Iterator[os.DirEntry[str]]:
    """Yield the image files at any depth below a folder."""
    for entry in _entries(folder):
        if entry.is_dir():
            yield from _images(Path(entry.path))
        elif Path(entry.name).suffix.lower() not in IGNORED:
            yield entry


def _files(by_class: dict[str, Iterator[os.DirEntry[str]] | list[os.DirEntry[str]]]) -> Split:
    """Return a split of the files of each class; the files of a class are sorted by path."""
    labels, items, keys = [], [], []
    for label, (name, entries) in enumerate(by_class.items()):
        for entry in sorted(entries, key=lambda entry: entry.path):
            labels.append(label)
            items.append(entry.path)
            keys.append(f"{name}/{entry.name} {entry.stat().st_size}")
    return Split(tuple(by_class), torch.tensor(labels, dtype=torch.int64), items, keys)


def _annotated(folder: Path) -> Split:
    """Return Tiny ImageNet's ``val``: the images lie in one folder, their classes in ``val_annotations.txt``."""
    annotations = folder / "val_annotations.txt"
    class_of = dict(line.split("\t")[:2] for line in annotations.read_text().splitlines() if line.count("\t"))
    by_class: dict[str, list[os.DirEntry[str]]] = {name: [] for name in sorted(set(class_of.values()))}
    unknown = []
    for entry in _images(folder / "images"):
        if entry.name in class_of:
            by_class[class_of[entry.name]].append(entry)
        else:
            unknown.append(entry.name)
    if unknown:
        some = ", ".join(sorted(unknown)[:5])
        raise BenchmarkError(f"{annotations}: has no class for {len(unknown)} images, {some} among them")
    return _files(dict(by_class))


def _is_cifar(folder: Path) -> bool:
    return folder.name == CIFAR and (folder / "data_batch_1").is_file()


def _cifar(folder: Path, split: str) -> Split:
    """Return CIFAR-10 from the files that torchvision unpacks."""
    from torchvision.datasets import CIFAR10  # slow to import, and needed for this layout only

    try:
        data = CIFAR10(str(folder.parent), train=split == "train", download=False)
    except RuntimeError as error:
        raise BenchmarkError(
            f"{folder}: files are damaged or incomplete; delete the folder and fetch it again"
        ) from error
    return _arrays(tuple(data.classes), torch.tensor(data.targets), data.data)


def _arrays(classes: tuple[str, ...], labels: Tensor, pixels: Pixels) -> Split:
    keys = [
        f"{classes[c]} {hashlib.sha256(p.tobytes()).hexdigest()}" for c, p in zip(labels.tolist(), pixels, strict=True)
    ]
    # Each image is a copy: a slice of ``pixels`` would keep all other images reachable, those of the other split too.
    return Split(classes, labels, [image.copy() for image in pixels], keys)
