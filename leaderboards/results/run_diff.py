"""Two runs of a suite compared: which rows moved, whether beyond noise, and what changed in what they are.

Cells are matched by dataset, IPC, method, protocol, student, draw and seed; a *row* is all of these but draw and seed.
Differences are B - A, in percent points. The rule for noise:

* a row with two matched draws or seeds: beyond noise if the 95 % interval of the mean difference (Student's t, paired,
  for equal draws and seeds share their random numbers) leaves out 0;
* a row with one matched cell: beyond noise if the difference exceeds ``t sqrt(2) s``, where s is the deviation between
  the cells of one row of one run, pooled over all such rows of several cells, and t the 97.5 % quantile for its degrees
  of freedom;
* where no row has several cells, nothing is said.

By chance, one row in twenty that did not change is called beyond noise.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import pandas as pd

from leaderboards.results import statistics
from leaderboards.results.records import Record, Stored, keys_of
from leaderboards.results.statistics import Mean

ROW = ("dataset", "ipc", "method", "protocol", "student")
WALK = ("labels", "images", "prepared", "teachers")  # roles of parents, in the order in which changes are named
AROUND = ("distill", "relabel", "evaluate")  # stages whose device and versions are compared
BEYOND, WITHIN, SAME, UNKNOWN = "beyond noise", "within noise", "the same", "noise unknown"
COLUMNS = [
    *("dataset", "ipc", "method", "protocol", "student", "draw", "seed", "top1_a", "top1_b", "difference"),
    *("row_difference", "row_ci_low", "row_ci_high", "row_verdict", "identity", "surroundings"),
]
Row = tuple[Any, ...]  # values of `ROW`
Pair = tuple[int, int]  # draw, seed


@dataclass(frozen=True)
class Cell:
    """A cell that both runs have.

    Attributes:
        a: top-1 accuracy in run A, in percent.
        b: the same in run B.
        identity: what changed in what was measured, the evaluation's own part first; () where the keys are equal.
        surroundings: what changed around it: device, precision, versions, commit.
    """

    a: float
    b: float
    identity: tuple[str, ...]
    surroundings: tuple[str, ...]


@dataclass(frozen=True)
class Change:
    """A row that both runs have: its matched cells by draw and seed, their mean difference, and the verdict."""

    row: Row
    cells: Mapping[Pair, Cell]
    gap: Mean
    verdict: str

    @property
    def identity(self) -> tuple[str, ...]:
        """What changed in the identity of any of its cells."""
        return tuple(dict.fromkeys(text for cell in self.cells.values() for text in cell.identity))

    def mean(self, run: str) -> float:
        """Return the mean accuracy of the matched cells in run ``a`` or ``b``."""
        return fmean(getattr(cell, run) for cell in self.cells.values())


@dataclass(frozen=True)
class Comparison:
    """What became of a suite from run A to run B.

    Attributes:
        changes: a row each, in the order of A.
        only: by run, the rows of which it has cells that the other has not, with their number.
    """

    changes: tuple[Change, ...]
    only: Mapping[str, Mapping[Row, int]]

    @property
    def surroundings(self) -> Counter[str]:
        """What changed around the cells, with the number of cells."""
        return Counter(text for change in self.changes for cell in change.cells.values() for text in cell.surroundings)


def compare(a: Stored, b: Stored) -> Comparison:
    """Return what changed from run A of a suite to run B of it."""
    ours, theirs = _rows(a), _rows(b)
    noise = _pooled([*ours.values(), *theirs.values()])
    found = []
    for row, cells in ours.items():
        both = {
            pair: _cell(a, b, cell, theirs[row][pair]) for pair, cell in cells.items() if pair in theirs.get(row, {})
        }
        if both:
            gap = _gap(both, noise)
            found.append(Change(row, both, gap, _verdict(both, gap)))
    return Comparison(tuple(found), {"A": _only(ours, theirs), "B": _only(theirs, ours)})


def table(found: Comparison) -> pd.DataFrame:
    """Return `COLUMNS`: a row per cell that both runs have; texts of several changes are joined by semicolons."""
    rows = []
    for change in found.changes:
        low, high = change.gap.interval or (None, None)
        verdict = (change.gap.value, low, high, change.verdict)
        for pair, cell in change.cells.items():
            texts = ("; ".join(cell.identity), "; ".join(cell.surroundings))
            rows.append((*change.row, *pair, cell.a, cell.b, cell.b - cell.a, *verdict, *texts))
    return pd.DataFrame(rows, columns=COLUMNS).round(dict.fromkeys(COLUMNS[7:13], 4))


def _rows(stored: Stored) -> dict[Row, dict[Pair, tuple[Record, float]]]:
    """Return the cells of a run that are done, and their accuracies, by row, draw and seed."""
    found = defaultdict[Row, dict[Pair, tuple[Record, float]]](dict)
    for cell in stored.cells:
        for record in stored.records(cell, "evaluate"):
            top1 = float(record["metrics"]["top1"])
            found[tuple(cell[name] for name in ROW)][cell["draw"], cell["seed"]] = cell, top1
    return dict(found)


def _pooled(rows: Sequence[Mapping[Pair, tuple[Record, float]]]) -> Mean:
    """Return 0 with the standard error of the difference of two single cells; without one if no row has several."""
    squares, freedom = 0.0, 0
    for row in rows:
        values = [top1 for _, top1 in row.values()]
        squares += sum((value - fmean(values)) ** 2 for value in values)
        freedom += len(values) - 1
    return Mean(0.0, math.sqrt(2 * squares / freedom), freedom) if freedom else Mean(0.0)


def _gap(cells: Mapping[Pair, Cell], noise: Mean) -> Mean:
    paired = statistics.mean({pair: cell.b - cell.a for pair, cell in cells.items()})
    return paired if paired.error is not None else Mean(paired.value, noise.error, noise.freedom)


def _verdict(cells: Mapping[Pair, Cell], gap: Mean) -> str:
    if all(cell.a == cell.b for cell in cells.values()):
        return SAME
    return {True: WITHIN, False: BEYOND, None: UNKNOWN}[gap.includes_zero]


def _only(ours: Mapping[Row, Mapping[Pair, object]], theirs: Mapping[Row, Mapping[Pair, object]]) -> dict[Row, int]:
    counts = {row: len(cells.keys() - theirs.get(row, {}).keys()) for row, cells in ours.items()}
    return {row: count for row, count in counts.items() if count}


def _cell(a: Stored, b: Stored, ours: tuple[Record, float], theirs: tuple[Record, float]) -> Cell:
    (mine, top1), (other, top1_b) = ours, theirs
    changed: dict[str, str] = {}  # what changed -> the same with its stage, the first at which it shows
    for one, two in zip(keys_of(mine, "evaluate"), keys_of(other, "evaluate"), strict=True):
        for where, what in _walk(a, b, one, two):
            changed.setdefault(what, f"{where} {what}")
    around = (text for stage in AROUND for text in _surroundings(a.records(mine, stage), b.records(other, stage)))
    return Cell(top1, top1_b, tuple(changed.values()), tuple(dict.fromkeys(around)))


def _walk(a: Stored, b: Stored, one: str, two: str) -> Iterator[tuple[str, str]]:
    """Yield what differs between two nodes and those that they stand on, as (stage and component, difference)."""
    if one == two:
        return
    mine, other = a.nodes.records.get(one), b.nodes.records.get(two)
    if mine is None or other is None:
        yield "node", f"{one} -> {two}, of which a record is not at hand"
        return
    ours, theirs = mine["identity"], other["identity"]
    stage, name = mine["stage"], ours["component"]["name"]
    if name != theirs["component"]["name"]:
        yield stage, f"{name} -> {theirs['component']['name']}"
    else:
        for field, values in _fields(ours, theirs):
            yield f"{stage} {name}", f"{field} {values[0]} -> {values[1]}"
    for role in WALK:
        parents = [identity.get("parents", {}).get(role, []) for identity in (ours, theirs)]
        if len(parents[0]) != len(parents[1]):
            yield f"{stage} {name}", f"{role} {len(parents[0])} -> {len(parents[1])}"
        for pair in zip(*parents, strict=False):
            yield from _walk(a, b, *pair)


def _fields(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> Iterator[tuple[str, tuple[Any, Any]]]:
    """Yield the dotted names of all that differs in two identities but for their parents."""
    one, two = ({k: v for k, v in _flat({**side, "parents": {}})} for side in (ours, theirs))
    for name in dict.fromkeys([*one, *two]):
        if one.get(name, "absent") != two.get(name, "absent"):
            yield name.removeprefix("component."), (one.get(name, "absent"), two.get(name, "absent"))


def _flat(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _flat(item, f"{place}.{name}".lstrip("."))
    else:
        yield place, value


def _surroundings(ours: Sequence[Record], theirs: Sequence[Record]) -> Iterator[str]:
    """Yield what is recorded beside the numbers of two lists of nodes and differs."""
    for mine, other in zip(ours, theirs, strict=False):
        sides = [
            {
                **{name: record["cost"].get(name) for name in ("device", "precision")},
                **record["provenance"]["versions"],
                "commit": record["provenance"]["commit"],
            }
            for record in (mine, other)
        ]
        for name in dict.fromkeys([*sides[0], *sides[1]]):
            if sides[0].get(name) != sides[1].get(name):
                yield f"{name} {sides[0].get(name)} -> {sides[1].get(name)}"
