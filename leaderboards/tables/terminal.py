"""The leaderboard as text: a table per dataset, protocol and student, then what is absent and why, then the files."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from leaderboards.results.axes import EVERY_IPC
from leaderboards.results.leaderboard import Report, absent
from leaderboards.results.records import rows_of
from leaderboards.results.text import ipc_text, mean_text, missing_text, part_text, rank_text, recovered_text
from leaderboards.tables.units import duration, size

Selection = Mapping[str, Collection[object]]  # column of the leaderboard -> the values to show
COLUMNS = (
    *("IPC", "method", "top-1 %", "recovered", "rank", "published"),
    *("images", "labels", "distill", "label", "train", "memory"),
)
OPTIONAL = ("recovered", "rank", "published")  # shown where any row has one
DISPENSABLE = ("memory", "label", "train", "published", "distill", "labels", "images", "recovered", "rank")  # in order
SPACED = box.Box("    \n    \n ── \n    \n    \n    \n    \n    \n")  # a line below the heading, no other


@dataclass(frozen=True)
class Shown:
    """A leaderboard as rich draws it: in a narrow terminal the least important columns go, never a method's name."""

    report: Report
    board: pd.DataFrame

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield a table per dataset, protocol and student, then what is absent, then the files."""
        shown = self.board[self.board["status"] != "skipped"]
        for _, rows in shown.groupby(["dataset", "protocol", "student"], sort=False):
            yield _table(rows, options.max_width)
            if refusals := _refusals(rows):
                yield Text("\n".join(refusals), style="dim")
        if any(shown["top1_mean"].notna()):
            yield Text(NOTE, style="dim")
        for title, lines in absent(self.board, self.report.suite):
            yield _section(title, lines)
        if self.report.notes:
            yield _section("Not drawn", list(self.report.notes))
        if self.report.paths:
            yield _section(f"Files in {self.report.folder}", [_files(self.report)])


def render(report: Report, selection: Selection | None = None) -> RenderableType:
    """Return the leaderboard for a terminal of any width.

    Args:
        report: what `build` returned.
        selection: values to show per column, e.g. ``{"dataset": ["digits"]}``; all where a column is not named.
    """
    board = report.leaderboard
    for column, values in (selection or {}).items():
        board = board[board[column].isin(list(values))]
    return Shown(report, board)


def _files(report: Report) -> str:
    """Return the files of a report, those in subfolders counted."""
    inside = [path.removeprefix(f"{report.folder}/") for path in report.paths]
    folders = Counter(name.partition("/")[0] for name in inside if "/" in name)
    counted = [f"{folder}/ ({count} files)" for folder, count in folders.items()]
    return "  ".join([*(name for name in inside if "/" not in name), *counted])


NOTE = (
    "Top-1 on the test split, mean ± standard deviation over seeds; bold: the best at its IPC. "
    "Recovered: 0 % is random_real, 100 % the full set. Ranks with their 95 % interval. "
    "Costs are means per cell, without the teacher's. Where published numbers come from: leaderboard.csv."
)


def text(report: Report, selection: Selection | None = None, width: int = 100) -> str:
    """Return the same as plain text."""
    console = Console(file=io.StringIO(), width=width, color_system=None, force_terminal=False)
    with console.capture() as captured:
        console.print(render(report, selection))
    return "\n".join(line.rstrip() for line in captured.get().splitlines()) + "\n"


def _table(rows: pd.DataFrame, width: int) -> Table:
    first = rows.iloc[0]
    table = Table(box=SPACED, title=Text(_title(rows)), title_justify="left", title_style="bold", padding=(0, 1, 0, 0))
    lines = [dict(zip(COLUMNS, _fields(row), strict=True)) for row in rows_of(rows)]
    names = _fitting(lines, width)
    for name in names:
        table.add_column(name, justify="left" if name == "method" else "right", no_wrap=name != "method")
    best = rows.groupby("ipc")["top1_mean"].transform("max")
    previous = first["ipc"]
    for row, line, top in zip(rows_of(rows), lines, best, strict=True):
        if row["ipc"] != previous:
            table.add_section()
            previous = row["ipc"]
        is_best = row["ipc"] != EVERY_IPC and row["top1_mean"] == top
        table.add_row(*(Text(line[name]) for name in names), style="bold" if is_best else "")
    return table


def _fitting(lines: list[dict[str, str]], width: int) -> list[str]:
    """Return the columns for which a terminal has room."""
    names = list(COLUMNS)
    names = [name for name in names if name not in OPTIONAL or any(line[name] for line in lines)]
    for dispensable in ("", *DISPENSABLE):
        names = [name for name in names if name != dispensable]
        if sum(2 + max(len(name), *(len(line[name]) for line in lines)) for name in names) < width:
            break
    return names


def _title(rows: pd.DataFrame) -> str:
    first = rows.iloc[0]
    teachers = rows["teacher_top1"].dropna()
    teacher = f" · teacher {teachers.iloc[0]:.1f} %" if len(teachers) else ""
    devices = sorted({device for device in rows["device"] if device})
    device = f" · {devices[0]}" if len(devices) == 1 else ""
    return f"{first['dataset']} · {first['protocol']} · {first['student']}{teacher}{device}"


def _fields(row: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        ipc_text(row["ipc"]),
        row["method"],
        _accuracy(row),
        recovered_text(row["recovered"]),
        rank_text(row),
        "" if pd.isna(row["reference_top1"]) else f"{row['reference_top1']:.1f}",
        size(row["images_bytes"]),
        size(row["labels_bytes"]),
        duration(row["distill_seconds"]),
        duration(row["relabel_seconds"]),
        duration(row["evaluate_seconds"]),
        size(row["peak_memory_mb"] * 1e6),
    )


def _accuracy(row: Mapping[str, Any]) -> str:
    if pd.isna(row["top1_mean"]):
        return missing_text(row["status"])
    return mean_text(row["top1_mean"], row["top1_std"]) + part_text(row)


def _refusals(rows: pd.DataFrame) -> list[str]:
    """Return why some IPCs have no rank, or nothing to recover: a line per reason."""
    every = set(rows.loc[rows["ipc"] != EVERY_IPC, "ipc"])
    lines = []
    for reason, group in rows[rows["refused"] != ""].groupby("refused", sort=False):
        ipcs = sorted(set(group["ipc"]))
        which = "" if set(ipcs) == every else f"IPC {', '.join(map(str, ipcs))}: "
        lines.append(f" {which}{reason}")
    return lines


def _section(title: str, lines: list[str]) -> RenderableType:
    body = [Padding(Text(line), (0, 0, 0, 2)) for line in lines]
    return Group(Text(f"\n{title}", style="bold"), *body)
