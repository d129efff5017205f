"""Descriptions of datasets: the files ``configs/datasets/NAME.yaml``."""

from __future__ import annotations

from collections import Counter
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal, TypeAlias

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from benchmark.api import Frozen
from benchmark.config_files import FileName, load, names
from benchmark.errors import BenchmarkError, unknown
from benchmark.files import path_fault
from benchmark.vision.models import Stem
from benchmark.vision.training import TeacherTraining


def _check_folder(folder: str) -> str:
    if folder.startswith("/") or any(path_fault(part) for part in PurePosixPath(folder).parts):
        raise ValueError("expected folders below the data directory, as in 'birds/photographs'")
    return folder


Below: TypeAlias = Annotated[str, AfterValidator(_check_folder)]  # a folder below another one
Level: TypeAlias = Annotated[float, Field(ge=0, le=1)]  # a value of pixels in [0, 1]
Spread: TypeAlias = Annotated[float, Field(gt=0, le=1)]


class Budget(Frozen):
    """How long a student is trained."""

    epochs: int = Field(300, ge=1)  # the epochs on a synthetic set
    batch_size: int = Field(50, ge=1)
    full_epochs: int = Field(30, ge=1)  # the epochs on the whole real training set


class Resources(Frozen):
    """What one node on this dataset needs of a machine."""

    cpus: int = Field(1, ge=1)  # processor cores
    teacher_cpus: int = Field(1, ge=1)  # the cores of teachers and preparations, for which all other nodes wait
    gpus: float = Field(0.25, ge=0)  # share of a graphics card; 0: run on the CPU even where there is a card
    memory_gb: float = Field(4, gt=0)  # main memory, in gigabytes
    gpu_model: str = ""  # only cards of this model, as Ray names it (`H100`, `A100`); empty: any
    silent_minutes: float = Field(10, gt=0)  # a worker without a heartbeat for so long is ended, its node tried again


class Archive(Frozen):
    """A public file to download."""

    url: str = Field(pattern="^https?://.")  # the address of the archive
    md5: str = Field(pattern="^[0-9a-f]{32}$")  # checksum of the archive


class Images(Frozen):
    """How many images a dataset has, to plan it before it is on disk."""

    train: int = Field(ge=1)  # training images
    test: int = Field(ge=1)  # test images
    smallest_class: int | None = Field(None, ge=1)  # training images of the smallest class; empty: classes are equal


TEACHER = TeacherTraining(arch="resnet18", epochs=30, batch_size=100, learning_rate=0.05)


class DatasetConfig(Frozen):
    """The description of a dataset in ``configs/datasets/NAME.yaml``."""

    name: str  # the file's stem
    title: str  # its name in tables
    description: str = ""
    source: Literal["digits", "folder"] = "folder"  # scikit-learn's digits, or files below the data directory
    folder: Below = Field("", validate_default=True)  # below the data directory; two datasets may share one
    unpacked: tuple[Below, ...] = ()  # names of the folder in archives; searched below `folder` and beside it
    classes: int = Field(ge=2)  # number of classes
    class_names: dict[str, FileName] = Field(default_factory=dict)  # readable names of class folders, of all or of some
    resize: int = Field(ge=1)  # the short side, in pixels
    resolution: int = Field(ge=1)  # side of the central square that is kept, in pixels
    whole: int | None = Field(None, ge=1)  # side, in pixels, of whole training images for crops; empty: of the squares
    mean: tuple[Level, Level, Level] = (0.485, 0.456, 0.406)  # mean of pixels in [0, 1] per channel; ImageNet's
    std: tuple[Spread, Spread, Spread] = (0.229, 0.224, 0.225)  # deviation of these per channel; ImageNet's
    flip: bool = True  # a mirrored image still shows its class
    smallest_crop: float = Field(0.08, gt=0, le=1)  # share of the area below which a crop no longer shows the class
    images: Images | None = None  # how many it has, by its makers; files on disk are counted
    stem: Stem = Stem()  # the first layer of networks, which depends on the resolution
    teacher: TeacherTraining = TEACHER  # the network that gives features and labels, and its training
    neutral: str = "mobilenetv2"  # a second network for measures, trained in the same way as the teacher
    student: Budget = Budget()  # how long a student is trained
    recipes_of: str = ""  # a dataset whose recipes hold, also those of protocols, where there are none for this one
    needs_gpu: bool = False  # its methods and teachers are too slow on a CPU
    streaming: bool = False  # decode at every read, because a cache would be too large
    resources: Resources = Resources()  # what one node needs of a machine
    fetch: Archive | None = None  # what `benchmark data fetch` downloads
    by_hand: str = ""  # how to get what cannot be downloaded, DATA being the data directory; empty: the usual layout

    def how_to_get(self, root: Path) -> str:
        """Return what a user does by hand to get the dataset into a data directory."""
        layout = f"copy its images to DATA/{self.folder}/train/CLASS and DATA/{self.folder}/val/CLASS"
        return (self.by_hand or layout).replace("DATA", str(root))

    @field_validator("folder")
    @classmethod
    def _folder_where_there_are_files(cls, folder: str, info: ValidationInfo) -> str:
        if info.data.get("source") == "folder" and not folder:
            raise ValueError("needed by the source 'folder': the directory below the data directory")
        return folder

    @field_validator("recipes_of")
    @classmethod
    def _has_recipes(cls, other: str) -> str:
        if other and other not in list_datasets():
            raise ValueError(unknown("dataset", other, list_datasets()))
        return other

    @field_validator("class_names")
    @classmethod
    def _name_classes(cls, class_names: dict[str, str], info: ValidationInfo) -> dict[str, str]:
        if len(class_names) > info.data.get("classes", len(class_names)):
            raise ValueError(f"{len(class_names)} names for {info.data['classes']} classes")
        if repeated_names := sorted(name for name, count in Counter(class_names.values()).items() if count > 1):
            raise ValueError(f"two classes have the name {', '.join(repeated_names)}")
        return class_names

    @field_validator("teacher")
    @classmethod
    def _trains(cls, teacher: TeacherTraining) -> TeacherTraining:
        if teacher.epochs < 1:  # even if its weights are published: other networks are trained with it
            raise ValueError("epochs: 1 or more; a network of another architecture would stay untrained")
        if teacher.nesterov and not teacher.momentum:
            raise ValueError("nesterov: it needs a momentum above 0")
        return teacher

    @field_validator("resolution")
    @classmethod
    def _crop_fits(cls, resolution: int, info: ValidationInfo) -> int:
        if resolution > info.data.get("resize", resolution):
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
