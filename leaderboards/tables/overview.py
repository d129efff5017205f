"""One table with all results of the sets of a dataset at an IPC: accuracies, ranks, scores, measures and costs.

There is a table per dataset, IPC and student if students were trained under several protocols, if sets were measured,
or if methods computed barycenters. A row is a method. A column without any number is left out. Evaluators and measures
declare their columns, so a new column is shown without an edit here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pandas as pd

from benchmark.columns import Column
from leaderboards.results import scores
from leaderboards.results.axes import EVERY_IPC, SCORED, STUDENT, axis_values
from leaderboards.results.costs import SETS
from leaderboards.results.declared import Declared, Values
from leaderboards.results.pairwise import Blocks
from leaderboards.results.records import rows_of
from leaderboards.results.repeats import repeats_text, without_repeats
from leaderboards.results.text import (
    Mark,
    accuracy_text,
    covers_text,
    cut_text,
    ipc_text,
    marks,
    marks_legend,
    rank_text,
    recovered_text,
)
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
COSTS = (
    Column("images_bytes", "images, raw", "B", better=""),
    Column("images_png_bytes", "images, PNG", "B", better=""),
    Column("distill_seconds", "distill", "s", better=""),
    Column("needed_seconds", "needed", "s", better=""),
    Column("amortised_seconds", "amortised", "s", better=""),
)
ARROWS = {"higher": " ↑", "lower": " ↓", "": ""}
LEGEND = {
    "recovered": "Recovered: 0 % is the accuracy of random real images, 100 % that of the full set.",
    "rank": "Rank: with its 95 % interval.",
    "HLR ↓": "HLR: the accuracy lost against the full set, both with hard labels.",
    "IOR ↑": "IOR: the accuracy gained over random real images.",
    "LRS ↑": "LRS: label-robust score, of HLR and IOR with weights 0.5.",
    "ARS ↑": "ARS: augmentation-robust score (weights 0.5); no advantage over random real images scores 0.269.",
    "needed": "Needed: the time for networks and preparations that the control does not need.",
    "amortised": f"Amortised: the time for one of {SETS} sets that share what was needed.",
    "transport cost ↓": "Transport cost: from the barycenter to the real features of its class.",
}
MARKS = "Bold: the best; underlined: the second. ↑: higher is better; ↓: lower is better."
LABELS = "bytes of labels"  # the line with the bytes of the labels of a set, or of the teacher that labels online
FLOOR = "real images"  # the line with the values that random real images reach


Shown = tuple[str, dict[str, Cell]]  # the heading of a column, and its cells by line


def overviews(board: pd.DataFrame, blocks: Blocks, declared: Declared, further: Iterable[pd.DataFrame]) -> list[Sheet]:
    """Return a table per dataset, IPC and student of which more is known than one accuracy per method.

    Args:
        board: a leaderboard with standings.
        blocks: the verdicts on its rows.
        declared: the values of the columns that evaluators and measures declare.
        further: scores and costs, each with a row per dataset, IPC, method and student.
    """
    scores_and_costs: dict[Any, dict[str, Any]] = {}
    for row in (row for table in further for row in rows_of(table)):
        scores_and_costs.setdefault(axis_values(row, SCORED), {}).update(row)
    board = board[board["top1_mean"].notna()]
    results = without_repeats(declared.without_repeats(board))
    sheets: list[Sheet] = []
    for group, group_rows in results[results["ipc"] != EVERY_IPC].groupby(STUDENT, sort=False):
        axes: tuple[Any, ...] = tuple(group)
        dataset, ipc, student = axes
        values: dict[str, dict[str, Any]] = {}
        for row in rows_of(_at(board, dataset, (ipc, EVERY_IPC), student)):
            new_values = {**scores_and_costs.get(axis_values(row, SCORED), {}), **declared.values(row)}
            values.setdefault(row["method"], {}).update(new_values)
        columns = _known_columns(declared.columns, values, set(group_rows.loc[group_rows["cut"] == "", "method"]))
        if group_rows["protocol"].nunique() > 1 or len(columns) > len(SCORES):
            rows = pd.concat([group_rows, _at(results, dataset, (EVERY_IPC,), student)])
            of_place = board[(board["dataset"] == dataset) & (board["student"] == student)]
            sheet = _sheet(axes, rows_of(rows), columns, blocks)
            sheets.append(replace(sheet, absent=tuple(repeats_text(of_place))))
    return sheets


def _at(rows: pd.DataFrame, dataset: str, ipcs: Sequence[int], student: str) -> pd.DataFrame:
    return rows[(rows["dataset"] == dataset) & rows["ipc"].isin(ipcs) & (rows["student"] == student)]


def _known_columns(declared: Iterable[Column], values: Mapping[str, Values], competing: Collection[str]) -> list[Shown]:
    """Return the scores, the declared columns that have a value, and the costs of solvers where these differ."""
    show = partial(_declared, values=values, competing=competing)
    solvers = list(map(show, SOLVER))
    differ = len({cell.text for cell in solvers[0][1].values()}) > 1
    return [*map(show, SCORES), *(column for column in map(show, declared) if column[1]), *(solvers if differ else [])]


def files(sheets: Iterable[Sheet]) -> dict[str, bytes]:
    """Return the texts of every sheet as CSV, by the names of their files; other CSV files have the exact numbers."""
    return {f"tables/{sheet.name}.csv": to_csv(sheet) for sheet in sheets}


def to_csv(sheet: Sheet) -> bytes:
    """Return the texts of a sheet as CSV."""
    texts = [[cell.text for cell in line.cells] for line in sheet.lines]
    index = pd.Index([line.heading for line in sheet.lines], name=sheet.first)
    frame = pd.DataFrame(texts, index, [heading for _, heading in sheet.columns])
    return frame.to_csv(lineterminator="\n").encode()


def _sheet(axes: Any, rows: Sequence[Values], declared: Iterable[Shown], blocks: Blocks) -> Sheet:
    dataset, ipc, student = axes
    protocols = list(dict.fromkeys(row["protocol"] for row in rows))
    main = [row for row in rows if row["protocol"] == scores.ranking(protocols)]
    columns = [
        *_accuracies(rows, protocols, blocks),
        ("recovered", {row["method"]: Cell(recovered_text(row["recovered"])) for row in main}),
        ("rank", {row["method"]: Cell(rank_text(row)) for row in main}),
        *declared,
        *(_declared(column, {row["method"]: row for row in main}, set()) for column in COSTS),
    ]
    columns = [(heading, cells) for heading, cells in columns if any(cell.text for cell in cells.values())]
    best_first = sorted(main, key=lambda row: -row["top1_mean"])
    footer = {row["method"] for row in rows if row["ipc"] == EVERY_IPC}
    methods = dict.fromkeys(row["method"] for row in [*best_first, *rows])
    below = [name for name in (LABELS, FLOOR) if any(name in cells for _, cells in columns)]
    lines = [*sorted(methods, key=lambda method: method in footer), *below]
    headings = [heading for heading, _ in columns]
    signs = {cell.mark.sign for _, cells in columns for cell in cells.values()}
    floor = [f'Line "{FLOOR}": the same for as many random real images.'] if FLOOR in below else []
    return Sheet(
        f"overview_{dataset}_ipc{ipc}_{student}",
        f"Overview: {dataset}, IPC {ipc_text(ipc)}, student {student}. Top-1 accuracy (%) by protocol.",
        tuple(("", heading) for heading in headings),
        tuple(
            Line(name, tuple(cells.get(name, Cell()) for _, cells in columns), "below" if name in below else "method")
            for name in lines
        ),
        (
            f"{MARKS} {marks_legend(rows, signs)}".strip(),
            *(text for text in (covers_text(main), cut_text(main)) if text),
            *(text for heading, text in LEGEND.items() if heading in headings),
            *floor,
        ),
    )


def _accuracies(rows: Sequence[Values], protocols: Sequence[str], blocks: Blocks) -> list[Shown]:
    """Return a column per protocol: mean accuracies, and below them the bytes of the labels of a set, as a range."""
    columns: dict[str, dict[str, Cell]] = {protocol: {} for protocol in protocols}
    bytes_of: dict[str, list[float]] = {protocol: [] for protocol in protocols}
    for row, mark in zip(rows, marks(rows, blocks), strict=True):
        columns[row["protocol"]][row["method"]] = Cell(accuracy_text(row), mark)
        if row["ipc"] != EVERY_IPC and not pd.isna(row["labels_bytes"]):
            bytes_of[row["protocol"]].append(row["labels_bytes"] + row["online_teacher_bytes"])
    for protocol, counts in bytes_of.items():
        if counts:
            smallest_and_largest = dict.fromkeys((size(min(counts)), size(max(counts))))
            columns[protocol][LABELS] = Cell(" to ".join(smallest_and_largest))
    return list(columns.items())


def _declared(column: Column, values: Mapping[str, Values], competing: Collection[str]) -> Shown:
    """Return a declared column: the values of all methods, the best of those that compete marked, and the floor."""
    numbers = {m: float(row[column.name]) for m, row in values.items() if not pd.isna(row.get(column.name))}
    rounded = {m: round(number, column.digits) for m, number in numbers.items() if m in competing}
    best = {"higher": max, "lower": min}[column.better](rounded.values()) if column.better and rounded else None
    several = len(set(rounded.values())) > 1
    cells = {
        method: Cell(value_text(number, column.unit, column.digits), Mark(int(several and rounded.get(method) == best)))
        for method, number in numbers.items()
    }
    floors = [row[column.floor] for row in values.values() if not pd.isna(row.get(column.floor))]
    floor = {FLOOR: Cell(value_text(floors[0], column.unit, column.digits))} if floors else {}
    return f"{column.title}{ARROWS[column.better]}", {**cells, **floor}
