"""One table with all that is known of the sets of a dataset at an IPC: accuracies, ranks, scores, measures and costs.

There is a table per dataset, IPC and student if students were trained under several protocols, if sets were measured,
or if methods computed barycenters. A row is a method. A column without any number is left out. Evaluators and measures
declare their columns, so that a new one shows up here without an edit.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean
from typing import Any

import pandas as pd

from leaderboards.results import distances, scores
from leaderboards.results.axes import EVERY_IPC, METHOD, SCORED, STUDENT, axis_values
from leaderboards.results.measures import Column
from leaderboards.results.pairwise import Pairwise
from leaderboards.results.records import rows_of
from leaderboards.results.text import Mark, ipc_text, marks, mean_text, rank_text, recovered_text
from leaderboards.results.units import size, value_text
from leaderboards.tables.sheet import Cell, Line, Sheet

SCORES = (
    Column("hlr", "HLR", better="lower"),
    Column("ior", "IOR"),
    Column("lrs_w0.5", "LRS"),
    Column("ars_g0.5", "ARS"),
)
SOLVER = (
    Column("transport_cost", "transport cost", better="lower"),
    Column("barycenter_seconds", "barycenter", "s", better="lower"),
)
COSTS = (Column("images_bytes", "images", "B", better=""), Column("distill_seconds", "distill", "s", better=""))
FIRST = 4  # columns of a component that are shown; the CSV files have all
ARROWS = {"higher": " ↑", "lower": " ↓", "": ""}
LEGEND = {
    "recovered": "Recovered: 0 % is the accuracy of random real images, 100 % that of the full set.",
    "rank": "Rank: with its 95 % interval.",
    "HLR ↓": "HLR: the accuracy lost against the full set, both with hard labels.",
    "IOR ↑": "IOR: the accuracy gained over random real images.",
    "LRS ↑": "LRS and ARS: label-robust and augmentation-robust score (weights 0.5), 0.269 for no advantage.",
    "transport cost ↓": "Transport cost: from the barycenter to the real features of its class.",
}
MARKS = (
    "Bold: the best of its column; underlined: the second; ≈: tied with the best. "
    "↑: higher is better; ↓: lower is better."
)
LABELS = "bytes of labels"  # the line with the bytes of the labels of a set
FLOOR = "real images"  # the line with the values that random real images reach


Values = Mapping[str, Any]
Shown = tuple[str, dict[str, Cell]]  # the heading of a column, and its cells by line


@dataclass(frozen=True)
class Facts:
    """What is known beside the leaderboard.

    Attributes:
        columns: what evaluators and measures declare, in the order of the manifest.
        by_student: scores, costs and further accuracies, by `axes.SCORED`.
        by_set: what measures found, by `axes.METHOD`.
        repeated: protocols whose students are trained as under another protocol; their top-1 has no column.
    """

    columns: Sequence[Column]
    by_student: Mapping[Any, Values]
    by_set: Mapping[Any, Values]
    repeated: Collection[str] = ()

    def of(self, row: Values) -> dict[str, Any]:
        """Return the values of a row of the leaderboard by the names of the columns."""
        sets, students = self.by_set.get(axis_values(row, METHOD), {}), self.by_student
        return {**students.get(axis_values(row, SCORED), {}), **sets}


def overviews(board: pd.DataFrame, facts: Facts, pairwise: Pairwise) -> list[Sheet]:
    """Return a table per dataset, IPC and student of which more is known than one accuracy per method.

    Args:
        board: a leaderboard with standings.
        facts: what is known beside it.
        pairwise: the differences between its rows.
    """
    measured = board[board["top1_mean"].notna()]
    rest = measured[~measured["protocol"].isin(facts.repeated)]
    measured = rest if len(rest) else measured
    sheets = []
    for axes, own in measured[measured["ipc"] != EVERY_IPC].groupby(STUDENT, sort=False):
        dataset, _, student = axes
        whole = measured[(measured[STUDENT] == [dataset, EVERY_IPC, student]).all(axis=1)]
        rows = rows_of(pd.concat([own, whole]))
        values = {row["method"]: facts.of(row) for row in rows}
        declare = partial(_declared, values=values, competing=set(own["method"]))
        solvers, declared = list(map(declare, SOLVER)), list(map(declare, facts.columns))
        declared += solvers if len({cell.text for cell in solvers[0][1].values()}) > 1 else []
        if own["protocol"].nunique() > 1 or any(cells for _, cells in declared):
            sheets.append(_sheet(axes, rows, [*map(declare, SCORES), *declared], pairwise))
    return sheets


def facts(
    sets: pd.DataFrame, tables: Iterable[pd.DataFrame], columns: Sequence[Column], repeated: Collection[str]
) -> Facts:
    """Return what is known beside a leaderboard.

    Args:
        sets: what measures found, a row per distilled set.
        tables: scores, costs and further accuracies, each with a row per dataset, IPC, method and student.
        columns: what evaluators and measures declare.
        repeated: protocols whose students are trained as under another protocol.
    """
    by_set = {axis_values(row, METHOD): row for row in rows_of(distances.methods_of(sets))}
    by_student: dict[Any, dict[str, Any]] = {}
    for row in (row for table in tables for row in rows_of(table)):
        by_student.setdefault(axis_values(row, SCORED), {}).update(row)
    return Facts(columns, by_student, by_set, repeated)


def files(sheets: Iterable[Sheet]) -> dict[str, bytes]:
    """Return the texts of every sheet as CSV, by the names of their files; other CSV files have the exact numbers."""
    return {f"tables/{sheet.name}.csv": to_csv(sheet) for sheet in sheets}


def to_csv(sheet: Sheet) -> bytes:
    """Return the texts of a sheet as CSV."""
    texts = [[cell.text for cell in line.cells] for line in sheet.lines]
    index = pd.Index([line.heading for line in sheet.lines], name="method")
    frame = pd.DataFrame(texts, index, [heading for _, heading in sheet.columns])
    return frame.to_csv(lineterminator="\n").encode()


def _sheet(axes: Any, rows: Sequence[Values], declared: Iterable[Shown], pairwise: Pairwise) -> Sheet:
    dataset, ipc, student = axes
    protocols = list(dict.fromkeys(row["protocol"] for row in rows))
    main = [row for row in rows if row["protocol"] == (scores.ANY if scores.ANY in protocols else protocols[0])]
    columns = [
        *_accuracies(rows, protocols, pairwise),
        ("recovered", {row["method"]: Cell(recovered_text(row["recovered"])) for row in main}),
        ("rank", {row["method"]: Cell(rank_text(row)) for row in main}),
        *declared,
        *(_declared(column, {row["method"]: row for row in main}, set()) for column in COSTS),
    ]
    columns = [(heading, cells) for heading, cells in columns if any(cell.text for cell in cells.values())]
    best_first = sorted(main, key=lambda row: -row["top1_mean"])
    last = {row["method"] for row in rows if row["ipc"] == EVERY_IPC}
    methods = dict.fromkeys(row["method"] for row in [*best_first, *rows])
    below = [name for name in (LABELS, FLOOR) if any(name in cells for _, cells in columns)]
    lines = [*sorted(methods, key=lambda method: method in last), *below]
    headings = [heading for heading, _ in columns]
    floor = [f'Line "{FLOOR}": the same for as many random real images.'] if FLOOR in below else []
    return Sheet(
        f"overview_{dataset}_ipc{ipc}_{student}",
        f"Overview: {dataset}, IPC {ipc_text(ipc)}, student {student}. Top-1 accuracy (%) by protocol.",
        tuple(("", heading) for heading in headings),
        tuple(
            Line(name, tuple(cells.get(name, Cell()) for _, cells in columns), "below" if name in below else "method")
            for name in lines
        ),
        (MARKS, *(text for heading, text in LEGEND.items() if heading in headings), *floor),
    )


def _accuracies(rows: Sequence[Values], protocols: Sequence[str], pairwise: Pairwise) -> list[Shown]:
    """Return a column per protocol: mean accuracies, and below them the bytes of the labels of a set."""
    columns: dict[str, dict[str, Cell]] = {protocol: {} for protocol in protocols}
    bytes_of: dict[str, list[float]] = {protocol: [] for protocol in protocols}
    for row, mark in zip(rows, marks(rows, pairwise), strict=True):
        columns[row["protocol"]][row["method"]] = Cell(mean_text(row["top1_mean"], row["top1_std"]), mark)
        if row["ipc"] != EVERY_IPC and not pd.isna(row["labels_bytes"]):
            bytes_of[row["protocol"]].append(row["labels_bytes"])
    for protocol, counts in bytes_of.items():
        columns[protocol] |= {LABELS: Cell(size(fmean(counts)))} if counts else {}
    return list(columns.items())


def _declared(column: Column, values: Mapping[str, Values], competing: Collection[str]) -> Shown:
    """Return a declared column: the values of all methods, the best of those that compete marked, and the floor."""
    numbers = {m: float(known[column.name]) for m, known in values.items() if not pd.isna(known.get(column.name))}
    rounded = {m: round(number, column.digits) for m, number in numbers.items() if m in competing}
    best = {"higher": max, "lower": min}[column.better](rounded.values()) if column.better and rounded else None
    several = len(set(rounded.values())) > 1
    cells = {
        method: Cell(value_text(number, column.unit, column.digits), Mark(int(several and rounded.get(method) == best)))
        for method, number in numbers.items()
    }
    floors = [known[column.floor] for known in values.values() if not pd.isna(known.get(column.floor))]
    floor = {FLOOR: Cell(value_text(floors[0], column.unit, column.digits))} if floors else {}
    unit = "" if column.unit in ("", "s", "B") else f", {column.unit}"
    return f"{column.heading}{unit}{ARROWS[column.better]}", {**cells, **floor}
