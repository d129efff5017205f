"""From cells to a graph of nodes: what must be computed, under which keys, and what is skipped and why.

A node's identity says everything that can change its result, so a worker needs nothing else to compute it, and its key
can be computed again from its record. Nodes are shared: one teacher serves every method, one set every student.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

from benchmark import identity
from benchmark.api import Component, DatasetInfo, Distiller, Evaluator, Frozen, LabelRegime, TeacherSpec
from benchmark.discovery import load_evaluator, load_labels, resolve_method
from benchmark.errors import BenchmarkError, Faults
from benchmark.files import load, validated
from benchmark.suite import Cell, Suite
from benchmark.vision import datasets
from benchmark.vision.augment import Schedule

Stage = Literal["teacher", "prepare", "distill", "relabel", "evaluate"]
STAGES: tuple[Stage, ...] = ("teacher", "prepare", "distill", "relabel", "evaluate")
TEACHER_VERSION = 1  # raised when the training of teachers changes
Params = Mapping[str, Any]


class Protocol(Frozen):
    """``configs/protocols/NAME.yaml``: one way of labelling a set and of training a student on it."""

    name: str
    version: int
    title: str
    description: str
    schedule: dict[str, Any]  # of views; epochs and batch size come from the dataset's student budget
    labels: dict[str, Any]  # name of a label regime, and its parameters
    evaluator: dict[str, Any]  # name of an evaluator, and its parameters


@dataclass(frozen=True)
class Needs:
    """What a node asks of the machine that runs it."""

    cpus: int = 1
    gpus: float = 0.0
    memory_gb: float = 0.0


@dataclass(frozen=True)
class Node:
    """One piece of work, named by the hash of its identity."""

    key: str
    stage: Stage
    identity: Params
    needs: Needs
    title: str  # for people

    @property
    def parents(self) -> tuple[str, ...]:
        """Keys of the nodes whose results it reads."""
        return tuple(key for keys in self.identity["parents"].values() for key in keys)


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
            axes = planned.cell.model_dump(mode="json", exclude={"method"})
            method = planned.cell.method
            names = {"method": method.name, "label": method.shown, "params": method.params}
            cells.append({**axes, **names, "skipped": planned.skipped, "nodes": dict(planned.nodes)})
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
    wanted = {key for planned in cells if not planned.skipped for keys in planned.nodes.values() for key in keys}
    order = sorted(builder.nodes.values(), key=lambda node: STAGES.index(node.stage))
    return Plan(suite, tuple(cells), {node.key: node for node in order if node.key in wanted})


class _Builder:
    """Collects the nodes of cells; what several cells share is resolved once."""

    def __init__(self, suite: Suite, place: Place) -> None:
        self.suite, self.place = suite, place
        self.nodes: dict[str, Node] = {}
        self.dataset = cache(self._dataset)
        self.protocol = cache(lambda name: load(Protocol, "protocols", name))

    def plan(self, cell: Cell) -> PlannedCell:
        """Return a cell with its nodes, which join the graph."""
        why = self.suite.why_excluded(cell)
        config, info, reason = self.dataset(cell.dataset)
        if why or info is None:
            return PlannedCell(cell, why or reason)
        if cell.ipc > min(info.train_counts):
            smallest = min(info.train_counts)
            raise BenchmarkError(
                f"ipc {cell.ipc} on {cell.dataset}: impossible, its smallest class has {smallest} images"
            )
        method = self._method(cell)
        if why := method.supports(info, cell.ipc):
            return PlannedCell(cell, why)
        return PlannedCell(cell, reason, self._nodes(cell, config, info, method))

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
        where = f"suite {self.suite.name}: {cell.method.shown}.set"
        return resolve_method(cell.method.name, cell.dataset, cell.ipc, cell.method.params, where)

    def _nodes(
        self, cell: Cell, config: datasets.DatasetConfig, info: DatasetInfo, method: Distiller
    ) -> dict[str, tuple[str, ...]]:
        add = self._adder(config, info)
        regime, evaluator = self._judges(cell, config, method)
        what = f"{cell.dataset}/{cell.ipc or 'all'} {cell.method.shown}"

        def teachers(specs: Sequence[TeacherSpec]) -> tuple[str, ...]:
            return tuple(add("teacher", teacher_identity(config, spec), f"{cell.dataset} teacher") for spec in specs)

        squeezed = teachers(method.teachers())
        prepared: tuple[str, ...] = ()
        observed: tuple[str, ...] = ()
        if (preparation := method.preparation(info)) is not None:
            observed = teachers(preparation.teachers())
            material = {**_component(preparation), "parents": {"teachers": observed}}
            prepared = (add("prepare", material, f"{cell.dataset} {preparation.name()}"),)
        parents = {"teachers": squeezed, "prepared": prepared}
        images = tuple(
            add(
                "distill",
                {
                    **_component(method),
                    "unit": unit.model_dump(),
                    "ipc": cell.ipc,
                    "seed": cell.draw,
                    "parents": parents,
                },
                f"{what} draw {cell.draw} unit {unit.index}",
            )
            for unit in method.units(info, cell.ipc)
        )
        parents = {"images": images, "teachers": teachers((TeacherSpec(),) if regime.needs_teacher() else ())}
        axes = {"ipc": cell.ipc, "seed": cell.seed}
        title = f"{what} {cell.protocol} seed {cell.seed}"
        labels = (add("relabel", {**_component(regime), **axes, "parents": parents}, title),)
        student = {"arch": cell.student, "stem": config.stem.model_dump()}
        material = {**_component(evaluator), **axes, "student": student, "parents": {**parents, "labels": labels}}
        score = add("evaluate", material, f"{title} {cell.student}")
        trained = tuple(dict.fromkeys((*squeezed, *observed, *parents["teachers"])))
        return {"teacher": trained, "prepare": prepared, "distill": images, "relabel": labels, "evaluate": (score,)}

    def _judges(self, cell: Cell, config: datasets.DatasetConfig, method: Distiller) -> tuple[LabelRegime, Evaluator]:
        protocol, budget = self.protocol(cell.protocol), config.student
        epochs = budget.epochs if method.uses_ipc else budget.full_epochs
        where = f"configs/protocols/{protocol.name}.yaml"
        views = {"epochs": epochs, "batch_size": budget.batch_size, **protocol.schedule}
        schedule = validated(Schedule, views, f"{where}: schedule")
        low, high = schedule.crop_scale
        bounds = {"flip": schedule.flip and config.flip, "crop_scale": (max(low, config.smallest_crop), high)}
        schedule = schedule.model_copy(update=bounds)
        regime = _judge(load_labels, protocol.labels, schedule, f"{where}: labels")
        return regime, _judge(load_evaluator, protocol.evaluator, schedule, f"{where}: evaluator")

    def _adder(self, config: datasets.DatasetConfig, info: DatasetInfo) -> Callable[[Stage, Params, str], str]:
        on_gpu = self.place.device == "cuda"
        wants = config.resources
        gpus = wants.gpus if on_gpu else 0.0

        def add(stage: Stage, material: Params, title: str) -> str:
            cpus = wants.teacher_cpus if stage in ("teacher", "prepare") else wants.cpus
            needs = Needs(cpus, gpus, wants.memory_gb)
            whole = {"stage": stage, "dataset": {"name": info.name, "fingerprint": info.fingerprint}, **material}
            key = identity.key_of(whole)
            self.nodes.setdefault(key, Node(key, stage, whole, needs, title))
            return key

        return add


def teacher_identity(config: datasets.DatasetConfig, spec: TeacherSpec) -> dict[str, Any]:
    """Return what decides a teacher: network, stem and the dataset's training recipe."""
    recipe = config.teacher
    if spec.arch not in (None, recipe.arch):
        recipe = recipe.model_copy(update={"arch": spec.arch, "pretrained": None})
    if spec.epochs is not None:
        recipe = recipe.model_copy(update={"epochs": spec.epochs})
    params = {"recipe": recipe.model_dump(mode="json"), "stem": config.stem.model_dump()}
    return {"component": {"name": recipe.arch, "version": TEACHER_VERSION, "params": params}, "seed": 0, "parents": {}}


def _component(component: Component) -> dict[str, Any]:
    return {"component": component.identity()}


def _judge(loader: Callable[[str], Any], values: Params, schedule: Schedule, where: str) -> Any:
    params = {name: value for name, value in values.items() if name != "name"}
    if "name" not in values:
        raise BenchmarkError(f"{where}: name: is missing")
    try:
        kind = loader(str(values["name"]))
    except BenchmarkError as error:
        raise BenchmarkError(f"{where}: {error}") from error
    return validated(kind, {"schedule": schedule, **params}, where)
