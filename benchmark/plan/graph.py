"""From the cells of a suite to a graph of nodes with keys.

The identity of a node holds everything that can change its result, so a worker needs nothing else to compute it, and
the key of a record can be checked. Cells share nodes: one teacher serves all methods, one distilled set all students.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from benchmark.api import DatasetInfo, Distiller, Evaluator, LabelRegime, Measure
from benchmark.errors import BenchmarkError, Faults, one_line
from benchmark.identity import STAGES, Stage, ancestors
from benchmark.plan.discovery import load_measure, load_method
from benchmark.plan.nodes import CellNodes, Node
from benchmark.plan.outside import outside_files
from benchmark.plan.protocol import load_protocol
from benchmark.plan.recipes import resolve_method, stray_recipes, why_cut
from benchmark.plan.suite import Cell, Suite
from benchmark.vision import datasets


@dataclass(frozen=True)
class PlanOptions:
    """What a plan depends on beside the suite.

    Attributes:
        data: the data directory.
        device: where nodes would run.
        device_chosen: the user chose the device, so a recipe that needs a GPU is not skipped on the CPU.
        report: called with the files hashed and the files in total, where contents of a dataset have to be hashed.
        nominal: plan datasets that are not on disk with the sizes in their files, to tell what they would cost.
    """

    data: Path
    device: Literal["cpu", "cuda"]
    device_chosen: bool = False
    report: datasets.Report = datasets.silent
    nominal: bool = False


@dataclass(frozen=True)
class PlannedCell:
    """A cell with the keys of its nodes, by stage.

    A skipped cell has a reason and no nodes. Only a cell that is skipped because it needs a GPU has both: a leaderboard
    shows its results if they come from another machine.

    Attributes:
        elsewhere: it has no keys because this machine lacks its dataset or a library; another machine may know them.
    """

    cell: Cell
    skipped: str | None = None
    nodes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    elsewhere: bool = False


@dataclass(frozen=True)
class Plan:
    """All cells of a suite, and the nodes of the cells that are not skipped, parents first.

    Attributes:
        infos: facts about the datasets that are on disk, by name.
    """

    suite: Suite
    cells: tuple[PlannedCell, ...]
    nodes: Mapping[str, Node]
    infos: Mapping[str, DatasetInfo]

    def manifest(self) -> dict[str, Any]:
        """Return the manifest: what tables and plots need beside the records, as values that JSON can hold."""
        role, outside = cache(lambda base: load_method(base).role), cache(_outside)
        cut = {entry.method: entry.cut for entry in self.suite.entries}
        measures: list[tuple[Stage, str]] = [("measure", name) for name in self.suite.measures]
        of_suite = frozenset(outside_files("suites", self.suite.name, measures))
        cells = [
            {
                **planned.cell.model_dump(mode="json"),
                "role": role(planned.cell.base),
                "cut": cut[planned.cell.method] or why_cut(planned.cell.base, planned.cell.dataset, planned.cell.ipc),
                "skipped": planned.skipped,
                "nodes": {stage: list(keys) for stage, keys in planned.nodes.items()},
                **outside(planned.cell.dataset, planned.cell.base, planned.cell.protocol, of_suite),
            }
            for planned in self.cells
        ]
        return {
            "suite": self.suite.name,
            "version": self.suite.version,
            "content": self.suite.digest(),
            "title": self.suite.title,
            "columns": self.columns(),
            "pairs": [list(pair) for pair in self.suite.pairs],
            "class_names": {name: list(info.class_names) for name, info in self.infos.items()},
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


class Planner:
    """Plans suites. What several cells, or several suites, have in common is planned once."""

    def __init__(self, options: PlanOptions) -> None:
        """Start without nodes."""
        self.options = options
        self.nodes: dict[str, Node] = {}
        self.memo: dict[object, Any] = {}
        self.listed_folders = set[Path | None]()  # the folders of datasets whose files have been looked at
        self.dataset, self.protocol = cache(self._dataset), cache(load_protocol)

    def plan(self, suite: Suite, required_datasets: Collection[str] = ()) -> Plan:
        """Return the plan of a suite; nothing is computed.

        Args:
            suite: the suite.
            required_datasets: it is a fault if one of these is not on disk; cells of other missing datasets are
                skipped.

        Raises:
            Faults: all faults of recipes and protocols, recipes without a method, and all required datasets that are
                not on disk.
        """
        measures = tuple(load_measure(name)() for name in suite.measures)
        cells, faults = list[PlannedCell](), [*stray_recipes(), *self._missing(required_datasets)]
        for cell in suite.cells():
            try:
                cells.append(self._cell(cell, suite, measures))
            except Faults as error:
                faults += error.faults
            except BenchmarkError as error:
                faults.append(str(error))
            except (Exception, SystemExit) as error:  # any error in the code of a component
                faults.append(f"suite {suite.name}: {cell.method} on {cell.dataset}: {one_line(error)}")
        if faults:
            raise Faults(faults)
        own_keys = (key for cell in cells if not cell.skipped for key in chain(*cell.nodes.values()))
        keys = ancestors(own_keys, lambda key: self.nodes[key].parents)
        needed_nodes = [node for key, node in self.nodes.items() if key in keys]
        nodes = {node.key: node for node in sorted(needed_nodes, key=lambda node: STAGES.index(node.stage))}
        infos = {
            name: info for name in {entry.cell.dataset: None for entry in cells} if (info := self.dataset(name)[1])
        }
        return Plan(suite, tuple(cells), nodes, infos)

    def plan_again(self, fields: Mapping[str, Any], suite: Suite) -> PlannedCell | None:
        """Return a cell of a manifest as it is planned now, without measures.

        Args:
            fields: of the cell, those of the manifest included.
            suite: says which cells are excluded.

        Returns:
            The planned cell; None where the files that it needs are gone or faulty.
        """
        try:
            cell = Cell.model_validate({name: fields[name] for name in Cell.model_fields})
            return self._cell(cell, suite, ())
        except (Exception, SystemExit):  # any error in the code of a component too
            return None

    def components(
        self, cell: Cell, config: datasets.DatasetConfig, *, full_data: bool
    ) -> tuple[LabelRegime, Evaluator] | None:
        """Return label regime and evaluator of a cell, or None where its protocol has no recipe for its method."""
        protocol = self.protocol(cell.protocol)
        axes = ("protocol", cell.protocol, protocol.named(cell, cell.dataset), cell.dataset, cell.ipc, full_data)
        if axes not in self.memo:
            variant = protocol.for_method(cell, cell.dataset, cell.ipc)
            self.memo[axes] = variant and variant.components(config, full_data=full_data, ipc=cell.ipc)
        components: tuple[LabelRegime, Evaluator] | None = self.memo[axes]
        return components

    def _missing(self, required_datasets: Collection[str]) -> list[str]:
        """Return a fault for every required dataset that is not on disk, or is damaged."""
        datasets_and_facts = [(name, self.dataset(name)) for name in required_datasets]
        return [f"--datasets {name}: {reason}" for name, (_, info, reason) in datasets_and_facts if info is None]

    def _cell(self, cell: Cell, suite: Suite, measures: Sequence[Measure]) -> PlannedCell:
        """Add the nodes of a cell to ``nodes``; return it with their keys, or with the reason why it is skipped."""
        excluded = suite.why_excluded(cell)
        config, info, reason = self.dataset(cell.dataset)
        if excluded or info is None:
            return PlannedCell(cell, excluded or reason, elsewhere=not excluded)
        if cell.ipc > min(info.train_counts):
            return PlannedCell(cell, f"its smallest class has {min(info.train_counts)} images")
        method, unsupported = self._method(cell, info, f"suite {suite.name}: {cell.method}.set")
        if unsupported:
            return PlannedCell(cell, unsupported)
        components = self.components(cell, config, full_data=not method.uses_ipc)
        if components is None:
            return PlannedCell(cell, f"protocol {cell.protocol} has no recipe for {cell.base}")
        if not_installed := components[1].missing():
            return PlannedCell(cell, not_installed, elsewhere=True)
        cell_nodes = CellNodes(cell, config, info, on_gpu=self.options.device == "cuda", memo=self.memo)
        # The full training set is not measured.
        keys = cell_nodes.add(method, *components, measures if method.uses_ipc else ())
        for node in cell_nodes.nodes:
            self.nodes.setdefault(node.key, node)
        return PlannedCell(cell, reason, keys)

    def _method(self, cell: Cell, info: DatasetInfo, where: str) -> tuple[Distiller, str | None]:
        """Return the method of a cell, and why it does not support the dataset, or None."""
        axes = ("method", cell.base, cell.dataset, cell.ipc, repr(cell.overrides), where)
        if axes not in self.memo:
            method = resolve_method(cell.base, cell.dataset, cell.ipc, cell.overrides, where)
            self.memo[axes] = method, method.supports(info, cell.ipc)
        method_and_reason: tuple[Distiller, str | None] = self.memo[axes]
        return method_and_reason

    def _dataset(self, name: str) -> tuple[datasets.DatasetConfig, DatasetInfo | None, str | None]:
        """Return a dataset, its facts if it is on disk, and the reason why its cells are skipped, or None."""
        config = datasets.load_dataset(name)
        try:
            if reason := datasets.status(config, self.options.data):
                if self.options.nominal and (nominal := datasets.nominal_info(config)):
                    return config, nominal, None
                raise BenchmarkError(reason)
            where = datasets.location(config, self.options.data)
            quick = where in self.listed_folders  # another dataset with the same files has listed it
            info = datasets.info(config, self.options.data, quick=quick, report=self.options.report)
            self.listed_folders.add(where)
        except BenchmarkError as error:  # not on disk, or damaged
            return config, None, str(error)
        if config.needs_gpu and self.options.device == "cpu" and not self.options.device_chosen:
            return config, info, "its recipe needs a GPU and this machine has none; --device cpu runs it anyway"
        return config, info, None


def _outside(dataset: str, base: str, protocol: str, of_suite: frozenset[str]) -> dict[str, list[str]]:
    """Return the files in folders of the user that a cell needs, by the field of the manifest; {} for none."""
    parts = load_protocol(protocol)
    components: list[tuple[Stage, str]] = [
        ("relabel", str(parts.labels.get("name"))),
        ("evaluate", str(parts.evaluator.get("name"))),
    ]
    files = {
        *outside_files("datasets", dataset, [("distill", base)]),
        *outside_files("protocols", protocol, components),
        *of_suite,
    }
    return {"outside": sorted(files)} if files else {}
