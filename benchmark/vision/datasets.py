"""Datasets: where their files lie, and their two splits.

No path leads from a training set to its test split: `open_train` returns the training images and a hash of the test
split, nothing else. Tuning uses the hold-out: a tenth of the training set is the test split, and the real test split is
not even listed.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Literal, TypeAlias

from torch import Tensor

from benchmark.api import DatasetInfo, ImageData, TestData, TrainData
from benchmark.errors import BenchmarkError, Faults
from benchmark.identity import digest
from benchmark.vision import fetching, layouts, reading
from benchmark.vision.caching import Mapped
from benchmark.vision.descriptions import DatasetConfig, list_datasets, load_dataset
from benchmark.vision.layouts import Split
from benchmark.vision.listing import Report

__all__ = ["DatasetConfig", "Report", "TrainPart", "list_datasets", "load_dataset"]

TrainPart: TypeAlias = Literal["full", "holdout"]  # holdout: train on nine tenths, test on the other tenth


def silent(done: int, total: int) -> None:
    """Report nothing."""


@dataclass(frozen=True)
class Check:
    """The result of `check`: images per class folder of each split, and a line for every file that cannot be read.

    ``sizes`` holds the number of files by width and height in pixels.
    """

    train: dict[str, int]
    test: dict[str, int]
    unreadable: tuple[str, ...]
    sizes: dict[tuple[int, int], int]


class _Images(ImageData):
    def __init__(self, info: DatasetInfo, labels: Tensor, pixels: Callable[[Tensor], Tensor]) -> None:
        self.info, self.labels, self._pixels = info, labels, pixels

    def read(self, indices: Tensor) -> Tensor:
        return self._pixels(indices)


class _Train(_Images, TrainData):
    pass


class _WholeTrain(_Train):
    """A training split with whole images; they and their aspects are opened when somebody first asks for them."""

    def __init__(
        self, squares: _Train, open_whole: Callable[[], Callable[[Tensor], Tensor]], find_aspects: Callable[[], Tensor]
    ) -> None:
        super().__init__(squares.info, squares.labels, squares.read)
        self._open_whole, self._find_aspects = open_whole, find_aspects

    @cached_property
    def _whole(self) -> Callable[[Tensor], Tensor]:
        return self._open_whole()

    @cached_property
    def _aspects(self) -> Tensor:
        return self._find_aspects()

    def read_whole(self, indices: Tensor) -> Tensor:
        return self._whole(indices)

    def aspects(self, indices: Tensor) -> Tensor:
        return self._aspects[indices.cpu()]


class _Test(_Images, TestData):
    pass


def status(config: DatasetConfig, root: Path) -> str | None:
    """Return None if the dataset is on disk, else the reason with the remedy.

    Args:
        config: the dataset.
        root: the data directory.
    """
    if config.source == "digits" or location(config, root):
        return None
    if config.fetch:
        return f"not on disk: python -m benchmark data fetch {config.name} --data {root}"
    return f"not on disk: {config.how_to_get(root)}"


def location(config: DatasetConfig, root: Path) -> Path | None:
    """Return the folder that holds a dataset, which two datasets may share; None where it is not on disk."""
    home = root / config.folder
    folders = [home, *(home / name for name in config.unpacked), *(root / name for name in config.unpacked)]
    return next((folder for folder in folders if layouts.is_dataset(folder)), None)


def cache_folder(root: Path) -> Path:
    """Return the folder of decoded images and of lists of files.

    It lies in the data directory, or in the user's cache folder where that directory is read-only.
    """
    existing = next(path for path in (root, *root.absolute().parents) if path.exists())
    if os.access(existing, os.W_OK):
        return root / ".cache"
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "distillation-benchmark"


def info(
    config: DatasetConfig, root: Path, part: TrainPart = "full", *, quick: bool = False, report: Report = silent
) -> DatasetInfo:
    """Return the facts of a dataset from the list of its files; no image is decoded.

    Args:
        config: the dataset.
        root: the data directory.
        part: "holdout" for the facts of nine tenths of the training set.
        quick: trust the stored list of files where no folder has changed; else every file's size and time is looked at.
        report: called with the files hashed and the files in total, where contents have to be hashed.

    Raises:
        BenchmarkError: the dataset is not on disk; the message says how to get it.
        Faults: classes are missing, empty or too many, or ``class_names`` names a folder that is not there.
    """
    return _info(config, *_splits(config, root, part, quick=quick, report=report))


def nominal_info(config: DatasetConfig) -> DatasetInfo | None:
    """Return facts of a dataset that is not on disk, to plan with; None where its number of images is not known.

    Classes have equal sizes, except for the smallest one. Neither names nor fingerprint are those of the real dataset.
    """
    if config.images is None:
        return None
    smallest = config.images.smallest_class or config.images.train // config.classes
    size, remainder = divmod(config.images.train - smallest, config.classes - 1)
    return DatasetInfo(
        name=config.name,
        class_names=tuple(map(str, range(config.classes))),
        train_counts=(smallest, *(size + (label < remainder) for label in range(config.classes - 1))),
        resolution=config.resolution,
        mean=config.mean,
        std=config.std,
        flip=config.flip,
        fingerprint="nominal",
    )


def open_train(
    config: DatasetConfig, root: Path, cache: Path, part: TrainPart = "full", report: Report = silent
) -> TrainData:
    """Return the training split.

    Args:
        config: the dataset.
        root: the data directory.
        cache: directory for memory-mapped caches.
        part: "holdout" leaves out the tenth that `open_test` then returns.
        report: called with the images done and the images in total, where the cache has to be written.

    Raises:
        BenchmarkError: the dataset is not on disk (the message says how to get it), an image cannot be read, the layout
            is wrong, or the disk has no room for the cache.
    """
    train, test = _splits(config, root, part, quick=True, report=report)
    size = config.resize, config.resolution
    squares = _Train(_info(config, train, test), train.labels, _pixels(config, train, size, cache, report))
    if config.whole is None:
        return squares
    store = cache / f"{config.name}-{train.fingerprint()[:16]}.aspects"
    open_whole = partial(_pixels, config, train, (None, config.whole), cache, report)
    return _WholeTrain(squares, open_whole, partial(reading.aspects, train, store, report))


def open_test(
    config: DatasetConfig, root: Path, cache: Path, part: TrainPart = "full", report: Report = silent
) -> TestData:
    """Return the test split; for the part "holdout", a tenth of every class of the real training set.

    The arguments and errors are the same as for `open_train`.
    """
    train, test = _splits(config, root, part, quick=True, report=report)
    size = config.resize, config.resolution
    return _Test(_info(config, train, test), test.labels, _pixels(config, test, size, cache, report))


def fetch(config: DatasetConfig, root: Path, report: Report = silent) -> None:
    """Download and unpack a dataset into the data directory; an interrupted download continues where it stopped.

    Args:
        config: the dataset.
        root: the data directory.
        report: called with the bytes done and the bytes in total.

    Raises:
        BenchmarkError: the dataset must be downloaded by hand, the server or the connection failed, the checksum is
            wrong, or the disk is full.
    """
    if status(config, root) is None:
        return
    if config.fetch is None:
        raise BenchmarkError(f"dataset '{config.name}': {config.how_to_get(root)}")
    folder = root / config.folder
    archive = fetching.download(config.fetch.url, folder, config.fetch.md5, report)
    fetching.unpack(archive, folder)
    archive.unlink()


def check(config: DatasetConfig, root: Path, report: Report = silent) -> Check:
    """Open every image of both splits; ``report`` is called with the images done and in total. Errors: as `info`."""
    train, test = _splits(config, root, "full", quick=False, report=silent)
    unreadable: list[str] = []
    done, total = 0, len(train.items) + len(test.items)
    for split in (train, test):
        for pixels, faults in reading.chunks(split, config.resize, config.resolution):
            unreadable += faults
            done += len(pixels)
            report(done, total)
    return Check(train.counts(), test.counts(), tuple(unreadable), reading.sizes((train, test)))


def _splits(config: DatasetConfig, root: Path, part: TrainPart, *, quick: bool, report: Report) -> tuple[Split, Split]:
    """Return the training and the test images of a part, not decoded."""
    if config.source == "digits":
        train, test = layouts.list_digits()
    else:
        folder = location(config, root)
        if folder is None:
            raise BenchmarkError(f"dataset '{config.name}' is {status(config, root)}")
        list_split = partial(layouts.list_split, folder, store=cache_folder(root), quick=quick, report=report)
        train = list_split("train")
        test = list_split("val") if part == "full" else train
    if part == "holdout":
        train, test = layouts.hold_out(train)
    _refuse_faults(config, root, train, test)
    return train, test


def _refuse_faults(config: DatasetConfig, root: Path, train: Split, test: Split) -> None:
    where = f"{root / config.folder}" if config.folder else config.name
    nowhere = sorted(config.class_names.keys() - {*train.classes, *test.classes})
    faults = [f"{where}: class_names: no folder is called {', '.join(nowhere[:5])}"] if nowhere else []
    names = Counter(config.class_names.get(name, name) for name in train.classes)
    if repeated := [name for name, count in names.items() if count > 1]:
        faults.append(f"{where}: class_names: two folders have the name {', '.join(repeated[:5])}")
    if len(train.classes) != config.classes:
        faults.append(f"{where}: {len(train.classes)} training classes, where {config.name} has {config.classes}")
    for kind, split, other in (("training", train, test), ("test", test, train)):
        if missing_classes := sorted(set(other.classes) - set(split.classes)):
            faults.append(f"{where}: no {kind} folder for {_some(missing_classes)}")
        if empty := [name for name, n in split.counts().items() if not n]:
            faults.append(f"{where}: no {kind} images of {_some(empty)}")
    if faults:
        raise Faults(faults)


def _some(classes: Sequence[str]) -> str:
    more = f" and {len(classes) - 5} more" if len(classes) > 5 else ""
    return ("class " if len(classes) == 1 else "the classes ") + ", ".join(classes[:5]) + more


def _info(config: DatasetConfig, train: Split, test: Split) -> DatasetInfo:
    preprocessing = config.model_dump(include={"resize", "resolution", "mean", "std", "flip"})
    preprocessing |= {"whole": config.whole} if config.whole else {}
    splits = {"train": train.fingerprint(), "test": test.fingerprint()}
    return DatasetInfo(
        name=config.name,
        class_names=tuple(config.class_names.get(name, name) for name in train.classes),
        train_counts=tuple(train.counts().values()),
        resolution=config.resolution,
        mean=config.mean,
        std=config.std,
        flip=config.flip,
        fingerprint=digest({"preprocessing": reading.VERSION, **preprocessing, **splits})[:32],
    )


def _pixels(
    config: DatasetConfig, split: Split, size: tuple[int | None, int], cache: Path, report: Report
) -> Callable[[Tensor], Tensor]:
    """Return a function that reads pixels; ``size`` has the two sizes of `reading.decode`."""
    if config.streaming:
        return reading.Streamed(split, *size)
    key = digest([reading.VERSION, *size, split.fingerprint()])[:16]
    return Mapped(cache / f"{config.name}-{key}.npy", split, *size, report)
