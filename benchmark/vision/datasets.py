"""Datasets: their descriptions in ``configs/datasets/NAME.yaml``, where their files lie, and their two splits.

No path leads from a training set to its test split: `open_train` returns the training images and a hash of the test
split, nothing else. Tuning uses the hold-out: a tenth of the training set is the test split, and the real test split is
not even listed.
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
from benchmark.vision.training import TeacherTraining

TrainPart: TypeAlias = Literal["full", "holdout"]  # holdout: train on nine tenths, test on the other tenth
Report: TypeAlias = Callable[[int, int], None]  # (done, total)


class Budget(Frozen):
    """How long a student is trained."""

    epochs: int = Field(ge=1)  # on a synthetic set
    batch_size: int = Field(ge=1)
    full_epochs: int = Field(ge=1)  # on the whole real training set


class Resources(Frozen):
    """What one node on this dataset needs of a machine."""

    cpus: int = Field(ge=1)  # processor cores
    teacher_cpus: int = Field(1, ge=1)  # of teachers and preparations, for which all other nodes wait
    gpus: float = Field(0, ge=0)  # share of a graphics card; 0: run on the CPU even where there is a card
    memory_gb: float = Field(gt=0)  # main memory, in gigabytes


class Archive(Frozen):
    """A public file to download."""

    url: str  # of the archive
    md5: str = Field(pattern="^[0-9a-f]{32}$")  # checksum of the archive


class DatasetConfig(Frozen):
    """The description of a dataset in ``configs/datasets/NAME.yaml``."""

    name: str  # the file's stem
    title: str  # its name in tables
    description: str
    source: Literal["digits", "folder"]  # scikit-learn's digits, or files below the data directory
    folder: str = Field("", validate_default=True)  # below the data directory; two datasets may share one
    unpacked: tuple[str, ...] = ()  # names of the folder in archives; searched below `folder` and beside it
    classes: int = Field(ge=2)  # number of classes
    class_names: dict[str, str] = Field(default_factory=dict)  # readable names of class folders
    resize: int = Field(ge=1)  # the short side, in pixels
    resolution: int = Field(ge=1)  # side of the central square that is kept, in pixels
    mean: tuple[float, float, float]  # of pixels in [0, 1], per channel
    std: tuple[float, float, float]  # of pixels in [0, 1], per channel
    flip: bool = True  # a mirrored image still shows its class
    smallest_crop: float = Field(0.08, gt=0, le=1)  # share of the area below which a crop no longer shows the class
    stem: Stem = Stem()  # the first layer of networks, which depends on the resolution
    teacher: TeacherTraining  # the network that gives features and labels, and its training
    neutral: str = "mobilenetv2"  # a second network for measures, trained in the same way as the teacher
    student: Budget  # how long a student is trained
    needs_gpu: bool = False  # its methods and teachers are too slow on a CPU
    streaming: bool = False  # decode at every read, because a cache would be too large
    resources: Resources  # what one node needs of a machine
    fetch: Archive | None = None  # what `benchmark data fetch` downloads
    by_hand: str = ""  # how to get a dataset that cannot be downloaded; DATA stands for the data directory

    @field_validator("folder")
    @classmethod
    def _folder_where_there_are_files(cls, folder: str, others: ValidationInfo) -> str:
        if others.data.get("source") == "folder" and not folder:
            raise ValueError("needed by the source 'folder': the directory below the data directory")
        return folder

    @field_validator("teacher")
    @classmethod
    def _trains(cls, teacher: TeacherTraining) -> TeacherTraining:
        if teacher.epochs < 1:  # even if its weights are published: other networks are trained with it
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
    """The result of `check`: images per class folder of each split, and a line for every file that cannot be read."""

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
    """Return the names of all datasets that have a description."""
    return names("datasets")


def load_dataset(name: str) -> DatasetConfig:
    """Return the description of a dataset.

    Raises:
        BenchmarkError: there is no such dataset, or its file has faults; each fault names its key.
    """
    if name not in list_datasets():
        raise BenchmarkError(unknown("dataset", name, list_datasets()))
    return load(DatasetConfig, "datasets", name)


def status(config: DatasetConfig, root: Path) -> str | None:
    """Return None if the dataset is on disk, else the reason with the remedy.

    Args:
        config: the dataset.
        root: the data directory.
    """
    if config.source == "digits" or _location(config, root):
        return None
    if config.fetch:
        return f"not on disk: python -m benchmark data fetch {config.name} --data {root}"
    return f"not on disk: {config.by_hand.replace('DATA', str(root))}"


def info(config: DatasetConfig, root: Path, part: TrainPart = "full") -> DatasetInfo:
    """Return the facts of a dataset from the list of its files; no image is decoded.

    Raises:
        DataMissing: the dataset is not on disk; the message says how to get it.
        Faults: classes are missing, empty or too many.
    """
    return _info(config, *_splits(config, root, part))


def open_train(config: DatasetConfig, root: Path, cache: Path, part: TrainPart = "full") -> TrainData:
    """Return the training split.

    Args:
        config: the dataset.
        root: the data directory.
        cache: directory for memory-mapped caches.
        part: "holdout" leaves out the tenth that `open_test` then returns.

    Raises:
        DataMissing: the dataset is not on disk; the message says how to get it.
        BenchmarkError: an image cannot be read, the layout is wrong, or the disk has no room for the cache.
    """
    train, test = _splits(config, root, part)
    return _Train(_info(config, train, test), train.labels, _pixels(config, train, cache))


def open_test(config: DatasetConfig, root: Path, cache: Path, part: TrainPart = "full") -> TestData:
    """Return the test split; for the part "holdout", a tenth of every class of the real training set.

    The arguments and errors are the same as for `open_train`.
    """
    train, test = _splits(config, root, part)
    return _Test(_info(config, train, test), test.labels, _pixels(config, test, cache))


def fetch(config: DatasetConfig, root: Path, report: Report = lambda done, total: None) -> None:
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
        report: called with the images done and the images in total.

    Raises:
        DataMissing, Faults: as for `info`.
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
    folders = [home, *(home / name for name in config.unpacked), *(root / name for name in config.unpacked)]
    return next((folder for folder in folders if layouts.is_dataset(folder)), None)


def _splits(config: DatasetConfig, root: Path, part: TrainPart) -> tuple[Split, Split]:
    """Return the training and the test images of a part, not decoded."""
    if config.source == "digits":
        train, test = layouts.list_digits()
    else:
        folder = _location(config, root)
        if folder is None:
            raise DataMissing(f"dataset '{config.name}' is {status(config, root)}")
        train = layouts.list_split(folder, "train")
        test = layouts.list_split(folder, "val") if part == "full" else train
    if part == "holdout":
        train, test = layouts.hold_out(train)
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


def _some(classes: Sequence[str]) -> str:
    more = f" and {len(classes) - 5} more" if len(classes) > 5 else ""
    return ("class " if len(classes) == 1 else "the classes ") + ", ".join(classes[:5]) + more


def _info(config: DatasetConfig, train: Split, test: Split) -> DatasetInfo:
    preprocessing = config.model_dump(include={"resize", "resolution", "mean", "std", "flip"})
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


def _pixels(config: DatasetConfig, split: Split, cache: Path) -> Callable[[Tensor], Tensor]:
    if config.streaming:
        return reading.Streamed(split.items, config.resize, config.resolution)
    key = digest([reading.VERSION, config.resize, config.resolution, split.fingerprint()])[:16]
    return reading.mapped(cache / f"{config.name}-{key}.npy", split, config.resize, config.resolution)
