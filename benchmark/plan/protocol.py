"""Protocols: how a set is labelled and how a student is trained on it, for every method alike or method by method."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import Field

from benchmark.api import Evaluator, Frozen, LabelRegime
from benchmark.config_files import load, validated
from benchmark.errors import BenchmarkError
from benchmark.plan.discovery import load_evaluator, load_labels
from benchmark.plan.suite import Cell, MethodEntry
from benchmark.vision.augment import Schedule
from benchmark.vision.datasets import DatasetConfig


class Deviation(Frozen):
    """What a protocol changes for one method, key by key, and where that is from."""

    source: str = Field(min_length=1)
    schedule: dict[str, Any] = Field(default_factory=dict)
    labels: dict[str, Any] = Field(default_factory=dict)
    evaluator: dict[str, Any] = Field(default_factory=dict)


class Protocol(Frozen):
    """``configs/protocols/NAME.yaml``: one way of labelling a set and of training a student on it."""

    name: str
    version: int
    title: str
    description: str
    schedule: dict[str, Any]  # of views; epochs and batch size come from the dataset's student budget
    labels: dict[str, Any]  # name of a label regime, and its parameters
    evaluator: dict[str, Any]  # name of an evaluator, and its parameters
    methods: dict[str, Deviation] = Field(
        default_factory=dict
    )  # METHOD or METHOD@DATASET: where its own recipe differs
    only_listed: bool = False  # methods without an entry are skipped

    def of(self, method: MethodEntry | Cell, dataset: str = "") -> Protocol | None:
        """Return the protocol as it holds for a method on a dataset, None if it does not; one entry at most holds."""
        own = self.own(method, dataset)
        if own is None:
            return None if self.only_listed else self
        parts = {part: {**getattr(self, part), **getattr(own, part)} for part in ("schedule", "labels", "evaluator")}
        return self.model_copy(update=parts)

    def own(self, method: MethodEntry | Cell, dataset: str = "") -> Deviation | None:
        """Return the entry that holds for a method on a dataset, or None."""
        names = (f"{method.method}@{dataset}", f"{method.base}@{dataset}", method.method, method.base)
        return next((self.methods[name] for name in names if name in self.methods), None)

    def judges(self, config: DatasetConfig, *, whole: bool) -> tuple[LabelRegime, Evaluator]:
        """Return the label regime and the evaluator on a dataset.

        Args:
            config: gives the students' budget and what augmentation the images bear.
            whole: the set is as large as the training set, and visited less often.

        Raises:
            BenchmarkError: a part of the protocol is wrong; the message names it.
        """
        budget, where = config.student, f"configs/protocols/{self.name}.yaml"
        views = {"epochs": budget.epochs, "batch_size": budget.batch_size, **self.schedule}
        schedule = validated(Schedule, views, f"{where}: schedule")
        low, high = schedule.crop_scale
        bounds = {
            "epochs": budget.full_epochs if whole else schedule.epochs,
            "flip": schedule.flip and config.flip,
            "crop_scale": (max(low, config.smallest_crop), high),
        }
        schedule = schedule.model_copy(update=bounds)
        regime = _judge(load_labels, self.labels, schedule, f"{where}: labels")
        return regime, _judge(load_evaluator, self.evaluator, schedule, f"{where}: evaluator")


def load_protocol(name: str) -> Protocol:
    """Return a protocol by the name of its file in ``configs/protocols``."""
    return load(Protocol, "protocols", name)


def _judge(loader: Callable[[str], Any], values: Mapping[str, Any], schedule: Schedule, where: str) -> Any:
    params = {name: value for name, value in values.items() if name != "name"}
    if "name" not in values:
        raise BenchmarkError(f"{where}: name: is missing")
    try:
        kind = loader(str(values["name"]))
    except BenchmarkError as error:
        raise BenchmarkError(f"{where}: {error}") from error
    return validated(kind, {"schedule": schedule, **params}, where)
