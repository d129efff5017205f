"""The tables of a paper: methods against datasets and IPC, ablation, networks, Wasserstein against MMD.

In every column the best mean is marked, the second best, and what is *tied* with the best: closer to it than twice the
standard error of the difference, ``2 sqrt(s1^2/n1 + s2^2/n2)`` (Welch's, for unequal variances). A deviation needs two
seeds, so a single seed ties with nothing but an equal number.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from leaderboards import variants
from leaderboards.records import EVERY_IPC, rows_of
from leaderboards.references import Reference, comparable
from leaderboards.tables import absent, ipc_text

MAIN, ABLATION, NETWORKS, DISTANCES = "main", "ablation", "networks", "distances"
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
    def variance(self) -> float:
        """Variance of the mean; 0 where a single seed does not tell."""
        return 0.0 if self.std is None else self.std**2 / self.seeds


@dataclass(frozen=True)
class Table:
    """A table as in a paper.

    Attributes:
        name: of its files.
        kind: ``main``, ``ablation``, ``networks`` or ``distances``.
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


def tables(leaderboard: pd.DataFrame, references: Sequence[Reference]) -> list[Table]:
    """Return every table that a leaderboard can fill, in the order of a paper."""
    found: list[Table] = []
    for (protocol, student), rows in leaderboard.groupby(["protocol", "student"], sort=False):
        facts, end = f"Protocol {protocol}, student {student}.", f"{protocol}_{student}"
        found += _one(MAIN, end, f"Top-1 accuracy (%). {facts}", variants.plain(rows), references)
        found += _one(ABLATION, end, f"Ablation: top-1 accuracy (%). {facts}", variants.ablation(rows), references)
        caption = f"Wasserstein against MMD: top-1 accuracy (%). {facts}"
        found += _one(DISTANCES, end, caption, variants.distances(rows), references)
    for (protocol, dataset), rows in variants.plain(leaderboard).groupby(["protocol", "dataset"], sort=False):
        if rows.loc[rows["top1_mean"].notna(), "student"].nunique() > 1:
            caption = f"Across networks: top-1 accuracy (%) of each student. Dataset {dataset}, protocol {protocol}."
            found += _one(NETWORKS, f"{protocol}_{dataset}", caption, rows, references)
    order = (MAIN, ABLATION, NETWORKS, DISTANCES)
    return sorted(found, key=lambda table: order.index(table.kind))


def _one(kind: str, end: str, caption: str, rows: pd.DataFrame, references: Sequence[Reference]) -> Iterator[Table]:
    """Yield the table of some rows, unless nothing of them is measured."""
    measured = rows[rows["top1_mean"].notna()]
    if measured.empty:
        return
    shown = rows[rows["dataset"].isin(measured["dataset"])]  # of a dataset without any number only the reason is shown
    columns = _columns(kind, shown)
    footer = frozenset(shown.loc[shown["ipc"] == EVERY_IPC, "method"])
    methods = sorted(variants.ranked(shown), key=lambda method: method in footer)
    entries: dict[str, dict[Column, Entry]] = {method: {} for method in methods}
    for row in rows_of(shown):
        for column in _places(kind, row, columns):
            entries[row["method"]][column] = _entry(row, references)
    for column in columns:
        _rank({method: line[column] for method, line in entries.items() if column in line}, footer, entries, column)
    lines = tuple(f"{title}. {line}" for title, found in absent(rows, rows.iloc[0]["suite"]) for line in found)
    table = Table(f"{kind}_{end}", kind, caption, columns, entries, footer, (), lines)
    yield replace(table, differences=tuple(_differences(table))) if kind == DISTANCES else table


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


def _rank(
    line: dict[str, Entry], footer: frozenset[str], entries: dict[str, dict[Column, Entry]], column: Column
) -> None:
    """Mark the best, the second and the tied entries of one column."""
    ranked = {m: entry for m, entry in line.items() if entry.mean is not None and m not in footer}
    means = sorted({round(entry.mean, 2) for entry in ranked.values() if entry.mean is not None}, reverse=True)
    if len(ranked) < 2:
        return
    best = max(ranked.values(), key=lambda entry: entry.mean or 0.0)
    for method, entry in ranked.items():
        place = means.index(round(entry.mean or 0.0, 2)) + 1
        tied = entry is not best and _tied(best, entry)
        entries[method][column] = replace(entry, rank=place if place <= 2 else 0, tied=tied)


def _tied(best: Entry, other: Entry) -> bool:
    gap = (best.mean or 0.0) - (other.mean or 0.0)
    if best.std is None or other.std is None:
        return gap == 0
    return gap <= 2 * math.sqrt(best.variance + other.variance)


def _differences(table: Table) -> Iterator[tuple[str, dict[Column, tuple[float, float | None]]]]:
    for ours, theirs in variants.DISTANCES.items():
        if {ours, theirs} <= set(table.entries):
            line = {}
            for column in table.columns:
                one, two = table.entries[ours].get(column), table.entries[theirs].get(column)
                if one and two and one.mean is not None and two.mean is not None:
                    known = one.std is not None and two.std is not None
                    error = math.sqrt(one.variance + two.variance) if known else None
                    line[column] = (one.mean - two.mean, error)
            yield f"{ours} \N{MINUS SIGN} {theirs}", line
