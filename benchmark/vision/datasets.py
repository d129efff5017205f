"""Datasets: what ``configs/datasets/NAME.yaml`` says, where the files lie, and their two splits.

A training set never leads to its test split: what `open_train` returns holds the training images alone, and of the test
split it knows a hash. Under the view "holdout", for all that is tuned, the test split is a tenth of the real training
set and the real test split is not even listed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from pydantic import Field, ValidationInfo, field_validator
from torch import Tensor

from benchmark.api import DatasetInfo, Frozen, ImageData, TestData, TrainData
from benchmark.config_files import load, names
from benchmark.errors import BenchmarkError, DataMissing, Faults, unknown
from benchmark.identity import digest
from benchmark.vision import fetching, layouts, reading
from benchmark.vision.layouts import Split
from benchmark.vision.models import Stem
from benchmark.vision.training import TrainRecipe

DataView: TypeAlias = Literal["full", "holdout"]
Report: TypeAlias = Callable[[int, int], None]  # (done, total)


class Budget(Frozen):
    """How long a student trains."""

    epochs: int = Field(ge=1)  # on a synthetic set
    batch_size: int = Field(ge=1)
    full_epochs: int = Field(ge=1)  # on the whole real training set


class Resources(Frozen):
    """What one task on this dataset takes."""

    cpus: int = Field(ge=1)  # processor cores
    teacher_cpus: int = Field(1, ge=1)  # for what all else waits for: teachers, and preparations
    gpus: float = Field(0, ge=0)  # where there are graphics cards, the share of one; 0: on the CPU even there
    memory_gb: float = Field(gt=0)  # main memory, in gigabytes


class Archive(Frozen):
    """A public file to download."""

    url: str  # of the archive
    md5: str = Field(pattern="^[0-9a-f]{32}$")  # checksum of the archive


class DatasetConfig(Frozen):
    """A dataset as ``configs/datasets/NAME.yaml`` describes it."""

    name: str  # the file's stem
    title: str  # as tables print it
    description: str
    source: Literal["digits", "folder"]  # scikit-learn's digits, or files below the data directory
    folder: str = Field("", validate_default=True)  # below the data directory; two datasets may share one
    unpacked: tuple[str, ...] = ()  # what archives call the folder; looked for below `folder` and beside it
    classes: int = Field(ge=2)  # number of classes
    class_names: dict[str, str] = Field(default_factory=dict)  # readable names of class folders
    resize: int = Field(ge=1)  # the short side, in pixels
    resolution: int = Field(ge=1)  # of the central square that is kept
    mean: tuple[float, float, float]  # of pixels in [0, 1], per channel
    std: tuple[float, float, float]  # of pixels in [0, 1], per channel
    flip: bool = True  # a mirrored image still shows its class
    smallest_crop: float = Field(0.08, gt=0, le=1)  # share of the area below which a crop no longer shows the class
    stem: Stem = Stem()  # how networks take in images of this size
    teacher: TrainRecipe  # the network that gives features and labels, and how it is trained
    neutral: str = "mobilenetv2"  # a network, trained as the teacher is, that measures look through beside it
    student: Budget  # how long a student trains
    needs_gpu: bool = False  # its recipes are out of reach of a CPU
    streaming: bool = False  # decode on every read, where a cache would be too large
    resources: Resources  # what one task takes of a machine
    fetch: Archive | None = None  # what `benchmark data fetch` downloads
    by_hand: str = ""  # how to get it where nothing may be downloaded; DATA stands for the data directory

    @field_validator("folder")
    @classmethod
    def _folder_where_there_are_files(cls, folder: str, others: ValidationInfo) -> str:
        if others.data.get("source") == "folder" and not folder:
            raise ValueError("needed by the source 'folder': the directory below the data directory")
        return folder

    @field_validator("teacher")
    @classmethod
    def _trains(cls, teacher: TrainRecipe) -> TrainRecipe:
        if teacher.epochs < 1:  # also where its own weights are published: other networks are trained by it
            raise ValueError("epochs: 1 or more; a network of another architecture would stay untrained")
        return teacher

    @field_validator("resolution")
    @classmethod
    def _crop_fits(cls, resolution: int, others: ValidationInfo) -> int:
        if resolution > others.data.get("resize", resolution):
            raise ValueError("the crop is larger than the resized short side (resize)")
        return resolution


@dataclass(frozen=True)
class Check:
    """What `check` found: images per class folder of each split, and one line for every file that cannot be read."""

    train: dict[str, int]
    test: dict[str, int]
    unreadable: tuple[str, ...]


class _Images(ImageData):
    def __init__(self, info: DatasetInfo, labels: Tensor, pixels: Callable[[Tensor], Tensor]) -> None:
        self.info, self.labels, self._pixels = info, labels, pixels

    def read(self, indices: Tensor) -> Tensor:
        return self._pixels(indices)


class _Train(_Images, TrainData):
    pass


class _Test(_Images, TestData):
    pass


def list_datasets() -> list[str]:
    """Return the names of all described datasets."""
    return names("datasets")


def load_dataset(name: str) -> DatasetConfig:
    """Return the description of a dataset.

    Raises:
        BenchmarkError: no such dataset, or faults in its file, each with its key.
    """
    if name not in list_datasets():
        raise BenchmarkError(unknown("dataset", name, list_datasets()))
    return load(DatasetConfig, "datasets", name)


def status(config: DatasetConfig, root: Path) -> str | None:
    """Return None where the data can be read, else why not and what to do about it.

    Args:
        config: the dataset.
        root: the data directory.
    """
    if config.source == "digits" or _location(config, root):
        return None
    if config.fetch:
        return f"not on disk: python -m benchmark data fetch {config.name} --data {root}"
    return f"not on disk: {config.by_hand.replace('DATA', str(root))}"


def info(config: DatasetConfig, root: Path, view: DataView = "full") -> DatasetInfo:
    """Return what is known of a dataset from its file listing; no image is decoded.

    Raises:
        DataMissing: not on disk; the text says how to get it.
        Faults: classes that are missing, empty or too many.
    """
    return _info(config, *_splits(config, root, view))


def open_train(config: DatasetConfig, root: Path, cache: Path, view: DataView = "full") -> TrainData:
    """Return the training split.

    Args:
        config: the dataset.
        root: the data directory.
        cache: directory for memory-mapped caches.
        view: "holdout" leaves out the tenth that `open_test` then returns.

    Raises:
        DataMissing: not on disk; the text says how to get it.
        BenchmarkError: unreadable images, a wrong layout, or no room for the cache.
    """
    train, test = _splits(config, root, view)
    return _Train(_info(config, train, test), train.labels, _pixels(config, train, cache))


def open_test(config: DatasetConfig, root: Path, cache: Path, view: DataView = "full") -> TestData:
    """Return the test split; under the view "holdout", a tenth of every class of the real training set.

    Arguments and errors are those of `open_train`.
    """
    train, test = _splits(config, root, view)
    return _Test(_info(config, train, test), test.labels, _pixels(config, test, cache))


def fetch(config: DatasetConfig, root: Path, report: Report = lambda done, total: None) -> None:
    """Download and unpack a dataset below the data directory; an interrupted download goes on where it stopped.

    Args:
        config: the dataset.
        root: the data directory.
        report: called with bytes done and bytes in all.

    Raises:
        BenchmarkError: it must be got by hand, the server or the connection failed, the checksum is wrong, or the disk
            is full.
    """
    if status(config, root) is None:
        return
    if config.fetch is None:
        raise BenchmarkError(f"dataset '{config.name}': {config.by_hand.replace('DATA', str(root))}")
    folder = root / config.folder
    archive = fetching.download(config.fetch.url, folder, config.fetch.md5, report)
    fetching.unpack(archive, folder)
    archive.unlink()


def check(config: DatasetConfig, root: Path, report: Report = lambda done, total: None) -> Check:
    """Open every image of both splits.

    Args:
        config: the dataset.
        root: the data directory.
        report: called with images done and images in all.

    Raises:
        DataMissing, Faults: as `info`.
    """
    train, test = _splits(config, root, "full")
    unreadable: list[str] = []
    done, total = 0, len(train.items) + len(test.items)
    for split in (train, test):
        for pixels, faults in reading.chunks(split, config.resize, config.resolution):
            unreadable += faults
            done += len(pixels)
            report(done, total)
    return Check(train.counts(), test.counts(), tuple(unreadable))


def _location(config: DatasetConfig, root: Path) -> Path | None:
    """Return the first folder that holds the dataset."""
    home = root / config.folder
    places = [home, *(home / name for name in config.unpacked), *(root / name for name in config.unpacked)]
    return next((place for place in places if layouts.is_dataset(place)), None)


def _splits(config: DatasetConfig, root: Path, view: DataView) -> tuple[Split, Split]:
    """List what `view` trains on and what it tests on."""
    if config.source == "digits":
        train, test = layouts.read_digits()
    else:
        place = _location(config, root)
        if place is None:
            raise DataMissing(f"dataset '{config.name}' is {status(config, root)}")
        train = layouts.read_split(place, "train")
        test = layouts.read_split(place, "val") if view == "full" else train
    if view == "holdout":
        train, test = layouts.carve(train)
    _refuse_faults(config, root, train, test)
    return train, test


def _refuse_faults(config: DatasetConfig, root: Path, train: Split, test: Split) -> None:
    where = f"{root / config.folder}" if config.folder else config.name
    faults = []
    if len(train.classes) != config.classes:
        faults.append(f"{where}: {len(train.classes)} training classes, where {config.name} has {config.classes}")
    for kind, split, other in (("training", train, test), ("test", test, train)):
        if missing := sorted(set(other.classes) - set(split.classes)):
            faults.append(f"{where}: no {kind} folder for {_some(missing)}")
        if empty := [name for name, n in split.counts().items() if not n]:
            faults.append(f"{where}: no {kind} images of {_some(empty)}")
    if faults:
        raise Faults(faults)


def _some(words: Sequence[str]) -> str:
    more = f" and {len(words) - 5} more" if len(words) > 5 else ""
    return ("class " if len(words) == 1 else "the classes ") + ", ".join(words[:5]) + more


def _info(config: DatasetConfig, train: Split, test: Split) -> DatasetInfo:
    decisive = config.model_dump(include={"resize", "resolution", "mean", "std", "flip"})
    splits = {"train": train.fingerprint(), "test": test.fingerprint()}
    return DatasetInfo(
        name=config.name,
        class_names=tuple(config.class_names.get(name, name) for name in train.classes),
        train_counts=tuple(train.counts().values()),
        resolution=config.resolution,
        mean=config.mean,
        std=config.std,
        flip=config.flip,
        fingerprint=digest({"preprocessing": reading.VERSION, **decisive, **splits})[:32],
    )


def _pixels(config: DatasetConfig, split: Split, cache: Path) -> Callable[[Tensor], Tensor]:
    if config.streaming:
        return reading.Streamed(split.items, config.resize, config.resolution)
    key = digest([reading.VERSION, config.resize, config.resolution, split.fingerprint()])[:16]
    return reading.mapped(cache / f"{config.name}-{key}.npy", split, config.resize, config.resolution)
