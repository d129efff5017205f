"""Nodes: pieces of work, each with a key that is the hash of everything that can change its result."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from benchmark import identity
from benchmark.api import (
    Component,
    DatasetInfo,
    Distiller,
    Evaluator,
    LabelRegime,
    Measure,
    Preparation,
    TeacherSpec,
    Unit,
)
from benchmark.errors import BenchmarkError
from benchmark.identity import Stage
from benchmark.plan.suite import Cell
from benchmark.vision.architectures import is_known, unknown_model
from benchmark.vision.datasets import DatasetConfig, TrainPart

TEACHER_VERSION = 2  # raised when the training of teachers changes
Keys = tuple[str, ...]


@dataclass(frozen=True)
class Needs:
    """What a node asks for: processors, a share of a graphics card, gibibytes of memory, and a model of card.

    Attributes:
        silent_seconds: the time without a heartbeat after which its worker counts as stopped.
    """

    cpus: int = 1
    gpus: float = 0.0
    memory_gb: float = 0.0
    gpu_model: str = ""
    silent_seconds: float = 600.0


@dataclass(frozen=True)
class Node:
    """A piece of work: one run of one stage."""

    key: str  # the hash of the identity
    stage: Stage
    identity: Mapping[str, Any]
    needs: Needs
    title: str  # its name in messages
    seconds: float = 0.0  # how long it may take, by past records; 0 where nothing is known

    @property
    def parents(self) -> tuple[str, ...]:
        """Keys of the nodes whose results it reads."""
        return identity.parents_of(self.identity)


class CellNodes:
    """Builds the nodes of a cell.

    Attributes:
        nodes: the nodes that `add` has built, parents first.
    """

    def __init__(
        self,
        cell: Cell,
        config: DatasetConfig,
        info: DatasetInfo,
        *,
        on_gpu: bool,
        part: TrainPart = "full",
        memo: dict[object, Any] | None = None,
    ) -> None:
        """Start without nodes.

        Args:
            cell: the cell.
            config: its dataset.
            info: facts about the dataset.
            on_gpu: whether nodes run on a graphics card.
            part: the part of the training set that counts as training data.
            memo: what the cells of one plan share: nodes that another cell has built are not built again.
        """
        self.cell, self.config, self.info, self.on_gpu, self.part = cell, config, info, on_gpu, part
        self.memo = {} if memo is None else memo
        self.nodes: list[Node] = []

    def add(
        self, method: Distiller, regime: LabelRegime, evaluator: Evaluator, measures: Sequence[Measure]
    ) -> dict[str, Keys]:
        """Build the nodes of the cell and return their keys by stage.

        Teachers and preparations that only a measure needs are built, but their keys are not returned.
        """
        distill_teachers = self._teachers(method)
        preparation, preparation_teachers = self._preparation(method)
        images = self._once(
            ("distill", self.cell.dataset, self.cell.ipc, self.cell.draw, self.cell.teacher, id(method)),
            lambda: self._units(method, identity.Shared(teachers=distill_teachers, prepared=preparation)),
        )
        label_teachers = self._teachers(regime)
        labels = self._labels(regime, {"images": images, "teachers": label_teachers})
        parents = {"images": images, "teachers": label_teachers, "labels": labels}
        keys = {
            "teacher": tuple(dict.fromkeys((*distill_teachers, *preparation_teachers, *label_teachers))),
            "prepare": preparation,
            "distill": images,
            "relabel": labels,
            "evaluate": self._evaluation(evaluator, parents),
        }
        return keys | ({"measure": tuple(self._measure(measure, images) for measure in measures)} if measures else {})

    def _teachers(self, owner: Distiller | LabelRegime | Preparation | Measure) -> Keys:
        specs = owner.teachers()
        if not all(isinstance(spec, TeacherSpec) for spec in specs):  # the fields of a spec can be iterated over too
            raise BenchmarkError(f"{owner.name()}: teachers() must return a tuple of TeacherSpec (returned: {specs!r})")
        return tuple(
            self._once(("teacher", self.cell.dataset, spec, seed), partial(self._teacher, spec, seed))
            for spec in specs
            for seed in [0 if spec.neutral else self.cell.teacher]  # one neutral network measures all sets
        )

    def _teacher(self, spec: TeacherSpec, seed: int) -> str:
        return self._node("teacher", teacher_identity(self.config, spec, seed), f"{self.cell.dataset} teacher {seed}")

    def _preparation(self, owner: Distiller | Measure) -> tuple[Keys, Keys]:
        """Return the key of the preparation of a method or measure, and the keys of its teachers."""
        cell = self.cell
        preparation = self._once(("preparation", cell.dataset, id(owner)), lambda: owner.preparation(self.info))
        if preparation is None:
            return (), ()
        draw = {"seed": cell.draw} if preparation.per_draw else {}
        axes = ("prepare", cell.dataset, cell.teacher, *draw.values(), id(owner))
        prepared: tuple[Keys, Keys] = self._once(axes, lambda: self._prepared(preparation, draw))
        return prepared

    def _prepared(self, preparation: Preparation, draw: Mapping[str, int]) -> tuple[Keys, Keys]:
        """Build the node of a preparation; `draw` is its seed, empty where all draws share it."""
        teachers = self._teachers(preparation)
        part = {"component": preparation.identity(), **draw, "parents": {"teachers": teachers}}
        return (self._node("prepare", part, f"{self.cell.dataset} {preparation.name()}"),), teachers

    def _units(self, method: Distiller, parents: Mapping[str, Keys]) -> Keys:
        cell = self.cell
        axes = {**self._component(method), "ipc": cell.ipc, "seed": cell.draw, "parents": parents}
        title = f"{self._title} draw {cell.draw} unit"
        return tuple(
            self._node("distill", {"unit": unit, **axes}, f"{title} {unit['index']}") for unit in self._listed(method)
        )

    def _listed(self, method: Distiller) -> Sequence[Mapping[str, Any]]:
        """Return the fields of the units of a method."""
        axes = ("units", self.cell.dataset, self.cell.ipc, id(method))
        units: Sequence[Mapping[str, Any]] = self._once(
            axes, lambda: [identity.Shared(unit.model_dump()) for unit in _units_of(method, self.info, self.cell.ipc)]
        )
        return units

    def _labels(self, regime: LabelRegime, parents: Mapping[str, Keys]) -> Keys:
        part = {**self._component(regime), "ipc": self.cell.ipc, "seed": self.cell.seed, "parents": parents}
        return (self._node("relabel", part, f"{self._title} {self.cell.protocol} seed {self.cell.seed}"),)

    def _evaluation(self, evaluator: Evaluator, parents: Mapping[str, Keys]) -> Keys:
        cell = self.cell
        student = self._once(
            ("student", cell.dataset, cell.student),
            lambda: identity.Shared(arch=cell.student, stem=self.config.stem.model_dump()),
        )
        axes = {"ipc": cell.ipc, "seed": cell.seed, "student": student}
        part = {**self._component(evaluator), **axes, "parents": parents}
        return (self._node("evaluate", part, f"{self._title} {cell.protocol} seed {cell.seed} {cell.student}"),)

    def _measure(self, measure: Measure, images: Keys) -> str:
        preparation, _ = self._preparation(measure)
        parents = {"images": images, "teachers": self._teachers(measure), "prepared": preparation}
        part = {**self._component(measure), "ipc": self.cell.ipc, "parents": parents}
        return self._node("measure", part, f"{self._title} draw {self.cell.draw} {measure.name()}")

    def _component(self, component: Component) -> dict[str, Any]:
        # The memo keeps the component, so that no other one gets its id.
        _, shared_identity = self._once(id(component), lambda: (component, identity.Shared(component.identity())))
        return {"component": shared_identity}

    def _once(self, axes: object, make: Callable[[], Any]) -> Any:
        """Return what is made for some axes; the memo has it from the second time on."""
        if axes not in self.memo:
            self.memo[axes] = make()
        return self.memo[axes]

    @property
    def _title(self) -> str:
        return f"{self.cell.dataset}/{self.cell.ipc or 'all'} {self.cell.method}"

    def _node(self, stage: Stage, part: Mapping[str, Any], title: str) -> str:
        """Build a node from the part of its identity that is its own, and return its key."""
        needs = self._once(("needs", self.cell.dataset, stage), lambda: self._needs(stage))
        data = self._once(("data", self.cell.dataset), self._data)
        node_identity = {"stage": stage, "dataset": data, **part}
        self.nodes.append(Node(identity.key_of(node_identity), stage, node_identity, needs, title))
        return self.nodes[-1].key

    def _data(self) -> Mapping[str, Any]:
        part = {"view": self.part} if self.part != "full" else {}
        return identity.Shared(name=self.info.name, fingerprint=self.info.fingerprint, **part)

    def _needs(self, stage: Stage) -> Needs:
        resources = self.config.resources
        cpus = resources.teacher_cpus if stage in ("teacher", "prepare") else resources.cpus
        gpus = resources.gpus if self.on_gpu else 0.0
        model = resources.gpu_model if gpus else ""
        return Needs(cpus, gpus, resources.memory_gb, model, 60 * resources.silent_minutes)


def _units_of(method: Distiller, info: DatasetInfo, ipc: int) -> Sequence[Unit]:
    """Return the units of a method.

    Raises:
        BenchmarkError: they do not hold every slot of every class once; where the set does not depend on IPC, they lack
            a class, or have one that does not exist.
    """
    units = tuple(method.units(info, ipc))
    slots = defaultdict[int, list[int]](list)
    for unit in units:
        for label in unit.classes:
            slots[label] += unit.slots
    all_slots = list(range(ipc))
    images = sum(map(len, slots.values()))
    has_all_slots = not method.uses_ipc or all(sorted(slots_of_class) == all_slots for slots_of_class in slots.values())
    if not has_all_slots or slots.keys() != set(range(info.classes)):
        raise BenchmarkError(
            f"method {method.name()} on {info.name} at IPC {ipc}: its units hold {images} images; "
            f"they must hold each of the {ipc} slots of each of the {info.classes} classes once"
        )
    return units


def teacher_identity(config: DatasetConfig, spec: TeacherSpec, seed: int) -> dict[str, Any]:
    """Return the own part of a teacher's identity: its network, its stem, its training recipe and its seed.

    Raises:
        BenchmarkError: there is no network of this name.
    """
    recipe = config.teacher
    arch = spec.arch or (config.neutral if spec.neutral else recipe.arch)
    if not is_known(arch):
        raise BenchmarkError(f"a teacher on {config.name}: {unknown_model('network', arch)}")
    if arch != recipe.arch:
        recipe = recipe.model_copy(update={"arch": arch, "pretrained": None})
    if spec.epochs is not None:
        recipe = recipe.model_copy(update={"epochs": spec.epochs})
    params = {"recipe": recipe.model_dump(mode="json"), "stem": config.stem.model_dump()}
    return {
        "component": {"name": recipe.arch, "version": TEACHER_VERSION, "params": params},
        "seed": seed,
        "parents": {},
    }
