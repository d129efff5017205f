"""The accuracies of a paper's table laid out as text, and as CSV with exact numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from leaderboards.results.axes import ROW
from leaderboards.results.references import Reference
from leaderboards.results.text import (
    accuracy_text,
    covers_text,
    cut_text,
    difference_text,
    ipc_text,
    marks_legend,
    missing_text,
)
from leaderboards.tables.paper import Entry, Table
from leaderboards.tables.sheet import Cell, Line, Sheet

CSV_COLUMNS = [
    *(*ROW, "status", "reason", "top1_mean", "top1_std", "seeds", "teachers", "rank", "verdict_best"),
    *("published_top1", "published_std", "difference", "source"),
]
LEGEND = "Mean ± standard deviation over seeds. Bold: the best; underlined: the second."
Origin = tuple[str, str]  # the source of a published number and its protocol


def to_sheet(table: Table) -> Sheet:
    """Return a table as text: a line per method, below it a line per publication, then the differences of pairs."""
    origins = _origins(table)
    entries = [entry for entries in table.entries.values() for entry in entries.values()]
    rows = [entry.row for entry in entries]
    legend = [f"{LEGEND} {marks_legend(rows, {entry.mark.sign for entry in entries})}".strip()]
    legend += [text for text in (covers_text(rows), cut_text(rows)) if text]
    legend += ["Differences over matched draws and seeds: ± one standard error."] if table.differences else []
    legend += ["Published: the number, and in brackets our number minus the published one."] if origins else []
    return Sheet(
        table.name,
        table.caption,
        table.columns,
        tuple(_lines(table, list(origins))),
        tuple(legend),
        tuple(_footnote(origin, references) for origin, references in origins.items()),
        table.absent,
    )


def to_csv(table: Table) -> bytes:
    """Return the numbers of a table as CSV: a row per method and column, one more for each further publication."""
    entries: dict[Any, Entry] = {}  # an entry that stands at every IPC is written once
    for cells in table.entries.values():
        entries |= {tuple(entry.row[axis] for axis in ROW): entry for entry in cells.values()}
    rows = [row for entry in entries.values() for row in _csv_rows(entry)]
    frame = pd.DataFrame(rows, columns=CSV_COLUMNS).astype({"rank": "Int64"})
    return frame.to_csv(index=False, lineterminator="\n").encode()


def _lines(table: Table, origins: list[Origin]) -> Iterator[Line]:
    for method, entries in table.entries.items():
        yield Line(method, tuple(_measured(entries.get(column)) for column in table.columns))
        for origin in dict.fromkeys(_origin(row) for entry in entries.values() for row in entry.published):
            cells = tuple(Cell(_published(entries.get(column), origin)) for column in table.columns)
            yield Line("published", cells, "published", 1 + origins.index(origin))
    for heading, gaps in table.differences:
        cells = tuple(Cell(difference_text(*gaps[column]) if column in gaps else "") for column in table.columns)
        yield Line(heading, cells, "difference")


def _origins(table: Table) -> dict[Origin, list[Reference]]:
    """Return the published numbers of a table by their source and protocol."""
    origins: dict[Origin, list[Reference]] = {}
    for entries in table.entries.values():
        for row in (row for entry in entries.values() for row in entry.published):
            origins.setdefault(_origin(row), []).append(row)
    return origins


def _origin(row: Reference) -> Origin:
    return row.source, row.protocol


def _footnote(origin: Origin, references: list[Reference]) -> str:
    notes = dict.fromkeys(f"{row.dataset}: {row.note}" for row in references if row.note)
    return "; ".join([*origin, *notes])


def _measured(entry: Entry | None) -> Cell:
    if entry is None:
        return Cell("\N{EN DASH}", measured=False)
    if entry.mean is None:
        return Cell(missing_text(entry.row["status"]), measured=False)
    return Cell(accuracy_text(entry.row), entry.mark)


def _published(entry: Entry | None, origin: Origin) -> str:
    numbers = [row.top1 for row in entry.published if _origin(row) == origin] if entry else []
    if not entry or not numbers:
        return ""
    gap = "" if entry.mean is None else f" ({difference_text(entry.mean - numbers[0])})"
    return f"{numbers[0]:.1f}{gap}"


def _csv_rows(entry: Entry) -> Iterator[dict[str, Any]]:
    mean = None if entry.mean is None else round(entry.mean, 2)
    fields = {
        **{name: entry.row[name] for name in (*ROW, "status", "reason", "top1_std", "seeds", "teachers")},
        "ipc": ipc_text(entry.row["ipc"]),
        "top1_mean": mean,
        "rank": entry.mark.rank or None,
        "verdict_best": entry.row.get("verdict_best", ""),
    }
    for row in entry.published:
        gap = None if mean is None else round(mean - row.top1, 2)
        numbers = {"published_top1": row.top1, "published_std": row.std}
        yield {**fields, **numbers, "difference": gap, "source": row.origin}
    if not entry.published:
        yield fields
