"""Suites: read a suite file, list its cells, and narrow it to a selection.

A block is a cross product of its axes. A published suite never changes its meaning: a change raises ``version``.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any, TypeAlias

from pydantic import Field, ValidationInfo, field_validator, model_validator

from benchmark.api import Frozen
from benchmark.config_files import FileName, Version, Words, load_named, names
from benchmark.errors import unknown
from benchmark.identity import MOST_SEEDS, digest
from benchmark.plan.discovery import component_names, load_method, method_names
from benchmark.vision.architectures import is_known, unknown_model
from benchmark.vision.datasets import list_datasets

Count: TypeAlias = Annotated[int, Field(ge=1, le=MOST_SEEDS)]


class MethodEntry(Frozen):
    """A method as a suite lists it: ``wmdd``, or ``{method: wmdd+bn, base: wmdd, set: {regulariser: bn}}``."""

    method: FileName  # its name in tables
    base: str = ""  # the file in ``methods/`` that it uses; "" for the file with the name of the method
    overrides: dict[str, Any] = Field(default_factory=dict, alias="set")  # hyperparameters that replace the recipe's
    cut: str = ""  # what these are less than the recipe, and why; such a row gets no rank

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        """Accept a name in place of a mapping, and fill in the base."""
        entry = {"method": value} if isinstance(value, str) else value
        return {"base": entry["method"], **entry} if isinstance(entry, Mapping) and "method" in entry else entry

    @model_validator(mode="after")
    def _base_exists_and_variant_has_a_name(self) -> MethodEntry:
        if fault := name_fault("methods", self.base) or _variant_fault(self.method):
            raise ValueError(fault)
        if self.method != self.base and self.method in method_names():
            raise ValueError(f"'{self.method}' is a method of its own; a variant of {self.base} needs another name")
        if self.overrides and self.method == self.base:
            raise ValueError(f"a variant needs a name of its own: method: NAME, base: {self.base}")
        return self


class Block(Frozen):
    """A cross product of axes."""

    datasets: tuple[str, ...] = Field(min_length=1)
    ipc: tuple[int, ...] = Field(min_length=1)
    methods: tuple[MethodEntry, ...] = Field(min_length=1)
    students: tuple[str, ...] = Field(min_length=1)
    protocols: tuple[str, ...] = ("standard",)
    seeds: Count = 2  # number of seeds of labels and student
    first_seed: int = Field(0, ge=0, le=MOST_SEEDS)  # above 0: fresh seeds, to confirm what others suggest
    draws: Count | None = None  # number of draws, each evaluated with every seed; None: seed i takes draw i
    teachers: Count | None = None  # number of teachers, each with every draw; None: seed i takes teacher i

    @model_validator(mode="after")
    def _few_rows(self) -> Block:
        if (rows := self.seeds * (self.draws or 1) * (self.teachers or 1)) > MOST_SEEDS:
            raise ValueError(f"seeds x draws x teachers are {rows}, more than {MOST_SEEDS}")
        return self

    @field_validator("ipc")
    @classmethod
    def _positive(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if min(value) < 1:
            raise ValueError("images per class are 1 or more")
        return value

    @field_validator("datasets", "students", "protocols")
    @classmethod
    def _names_exist(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        faults = [fault for name in value if (fault := name_fault(str(info.field_name), name))]
        if faults:
            raise ValueError("; ".join(faults))
        return value


class Exclude(Frozen):
    """A rule that excludes cells: those that match every axis that the rule names."""

    datasets: tuple[str, ...] = ()
    ipc: tuple[int, ...] = ()
    methods: tuple[str, ...] = ()
    students: tuple[str, ...] = ()
    protocols: tuple[str, ...] = ()
    why: Words

    @property
    def _named(self) -> dict[str, tuple[Any, ...]]:
        """The axes that the rule names, with their values."""
        return {axis: values for axis, values in self if axis != "why" and values}

    def covers(self, cell: Cell) -> bool:
        """Return whether the rule excludes a cell."""
        return all(getattr(cell, axis.removesuffix("s")) in values for axis, values in self._named.items())

    def faults(self, suite: Suite) -> Iterator[str]:
        """Yield every unknown name of the rule, and a fault if it names no axis."""
        for axis, names_of_axis in self._named.items():
            for name in names_of_axis if axis != "ipc" else ():
                if fault := name_fault(axis, name, suite):
                    yield f"{axis}: {fault}"
        if not self._named:
            yield "names no axis, so it would exclude every cell"
        elif not any(self._meets(block) for block in suite.blocks):
            yield "excludes nothing: no block has all that it names"

    def _meets(self, block: Block) -> bool:
        """Return whether a block may have cells of the rule; cells of a method that does not use IPC have IPC 0."""
        axes = {**dict(block), "ipc": (*block.ipc, 0), "methods": [entry.method for entry in block.methods]}
        return all(set(values) & set(axes[axis]) for axis, values in self._named.items())


class Cell(Frozen):
    """One expected result: a student of a seed, trained on a draw of a method, under a protocol."""

    dataset: str
    ipc: int  # images per class; 0 where the method does not depend on it
    method: str  # its name in tables
    base: str  # the file in ``methods/`` that it uses
    overrides: dict[str, Any]  # hyperparameters that the suite sets
    protocol: str
    student: str
    teacher: int  # seed of the teachers, of images and labels alike
    draw: int  # seed of the distilled set
    seed: int  # seed of labels and student


class Suite(Frozen):
    """The content of ``configs/suites/NAME.yaml``."""

    name: FileName
    version: Version
    title: str
    description: str = ""
    blocks: tuple[Block, ...] = Field(min_length=1)
    exclude: tuple[Exclude, ...] = ()
    measures: tuple[str, ...] = ()  # measures of every distilled set: stems of files in ``evaluators/measures/``
    pairs: tuple[tuple[str, str], ...] = ()  # methods that tables compare, because they differ in one idea

    @model_validator(mode="after")
    def _consistent(self) -> Suite:
        faults = [f"exclude[{i}]: {fault}" for i, rule in enumerate(self.exclude) for fault in rule.faults(self)]
        entries = {entry.method: entry for entry in self.entries}
        clashes = sorted({entry.method for entry in self.entries if entries[entry.method] != entry})
        faults += [f"blocks: two variants are called '{name}'; a table could not tell them apart" for name in clashes]
        faults += [
            f"pairs[{i}]: {unknown('method', name, entries)}"
            for i, pair in enumerate(self.pairs)
            for name in pair
            if name not in entries
        ]
        name_faults = [(f"measures[{i}]", name_fault("measures", name)) for i, name in enumerate(self.measures)]
        faults += [f"{key}: {fault}" for key, fault in name_faults if fault]
        faults += [f"pairs[{i}]: compares '{a}' with itself" for i, (a, b) in enumerate(self.pairs) if a == b]
        if faults:
            raise ValueError("; ".join(faults))
        return self

    @property
    def entries(self) -> list[MethodEntry]:
        """The methods of all blocks, in the order of the file."""
        return [entry for block in self.blocks for entry in block.methods]

    def cells(self) -> tuple[Cell, ...]:
        """Return all cells in the order of the file; a cell of several blocks comes once."""
        cells: dict[str, Cell] = {}
        for block in self.blocks:
            for cell in _cells(block):
                cells.setdefault(cell.model_dump_json(), cell)
        return tuple(cells.values())

    def digest(self) -> str:
        """Return the digest of its blocks and version; what a file says by default is not part of it."""
        return digest([self.version, self.model_dump(mode="json", include={"blocks"}, exclude_defaults=True)])

    def why_excluded(self, cell: Cell) -> str | None:
        """Return why a cell is excluded; None if it is not."""
        return next((rule.why for rule in self.exclude if rule.covers(cell)), None)


class Selection(Frozen):
    """What a user selects of a suite on the command line; () selects all values of an axis."""

    datasets: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    ipc: tuple[int, ...] = ()
    students: tuple[str, ...] = ()
    protocols: tuple[str, ...] = ()
    seeds: Count | None = None  # None: as the suite says
    draws: Count | None = None
    entries: tuple[MethodEntry, ...] = ()  # methods to add that no suite lists

    def apply(self, suite: Suite) -> Suite:
        """Return the suite with the selected cells only.

        For each selected dataset, the blocks are narrowed axis by axis. A value that some block lists is selected in
        those blocks; a value that no block lists is added to all blocks. So a suite also runs a method or a student
        that it does not list.
        """
        suite_entries = {entry.method: entry for entry in suite.entries}
        methods = [*(suite_entries.get(name) or MethodEntry(method=name) for name in self.methods), *self.entries]
        axes = {"ipc": self.ipc, "students": self.students, "protocols": self.protocols, "methods": methods}
        numbers = {name: value for name in ("seeds", "draws") if (value := getattr(self, name)) is not None}
        selected_blocks = []
        for datasets in [[name] for name in self.datasets] or [[]]:
            blocks = _narrowed(suite.blocks, "datasets", datasets)
            for axis, values in axes.items():
                blocks = _narrowed(blocks, axis, values)
            selected_blocks += [block.model_copy(update=numbers) for block in blocks]
        return suite.model_copy(update={"blocks": tuple(selected_blocks)})


def load_suite(name: str) -> Suite:
    """Return a suite.

    Args:
        name: the stem of a file in ``configs/suites``, or the path of a YAML file.

    Raises:
        Faults: there is no such suite, or all faults of its file.
    """
    return load_named(Suite, "suites", name)


def name_fault(axis: str, name: str, suite: Suite | None = None) -> str | None:
    """Return a message if a name does not exist, else None.

    Args:
        axis: ``datasets``, ``methods``, ``students``, ``protocols`` or ``measures``.
        name: the name on this axis.
        suite: its variants count as methods.
    """
    if axis == "students":
        return None if is_known(name) else unknown_model("student", name)
    variants = [entry.method for entry in suite.entries] if suite else []
    listings: dict[str, Callable[[], list[str]]] = {
        "datasets": list_datasets,
        "methods": lambda: [*method_names(), *variants],
        "protocols": lambda: names("protocols"),
        "measures": lambda: component_names("evaluators.measures"),
    }
    available = listings[axis]()
    return None if name in available else unknown(axis.removesuffix("s"), name, available)


def _variant_fault(name: str) -> str:
    """Return why a name cannot be that of a method in tables and on the command line, "" where it can."""
    if "," in name or name != name.strip():
        return f"{name!r}: a name has no comma and no blank at its ends; --methods could not select it"
    if name.startswith(("=", "+", "-", "@")):
        return f"{name!r}: a name does not begin with =, +, - or @; a table program takes such a cell for a formula"
    return ""


def _cells(block: Block) -> Iterator[Cell]:
    first = block.first_seed
    draws = [(i, i) for i in range(first, first + block.seeds)]
    if block.draws is not None:
        draws = list(itertools.product(range(first, first + block.draws), range(first, first + block.seeds)))
    teachers = None if block.teachers is None else range(first, first + block.teachers)
    seeds = [(teacher, draw, seed) for draw, seed in draws for teacher in ([seed] if teachers is None else teachers)]
    uses_ipc = {entry.base: load_method(entry.base).uses_ipc for entry in block.methods}
    axes = itertools.product(block.datasets, block.ipc, block.methods, block.protocols, block.students, seeds)
    for dataset, ipc, entry, protocol, student, (teacher, draw, seed) in axes:
        yield Cell(
            dataset=dataset,
            ipc=ipc if uses_ipc[entry.base] else 0,
            method=entry.method,
            base=entry.base,
            overrides=entry.overrides,
            protocol=protocol,
            student=student,
            teacher=teacher,
            draw=draw,
            seed=seed,
        )


def _narrowed(blocks: Sequence[Block], axis: str, selected: Sequence[Any]) -> Sequence[Block]:
    """Return the blocks with the selected values of an axis only; () selects all."""
    if not selected:
        return blocks
    all_values = [value for block in blocks for value in getattr(block, axis)]
    narrowed = []
    for block in blocks:
        values = tuple(value for value in selected if value in getattr(block, axis) or value not in all_values)
        if values:
            narrowed.append(block.model_copy(update={axis: values}))
    return narrowed
