"""Suites: from a file of blocks to cells, and what a user selects among them.

A block is a cross product of its axes. A published suite never changes its meaning: a change raises ``version``.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import timm
from pydantic import Field, ValidationInfo, field_validator, model_validator

from benchmark.api import Frozen
from benchmark.config_files import FileName, display_path, load, names, read_yaml, validated
from benchmark.errors import Faults, unknown
from benchmark.plan.discovery import load_method, method_names
from benchmark.vision.datasets import list_datasets
from benchmark.vision.models import list_models


class MethodEntry(Frozen):
    """A method as a suite names it: ``wmdd``, or ``{method: wmdd+bn, base: wmdd, set: {regulariser: bn}}``."""

    method: FileName  # its name in tables
    base: str = ""  # the file in ``methods/`` that it runs; "" for the file of the same name
    overrides: dict[str, Any] = Field(default_factory=dict, alias="set")  # hyperparameters that replace the recipe's

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        """Read a plain name, and fill in the base."""
        entry = {"method": value} if isinstance(value, str) else value
        return {"base": entry["method"], **entry} if isinstance(entry, Mapping) and "method" in entry else entry

    @field_validator("base")
    @classmethod
    def _known(cls, base: str) -> str:
        if fault := name_fault("methods", base):
            raise ValueError(fault)
        return base

    @model_validator(mode="after")
    def _variant_has_a_name(self) -> MethodEntry:
        if self.overrides and self.method == self.base:
            raise ValueError(f"a variant needs a name of its own: method: NAME, base: {self.base}")
        return self


class Block(Frozen):
    """One cross product of axes."""

    datasets: tuple[str, ...] = Field(min_length=1)
    ipc: tuple[int, ...] = Field(min_length=1)
    methods: tuple[MethodEntry, ...] = Field(min_length=1)
    students: tuple[str, ...] = Field(min_length=1)
    protocols: tuple[str, ...] = ("standard",)
    seeds: int = Field(2, ge=1)  # evaluation seeds
    draws: int | None = Field(None, ge=1)  # distilled sets per seed, crossed; None: seed i judges its own draw i

    @field_validator("ipc")
    @classmethod
    def _positive(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if min(value) < 1:
            raise ValueError("images per class are 1 or more")
        return value

    @field_validator("datasets", "students", "protocols")
    @classmethod
    def _known(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        faults = [fault for name in value if (fault := name_fault(str(info.field_name), name))]
        if faults:
            raise ValueError("; ".join(faults))
        return value


class Exclude(Frozen):
    """Cells that make no sense, and why: a cell is excluded when it matches every axis that is given."""

    datasets: tuple[str, ...] = ()
    ipc: tuple[int, ...] = ()
    methods: tuple[str, ...] = ()
    students: tuple[str, ...] = ()
    protocols: tuple[str, ...] = ()
    why: str

    def covers(self, cell: Cell) -> bool:
        """Whether the cell is one of these."""
        pairs = (
            (self.datasets, cell.dataset),
            (self.ipc, cell.ipc),
            (self.methods, cell.method),
            (self.students, cell.student),
            (self.protocols, cell.protocol),
        )
        return all(not axis or value in axis for axis, value in pairs)

    def faults(self, suite: Suite) -> Iterator[str]:
        """Yield what is wrong with its names; methods are called as tables call them."""
        for axis in ("datasets", "methods", "students", "protocols"):
            for name in getattr(self, axis):
                if fault := name_fault(axis, name, suite):
                    yield f"{axis}: {fault}"
        if not (self.datasets or self.ipc or self.methods or self.students or self.protocols):
            yield "names no axis, so that every cell would be excluded"


class Cell(Frozen):
    """One number of a leaderboard: what is distilled, how it is labelled, who learns from it, under which seeds."""

    dataset: str
    ipc: int  # 0 where the method does not depend on it
    method: str  # its name in tables
    base: str  # the file in ``methods/`` that it runs
    overrides: dict[str, Any]  # hyperparameters that the suite sets
    protocol: str
    student: str
    draw: int  # seed of the distilled set
    seed: int  # seed of labels and student


class Suite(Frozen):
    """``configs/suites/NAME.yaml``."""

    name: FileName
    version: int
    title: str
    description: str = ""
    blocks: tuple[Block, ...] = Field(min_length=1)
    exclude: tuple[Exclude, ...] = ()
    measures: tuple[str, ...] = ()  # what is measured of every distilled set, names of files in ``evaluators/``

    @model_validator(mode="after")
    def _sound(self) -> Suite:
        faults = [f"exclude[{i}]: {fault}" for i, rule in enumerate(self.exclude) for fault in rule.faults(self)]
        entries = [entry for block in self.blocks for entry in block.methods]
        by_name = {entry.method: entry for entry in entries}
        twice = sorted({entry.method for entry in entries if by_name[entry.method] != entry})
        faults += [f"blocks: two variants are called '{name}'; a table could not tell them apart" for name in twice]
        if faults:
            raise ValueError("; ".join(faults))
        return self

    def cells(self) -> tuple[Cell, ...]:
        """Return every cell once, in the order of the file."""
        found: dict[str, Cell] = {}
        for block in self.blocks:
            for cell in _cells(block):
                found.setdefault(cell.model_dump_json(), cell)
        return tuple(found.values())

    def why_excluded(self, cell: Cell) -> str | None:
        """Return the reason for which a cell is left out, or None."""
        return next((rule.why for rule in self.exclude if rule.covers(cell)), None)


class Selection(Frozen):
    """What a user asked for on the command line; () selects all."""

    datasets: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    ipc: tuple[int, ...] = ()
    students: tuple[str, ...] = ()
    protocols: tuple[str, ...] = ()
    seeds: int | None = None
    draws: int | None = None
    entries: tuple[MethodEntry, ...] = ()  # further methods, which no suite lists

    def apply(self, suite: Suite) -> Suite:
        """Return the suite narrowed to the selection.

        Dataset by dataset and axis by axis: a value that some block lists keeps its places; one that no block lists
        joins them all, so that a new method or student can be run in a suite that does not know it.
        """
        variants = {entry.method: entry for block in suite.blocks for entry in block.methods}
        methods = [*(variants.get(name) or MethodEntry(method=name) for name in self.methods), *self.entries]
        axes = {"ipc": self.ipc, "students": self.students, "protocols": self.protocols, "methods": methods}
        seeds = {name: value for name in ("seeds", "draws") if (value := getattr(self, name)) is not None}
        chosen = []
        for datasets in [[name] for name in self.datasets] or [[]]:
            blocks = _narrowed(suite.blocks, "datasets", datasets)
            for axis, wanted in axes.items():
                blocks = _narrowed(blocks, axis, wanted)
            chosen += [block.model_copy(update=seeds) for block in blocks]
        return suite.model_copy(update={"blocks": tuple(chosen)})


def load_suite(name: str) -> Suite:
    """Return a suite by the name of its file in ``configs/suites``, or by the path of a YAML file.

    Raises:
        Faults: an unknown suite, or everything that is wrong with its file.
    """
    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        return validated(Suite, {"name": path.stem, **read_yaml(path)}, display_path(path))
    if name not in names("suites"):
        raise Faults([unknown("suite", name, names("suites"))])
    return load(Suite, "suites", name)


def name_fault(axis: str, name: str, suite: Suite | None = None) -> str | None:
    """Return what is wrong with a name on an axis (``datasets``, ``methods``, ``students``, ``protocols``), or None."""
    if axis == "students":
        known = name in list_models() or timm.is_model(name)
        return None if known else unknown("student", name, list_models())
    variants = [entry.method for block in suite.blocks for entry in block.methods] if suite else []
    listings: dict[str, Callable[[], list[str]]] = {
        "datasets": list_datasets,
        "methods": lambda: [*method_names(), *variants],
        "protocols": lambda: names("protocols"),
    }
    available = listings[axis]()
    return None if name in available else unknown(axis.removesuffix("s"), name, available)


def _cells(block: Block) -> Iterator[Cell]:
    pairs = [(i, i) for i in range(block.seeds)]
    if block.draws is not None:
        pairs = [(draw, seed) for draw in range(block.draws) for seed in range(block.seeds)]
    uses_ipc = {entry.base: load_method(entry.base).uses_ipc for entry in block.methods}
    axes = itertools.product(block.datasets, block.ipc, block.methods, block.protocols, block.students, pairs)
    for dataset, ipc, entry, protocol, student, (draw, seed) in axes:
        yield Cell(
            dataset=dataset,
            ipc=ipc if uses_ipc[entry.base] else 0,
            method=entry.method,
            base=entry.base,
            overrides=entry.overrides,
            protocol=protocol,
            student=student,
            draw=draw,
            seed=seed,
        )


def _narrowed(blocks: Sequence[Block], axis: str, wanted: Sequence[Any]) -> Sequence[Block]:
    """Return the blocks with those values of an axis that are wanted; () wants all."""
    if not wanted:
        return blocks
    listed = [value for block in blocks for value in getattr(block, axis)]
    kept = []
    for block in blocks:
        chosen = tuple(value for value in wanted if value in getattr(block, axis) or value not in listed)
        if chosen:
            kept.append(block.model_copy(update={axis: chosen}))
    return kept
