"""Descriptions of datasets: the files ``configs/datasets/NAME.yaml``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveFloat, ValidationInfo, field_validator

from benchmark.api import Frozen
from benchmark.config_files import load, names
from benchmark.errors import BenchmarkError, unknown
from benchmark.vision.models import Stem
from benchmark.vision.training import TeacherTraining


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
    gpu_model: str = ""  # only cards of this model, as Ray names it (`H100`, `A100`); empty: any
    silent_minutes: float = Field(10, gt=0)  # a worker without a heartbeat for so long is ended, its node tried again


class Archive(Frozen):
    """A public file to download."""

    url: str  # of the archive
    md5: str = Field(pattern="^[0-9a-f]{32}$")  # checksum of the archive


class Images(Frozen):
    """How many images a dataset has, to plan it before it is on disk."""

    train: int = Field(ge=1)  # training images
    test: int = Field(ge=1)  # test images
    smallest_class: int | None = Field(None, ge=1)  # training images of the smallest class; empty: classes are equal


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
    whole: int | None = Field(None, ge=1)  # side, in pixels, of whole training images for crops; empty: of the squares
    mean: tuple[float, float, float]  # of pixels in [0, 1], per channel
    std: tuple[PositiveFloat, PositiveFloat, PositiveFloat]  # of pixels in [0, 1], per channel
    flip: bool = True  # a mirrored image still shows its class
    smallest_crop: float = Field(0.08, gt=0, le=1)  # share of the area below which a crop no longer shows the class
    images: Images | None = None  # how many it has, by its makers; files on disk are counted
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
