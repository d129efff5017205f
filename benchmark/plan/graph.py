"""From cells to a graph of nodes: what must be computed, under which keys, and what is skipped and why.

A node's identity says everything that can change its result, so a worker needs nothing else to compute it, and its key
can be computed again from its record. Nodes are shared: one teacher serves every method, one set every student.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from benchmark.api import DatasetInfo, Distiller, Evaluator, LabelRegime
from benchmark.errors import BenchmarkError, Faults
from benchmark.identity import STAGES, ancestors
from benchmark.plan.discovery import load_measure, resolve_method
from benchmark.plan.nodes import CellNodes, Node
from benchmark.plan.protocol import load_protocol
from benchmark.plan.suite import Cell, Suite
from benchmark.vision import datasets


@dataclass(frozen=True)
class PlannedCell:
    """A cell with its nodes by stage, or the reason for which it is skipped; where the device is, with both."""

    cell: Cell
    skipped: str | None = None
    nodes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """All cells of a suite, and the nodes of those that can run, parents first."""

    suite: Suite
    cells: tuple[PlannedCell, ...]
    nodes: Mapping[str, Node]

    def manifest(self) -> dict[str, Any]:
        """Return plain values from which, with the records, every table can be made."""
        cells = []
        for planned in self.cells:
            axes = planned.cell.model_dump(mode="json")
            cells.append({**axes, "skipped": planned.skipped, "nodes": dict(planned.nodes)})
        return {"suite": self.suite.name, "version": self.suite.version, "title": self.suite.title, "cells": cells}


@dataclass(frozen=True)
class Place:
    """Where a plan would run."""

    data: Path
    device: Literal["cpu", "cuda"]
    forced: bool = False  # the user chose the device, so a recipe that wants a GPU runs on a CPU too
    wanted: tuple[str, ...] = ()  # datasets that the user asked for by name: an error where they are missing


def build(suite: Suite, place: Place) -> Plan:
    """Return the plan of a suite at a place.

    Raises:
        Faults: every recipe, protocol or cell that is wrong, and every dataset that was asked for but is not on disk.
    """
    builder = _Builder(suite, place)
    cells, faults = list[PlannedCell](), list[str]()
    for cell in suite.cells():
        try:
            cells.append(builder.plan(cell))
        except Faults as error:
            faults += error.faults
        except BenchmarkError as error:
            faults.append(str(error))
    if faults:
        raise Faults(faults)
    order = sorted(builder.nodes.values(), key=lambda node: STAGES.index(node.stage))
    keys = (key for cell in cells if not cell.skipped for key in chain(*cell.nodes.values()))
    wanted = ancestors(keys, lambda key: builder.nodes[key].parents)
    return Plan(suite, tuple(cells), {node.key: node for node in order if node.key in wanted})


class _Builder:
    """Collects the nodes of cells; what several cells share is resolved once."""

    def __init__(self, suite: Suite, place: Place) -> None:
        self.suite, self.place = suite, place
        self.nodes: dict[str, Node] = {}
        self.dataset = cache(self._dataset)
        self.protocol = cache(load_protocol)
        self.measures = tuple(load_measure(name)() for name in suite.measures)

    def plan(self, cell: Cell) -> PlannedCell:
        """Return a cell with its nodes, which join the graph."""
        why = self.suite.why_excluded(cell)
        config, info, reason = self.dataset(cell.dataset)
        if why or info is None:
            return PlannedCell(cell, why or reason)
        if cell.ipc > min(info.train_counts):
            return PlannedCell(cell, f"its smallest class has {min(info.train_counts)} images")
        method = self._method(cell)
        if why := method.supports(info, cell.ipc):
            return PlannedCell(cell, why)
        protocol = self.protocol(cell.protocol).of(cell, cell.dataset)
        if protocol is None:
            return PlannedCell(cell, f"protocol {cell.protocol} has no recipe for {cell.base}")
        judges = protocol.judges(config, whole=not method.uses_ipc)
        if why := judges[1].missing():
            return PlannedCell(cell, why)
        return PlannedCell(cell, reason, self._nodes(cell, config, info, method, judges))

    def _dataset(self, name: str) -> tuple[datasets.DatasetConfig, DatasetInfo | None, str | None]:
        config = datasets.load_dataset(name)
        try:
            if missing := datasets.status(config, self.place.data):
                raise BenchmarkError(missing)
            info = datasets.info(config, self.place.data)
        except BenchmarkError as error:  # missing or broken: no matter to those who did not ask for it
            if name in self.place.wanted:
                raise BenchmarkError(f"--datasets {name}: {error}") from error
            return config, None, str(error)
        weak = config.needs_gpu and self.place.device == "cpu" and not self.place.forced
        why = "its recipe is meant for a GPU and none is here; --device cpu runs it anyway" if weak else None
        return config, info, why

    def _method(self, cell: Cell) -> Distiller:
        where = f"suite {self.suite.name}: {cell.method}.set"
        return resolve_method(cell.base, cell.dataset, cell.ipc, cell.overrides, where)

    def _nodes(
        self,
        cell: Cell,
        config: datasets.DatasetConfig,
        info: DatasetInfo,
        method: Distiller,
        judges: tuple[LabelRegime, Evaluator],
    ) -> dict[str, tuple[str, ...]]:
        nodes = CellNodes(cell, config, info, on_gpu=self.place.device == "cuda")
        measures = self.measures if method.uses_ipc else ()  # of the whole training set there is nothing to say
        found = nodes.of(method, *judges, measures)
        for node in nodes.made:
            self.nodes.setdefault(node.key, node)
        return found
