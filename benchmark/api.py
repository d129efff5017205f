"""The nouns that a contributor imports: data, teachers, synthetic sets, labels, and the two things one can add.

A method is a file in ``methods/`` with one subclass of `Distiller`; a label regime or an evaluator is a file in
``evaluators/`` with one subclass of `LabelRegime` or `Evaluator`. The file's stem is its name. The fields of the class
are its hyperparameters, the whole of them: what is not a field cannot change a result.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from benchmark.identity import seed_of
from benchmark.synthetic import LabeledSet, Labels, SyntheticSet

__all__ = [
    "Component",
    "Context",
    "DatasetInfo",
    "Distiller",
    "Evaluator",
    "LabelRegime",
    "LabeledSet",
    "Labels",
    "Measure",
    "Preparation",
    "SyntheticSet",
    "TeacherSpec",
    "TestData",
    "TrainData",
    "Unit",
]


class Frozen(BaseModel):
    """Plain, validated, immutable values; an unknown field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class DatasetInfo(Frozen):
    """What may be known of a dataset without reading an image."""

    name: str
    class_names: tuple[str, ...]
    train_counts: tuple[int, ...]  # training images per class
    resolution: int  # images are [channels, resolution, resolution]
    channels: int = 3
    mean: tuple[float, ...]  # of pixels in [0, 1], per channel
    std: tuple[float, ...]
    flip: bool = True  # a mirrored image still shows its class
    fingerprint: str  # hash of all that decides the pixels that `read` returns

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)


class ImageData(ABC):
    """Labelled images behind one interface, whether they lie in memory or are decoded on demand."""

    info: DatasetInfo
    labels: Tensor  # [N] int64

    @abstractmethod
    def read(self, indices: Tensor) -> Tensor:
        """Return images as uint8 [n, C, H, W] for indices [n] int64, in that order."""

    def __len__(self) -> int:
        return len(self.labels)


class TrainData(ImageData):
    """The training split, the only real data that a method meets: no path leads from here to the test split."""

    @cached_property
    def _by_class(self) -> tuple[Tensor, ...]:
        order = torch.argsort(self.labels, stable=True)
        ends = torch.bincount(self.labels, minlength=self.info.classes).cumsum(0)
        return tuple(order.tensor_split(ends[:-1]))

    def indices_of(self, label: int) -> Tensor:
        """Return the indices (int64) of one class's training images, in the order of the data."""
        return self._by_class[label]


class TestData(ImageData):
    """The held-back split, read once, after the last training step of a student."""

    __test__ = False  # not a test case, whatever its name says to pytest


class Component(Frozen):
    """Something with a name, a version and hyperparameters: what an identity is made of."""

    version: ClassVar[int] = 1  # raised when results may change

    @classmethod
    def name(cls) -> str:
        """The stem of the file that defines it, without the underscore of shared parts."""
        return cls.__module__.rpartition(".")[2].lstrip("_")

    def identity(self) -> dict[str, Any]:
        """Return name, version and every hyperparameter, defaults included."""
        return {"name": self.name(), "version": self.version, "params": self.model_dump(mode="json")}


class TeacherSpec(Frozen):
    """A network to be trained on the real training set first, by the dataset's teacher recipe."""

    arch: str | None = None  # None: the dataset's own teacher
    neutral: bool = False  # the dataset's second opinion, a network that no method matches by default; without `arch`
    epochs: int | None = None  # None: the recipe's


class Unit(Frozen):
    """A part of a synthetic set that can be distilled apart from the rest: the grain of parallelism and of resumption.

    It holds one image for every pair of a class and a slot, class by class: ``labels`` is ``[c0, c0, ..., c1, ...]``.
    """

    index: int  # position among the units
    ipc: int  # images per class of the whole set
    classes: tuple[int, ...]
    slots: tuple[int, ...]  # which of the `ipc` images of each class

    @property
    def labels(self) -> Tensor:
        """Class of every image of the unit, int64 [len(classes) * len(slots)]."""
        return torch.tensor(self.classes).repeat_interleave(len(self.slots))


@dataclass(frozen=True)
class Context:
    """What the engine gives to a running component. A component never seeds globally, picks a device or prints."""

    device: torch.device
    precision: torch.dtype  # of `autocast`; float32 switches it off
    seed: int
    scratch: Path  # private folder that survives an interruption, gone when the work is done
    teachers: Sequence[nn.Module] = ()  # in the order of `Distiller.teachers`: frozen, in eval mode, on the device
    prepared: Mapping[str, Tensor] = field(default_factory=dict)  # what `Preparation.prepare` returned, on the CPU
    report: Callable[[int, int, Mapping[str, float]], None] = lambda step, total, scalars: None
    parts: dict[str, float] = field(default_factory=dict)  # seconds, from `timed`

    def generator(self, *axes: object, device: torch.device | str = "cpu") -> torch.Generator:
        """Return a fresh generator for named axes: the same name gives the same numbers, whatever ran before."""
        return torch.Generator(device).manual_seed(seed_of(self.seed, *axes))

    def autocast(self) -> torch.autocast:
        """Return the mixed-precision region for forward passes; losses and statistics stay in float32."""
        return torch.autocast(self.device.type, dtype=self.precision, enabled=self.precision != torch.float32)

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Add the seconds of a block to the record's cost, under the name of a part of the work."""
        start = time.perf_counter()
        yield
        self.parts[part] = self.parts.get(part, 0.0) + time.perf_counter() - start

    def progress(self, step: int, total: int, **scalars: float) -> None:
        """Say how far the work is (cheap; call it every step, with Python numbers only now and then)."""
        self.report(step, total, scalars)


class Preparation(Component, ABC):
    """Costly work that does not depend on IPC (statistics, expert trajectories), shared by all that ask for the same.

    Two methods that return equal preparations share one artifact.
    """

    def teachers(self) -> tuple[TeacherSpec, ...]:
        """Return the trained networks it needs; () for none."""
        return ()

    @abstractmethod
    def prepare(self, data: TrainData, context: Context) -> Mapping[str, Tensor]:
        """Return named tensors, stored as one safetensors file."""


class Distiller(Component, ABC):
    """A dataset-distillation method."""

    paper: ClassVar[str]  # where it comes from: title, venue, link
    title: ClassVar[str] = ""  # as a table prints it; "" for the name in capitals
    uses_ipc: ClassVar[bool] = True  # False: the set is the same at every IPC (the whole training set, say)

    def teachers(self) -> tuple[TeacherSpec, ...]:
        """Return the networks it needs trained first; () for none."""
        return ()

    def supports(self, info: DatasetInfo, ipc: int) -> str | None:
        """Return None, or the reason in words for which this cell is skipped."""
        return None

    def preparation(self, info: DatasetInfo) -> Preparation | None:
        """Return the costly work that is shared across IPC, or None."""
        return None

    def units(self, info: DatasetInfo, ipc: int) -> Sequence[Unit]:
        """Return the parts that can be distilled apart; one by default."""
        return (Unit(index=0, ipc=ipc, classes=tuple(range(info.classes)), slots=tuple(range(ipc))),)

    @abstractmethod
    def distill(self, data: TrainData, unit: Unit, context: Context) -> SyntheticSet:
        """Return the unit's synthetic images, class by class."""


class LabelRegime(Component, ABC):
    """How synthetic images get the labels that a student learns from."""

    def teachers(self) -> tuple[TeacherSpec, ...]:
        """Return the networks that give the labels (``context.teachers``, also while the student trains)."""
        return ()

    @abstractmethod
    def label(self, images: SyntheticSet, info: DatasetInfo, context: Context, folder: Path) -> Labels:
        """Return the labels; arrays that are too large for memory are written below ``folder``."""

    def bytes_per_image(self, classes: int) -> int:
        """Return the bytes stored of one image's labels, by formula; 0 where nothing is stored beyond its class."""
        return 0


class Evaluator(Component, ABC):
    """What is asked of a labelled synthetic set: the accuracy of a student, say."""

    @abstractmethod
    def evaluate(
        self, train: LabeledSet, test: TestData, student: nn.Module, context: Context
    ) -> dict[str, float | list[float]]:
        """Train ``student`` (freshly initialised, on the device) and return named numbers, accuracies in percent.

        Nothing may be chosen on ``test``: it is read once, after the last step.
        """

    def missing(self) -> str | None:
        """Return None, or what has to be installed before this can be asked; cells are skipped until then."""
        return None


class Measure(Component, ABC):
    """What can be said of a distilled set without training anybody: how far it lies from the real images, say."""

    def teachers(self) -> tuple[TeacherSpec, ...]:
        """Return the trained networks it looks through; () for none."""
        return ()

    def preparation(self, info: DatasetInfo) -> Preparation | None:
        """Return what is computed once per dataset and shared by all sets, or None."""
        return None

    @abstractmethod
    def measure(self, images: SyntheticSet, data: TrainData, context: Context, folder: Path) -> dict[str, Any]:
        """Return named plain numbers, for the record; arrays that pictures are made of are written below ``folder``."""


def as_array(images: Tensor) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return uint8 images [N, C, H, W] as an array [N, H, W, C], as image libraries want them."""
    return images.permute(0, 2, 3, 1).contiguous().numpy()
