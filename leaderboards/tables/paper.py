"""The tables of a paper: methods against datasets and IPC, ablation, one hyperparameter, networks, Wasserstein and MMD.

In every column the best mean is marked, the second best, and what is *tied* with the best, as `ranking` says.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pandas as pd

from leaderboards.results import variants
from leaderboards.results.axes import BLOCK, EVERY_IPC, Block, axis_values
from leaderboards.results.leaderboard import absent
from leaderboards.results.pairwise import Pairwise
from leaderboards.results.records import rows_of
from leaderboards.results.references import Reference, comparable
from leaderboards.results.roles import CONTROL
from leaderboards.results.text import ipc_text

MAIN, ABLATION, SENSITIVITY = "main", "ablation", "sensitivity"
NETWORKS, PAIRS = "networks", "pairs"
ORDER = (MAIN, ABLATION, SENSITIVITY, NETWORKS, PAIRS)
Column = tuple[str, str]  # heading over several columns, heading of one


@dataclass(frozen=True)
class Entry:
    """One measured accuracy of a table, in percent, or the word for why there is none."""

    row: Any  # of the leaderboard
    mean: float | None
    std: float | None
    seeds: int
    rank: int = 0  # 1: the best of its column, 2: the second, 0: another, or not ranked
    tied: bool = False  # within noise of the best
    published: tuple[Reference, ...] = ()

    @property
    def block(self) -> Block:
        """Where it competes."""
        return axis_values(self.row, BLOCK)


@dataclass(frozen=True)
class Table:
    """A table as in a paper.

    Attributes:
        name: of its files.
        kind: one of `ORDER`.
        caption: what it shows, in one sentence.
        columns: their headings on two levels.
        entries: by method and column; where the suite expects nothing there is no entry.
        footer: methods that are no contestants, such as the full set; they come last.
        differences: further lines, each with a value and its standard error by column.
        absent: what was not measured, and why.
    """

    name: str
    kind: str
    caption: str
    columns: tuple[Column, ...]
    entries: dict[str, dict[Column, Entry]]
    footer: frozenset[str] = frozenset()
    differences: tuple[tuple[str, dict[Column, tuple[float, float | None]]], ...] = ()
    absent: tuple[str, ...] = ()


def tables(
    leaderboard: pd.DataFrame, references: Sequence[Reference], pairwise: Pairwise, pairs: Sequence[tuple[str, str]]
) -> list[Table]:
    """Return every table that a leaderboard can fill, in the order of a paper."""
    found: list[Table] = []
    made = partial(_one, references=references, pairwise=pairwise)
    for (protocol, student), rows in leaderboard.groupby(["protocol", "student"], sort=False):
        facts, end = f"Protocol {protocol}, student {student}.", f"{protocol}_{student}"
        varied = [*made(ABLATION, end, f"Ablation: top-1 accuracy (%). {facts}", variants.ablation(rows))]
        for (module, parameter), series in variants.series(rows).items():
            order = list(dict.fromkeys(series.sort_values("value")["method"]))
            caption = f"{module} by {parameter.replace('_', ' ')}: top-1 accuracy (%). {facts}"
            together = pd.concat([series, variants.control_of(series, rows)])
            varied += made(SENSITIVITY, f"{module}_{parameter}_{end}", caption, together, order=order)
        main = variants.main(rows)
        if not any(set(main["method"]) <= set(table.entries) for table in varied):
            found += made(MAIN, end, f"Top-1 accuracy (%). {facts}", main)
        caption = f"Pairs of methods that differ in one idea: top-1 accuracy (%). {facts}"
        compared = made(PAIRS, end, caption, variants.pairs(rows, pairs))
        found += [*varied, *(replace(t, differences=tuple(_differences(t, pairwise, pairs))) for t in compared)]
    for (protocol, dataset), rows in variants.main(leaderboard).groupby(["protocol", "dataset"], sort=False):
        if rows.loc[rows["top1_mean"].notna(), "student"].nunique() > 1:
            caption = f"Across networks: top-1 accuracy (%) of each student. Dataset {dataset}, protocol {protocol}."
            found += made(NETWORKS, f"{protocol}_{dataset}", caption, rows)
    return sorted(found, key=lambda table: ORDER.index(table.kind))


def _one(
    kind: str,
    end: str,
    caption: str,
    rows: pd.DataFrame,
    *,
    references: Sequence[Reference],
    pairwise: Pairwise,
    order: Sequence[str] = (),
) -> Iterator[Table]:
    """Yield the table of some rows, unless nothing of what it compares is measured.

    Methods stand in the order that is given, then the most accurate first.
    """
    measured = rows[rows["top1_mean"].notna()]
    if measured.empty or (kind in (ABLATION, SENSITIVITY) and set(measured["role"]) == {CONTROL}):
        return
    shown = rows[rows["dataset"].isin(measured["dataset"])]  # of a dataset without any number only the reason is shown
    columns = _columns(kind, shown)
    footer = frozenset(shown.loc[shown["ipc"] == EVERY_IPC, "method"])
    best_first = variants.ranked(shown)
    methods = sorted(best_first, key=lambda name: (name in footer, order.index(name) if name in order else len(order)))
    entries: dict[str, dict[Column, Entry]] = {method: {} for method in methods}
    for row in rows_of(shown):
        for column in _places(kind, row, columns):
            entries[row["method"]][column] = _entry(row, references)
    for column in columns:
        line = {method: cells[column] for method, cells in entries.items() if column in cells and method not in footer}
        for method, entry in _ranked(line, pairwise).items():
            entries[method][column] = entry
    lines = tuple(f"{title}. {line}" for title, found in absent(rows, rows.iloc[0]["suite"]) for line in found)
    yield Table(f"{kind}_{end}", kind, caption, columns, entries, footer, (), lines)


def _columns(kind: str, rows: pd.DataFrame) -> tuple[Column, ...]:
    own = rows[rows["ipc"] != EVERY_IPC]
    found = dict.fromkeys(_heading(kind, row) for row in rows_of(own if len(own) else rows))
    if kind != NETWORKS:
        alone = [row for row in rows_of(rows) if row["dataset"] not in set(own["dataset"])]
        found |= dict.fromkeys(_heading(kind, row) for row in alone)
    groups = {group: place for place, group in enumerate(dict.fromkeys(group for group, _ in found))}
    return tuple(sorted(found, key=lambda column: groups[column[0]]))


def _heading(kind: str, row: Any) -> Column:
    ipc = f"IPC {ipc_text(row['ipc'])}"
    return (ipc, row["student"]) if kind == NETWORKS else (row["dataset"], ipc)


def _places(kind: str, row: Any, columns: Sequence[Column]) -> list[Column]:
    """Return where a row's number stands: once, or at every IPC where it depends on none."""
    heading = _heading(kind, row)
    if row["ipc"] != EVERY_IPC or heading in columns:
        return [heading]
    if kind == NETWORKS:
        return [column for column in columns if column[1] == row["student"]]
    return [column for column in columns if column[0] == row["dataset"]]


def _entry(row: Any, references: Sequence[Reference]) -> Entry:
    axes = (row["dataset"], int(row["ipc"]), row["method"], row["student"], row["protocol"])
    mean, std = (None if pd.isna(row[name]) else float(row[name]) for name in ("top1_mean", "top1_std"))
    return Entry(row, mean, std, int(row["seeds"]), published=tuple(comparable(references, *axes)))


def _ranked(line: dict[str, Entry], pairwise: Pairwise) -> dict[str, Entry]:
    """Return the entries of one column that compete, the best, the second and the tied ones marked."""
    means = {method: entry.mean for method, entry in line.items() if entry.mean is not None}
    if len(means) < 2:
        return {}
    places = sorted({round(value, 2) for value in means.values()}, reverse=True)
    best = max(means, key=lambda method: means[method])
    found = {}
    for method, value in means.items():
        place = places.index(round(value, 2)) + 1
        tied = method != best and pairwise.tied(line[method].block, best, method)
        found[method] = replace(line[method], rank=place if place <= 2 else 0, tied=tied)
    return found


def _differences(
    table: Table, pairwise: Pairwise, pairs: Sequence[tuple[str, str]]
) -> Iterator[tuple[str, dict[Column, tuple[float, float | None]]]]:
    for ours, theirs in pairs:
        if {ours, theirs} <= set(table.entries):
            line = {}
            for column, entry in table.entries[ours].items():
                if gap := pairwise.difference(entry.block, ours, theirs):
                    line[column] = gap
            yield f"{ours} \N{MINUS SIGN} {theirs}", line
