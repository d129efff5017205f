"""A comparison of two runs, as a terminal shows it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from leaderboards.results.run_diff import BEYOND, SAME, Change, Row, RunDiff
from leaderboards.results.text import ipc_text

SHOWN = 3  # changes of an identity; the CSV has all
RULE = (
    "Differences are B - A in percent points, over the cells (draw, seed) that both have. Beyond noise: the 95 % "
    "interval of the paired mean difference (Student's t) leaves out 0; a single cell is held against the deviation "
    "within rows, pooled over both runs. By chance that happens to one row in twenty."
)


def render(found: RunDiff, a: str, b: str) -> RenderableType:
    """Return which rows moved, what changed around all of them, and what only one of the runs has.

    Args:
        found: the comparison.
        a: where run A lies.
        b: where run B lies.
    """
    listed = [change for change in found.changes if change.verdict != SAME or change.identity]
    cells = sum(len(change.cells) for change in found.changes)
    beyond = sum(change.verdict == BEYOND for change in listed)
    head = f"A: {a}\nB: {b}\n{cells} cells in both, of {len(found.changes)} rows: {beyond} moved beyond noise, "
    rest = len(found.changes) - len(listed)
    parts: list[RenderableType] = [
        Text(f"{head}{len(listed) - beyond} moved or changed within it, {rest} are the same.")
    ]
    parts += [_table(listed), Text(RULE, style="dim")] if listed else []
    around = [f"{text} ({count} cells)" for text, count in found.surroundings.most_common()]
    parts += _section("Device and versions", around)
    for run, rows in found.only.items():
        parts += _section(f"Only in {run}", [f"{_name(row)}: {count} cells" for row, count in rows.items()])
    return Group(*parts)


def _table(changes: Sequence[Change]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("row", "cells", "A", "B", "B - A", "verdict", "what changed"):
        table.add_column(name, justify="right" if name in ("cells", "A", "B", "B - A") else "left")
    for change in changes:
        numbers = (str(len(change.cells)), f"{change.mean('a'):.1f}", f"{change.mean('b'):.1f}", _difference(change))
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
    half = f" ± {(interval[1] - interval[0]) / 2:.1f}" if interval else ""
    return f"{change.gap.value:+.1f}{half}"


def _name(row: Row) -> str:
    dataset, ipc, method, protocol, student = row
    return f"{dataset}/{ipc_text(ipc)} {method} {protocol} {student}"


def _section(title: str, lines: Sequence[str]) -> list[RenderableType]:
    if not lines:
        return []
    return [Text(f"\n{title}", style="bold"), *(Padding(Text(line), (0, 0, 0, 2)) for line in lines)]
