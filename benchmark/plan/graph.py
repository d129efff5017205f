"""From the cells of a suite to a graph of nodes with keys.

The identity of a node holds everything that can change its result, so a worker needs nothing else to compute it, and
the key of a record can be checked. Cells share nodes: one teacher serves all methods, one distilled set all students.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from benchmark.api import DatasetInfo, Distiller, Evaluator, LabelRegime
from benchmark.errors import BenchmarkError, Faults
from benchmark.identity import STAGES, ancestors
from benchmark.plan.discovery import load_measure, load_method, resolve_method
from benchmark.plan.nodes import CellNodes, Node
from benchmark.plan.protocol import load_protocol
from benchmark.plan.suite import Cell, Suite
from benchmark.vision import datasets


@dataclass(frozen=True)
class PlanOptions:
    """What a plan depends on beside the suite.

    Attributes:
        data: the data directory.
        device: where nodes would run.
        device_chosen: the user chose the device, so a recipe that needs a GPU is not skipped on the CPU.
        required_datasets: it is a fault if one of these is not on disk; cells of other missing datasets are skipped.
        report: called with the files hashed and the files in total, where contents of a dataset have to be hashed.
    """

    data: Path
    device: Literal["cpu", "cuda"]
    device_chosen: bool = False
    required_datasets: tuple[str, ...] = ()
    report: datasets.Report = datasets.silent


@dataclass(frozen=True)
class PlannedCell:
    """A cell with the keys of its nodes, by stage.

    A skipped cell has a reason and no nodes. Only a cell that is skipped because it needs a GPU has both: a leaderboard
    shows its results if they come from another machine.
    """

    cell: Cell
    skipped: str | None = None
    nodes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """All cells of a suite, and the nodes of the cells that are not skipped, parents first."""

    suite: Suite
    cells: tuple[PlannedCell, ...]
    nodes: Mapping[str, Node]

    def manifest(self) -> dict[str, Any]:
        """Return the manifest: what tables and plots need beside the records, as values that JSON can hold."""
        role = cache(lambda base: load_method(base).role)
        cells = [
            {
                **planned.cell.model_dump(mode="json"),
                "role": role(planned.cell.base),
                "skipped": planned.skipped,
                "nodes": {stage: list(keys) for stage, keys in planned.nodes.items()},
            }
            for planned in self.cells
        ]
        return {
            "suite": self.suite.name,
            "version": self.suite.version,
            "title": self.suite.title,
            "columns": self.columns(),
            "pairs": [list(pair) for pair in self.suite.pairs],
            "cells": cells,
        }

    def columns(self) -> dict[str, dict[str, list[dict[str, Any]]]]:
        """Return the columns of the evaluators and measures of the suite, by stage and by name of the component."""
        protocols = dict.fromkeys(planned.cell.protocol for planned in self.cells)
        evaluators = {name: kind for protocol in protocols for name, kind in load_protocol(protocol).evaluators()}
        measures = {name: load_measure(name) for name in self.suite.measures}
        return {
            "evaluate": {name: [asdict(column) for column in kind.columns] for name, kind in evaluators.items()},
            "measure": {name: [asdict(column) for column in kind.columns] for name, kind in measures.items()},
        }


def build(suite: Suite, options: PlanOptions) -> Plan:
    """Return the plan of a suite; nothing is computed.

    Raises:
        Faults: all faults of recipes and protocols, and all required datasets that are not on disk.
    """
    builder = _Builder(suite, options)
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
    nodes = sorted(builder.nodes.values(), key=lambda node: STAGES.index(node.stage))
    own_keys = (key for cell in cells if not cell.skipped for key in chain(*cell.nodes.values()))
    needed = ancestors(own_keys, lambda key: builder.nodes[key].parents)
    return Plan(suite, tuple(cells), {node.key: node for node in nodes if node.key in needed})


class _Builder:
    """Plans the cells of a suite one by one and collects their nodes."""

    def __init__(self, suite: Suite, options: PlanOptions) -> None:
        self.suite, self.options = suite, options
        self.nodes: dict[str, Node] = {}
        self.dataset = cache(self._dataset)
        self.protocol = cache(load_protocol)
        self.measures = tuple(load_measure(name)() for name in suite.measures)

    def plan(self, cell: Cell) -> PlannedCell:
        """Add the nodes of a cell to ``nodes``; return it with their keys, or with the reason why it is skipped."""
        excluded = self.suite.why_excluded(cell)
        config, info, reason = self.dataset(cell.dataset)
        if excluded or info is None:
            return PlannedCell(cell, excluded or reason)
        if cell.ipc > min(info.train_counts):
            return PlannedCell(cell, f"its smallest class has {min(info.train_counts)} images")
        where = f"suite {self.suite.name}: {cell.method}.set"
        method = resolve_method(cell.base, cell.dataset, cell.ipc, cell.overrides, where)
        if unsupported := method.supports(info, cell.ipc):
            return PlannedCell(cell, unsupported)
        protocol = self.protocol(cell.protocol).for_method(cell, cell.dataset)
        if protocol is None:
            return PlannedCell(cell, f"protocol {cell.protocol} has no recipe for {cell.base}")
        regime, evaluator = protocol.components(config, full_data=not method.uses_ipc)
        if not_installed := evaluator.missing():
            return PlannedCell(cell, not_installed)
        return PlannedCell(cell, reason, self._add_nodes(cell, config, info, (method, regime, evaluator)))

    def _dataset(self, name: str) -> tuple[datasets.DatasetConfig, DatasetInfo | None, str | None]:
        """Return a dataset, its facts if it is on disk, and the reason why its cells are skipped, or None."""
        config = datasets.load_dataset(name)
        try:
            if missing := datasets.status(config, self.options.data):
                raise BenchmarkError(missing)
            info = datasets.info(config, self.options.data, report=self.options.report)
        except BenchmarkError as error:  # not on disk, or damaged
            if name in self.options.required_datasets:
                raise BenchmarkError(f"--datasets {name}: {error}") from error
            return config, None, str(error)
        if config.needs_gpu and self.options.device == "cpu" and not self.options.device_chosen:
            return config, info, "its recipe needs a GPU and this machine has none; --device cpu runs it anyway"
        return config, info, None

    def _add_nodes(
        self,
        cell: Cell,
        config: datasets.DatasetConfig,
        info: DatasetInfo,
        components: tuple[Distiller, LabelRegime, Evaluator],
    ) -> dict[str, tuple[str, ...]]:
        cell_nodes = CellNodes(cell, config, info, on_gpu=self.options.device == "cuda")
        measures = self.measures if components[0].uses_ipc else ()  # the full training set is not measured
        keys = cell_nodes.add(*components, measures)
        for node in cell_nodes.nodes:
            self.nodes.setdefault(node.key, node)
        return keys
