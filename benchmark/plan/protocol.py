"""Protocols: how a distilled set is labelled and how a student is trained on it.

Most protocols are the same for every method; some name what they change for single methods.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from pydantic import Field, field_validator, model_validator

from benchmark.api import Component, Evaluator, Frozen, LabelRegime, Precision
from benchmark.config_files import CONFIGS, Version, Words, display_path, files, load, names, validated
from benchmark.errors import BenchmarkError, unknown
from benchmark.plan.discovery import load_evaluator, load_labels, method_names
from benchmark.plan.suite import Cell, MethodEntry
from benchmark.vision.augment import Schedule
from benchmark.vision.datasets import DatasetConfig, load_dataset

C = TypeVar("C", bound=Component)
PARTS = ("schedule", "labels", "evaluator")  # the parts of a protocol, which a deviation changes key by key


class Deviation(Frozen):
    """What a protocol changes for one method, key by key, and the source of these values."""

    source: Words
    schedule: dict[str, Any] = Field(default_factory=dict)
    labels: dict[str, Any] = Field(default_factory=dict)
    evaluator: dict[str, Any] = Field(default_factory=dict)
    by_ipc: dict[int, dict[str, Any]] = Field(default_factory=dict)  # values of the schedule at an IPC, over `schedule`
    evaluator_by_ipc: dict[int, dict[str, Any]] = Field(default_factory=dict)  # values by IPC, over `evaluator`

    def at(self, ipc: int | None) -> Deviation:
        """Return the deviation at an IPC, with its own values in `schedule` and `evaluator`."""
        schedule, evaluator = (values.get(ipc or 0, {}) for values in (self.by_ipc, self.evaluator_by_ipc))
        fields = {"schedule": {**self.schedule, **schedule}, "evaluator": {**self.evaluator, **evaluator}}
        return self.model_copy(update={**fields, "by_ipc": {}, "evaluator_by_ipc": {}})


class Protocol(Frozen):
    """The content of ``configs/protocols/NAME.yaml``."""

    name: str
    version: Version
    title: str
    description: str
    schedule: dict[str, Any]  # the schedule of views; the dataset's student budget gives epochs and batch size
    labels: dict[str, Any]  # the name of a label regime and its hyperparameters
    evaluator: dict[str, Any]  # the name of an evaluator and its hyperparameters
    precision: Precision = "float32"  # the precision of student and teachers
    methods: dict[str, Deviation] = Field(default_factory=dict)  # changes for a method, by METHOD or METHOD@DATASET
    steps_as_ipc: int | None = Field(None, ge=1)  # sets of every IPC get as many steps as one of this IPC
    only_listed: bool = False  # True: methods that are not in `methods` are skipped

    @field_validator("methods")
    @classmethod
    def _names_exist(cls, value: dict[str, Deviation]) -> dict[str, Deviation]:
        methods, datasets = method_names(), names("datasets")
        faults = []
        for name in value:
            variant, at, dataset = name.partition("@")
            if method_of(variant) not in methods:
                faults.append(unknown("method", variant, methods))
            if at and dataset not in datasets:
                faults.append(unknown("dataset", dataset, datasets))
        if faults:
            raise ValueError("; ".join(faults))
        return value

    @model_validator(mode="after")
    def _lists_something(self) -> Protocol:
        if self.only_listed and not self.methods:
            raise ValueError("only_listed: methods lists none, so every method would be skipped")
        return self

    def for_method(self, method: MethodEntry | Cell, dataset: str = "", ipc: int | None = None) -> Protocol | None:
        """Return the protocol with the deviation of a method on a dataset; None if it does not list the method."""
        deviation = self.deviation(method, dataset, ipc)
        if deviation is None:
            return None if self.only_listed else self
        return self.model_copy(update={part: {**getattr(self, part), **getattr(deviation, part)} for part in PARTS})

    def deviation(self, method: MethodEntry | Cell, dataset: str = "", ipc: int | None = None) -> Deviation | None:
        """Return the deviation of a method on a dataset at an IPC, or None."""
        name = self.named(method, dataset)
        return self.methods[name].at(ipc) if name else None

    def named(self, method: MethodEntry | Cell, dataset: str = "") -> str:
        """Return the name in `methods` of the deviation of a method on a dataset; "" for none.

        Of several deviations the first holds, alone: that of METHOD@DATASET, BASE@DATASET, the same two with the
        ``recipes_of`` of the dataset, METHOD, BASE.
        """
        if not self.methods:
            return ""
        datasets = [dataset, load_dataset(dataset).recipes_of] if dataset else []
        names = [f"{name}@{one}" for one in datasets for name in (method.method, method.base)]
        names += [method.method, method.base]
        return next((name for name in names if name in self.methods), "")

    def components(self, config: DatasetConfig, *, full_data: bool, ipc: int = 0) -> tuple[LabelRegime, Evaluator]:
        """Return the label regime and the evaluator for a dataset.

        Args:
            config: the dataset; it gives the student budget and limits the augmentation.
            full_data: whether the set is the full training set, which is trained on for fewer epochs.
            ipc: images per class; 0 where the set does not depend on it.

        Raises:
            BenchmarkError: a value of the protocol is wrong, or its parts do not fit; the message names the key.
        """
        budget = config.student
        views = {"epochs": budget.epochs, "batch_size": budget.batch_size, **self.schedule}
        schedule = validated(Schedule, views, f"{self._file}: schedule")
        low, high = schedule.crop_scale
        if high < config.smallest_crop:
            limit = f"{config.name} needs {config.smallest_crop} or more (smallest_crop)"
            raise BenchmarkError(f"{self._file}: schedule: crop_scale: crops of at most {high}, but {limit}")
        limits = {
            "epochs": budget.full_epochs if full_data else self._epochs(schedule, config.classes, ipc),
            "flip": schedule.flip and config.flip,
            "crop_scale": (max(low, config.smallest_crop), high),
        }
        schedule = schedule.model_copy(update=limits)
        common = {"schedule": schedule, "precision": self.precision}
        regime = _component(load_labels, self.labels, common, f"{self._file}: labels")
        evaluator = _component(load_evaluator, self.evaluator, common, f"{self._file}: evaluator")
        if unsupported := evaluator.supports(regime):
            raise BenchmarkError(f"{self._file}: evaluator: {unsupported}")
        return regime, evaluator

    def _epochs(self, schedule: Schedule, classes: int, ipc: int) -> int:
        """Return the epochs of a schedule, or as many as make the steps of a set with `steps_as_ipc`."""
        if self.steps_as_ipc is None or ipc == 0:
            return schedule.epochs
        return max(1, round(schedule.steps(self.steps_as_ipc * classes) / schedule.batches(ipc * classes)))

    def evaluators(self) -> Iterator[tuple[str, type[Evaluator]]]:
        """Yield the names and classes of all evaluators that the protocol uses, for whichever method."""
        for part in (self.evaluator, *(deviation.evaluator for deviation in self.methods.values())):
            if "name" in part:
                yield part["name"], _class(load_evaluator, part, f"{self._file}: evaluator")

    @property
    def _file(self) -> str:
        return display_path(files("protocols").get(self.name, CONFIGS / "protocols" / f"{self.name}.yaml"))


def method_of(variant: str) -> str:
    """Return the name of a method with which that of its variant begins, as in ``fadrm+``."""
    return re.split(r"\W", variant, maxsplit=1)[0]


def load_protocol(name: str) -> Protocol:
    """Return the protocol of the file ``configs/protocols/NAME.yaml``."""
    return load(Protocol, "protocols", name)


def _class(loader: Callable[[str], type[C]], part: Mapping[str, Any], where: str) -> type[C]:
    """Return the class of the component that a part of a protocol names."""
    if "name" not in part:
        raise BenchmarkError(f"{where}: name: is missing")
    try:
        return loader(str(part["name"]))
    except BenchmarkError as error:
        raise BenchmarkError(f"{where}: {error}") from error


def _component(loader: Callable[[str], type[C]], part: Mapping[str, Any], common: Mapping[str, Any], where: str) -> C:
    """Return the component that a part of a protocol names, with its hyperparameters and those that all share."""
    component = _class(loader, part, where)
    fields = {name: value for name, value in common.items() if name in component.model_fields}
    return validated(component, {**fields, **{name: value for name, value in part.items() if name != "name"}}, where)
