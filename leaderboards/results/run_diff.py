"""The differences between two runs of a suite: which rows changed beyond noise, and what changed in their identities.

Cells are matched by dataset, IPC, method, protocol, student, draw, seed and teacher; a *row* is the first five.
Differences are B - A, in percent points. A row is beyond noise

* with two matched cells or more: if the 95 % interval of the mean difference does not include 0 (Student's t, paired,
  because cells with equal draw and seed share their random numbers);
* with one matched cell: if the difference exceeds ``t sqrt(2) s``, where s is the deviation between the cells of a row
  within one run, pooled over all rows with several cells, and t the 97.5 % quantile for its degrees of freedom;
* if no row has several cells, the noise is unknown.

By chance, one of twenty unchanged rows is called beyond noise.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import pandas as pd

from leaderboards.inference.intervals import Mean
from leaderboards.inference.variance_model import VarianceModel
from leaderboards.results.axes import CELL, ROW, axis_values
from leaderboards.results.records import Record, Stored, flat, keys_of

PARENTS = ("labels", "images", "prepared", "teachers")  # kinds of parents, in the order in which changes are named
STAGES = ("distill", "relabel", "evaluate")  # the stages whose device and versions are compared
BEYOND, WITHIN, SAME, UNKNOWN = "beyond noise", "within noise", "the same", "noise unknown"
COLUMNS = [
    *(*CELL, "top1_a", "top1_b", "difference"),
    *("row_difference", "row_ci_low", "row_ci_high", "row_verdict", "identity", "surroundings"),
]
NUMBERS = [name for name in COLUMNS if name.startswith(("top1", "difference", "row_difference", "row_ci"))]
Row = tuple[Any, ...]  # values of `ROW`
Pair = tuple[int, ...]  # draw, seed, teacher


@dataclass(frozen=True)
class Cell:
    """A cell that both runs have.

    Attributes:
        a: top-1 accuracy in run A, in percent.
        b: top-1 accuracy in run B, in percent.
        identity: the changes in the identities of its nodes, those of the evaluation first; () where keys are equal.
        surroundings: the changes of device, precision, instructions, versions and commit.
    """

    a: float
    b: float
    identity: tuple[str, ...]
    surroundings: tuple[str, ...]


@dataclass(frozen=True)
class Change:
    """A row that both runs have: its matched cells by (draw, seed), their mean difference, and the verdict."""

    row: Row
    cells: Mapping[Pair, Cell]
    gap: Mean
    verdict: str

    @property
    def identity(self) -> tuple[str, ...]:
        """The changes in the identities of all its cells, each once."""
        return tuple(dict.fromkeys(text for cell in self.cells.values() for text in cell.identity))

    def mean(self, run: str) -> float:
        """Return the mean accuracy of the matched cells in run ``a`` or ``b``."""
        return fmean(getattr(cell, run) for cell in self.cells.values())


@dataclass(frozen=True)
class RunDiff:
    """The differences between run A and run B of a suite.

    Attributes:
        changes: one for every row that both runs have, in the order of run A.
        only: for each run, the rows with cells that the other run does not have, and the number of these cells.
    """

    changes: tuple[Change, ...]
    only: Mapping[str, Mapping[Row, int]]

    @property
    def surroundings(self) -> Counter[str]:
        """The changes of device, precision, instructions, versions and commit, with the number of cells of each."""
        return Counter(text for change in self.changes for cell in change.cells.values() for text in cell.surroundings)


def compare(a: Stored, b: Stored) -> RunDiff:
    """Return the differences between run A and run B of a suite."""
    rows_a, rows_b = _rows(a), _rows(b)
    noise = _pooled([*rows_a.values(), *rows_b.values()])
    changes = []
    for row, cells in rows_a.items():
        cells_b = rows_b.get(row, {})
        matched = {pair: _cell(a, b, cell, cells_b[pair]) for pair, cell in cells.items() if pair in cells_b}
        if matched:
            gap = _gap(matched, noise)
            changes.append(Change(row, matched, gap, _verdict(matched, gap)))
    return RunDiff(tuple(changes), {"A": _only(rows_a, rows_b), "B": _only(rows_b, rows_a)})


def table(diff: RunDiff) -> pd.DataFrame:
    """Return `COLUMNS`: a row per cell that both runs have; several changes are joined by semicolons."""
    rows = []
    for change in diff.changes:
        low, high = change.gap.interval or (None, None)
        verdict = (change.gap.value, low, high, change.verdict)
        for (draw, seed, teacher), cell in change.cells.items():
            texts = ("; ".join(cell.identity), "; ".join(cell.surroundings))
            rows.append((*change.row, teacher, draw, seed, cell.a, cell.b, cell.b - cell.a, *verdict, *texts))
    return pd.DataFrame(rows, columns=COLUMNS).round(dict.fromkeys(NUMBERS, 4))


def _rows(stored: Stored) -> dict[Row, dict[Pair, tuple[Record, float]]]:
    """Return the evaluated cells of a run with their accuracies, by row and (draw, seed, teacher)."""
    rows = defaultdict[Row, dict[Pair, tuple[Record, float]]](dict)
    for cell in stored.cells:
        for record in stored.records(cell, "evaluate"):
            top1 = float(record["metrics"]["top1"])
            rows[axis_values(cell, ROW)][cell["draw"], cell["seed"], cell["teacher"]] = cell, top1
    return dict(rows)


def _pooled(rows: Sequence[Mapping[Pair, tuple[Record, float]]]) -> Mean:
    """Return a mean of 0 with the standard error of a difference of two cells; without error where no row scatters."""
    squares, freedom = 0.0, 0
    for row in rows:
        values = [top1 for _, top1 in row.values()]
        squares += sum((value - fmean(values)) ** 2 for value in values)
        freedom += len(values) - 1
    return Mean(0.0, math.sqrt(2 * squares / freedom), freedom) if squares else Mean(0.0)


def _gap(cells: Mapping[Pair, Cell], noise: Mean) -> Mean:
    model = VarianceModel({"": {pair: cell.b - cell.a for pair, cell in cells.items()}}, {}, {})
    mean = model.means[""]
    return mean if mean.error is not None else Mean(mean.value, noise.error, noise.freedom)


def _verdict(cells: Mapping[Pair, Cell], gap: Mean) -> str:
    if all(cell.a == cell.b for cell in cells.values()):
        return SAME
    return {True: WITHIN, False: BEYOND, None: UNKNOWN}[gap.includes_zero]


def _only(rows: Mapping[Row, Mapping[Pair, object]], other_rows: Mapping[Row, Mapping[Pair, object]]) -> dict[Row, int]:
    """Return the number of cells of every row that the other run does not have."""
    counts = {row: len(cells.keys() - other_rows.get(row, {}).keys()) for row, cells in rows.items()}
    return {row: count for row, count in counts.items() if count}


def _cell(a: Stored, b: Stored, one: tuple[Record, float], other: tuple[Record, float]) -> Cell:
    """Return a matched cell from its cells and accuracies in both runs."""
    (cell_a, top1_a), (cell_b, top1_b) = one, other
    changes: dict[str, str] = {}  # change -> the change with the first stage at which it shows
    for key_a, key_b in zip(keys_of(cell_a, "evaluate"), keys_of(cell_b, "evaluate"), strict=True):
        for component, change in _identity_changes(a, b, key_a, key_b):
            changes.setdefault(change, f"{component} {change}")
    surroundings = dict.fromkeys(
        change
        for stage in STAGES
        for change in _surroundings_changes(a.records(cell_a, stage), b.records(cell_b, stage))
    )
    return Cell(top1_a, top1_b, tuple(changes.values()), tuple(surroundings))


def _identity_changes(a: Stored, b: Stored, key_a: str, key_b: str) -> Iterator[tuple[str, str]]:
    """Yield the differences between two nodes and between their ancestors, as (stage and component, difference)."""
    if key_a == key_b:
        return
    record_a, record_b = a.nodes.records.get(key_a), b.nodes.records.get(key_b)
    if record_a is None or record_b is None:
        yield "node", f"{key_a} -> {key_b}, of which a record is missing"
        return
    identity_a, identity_b = record_a["identity"], record_b["identity"]
    stage, name = record_a["stage"], identity_a["component"]["name"]
    if name != identity_b["component"]["name"]:
        yield stage, f"{name} -> {identity_b['component']['name']}"
    else:
        for field, (value_a, value_b) in _field_changes(identity_a, identity_b):
            yield f"{stage} {name}", f"{field} {value_a} -> {value_b}"
    for kind in PARENTS:
        keys_a, keys_b = (identity.get("parents", {}).get(kind, []) for identity in (identity_a, identity_b))
        if len(keys_a) != len(keys_b):
            yield f"{stage} {name}", f"{kind} {len(keys_a)} -> {len(keys_b)}"
        for parent_a, parent_b in zip(keys_a, keys_b, strict=False):
            yield from _identity_changes(a, b, parent_a, parent_b)


def _field_changes(a: Mapping[str, Any], b: Mapping[str, Any]) -> Iterator[tuple[str, tuple[Any, Any]]]:
    """Yield the fields of two identities that differ, by dotted name, without their parents."""
    fields_a, fields_b = (dict(flat({**identity, "parents": {}})) for identity in (a, b))
    for name in dict.fromkeys([*fields_a, *fields_b]):
        values = fields_a.get(name, "absent"), fields_b.get(name, "absent")
        if values[0] != values[1]:
            yield name.removeprefix("component."), values


def _surroundings_changes(records_a: Sequence[Record], records_b: Sequence[Record]) -> Iterator[str]:
    """Yield the differences in device, precision, instructions, versions and commit between two lists of nodes."""
    for pair in zip(records_a, records_b, strict=False):
        facts_a, facts_b = (
            {
                **{name: record["cost"].get(name) for name in ("device", "precision")},
                "instructions": record["cost"].get("instructions", "not recorded"),
                **record["provenance"]["versions"],
                "commit": record["provenance"].get("commit", "unknown"),
            }
            for record in pair
        )
        for name in dict.fromkeys([*facts_a, *facts_b]):
            if facts_a.get(name) != facts_b.get(name):
                yield f"{name} {facts_a.get(name)} -> {facts_b.get(name)}"
