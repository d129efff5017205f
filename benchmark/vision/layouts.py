"""Layouts of image folders: list the images of a split without decoding them."""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from benchmark.errors import BenchmarkError
from benchmark.identity import seed_of
from benchmark.vision.listing import DIGEST, UNKNOWN, Listing, Report, up_to_date

CIFAR = {  # the folders that torchvision unpacks CIFAR to: its class there, and a file in them
    "cifar-10-batches-py": ("CIFAR10", "data_batch_1"),
    "cifar-100-python": ("CIFAR100", "train"),
}
IGNORED = (".txt", ".csv", ".db", ".ini")  # files that are no images, some of them written by file managers
HELD_OUT = 0.1  # share of a class that `hold_out` leaves out of training

Pixels: TypeAlias = np.ndarray[Any, np.dtype[np.uint8]]


@dataclass(frozen=True)
class Split:
    """The images of one split, not decoded yet.

    Attributes:
        classes: names of the class folders, sorted.
        labels: int64 [N], indices into ``classes``.
        items: [N] the path of a file, or its pixels: uint8 [H, W] or [H, W, 3].
        digests: the SHA-256 of each image's content, N x 32 bytes: of its file, or of its pixels.
    """

    classes: tuple[str, ...]
    labels: Tensor
    items: Sequence[str | Pixels]
    digests: bytes

    def select(self, indices: Tensor) -> Split:
        """Return a split with the images at ``indices`` [n] only."""
        rows = indices.tolist()
        digests = b"".join(self.digests[row * DIGEST : (row + 1) * DIGEST] for row in rows)
        return Split(self.classes, self.labels[indices], [self.items[row] for row in rows], digests)

    def counts(self) -> dict[str, int]:
        """Return the number of images of each class."""
        return dict(zip(self.classes, torch.bincount(self.labels, minlength=len(self.classes)).tolist(), strict=True))

    def fingerprint(self) -> str:
        """Return a hash of the classes and contents of all images, in their order; names of files do not count."""
        text, side = self.digests.hex(), 2 * DIGEST
        names = [self.classes[label] for label in self.labels.tolist()]
        lines = [f"{name} {text[row * side : (row + 1) * side]}" for row, name in enumerate(names)]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def is_dataset(folder: Path) -> bool:
    """Return whether a folder has a training and a test split in a layout that `list_split` knows."""
    return ((folder / "train").is_dir() and (folder / "val").is_dir()) or _is_cifar(folder)


def list_split(folder: Path, split: Literal["train", "val"], store: Path, *, quick: bool, report: Report) -> Split:
    """Return the images of one split, not decoded.

    Known layouts: ``SPLIT/CLASS/*`` (also with folders inside a class, as in Tiny ImageNet's ``train``), Tiny
    ImageNet's ``val`` with ``val_annotations.txt``, and CIFAR's ``cifar-10-batches-py`` and ``cifar-100-python``.

    Args:
        folder: the folder of the dataset.
        split: the name of the folder in it.
        store: a folder for lists of files; see `up_to_date` for this and the other arguments.
        quick: trust a stored list where no folder has changed.
        report: called with the files hashed and the files in total.

    Raises:
        BenchmarkError: files of the layout are damaged or missing.
    """
    if _is_cifar(folder):
        return _cifar(folder, split)
    # The path from the store to the folder stays the same where a data directory with its store is moved.
    name = hashlib.sha256(os.path.relpath(folder, store).encode()).hexdigest()[:12]
    path = store / f"{folder.name}-{split}-{name}.files"
    files = up_to_date(folder, lambda: _Scan(folder).split(split), path, quick=quick, report=report)
    start = os.path.join(folder, "")  # noqa: PTH118
    items = [start + path for path in files.paths]
    return Split(files.classes, torch.from_numpy(files.labels), items, files.digests)


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


class _Scan:
    """Lists the files of a split without hashes, and notes all folders and files that the list is made from."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.sources = folder, dict[str, int]()

    def split(self, name: str) -> Listing:
        root = self.folder / name
        if (root / "val_annotations.txt").is_file() and (root / "images").is_dir():
            return self._annotated(root)
        classes = sorted(entry.name for entry in self._entries(root) if entry.is_dir())
        return self._listing({name: self._images(root / name) for name in classes})

    def _entries(self, folder: Path) -> list[os.DirEntry[str]]:
        self._note(folder)
        with os.scandir(folder) as entries:
            return [entry for entry in entries if not entry.name.startswith(".")]

    def _note(self, path: Path) -> None:
        self.sources[str(path.relative_to(self.folder))] = path.stat().st_mtime_ns

    def _images(self, folder: Path) -> Iterator[os.DirEntry[str]]:
        """Yield the image files at any depth below a folder; a link that leads nowhere is found when it is decoded."""
        for entry in self._entries(folder):
            if entry.is_dir():
                yield from self._images(Path(entry.path))
            elif not entry.name.lower().endswith(IGNORED) and (entry.is_file() or entry.is_symlink()):
                yield entry

    def _listing(self, by_class: Mapping[str, Iterator[os.DirEntry[str]] | list[os.DirEntry[str]]]) -> Listing:
        """Return a list of the files of each class; the files of a class are sorted by path."""
        labels, paths, sizes, times = list[int](), list[str](), list[int](), list[int]()
        start = len(os.path.join(self.folder, ""))  # noqa: PTH118
        for label, entries in enumerate(by_class.values()):
            for entry in sorted(entries, key=lambda entry: entry.path):
                size, when = _facts(entry)
                labels.append(label)
                paths.append(entry.path[start:])
                sizes.append(size)
                times.append(when)
        numbers = [np.array(values, np.int64) for values in (labels, sizes, times)]
        return Listing(tuple(by_class), numbers[0], paths, numbers[1], numbers[2], UNKNOWN * len(paths), self.sources)

    def _annotated(self, root: Path) -> Listing:
        """Return Tiny ImageNet's ``val``: the images lie in one folder, their classes in ``val_annotations.txt``."""
        annotations = root / "val_annotations.txt"
        self._note(annotations)
        class_of = dict(line.split("\t")[:2] for line in annotations.read_text().splitlines() if line.count("\t"))
        by_class: dict[str, list[os.DirEntry[str]]] = {name: [] for name in sorted(set(class_of.values()))}
        unknown_names = []
        for entry in self._images(root / "images"):
            if entry.name in class_of:
                by_class[class_of[entry.name]].append(entry)
            else:
                unknown_names.append(entry.name)
        if unknown_names:
            examples = ", ".join(sorted(unknown_names)[:5])
            raise BenchmarkError(f"{annotations}: has no class for {len(unknown_names)} images, {examples} among them")
        return self._listing(by_class)


def _facts(entry: os.DirEntry[str]) -> tuple[int, int]:
    """Return the size in bytes and the time of the last change, in nanoseconds; (-1, -1) for a link to nothing."""
    try:
        facts = entry.stat()
    except OSError:
        return -1, -1
    return facts.st_size, facts.st_mtime_ns


def _is_cifar(folder: Path) -> bool:
    return folder.name in CIFAR and (folder / CIFAR[folder.name][1]).is_file()


def _cifar(folder: Path, split: str) -> Split:
    """Return CIFAR-10 or CIFAR-100 from the files that torchvision unpacks."""
    from torchvision import datasets  # slow to import, and needed for this layout only

    try:
        data = getattr(datasets, CIFAR[folder.name][0])(str(folder.parent), train=split == "train", download=False)
    except RuntimeError as error:
        raise BenchmarkError(
            f"{folder}: files are damaged or incomplete; delete the folder and fetch it again"
        ) from error
    return _arrays(tuple(data.classes), torch.tensor(data.targets), data.data)


def _arrays(classes: tuple[str, ...], labels: Tensor, pixels: Pixels) -> Split:
    digests = b"".join(hashlib.sha256(image.tobytes()).digest() for image in pixels)
    # Each image is a copy: a slice of ``pixels`` would keep all other images reachable, those of the other split too.
    return Split(classes, labels, [image.copy() for image in pixels], digests)
