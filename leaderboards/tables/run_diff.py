"""The differences between two runs of a suite, for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from leaderboards.results.run_diff import BEYOND, SAME, Change, Row, RunDiff
from leaderboards.results.text import difference_text, ipc_text, mean_text
from leaderboards.tables.terminal import section

SHOWN = 3  # changes of an identity per row; the CSV file has all
RULE = (
    "Differences are B - A in percent points, over the cells (draw, seed) of both runs. A row moved beyond noise if "
    "the 95 % interval of its mean paired difference (Student's t) does not contain 0. A row with a single cell is "
    "compared with the deviation within rows, pooled over both runs. One row in twenty moves beyond noise by chance."
)


def render(difference: RunDiff, a: str, b: str) -> RenderableType:
    """Return which rows moved, how devices and versions differ, and which rows only one run has.

    Args:
        difference: between run A and run B.
        a: the store of run A.
        b: the store of run B.
    """
    changes = [change for change in difference.changes if change.verdict != SAME or change.identity]
    cells = sum(len(change.cells) for change in difference.changes)
    beyond = sum(change.verdict == BEYOND for change in changes)
    ties = len(difference.changes) - len(changes)
    counts = f"{beyond} moved beyond noise, {len(changes) - beyond} moved or changed within noise, {ties} are the same"
    head = f"A: {a}\nB: {b}\nBoth runs have {cells} cells in {len(difference.changes)} rows: {counts}."
    parts: list[RenderableType] = [Text(head)]
    parts += [_table(changes), Text(RULE, style="dim")] if changes else []
    surroundings = [f"{text} ({count} cells)" for text, count in difference.surroundings.most_common()]
    sections = {"Device and versions": surroundings}
    for run, rows in difference.only.items():
        sections[f"Only in {run}"] = [f"{_name(row)}: {count} cells" for row, count in rows.items()]
    return Group(*parts, *(section(title, lines) for title, lines in sections.items() if lines))


def _table(changes: Sequence[Change]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("row", "cells", "A", "B", "B - A", "verdict", "what changed"):
        table.add_column(name, justify="right" if name in ("cells", "A", "B", "B - A") else "left")
    for change in changes:
        means = (mean_text(change.mean("a")), mean_text(change.mean("b")))
        numbers = (str(len(change.cells)), *means, _difference(change))
        bold = "bold" if change.verdict == BEYOND else ""
        table.add_row(_name(change.row), *numbers, change.verdict, Text("\n".join(_changed(change))), style=bold)
    return table


def _changed(change: Change) -> Iterator[str]:
    if not change.identity:
        yield "nothing: the same keys"
    yield from change.identity[:SHOWN]
    if len(change.identity) > SHOWN:
        yield f"and {len(change.identity) - SHOWN} more"


def _difference(change: Change) -> str:
    interval = change.gap.interval
    return difference_text(change.gap.value, (interval[1] - interval[0]) / 2 if interval else None)


def _name(row: Row) -> str:
    dataset, ipc, method, protocol, student = row
    return f"{dataset}/{ipc_text(ipc)} {method} {protocol} {student}"
