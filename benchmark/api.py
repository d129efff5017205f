"""The classes that a contributor imports: data, teachers, synthetic sets, labels, and the components one can add.

A component is one file with one class:

- a method: a file in ``methods/`` with a subclass of `Distiller`;
- a label regime: a file in ``evaluators/labels/`` with a subclass of `LabelRegime`;
- an evaluator: a file in ``evaluators/students/`` with a subclass of `Evaluator`;
- a measure: a file in ``evaluators/measures/`` with a subclass of `Measure`.

The stem of the file is the name of the component. The fields of the class are its hyperparameters. Only fields can
change a result.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from benchmark.columns import Column
from benchmark.data import DatasetInfo, Frozen, ImageData, TestData, TrainData
from benchmark.identity import seed_of
from benchmark.synthetic import LabeledSet, LabelKind, Labels, SyntheticSet
from benchmark.work import Job, Pass, Work

__all__ = [
    "Column",
    "Component",
    "Context",
    "DatasetInfo",
    "Distiller",
    "Evaluator",
    "Frozen",
    "ImageData",
    "Job",
    "LabelKind",
    "LabelRegime",
    "LabeledSet",
    "Labels",
    "Measure",
    "Precision",
    "Preparation",
    "Role",
    "SyntheticSet",
    "TeacherSpec",
    "TestData",
    "TrainData",
    "Unit",
    "Work",
]

Role = Literal["method", "control", "floor", "bound"]
Precision = Literal["float32", "bfloat16", "auto"]  # auto: bfloat16 where the hardware has it, else float32


class Component(Frozen):
    """A method, label regime, evaluator, measure or preparation: a name, a version and hyperparameters.

    A component with a field ``precision: Precision`` chooses the type of `Context.autocast`; it is float32 otherwise.
    Whatever a component raises while it runs is the reason why its node has failed.
    """

    version: ClassVar[int] = 1  # raise it when results may change

    @classmethod
    def name(cls) -> str:
        """Return the stem of the file that defines the class."""
        return cls.__module__.rpartition(".")[2]

    def identity(self) -> dict[str, Any]:
        """Return name, version and all hyperparameters, defaults included: the part of a key that the component is."""
        return {"name": self.name(), "version": self.version, "params": self.model_dump(mode="json")}

    def work(self, job: Job) -> tuple[Work, ...] | None:
        """Return the images that pass through networks; () for none, None where the component does not say.

        From this, `python -m benchmark plan` tells the hours before anything runs.
        """
        return None


class TeacherSpec(Frozen):
    """A network trained on the real training set; it takes ``benchmark.vision.augment.normalize(images, info)``."""

    arch: str | None = None  # None: the dataset's teacher
    neutral: bool = False  # True: the dataset's neutral network, which no method uses by default (`arch` stays None)
    epochs: int | None = None  # None: as the recipe says

    def work(self, kind: Pass, images: int) -> Work:
        """Return the work of images that pass through the network."""
        return Work(kind, images, "neutral" if self.neutral else self.arch or "")


class Unit(Frozen):
    """A part of a synthetic set that is distilled alone. Units can run in parallel; a finished one stays finished.

    It holds one image for each pair of a class and a slot, class by class: ``labels`` is ``[c0, c0, ..., c1, ...]``.
    """

    index: int  # 0, 1, ... among the units of a set
    ipc: int  # images per class of the whole set
    classes: tuple[int, ...]
    slots: tuple[int, ...]  # those of the images 0 .. ipc - 1 of each class that it holds

    @property
    def labels(self) -> Tensor:
        """The class of every image of the unit, int64 [len(classes) * len(slots)]."""
        return torch.tensor(self.classes).repeat_interleave(len(self.slots))


@dataclass(frozen=True)
class Context:
    """What the engine gives to a running component.

    A component does not seed global generators, does not choose a device and does not print. It writes into `scratch`
    by `benchmark.vision.scratch.save`, which writes the whole file or nothing, and reads by `load`.
    """

    device: torch.device
    precision: torch.dtype  # the precision of `autocast`; float32 switches it off
    seed: int
    scratch: Path  # private folder for files of unfinished work: kept after an interruption, removed at the end
    teachers: Sequence[nn.Module] = ()  # those of the component's `teachers`: frozen, in eval mode, on the device
    prepared: Mapping[str, Tensor] = field(default_factory=dict)  # what `Preparation.prepare` returned, on the CPU
    report: Callable[[int, int, Mapping[str, float]], None] = lambda step, total, scalars: None
    parts: dict[str, float] = field(default_factory=dict)  # seconds by part of the work, filled by `timed`

    def generator(self, *axes: object, device: torch.device | str = "cpu") -> torch.Generator:
        """Return a new generator. Equal axes give equal random numbers, whatever ran before."""
        return torch.Generator(device).manual_seed(seed_of(self.seed, *axes))

    def autocast(self) -> torch.autocast:
        """Return the context manager of mixed-precision forward passes; compute losses and statistics outside."""
        return torch.autocast(self.device.type, dtype=self.precision, enabled=self.precision != torch.float32)

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Add the seconds that a block takes, even one that raises, to a part of the work in the record's cost."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.parts[part] = self.parts.get(part, 0.0) + time.perf_counter() - start

    def progress(self, step: int, total: int, **scalars: float) -> None:
        """Report how many steps of how many are done.

        Call it after every step, it is cheap: at most one report a second is kept. Give scalars, which `float` takes,
        only now and then: reading a number from the device makes the device wait.
        """
        self.report(step, total, scalars)


class Preparation(Component, ABC):
    """Costly work that does not depend on IPC: statistics, say. Equal preparations of two methods share one result."""

    per_draw: ClassVar[bool] = False  # True: each draw has a result of its own; False: all draws share one

    def teachers(self) -> tuple[TeacherSpec, ...]:
        """Return the trained networks that it needs; () for none."""
        return ()

    @abstractmethod
    def prepare(self, data: TrainData, context: Context) -> Mapping[str, Tensor]:
        """Return named tensors. The engine stores them as one safetensors file.

        A scalar whose name starts with ``metric.`` goes into the record instead: how good a network is, say.
        """


class Distiller(Component, ABC):
    """A dataset-distillation method.

    Roles: a ``method`` competes; the ``control`` is what every method must beat (random real images); the ``floor`` is
    what labels reach without useful images (noise); the ``bound`` is what no method is expected to reach (full data).
    """

    paper: ClassVar[str]  # where the method comes from: title, venue, link
    role: ClassVar[Role] = "method"  # how tables and scores use its rows
    uses_ipc: ClassVar[bool] = True  # False: the set is the same at every IPC (the whole training set, say)

    def teachers(self) -> tuple[TeacherSpec, ...]:
        """Return the trained networks that it needs; () for none."""
        return ()

    def supports(self, info: DatasetInfo, ipc: int) -> str | None:
        """Return None, or why the method cannot run on this dataset at this IPC; its cells are then skipped."""
        return None

    def preparation(self, info: DatasetInfo) -> Preparation | None:
        """Return the costly work that all IPC share, or None."""
        return None

    def units(self, info: DatasetInfo, ipc: int) -> Sequence[Unit]:
        """Return the units of a set, each of which `distill` computes alone; one unit by default."""
        return (Unit(index=0, ipc=ipc, classes=tuple(range(info.classes)), slots=tuple(range(ipc))),)

    @abstractmethod
    def distill(self, data: TrainData, unit: Unit, context: Context) -> SyntheticSet:
        """Return the synthetic images of a unit, class by class, in the order of ``unit.labels``."""


class LabelRegime(Component, ABC):
    """A way to give synthetic images the labels that a student learns from."""

    labels_kind: ClassVar[LabelKind | None] = None  # that of its `Labels`; None: only the labels themselves tell

    def teachers(self) -> tuple[TeacherSpec, ...]:
        """Return the networks that give the labels: ``context.teachers`` of the label regime and of the evaluator."""
        return ()

    @abstractmethod
    def label(self, images: SyntheticSet, info: DatasetInfo, context: Context, folder: Path) -> Labels:
        """Return the labels of a whole set, in the order of its images; `Labels` names the shape of every kind.

        ``context.teachers`` are those of `teachers`. Write arrays that are too large for memory as files in ``folder``.
        """

    def online(self, job: Job) -> tuple[Work, ...] | None:
        """Return the work of the networks that label while a student trains; () where labels are stored."""
        return ()

    def bytes_per_image(self, classes: int) -> int:
        """Return how many bytes the labels of one image take on disk; 0 where only its class is stored."""
        return 0

    def bytes_of(self, images: int, classes: int) -> int:
        """Return how many bytes the labels of a set take on disk, where these are not the same for every image."""
        return images * self.bytes_per_image(classes)


class Evaluator(Component, ABC):
    """A test of a labelled synthetic set that trains a student: its accuracy, say."""

    columns: ClassVar[tuple[Column, ...]] = ()  # the returned numbers that tables and plots show, most important first

    @abstractmethod
    def evaluate(
        self, train: LabeledSet, test: TestData, student: nn.Module, context: Context
    ) -> dict[str, float | str | list[float]]:
        """Train a student and return named numbers, accuracies in percent: ``top1``, which tables compare, and others.

        Args:
            train: the synthetic images with their labels.
            test: the test split. Read it once, after the last step; choose nothing on it.
            student: a network with random weights, on the device.
            context: its teachers are those of the label regime.
        """

    def supports(self, labels: LabelRegime) -> str | None:
        """Return None, or why no student can be trained on the labels of a regime; the plan then names the protocol."""
        return None

    def missing(self) -> str | None:
        """Return None, or which library has to be installed first; cells are skipped until then."""
        return None


class Measure(Component, ABC):
    """A test of a distilled set that trains no student: its distance from the real images, say."""

    columns: ClassVar[tuple[Column, ...]] = ()  # the returned numbers that tables and plots show, most important first

    def teachers(self) -> tuple[TeacherSpec, ...]:
        """Return the trained networks that it needs; () for none."""
        return ()

    def preparation(self, info: DatasetInfo) -> Preparation | None:
        """Return the work that is done once per dataset and shared by all sets, or None."""
        return None

    @abstractmethod
    def measure(self, images: SyntheticSet, data: TrainData, context: Context, folder: Path) -> dict[str, Any]:
        """Return named numbers for the record; None for a number that is not defined.

        ``images`` is a whole set [N, C, H, W]; ``context`` has the networks of `teachers` and the tensors of
        `preparation`. Write arrays, of which plots are made, as files in ``folder``.
        """
