"""The tables of a paper: methods by dataset and IPC, ablation, one hyperparameter, students, pairs of methods.

In every column the best mean is marked, and the second best, and what may be as good as the best (`text.marks`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import pandas as pd

from leaderboards.results import variants
from leaderboards.results.axes import BLOCK, EVERY_IPC, axis_values
from leaderboards.results.leaderboard import absent
from leaderboards.results.pairwise import Blocks
from leaderboards.results.records import rows_of
from leaderboards.results.references import Reference, comparable
from leaderboards.results.repeats import repeats_text, without_repeats
from leaderboards.results.roles import CONTROL
from leaderboards.results.text import Mark, ipc_text, marks

MAIN, ABLATION, SENSITIVITY, NETWORKS, PAIRS = "main", "ablation", "sensitivity", "networks", "pairs"
ORDER = (MAIN, ABLATION, SENSITIVITY, NETWORKS, PAIRS)
NOT_STARTED = ("missing", "skipped")  # a method all of whose rows have one of these has no line
Column = tuple[str, str]  # the heading over several columns, the heading of one
Gap = tuple[float, float | None]  # a difference of two means in percent points, and its standard error


@dataclass(frozen=True)
class Entry:
    """One accuracy of a table.

    Attributes:
        row: the row of the leaderboard.
        mark: whether the accuracy is the best of its column, the second, or may be as good.
        published: published accuracies that may stand beside it.
    """

    row: Mapping[str, Any]
    mark: Mark = field(default_factory=Mark)
    published: tuple[Reference, ...] = ()

    @property
    def mean(self) -> float | None:
        """The mean top-1 accuracy in percent, None where nothing is measured."""
        return None if pd.isna(self.row["top1_mean"]) else float(self.row["top1_mean"])


@dataclass(frozen=True)
class Table:
    """A table as in a paper.

    Attributes:
        name: the name of its files, without ending.
        kind: one of `ORDER`.
        caption: one sentence that says what the table shows.
        columns: headings on two levels, of every column in which a method has a number.
        entries: the entries by method and column, methods that do not compete last; there is none without a cell.
        differences: lines below the methods: the pair, and the difference of its means by column.
        absent: what was not measured, with the reason.
    """

    name: str
    kind: str
    caption: str
    columns: tuple[Column, ...]
    entries: dict[str, dict[Column, Entry]]
    differences: tuple[tuple[str, dict[Column, Gap]], ...] = ()
    absent: tuple[str, ...] = ()


def tables(
    leaderboard: pd.DataFrame, references: Sequence[Reference], blocks: Blocks, pairs: Sequence[tuple[str, str]]
) -> list[Table]:
    """Return every table that a leaderboard can fill, in the order of `ORDER`.

    Args:
        leaderboard: the leaderboard, with or without standings.
        references: published accuracies.
        blocks: the verdicts on the rows of every block.
        pairs: the pairs of methods that the suite declares.
    """
    remarks = repeats_text(leaderboard)
    leaderboard = without_repeats(leaderboard)
    result: list[Table] = []
    make = partial(_table, references=references, blocks=blocks)
    for (protocol, student), rows in leaderboard.groupby(["protocol", "student"], sort=False):
        facts, end = f"Protocol {protocol}, student {student}.", f"{protocol}_{student}"
        varied = [*make(ABLATION, end, f"Ablation: top-1 accuracy (%). {facts}", variants.ablation(rows))]
        for (base, name), series in variants.series(rows).items():
            order = list(dict.fromkeys(series.sort_values("value")["method"]))
            caption = f"{base} by {name.replace('_', ' ')}: top-1 accuracy (%). {facts}"
            with_control = pd.concat([series, variants.control_of(series, rows)])
            varied += make(SENSITIVITY, f"{base}_{name}_{end}", caption, with_control, order=order)
        main = variants.main(rows)
        if not any(set(main["method"]) <= set(table.entries) for table in varied):
            result += make(MAIN, end, f"Top-1 accuracy (%). {facts}", main)
        caption = f"Pairs of methods that differ in one idea: top-1 accuracy (%). {facts}"
        pair_tables = make(PAIRS, end, caption, variants.pairs(rows, pairs))
        result += [*varied, *(replace(table, differences=_differences(table, blocks, pairs)) for table in pair_tables)]
    for (protocol, dataset), rows in variants.main(leaderboard).groupby(["protocol", "dataset"], sort=False):
        if rows.loc[rows["top1_mean"].notna(), "student"].nunique() > 1:
            caption = f"Top-1 accuracy (%) of every student. Dataset {dataset}, protocol {protocol}."
            result += make(NETWORKS, f"{protocol}_{dataset}", caption, rows)
    if result and remarks:
        result[0] = replace(result[0], absent=(*result[0].absent, *remarks))
    return sorted(result, key=lambda table: ORDER.index(table.kind))


def _table(
    kind: str,
    end: str,
    caption: str,
    rows: pd.DataFrame,
    *,
    references: Sequence[Reference],
    blocks: Blocks,
    order: Sequence[str] = (),
) -> Iterator[Table]:
    """Yield the table of some rows, or nothing where the rows that it compares have no number.

    Methods stand in the given order, then those without a place in it, the most accurate first.
    """
    results = rows[rows["top1_mean"].notna()]
    if results.empty or (kind in (ABLATION, SENSITIVITY) and set(results["role"]) == {CONTROL}):
        return
    columns = _columns(kind, results)
    names = rows.loc[~rows["status"].isin(NOT_STARTED), "method"]
    table_rows = rows[rows["dataset"].isin(results["dataset"]) & rows["method"].isin(names)]  # the rest is `absent`
    footer = set(table_rows.loc[table_rows["ipc"] == EVERY_IPC, "method"])
    best_first = variants.ranked(table_rows)
    methods = sorted(best_first, key=lambda name: (name in footer, order.index(name) if name in order else len(order)))
    entries: dict[str, dict[Column, Entry]] = {method: {} for method in methods}
    dictionaries = rows_of(table_rows)
    for row, mark in zip(dictionaries, marks(dictionaries, blocks), strict=True):
        entry = Entry(row, mark, tuple(comparable(references, row)))
        entries[row["method"]] |= dict.fromkeys(_columns_of(kind, row, columns), entry)
    reasons = tuple(f"{title}. {line}" for title, lines in absent(rows, rows.iloc[0]["suite"]) for line in lines)
    yield Table(f"{kind}_{end}", kind, caption, columns, entries, (), reasons)


def _columns(kind: str, results: pd.DataFrame) -> tuple[Column, ...]:
    """Return the columns in which a method has a number; a dataset has a column ``all`` where it has no other."""
    competing = results[results["ipc"] != EVERY_IPC]
    other_rows = results[~results["dataset"].isin(competing["dataset"])]
    rows = competing if kind == NETWORKS and len(competing) else pd.concat([competing, other_rows])
    columns = dict.fromkeys(_heading(kind, row) for row in rows_of(rows[["dataset", "ipc", "student"]]))
    groups = list(dict.fromkeys(group for group, _ in columns))
    return tuple(sorted(columns, key=lambda column: groups.index(column[0])))


def _heading(kind: str, row: Mapping[str, Any]) -> Column:
    ipc = f"IPC {ipc_text(row['ipc'])}"
    return (ipc, row["student"]) if kind == NETWORKS else (row["dataset"], ipc)


def _columns_of(kind: str, row: Mapping[str, Any], columns: Sequence[Column]) -> list[Column]:
    """Return the columns of a row: one, or those of every IPC where the row depends on none."""
    heading = _heading(kind, row)
    if row["ipc"] != EVERY_IPC or heading in columns:
        return [heading]
    if kind == NETWORKS:
        return [column for column in columns if column[1] == row["student"]]
    return [column for column in columns if column[0] == row["dataset"]]


def _differences(
    table: Table, blocks: Blocks, pairs: Sequence[tuple[str, str]]
) -> tuple[tuple[str, dict[Column, Gap]], ...]:
    """Return a line per pair of which the table has both methods: its heading, and the difference by column."""
    lines = []
    for one, other in pairs:
        if {one, other} <= set(table.entries):
            gaps = {}
            for column, entry in table.entries[one].items():
                block = blocks.get(axis_values(entry.row, BLOCK))
                if block and {one, other} <= block.rows.keys():
                    gap = block.compare(one, other, plan=False).gap
                    gaps[column] = (gap.value, gap.error)
            lines.append((f"{one} \N{MINUS SIGN} {other}", gaps))
    return tuple(lines)
