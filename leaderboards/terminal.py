"""The leaderboard as text: a table per dataset, protocol and student, then what is absent and why, then the files."""

from __future__ import annotations

import io
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd
from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from leaderboards.records import EVERY_IPC, rows_of
from leaderboards.tables import ipc_text

if TYPE_CHECKING:
    from leaderboards.report import Report

Selection = Mapping[str, Collection[object]]  # column of the leaderboard -> the values to show
COLUMNS = ("IPC", "method", "top-1 %", "published", "images", "labels", "distill", "label", "train", "memory")
SPACED = box.Box("    \n    \n ── \n    \n    \n    \n    \n    \n")  # a line below the heading, no other
WORDS = {"failed": "failed", "blocked": "blocked", "missing": "not run"}


def render(report: Report, selection: Selection | None = None) -> RenderableType:
    """Return the leaderboard for a terminal of 100 columns or more.

    Args:
        report: what `build` returned.
        selection: values to show per column, e.g. ``{"dataset": ["digits"]}``; all where a column is not named.
    """
    board = report.leaderboard
    for column, values in (selection or {}).items():
        board = board[board[column].isin(list(values))]
    shown = board[board["status"] != "skipped"]
    groups = shown.groupby(["dataset", "protocol", "student"], sort=False)
    parts: list[RenderableType] = [_table(rows) for _, rows in groups]
    if any(shown["top1_mean"].notna()):
        parts.append(Text(NOTE, style="dim"))
    parts += [_section(title, lines) for title, lines in _absent(board, report.suite) if lines]
    names = [path.rpartition("/")[2] for path in report.paths]
    parts.append(_section(f"Files in {report.folder}", ["  ".join(names)]))
    return Group(*parts)


NOTE = (
    "Top-1 on the test split, mean ± standard deviation over seeds; bold: the best at its IPC. "
    "Costs are means per cell, without the teacher's. Where published numbers come from: leaderboard.csv."
)


def text(report: Report, selection: Selection | None = None, width: int = 100) -> str:
    """Return the same as plain text."""
    console = Console(file=io.StringIO(), width=width, color_system=None, force_terminal=False)
    with console.capture() as captured:
        console.print(render(report, selection))
    return "\n".join(line.rstrip() for line in captured.get().splitlines()) + "\n"


def _table(rows: pd.DataFrame) -> Table:
    first = rows.iloc[0]
    table = Table(box=SPACED, title=Text(_title(rows)), title_justify="left", title_style="bold", padding=(0, 1, 0, 0))
    for name in COLUMNS:
        table.add_column(name, justify="left" if name == "method" else "right", no_wrap=name != "method")
    best = rows.groupby("ipc")["top1_mean"].transform("max")
    previous = first["ipc"]
    for row, top in zip(rows_of(rows), best, strict=True):
        if row["ipc"] != previous:
            table.add_section()
            previous = row["ipc"]
        is_best = row["ipc"] != EVERY_IPC and row["top1_mean"] == top
        table.add_row(*map(Text, _fields(row)), style="bold" if is_best else "")
    return table


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
        "" if pd.isna(row["reference_top1"]) else f"{row['reference_top1']:.1f}",
        _size(row["images_bytes"]),
        _size(row["labels_bytes"]),
        _duration(row["distill_seconds"]),
        _duration(row["label_seconds"]),
        _duration(row["train_seconds"]),
        _size(row["peak_memory_mb"] * 1e6),
    )


def _accuracy(row: Mapping[str, Any]) -> str:
    if pd.isna(row["top1_mean"]):
        return WORDS.get(row["status"], "no number")
    spread = "" if pd.isna(row["top1_std"]) else f" ± {row['top1_std']:.1f}"
    part = f" ({row['seeds']}/{row['cells']})" if row["status"] == "partial" else ""
    return f"{row['top1_mean']:.1f}{spread}{part}"


def _absent(board: pd.DataFrame, suite: str) -> Iterator[tuple[str, list[str]]]:
    """Yield headings, each with a line for every reason."""
    yield "Skipped", _reasons(board, "skipped")
    yield "Failed", _reasons(board, "failed")
    yield "Blocked by a failure further up", _reasons(board, "blocked")
    yield "Incomplete", _reasons(board, "partial")
    missing = int((board["status"] == "missing").sum())
    again = f"{missing} of {len(board)} rows; `python -m benchmark run --suite {suite}` computes what is missing"
    yield "Not run yet", [again] if missing else []


def _reasons(board: pd.DataFrame, status: str) -> list[str]:
    """Return "dataset: reason" where a whole dataset shares one, else "dataset, methods at IPC ...: reason"."""
    lines = []
    for (dataset, reason), rows in board[board["status"] == status].groupby(["dataset", "reason"], sort=False):
        whole = len(rows) == int((board["dataset"] == dataset).sum())
        which = "" if whole else f", {_listed(rows['method'])} at IPC {_listed(rows['ipc'].map(ipc_text))}"
        lines.append(f"{dataset}{which}: {reason}")
    return lines


def _section(title: str, lines: list[str]) -> RenderableType:
    body = [Padding(Text(line), (0, 0, 0, 2)) for line in lines]
    return Group(Text(f"\n{title}", style="bold"), *body)


def _listed(values: pd.Series) -> str:
    return ", ".join(dict.fromkeys(str(value) for value in values))


def _size(count: Any) -> str:
    """Return a number of bytes with a decimal prefix."""
    if pd.isna(count):
        return ""
    value = float(count)
    for unit in ("B", "kB", "MB"):
        if value < 999.5:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} GB" if value < 999.5 else f"{value / 1000:.3g} TB"


def _duration(seconds: Any) -> str:
    if pd.isna(seconds):
        return ""
    for limit, unit, name in ((99.5, 1, "s"), (99.5 * 60, 60, "min")):
        if seconds < limit:
            return f"{seconds / unit:.2g} {name}" if seconds / unit < 10 else f"{seconds / unit:.0f} {name}"
    return f"{seconds / 3600:.3g} h"
