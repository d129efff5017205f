"""Searches: which values are tried for which method, the same number for every method.

A trial is one cell with one choice of values. It has the same nodes as in a suite, but on the hold-out: a part of the
training set takes the place of the test split, and the test split is not read.
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
from benchmark.config_files import FileName, Version, load_named
from benchmark.errors import BenchmarkError, Faults
from benchmark.plan.nodes import CellNodes, Node
from benchmark.plan.protocol import PARTS, Deviation, Protocol, load_protocol, method_of
from benchmark.plan.recipes import resolve_method
from benchmark.plan.suite import Cell, MethodEntry, name_fault
from benchmark.vision import datasets

Values = Mapping[str, Any]


class LogGrid(Frozen):
    """Values from low to high at equal distances on a logarithmic scale, rounded to three digits."""

    low: float = Field(gt=0)
    high: float = Field(gt=0)
    points: int = Field(ge=2)

    @property
    def values(self) -> tuple[float, ...]:
        """The values, the lowest first."""
        return tuple(float(f"{value:.3g}") for value in np.geomspace(self.low, self.high, self.points))


Space = dict[str, LogGrid | tuple[Any, ...]]  # values by axis: a hyperparameter, or PART.KEY of the protocol


class SearchedMethod(MethodEntry):
    """A method as a suite lists it, and the axes that are searched for it alone."""

    space: Space = Field(default_factory=dict)  # is added to the axes of the search, or replaces one of them

    @model_validator(mode="after")
    def _fits_a_protocol(self) -> SearchedMethod:
        """Refuse a name that the protocol with the best values could not list."""
        if method_of(self.method) != self.base:
            raise ValueError(f"'{self.method}': the name of a variant begins with its method, as in {self.base}+NAME")
        return self


class Search(Frozen):
    """The content of ``configs/searches/NAME.yaml``."""

    name: FileName
    version: Version
    title: str
    description: str = ""
    dataset: str
    ipc: int = Field(ge=1)
    protocol: str = "standard"
    student: str
    seeds: int = Field(1, ge=1)  # each has its own set, labels and student; the result of a trial is their mean
    trials: int = Field(ge=1)  # the number of trials of every method, the control included
    space: Space = Field(default_factory=dict)  # axes that are searched for every method
    methods: tuple[SearchedMethod, ...] = Field(min_length=1)

    @field_validator("dataset", "protocol", "student")
    @classmethod
    def _exists(cls, value: str, info: Any) -> str:
        if fault := name_fault(f"{info.field_name}s", value):
            raise ValueError(fault)
        return value

    @model_validator(mode="after")
    def _same_number_of_trials(self) -> Search:
        counts = {method.method: math.prod(map(len, self.axes(method).values())) for method in self.methods}
        faults = [
            f"methods: {name} has {count} trials, but every method must have {self.trials} (trials)"
            for name, count in counts.items()
            if count != self.trials
        ]
        if len(counts) < len(self.methods):
            faults.append("methods: two have the same name; give one a name of its own (method: NAME, base: FILE)")
        if faults:
            raise ValueError("; ".join(faults))
        return self

    def axes(self, method: SearchedMethod) -> dict[str, tuple[Any, ...]]:
        """Return the values of every axis that is searched for a method."""
        space = self.space | method.space
        return {name: axis.values if isinstance(axis, LogGrid) else axis for name, axis in space.items()}

    def grid(self, method: SearchedMethod) -> list[Values]:
        """Return the values of every trial of a method; the last axis changes fastest."""
        axes = self.axes(method)
        return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]

    def edges(self, method: SearchedMethod, values: Values) -> dict[str, str]:
        """Return the axes on which a value is the ``smallest`` or ``largest`` of the numbers tried."""
        edges = dict[str, str]()
        for name, axis in self.axes(method).items():
            numbers = sorted({value for value in axis if _is_number(value)})
            ends = {numbers[0]: "smallest", numbers[-1]: "largest"} if len(numbers) > 1 else {}
            if _is_number(values[name]) and values[name] in ends:
                edges[name] = ends[values[name]]
        return edges

    def entry(self, method: SearchedMethod, values: Values) -> MethodEntry:
        """Return a method with the values of its hyperparameters, as a suite would list it."""
        tuned = {name: value for name, value in values.items() if name.partition(".")[0] not in PARTS}
        name = f"{method.method} tuned" if tuned else method.method
        return MethodEntry.model_validate({"method": name, "base": method.base, "set": {**method.overrides, **tuned}})

    def deviation(self, method: SearchedMethod, values: Values, source: str) -> Deviation:
        """Return the deviation of the protocol: its own for the method, with the values that are searched."""
        own_deviation = load_protocol(self.protocol).deviation(method, self.dataset, self.ipc)
        parts = {part: dict(getattr(own_deviation, part, {})) for part in PARTS}
        for name, value in values.items():
            part, _, key = name.partition(".")
            if part in PARTS:
                parts[part][key] = value
        return Deviation(source=source, **parts)


@dataclass(frozen=True)
class Trial:
    """One choice of values for one method.

    Attributes:
        method: the method that is tuned.
        values: the values, by axis.
        nodes: its nodes and their parents, parents first.
        scores: the keys of its evaluations, one per seed.
    """

    method: SearchedMethod
    values: Values
    nodes: Mapping[str, Node]
    scores: tuple[str, ...]


def load_search(name: str) -> Search:
    """Return a search.

    Args:
        name: the stem of a file in ``configs/searches``, or the path of a YAML file.

    Raises:
        Faults: there is no such search, or all faults of its file.
    """
    return load_named(Search, "searches", name)


def plan(search: Search, data: Path, *, on_gpu: bool) -> list[Trial]:
    """Return the trials of a search with their nodes; nothing is computed, and the test split is not read.

    Args:
        search: the search.
        data: the data directory.
        on_gpu: whether nodes run on a graphics card.

    Raises:
        Faults: all values that a method or the protocol does not accept.
        BenchmarkError: the dataset is not on disk, or its teacher is downloaded, so it was trained on the hold-out.
    """
    config = datasets.load_dataset(search.dataset)
    if pretrained := config.teacher.pretrained:
        remedy = "its recipe in configs/datasets has to train one (without 'pretrained')"
        raise BenchmarkError(f"{search.dataset}: its teacher {pretrained} was trained on the hold-out; {remedy}")
    info = datasets.info(config, data, "holdout")
    trials, faults = list[Trial](), list[str]()
    for method in search.methods:
        for values in search.grid(method):
            try:
                trials.append(_trial(search, method, values, config, info, on_gpu=on_gpu))
            except Faults as error:
                faults += error.faults
            except BenchmarkError as error:
                faults.append(str(error))
    if faults:
        raise Faults(faults)
    return trials


def _trial(
    search: Search,
    method: SearchedMethod,
    values: Values,
    config: datasets.DatasetConfig,
    info: DatasetInfo,
    *,
    on_gpu: bool,
) -> Trial:
    where = f"search {search.name}: {method.method}"
    entry = search.entry(method, values)
    distiller = resolve_method(entry.base, search.dataset, search.ipc, entry.overrides, where)
    if unsupported := distiller.supports(info, search.ipc):
        raise BenchmarkError(f"{where}: {unsupported}")
    protocol = _protocol(search, method, values)
    components = protocol.components(config, full_data=not distiller.uses_ipc, ipc=search.ipc)
    axes = {
        "dataset": search.dataset,
        "ipc": search.ipc if distiller.uses_ipc else 0,
        "method": entry.method,
        "base": entry.base,
        "overrides": entry.overrides,
        "protocol": search.protocol,
        "student": search.student,
    }
    nodes, scores = dict[str, Node](), tuple[str, ...]()
    for seed in range(search.seeds):
        cell = Cell(**axes, teacher=seed, draw=seed, seed=seed)
        cell_nodes = CellNodes(cell, config, info, on_gpu=on_gpu, part="holdout")
        scores += cell_nodes.add(distiller, *components, ())["evaluate"]
        nodes |= {node.key: node for node in cell_nodes.nodes}
    return Trial(method, values, nodes, scores)


def _protocol(search: Search, method: SearchedMethod, values: Values) -> Protocol:
    """Return the protocol of the search with the values of a trial."""
    deviation = search.deviation(method, values, f"search {search.name}")
    protocol = load_protocol(search.protocol).model_copy(update={"methods": {method.method: deviation}})
    trial_protocol = protocol.for_method(method)
    assert trial_protocol is not None, "a protocol holds for the methods that it lists"
    return trial_protocol


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
