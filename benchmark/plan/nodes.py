"""Nodes: one piece of work each, named by the hash of all that can change its result; and the nodes of one cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmark import identity
from benchmark.api import Component, DatasetInfo, Distiller, Evaluator, LabelRegime, Measure, Preparation, TeacherSpec
from benchmark.identity import Stage
from benchmark.plan.suite import Cell
from benchmark.vision.datasets import DatasetConfig, TrainPart

TEACHER_VERSION = 1  # raised when the training of teachers changes
Params = Mapping[str, Any]
Keys = tuple[str, ...]


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
        return identity.parents_of(self.identity)


class CellNodes:
    """Makes the nodes of one cell.

    Attributes:
        made: the nodes, parents first.
    """

    def __init__(
        self, cell: Cell, config: DatasetConfig, info: DatasetInfo, *, on_gpu: bool, view: TrainPart = "full"
    ) -> None:
        self.cell, self.config, self.info, self.on_gpu, self.view = cell, config, info, on_gpu, view
        self.made: list[Node] = []

    def of(
        self, method: Distiller, regime: LabelRegime, evaluator: Evaluator, measures: Sequence[Measure]
    ) -> dict[str, Keys]:
        """Return the keys of the cell's nodes by stage; what is computed for measures alone is not among them."""
        squeezed = self._teachers(method.teachers())
        prepared, observed = self._prepared(method.preparation(self.info))
        images = self._images(method, {"teachers": squeezed, "prepared": prepared})
        answering = self._teachers(regime.teachers())
        labels, score = self._judgement(regime, evaluator, {"images": images, "teachers": answering})
        found = {
            "teacher": tuple(dict.fromkeys((*squeezed, *observed, *answering))),
            "prepare": prepared,
            "distill": images,
            "relabel": labels,
            "evaluate": score,
        }
        return found | ({"measure": tuple(self._measured(each, images) for each in measures)} if measures else {})

    def _teachers(self, specs: Sequence[TeacherSpec]) -> Keys:
        title = f"{self.cell.dataset} teacher"
        return tuple(self._add("teacher", teacher_identity(self.config, spec), title) for spec in specs)

    def _prepared(self, preparation: Preparation | None) -> tuple[Keys, Keys]:
        """Return the keys of a preparation and of its teachers."""
        if preparation is None:
            return (), ()
        observed = self._teachers(preparation.teachers())
        material = {**_component(preparation), "parents": {"teachers": observed}}
        return (self._add("prepare", material, f"{self.cell.dataset} {preparation.name()}"),), observed

    def _images(self, method: Distiller, parents: Mapping[str, Keys]) -> Keys:
        cell = self.cell
        axes = {"ipc": cell.ipc, "seed": cell.draw, "parents": parents}
        return tuple(
            self._add(
                "distill",
                {**_component(method), "unit": unit.model_dump(), **axes},
                f"{self._title} draw {cell.draw} unit {unit.index}",
            )
            for unit in method.units(self.info, cell.ipc)
        )

    def _judgement(self, regime: LabelRegime, evaluator: Evaluator, parents: Mapping[str, Keys]) -> tuple[Keys, Keys]:
        """Return the keys of the labels and of the student's score."""
        cell, axes = self.cell, {"ipc": self.cell.ipc, "seed": self.cell.seed}
        title = f"{self._title} {cell.protocol} seed {cell.seed}"
        labels = (self._add("relabel", {**_component(regime), **axes, "parents": parents}, title),)
        student = {"arch": cell.student, "stem": self.config.stem.model_dump()}
        material = {**_component(evaluator), **axes, "student": student, "parents": {**parents, "labels": labels}}
        return labels, (self._add("evaluate", material, f"{title} {cell.student}"),)

    def _measured(self, measure: Measure, images: Keys) -> str:
        prepared, _ = self._prepared(measure.preparation(self.info))
        parents = {"images": images, "teachers": self._teachers(measure.teachers()), "prepared": prepared}
        material = {**_component(measure), "ipc": self.cell.ipc, "parents": parents}
        return self._add("measure", material, f"{self._title} draw {self.cell.draw} {measure.name()}")

    @property
    def _title(self) -> str:
        return f"{self.cell.dataset}/{self.cell.ipc or 'all'} {self.cell.method}"

    def _add(self, stage: Stage, material: Params, title: str) -> str:
        wants = self.config.resources
        cpus = wants.teacher_cpus if stage in ("teacher", "prepare") else wants.cpus
        needs = Needs(cpus, wants.gpus if self.on_gpu else 0.0, wants.memory_gb)
        data = {"name": self.info.name, "fingerprint": self.info.fingerprint}
        data |= {"view": self.view} if self.view != "full" else {}
        whole = {"stage": stage, "dataset": data, **material}
        self.made.append(Node(identity.key_of(whole), stage, whole, needs, title))
        return self.made[-1].key


def teacher_identity(config: DatasetConfig, spec: TeacherSpec) -> dict[str, Any]:
    """Return what decides a teacher: network, stem and the dataset's training recipe."""
    recipe = config.teacher
    arch = spec.arch or (config.neutral if spec.neutral else recipe.arch)
    if arch != recipe.arch:
        recipe = recipe.model_copy(update={"arch": arch, "pretrained": None})
    if spec.epochs is not None:
        recipe = recipe.model_copy(update={"epochs": spec.epochs})
    params = {"recipe": recipe.model_dump(mode="json"), "stem": config.stem.model_dump()}
    return {"component": {"name": recipe.arch, "version": TEACHER_VERSION, "params": params}, "seed": 0, "parents": {}}


def _component(component: Component) -> dict[str, Any]:
    return {"component": component.identity()}
