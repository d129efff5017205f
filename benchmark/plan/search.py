"""Searches: which values are tried for which method, on a hold-out of the training set, as many for one as for another.

A trial is one cell under one choice of values: the same nodes as in a suite, on the hold-out view of the dataset, under
which the real test split is not even listed.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field, field_validator, model_validator

from benchmark.api import DatasetInfo, Frozen
from benchmark.config_files import FileName, display_path, load, names, read_yaml, validated
from benchmark.errors import BenchmarkError, Faults, unknown
from benchmark.plan.discovery import resolve_method
from benchmark.plan.nodes import CellNodes, Node
from benchmark.plan.protocol import Deviation, Protocol, load_protocol
from benchmark.plan.suite import Cell, MethodEntry, name_fault
from benchmark.vision import datasets

PARTS = ("schedule", "labels", "evaluator")  # of a protocol; any other name is a hyperparameter of the method
Values = Mapping[str, Any]


class LogGrid(Frozen):
    """Values from low to high, evenly spread on a logarithmic scale, to three digits."""

    low: float = Field(gt=0)
    high: float = Field(gt=0)
    points: int = Field(ge=2)

    @property
    def values(self) -> tuple[float, ...]:
        """The values, in the order from low to high."""
        return tuple(float(f"{value:.3g}") for value in np.geomspace(self.low, self.high, self.points))


Space = dict[str, LogGrid | tuple[Any, ...]]  # the values of each axis; "evaluator.learning_rate" is the protocol's


class Contender(MethodEntry):
    """A method as a suite names it, and what is searched for it beyond, or in place of, the axes that all share."""

    space: Space = Field(default_factory=dict)


class Search(Frozen):
    """``configs/searches/NAME.yaml``."""

    name: FileName
    version: int
    title: str
    description: str = ""
    dataset: str
    ipc: int = Field(ge=1)
    protocol: str = "standard"
    student: str
    seeds: int = Field(1, ge=1)  # each draws, labels and trains anew; a trial's result is their mean
    trials: int = Field(ge=1)  # of every method, the random control included
    space: Space = Field(default_factory=dict)  # axes that every method shares
    methods: tuple[Contender, ...] = Field(min_length=1)

    @field_validator("dataset", "protocol", "student")
    @classmethod
    def _known(cls, value: str, info: Any) -> str:
        if fault := name_fault(f"{info.field_name}s", value):
            raise ValueError(fault)
        return value

    @model_validator(mode="after")
    def _same_budget_for_all(self) -> Search:
        counts = {method.method: math.prod(map(len, self.axes(method).values())) for method in self.methods}
        faults = [
            f"methods: {name} has {count} trials, where trials says {self.trials} for every method"
            for name, count in counts.items()
            if count != self.trials
        ]
        if len(counts) < len(self.methods):
            faults.append("methods: two of them have the same name; give one a label (as: NAME)")
        if faults:
            raise ValueError("; ".join(faults))
        return self

    def axes(self, method: Contender) -> dict[str, tuple[Any, ...]]:
        """Return what is searched for a method, the values of every axis."""
        space = self.space | method.space
        return {name: axis.values if isinstance(axis, LogGrid) else axis for name, axis in space.items()}

    def grid(self, method: Contender) -> list[Values]:
        """Return the values of every trial of a method, the last axis running fastest."""
        axes = self.axes(method)
        return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]

    def edges(self, method: Contender, values: Values) -> dict[str, str]:
        """Return which of the values are the ``smallest`` or ``largest`` of two or more numbers tried, by axis."""
        found = dict[str, str]()
        for name, axis in self.axes(method).items():
            tried = sorted({value for value in axis if _is_number(value)})
            ends = {tried[0]: "smallest", tried[-1]: "largest"} if len(tried) > 1 else {}
            if _is_number(values[name]) and values[name] in ends:
                found[name] = ends[values[name]]
        return found

    def entry(self, method: Contender, values: Values) -> MethodEntry:
        """Return a method with the values that are its own, as a suite would name it."""
        own = {name: value for name, value in values.items() if name.partition(".")[0] not in PARTS}
        name = f"{method.method} tuned" if own else method.method
        return MethodEntry.model_validate({"method": name, "base": method.base, "set": {**method.overrides, **own}})

    def deviation(self, method: Contender, values: Values, source: str) -> Deviation:
        """Return what the values change in the protocol, over what it changes for the method anyway."""
        known = load_protocol(self.protocol).own(method, self.dataset)
        parts = {part: dict(getattr(known, part, {})) for part in PARTS}
        for name, value in values.items():
            part, _, key = name.partition(".")
            if part in PARTS:
                parts[part][key] = value
        return Deviation(source=source, **parts)


@dataclass(frozen=True)
class Trial:
    """One choice of values for one method.

    Attributes:
        method: what is tuned.
        values: by name of their axes.
        nodes: all that it stands on, parents first.
        scores: the keys of its evaluations, one per seed.
    """

    method: Contender
    values: Values
    nodes: Mapping[str, Node]
    scores: tuple[str, ...]


def load_search(name: str) -> Search:
    """Return a search by the name of its file in ``configs/searches``, or by the path of a YAML file.

    Raises:
        Faults: an unknown search, or everything that is wrong with its file.
    """
    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        return validated(Search, {"name": path.stem, **read_yaml(path)}, display_path(path))
    if name not in names("searches"):
        raise Faults([unknown("search", name, names("searches"))])
    return load(Search, "searches", name)


def plan(search: Search, data: Path, *, on_gpu: bool) -> list[Trial]:
    """Return every trial with its nodes; nothing is computed, and the test split is not listed.

    Raises:
        Faults: every choice of values that a method or the protocol does not take.
        DataMissing: the dataset is not on disk.
        BenchmarkError: the dataset's teacher is downloaded, and knows what is held out.
    """
    config = datasets.load_dataset(search.dataset)
    if seen := config.teacher.pretrained:
        remedy = "its recipe in configs/datasets has to train one (without 'pretrained')"
        raise BenchmarkError(f"{search.dataset}: its teacher {seen} was trained on what a search holds out; {remedy}")
    info = datasets.info(config, data, "holdout")
    trials, faults = list[Trial](), list[str]()
    for method in search.methods:
        for values in search.grid(method):
            try:
                trials.append(_trial(search, method, values, _Place(config, info, on_gpu)))
            except Faults as error:
                faults += error.faults
            except BenchmarkError as error:
                faults.append(str(error))
    if faults:
        raise Faults(faults)
    return trials


@dataclass(frozen=True)
class _Place:
    config: datasets.DatasetConfig
    info: DatasetInfo
    on_gpu: bool


def _trial(search: Search, method: Contender, values: Values, place: _Place) -> Trial:
    where = f"search {search.name}: {method.method}"
    entry = search.entry(method, values)
    distiller = resolve_method(method.base, search.dataset, search.ipc, entry.overrides, where)
    if why := distiller.supports(place.info, search.ipc):
        raise BenchmarkError(f"{where}: {why}")
    ipc = search.ipc if distiller.uses_ipc else 0
    judges = _protocol(search, method, values).judges(place.config, whole=not distiller.uses_ipc)
    nodes, scores = dict[str, Node](), tuple[str, ...]()
    for seed in range(search.seeds):
        axes = {"dataset": search.dataset, "protocol": search.protocol, "student": search.student}
        cell = Cell(ipc=ipc, method=entry, draw=seed, seed=seed, **axes)
        made = CellNodes(cell, place.config, place.info, on_gpu=place.on_gpu, view="holdout")
        scores += made.of(distiller, *judges, ())["evaluate"]
        nodes |= {node.key: node for node in made.made}
    return Trial(method, values, nodes, scores)


def _protocol(search: Search, method: Contender, values: Values) -> Protocol:
    changed = {method.method: search.deviation(method, values, f"search {search.name}")}
    found = load_protocol(search.protocol).model_copy(update={"methods": changed}).of(method)
    assert found is not None, "a protocol holds for the methods that it lists"
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
