"""The leaderboard for a terminal: a table per dataset, protocol and student, then what is absent, then the files."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
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
from leaderboards.results.records import CUT, rows_of
from leaderboards.results.repeats import repeats_text, without_repeats
from leaderboards.results.text import (
    Mark,
    accuracy_text,
    covers_text,
    ipc_text,
    marks,
    marks_legend,
    mean_text,
    missing_text,
    rank_text,
    recovered_text,
)
from leaderboards.results.units import duration, size, value_text
from leaderboards.tables.paper import NOT_STARTED

Row = Mapping[str, Any]
Selection = Mapping[str, Collection[object]]  # column of the leaderboard -> the values to show
FIRST = ("IPC", "method", "top-1 %")
OPTIONAL: dict[str, Callable[[Row], str]] = {  # left out where no row has a text
    "recovered": lambda row: recovered_text(row["recovered"]),
    "rank": rank_text,
    "published": lambda row: "" if pd.isna(row["reference_top1"]) else mean_text(row["reference_top1"]),
}
COSTS: dict[str, Callable[[Row], str]] = {
    "images": lambda row: size(row["images_bytes"]),
    "labels": lambda row: size(row["labels_bytes"]),
    "distill": lambda row: duration(row["distill_seconds"]),
    "needed": lambda row: duration(row["needed_seconds"]),
    "relabel": lambda row: duration(row["relabel_seconds"]),
    "evaluate": lambda row: duration(row["evaluate_seconds"]),
    "memory": lambda row: size(row["peak_memory_mb"] * 1e6),
}
LEAST_IMPORTANT = (
    *("memory", "relabel", "evaluate", "published", "needed", "distill", "labels", "images"),
    *("recovered", "rank"),
)
SPACED = box.Box("    \n    \n ── \n    \n    \n    \n    \n    \n")  # only a line below the headings
NOTE = (
    "Top-1 on the test split, mean ± standard deviation over seeds. Bold: the best at its IPC. {} "
    "Recovered: 0 % is random real images, 100 % the full set. Ranks have their 95 % interval. "
    "Costs are means per cell, without times of interrupted nodes; "
    "needed: networks and preparations that the control does not need. "
    "leaderboard.csv names the sources of published numbers."
)


@dataclass(frozen=True)
class Board:
    """A leaderboard that fits any terminal: a narrow one loses the least important columns, never a method's name."""

    report: Report
    rows: pd.DataFrame

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield a table per dataset, protocol and student, then what is absent, then the files."""
        rows = self.rows[~self.rows["status"].isin(NOT_STARTED)]
        for _, group in without_repeats(rows).groupby(["dataset", "protocol", "student"], sort=False):
            dictionaries = rows_of(group)
            row_marks = marks(dictionaries, self.report.blocks)
            texts = [self._texts(row, mark) for row, mark in zip(dictionaries, row_marks, strict=True)]
            yield _table(_title(group), texts, [mark.rank == 1 for mark in row_marks], options.max_width)
            covers = [f" {text}"] if (text := covers_text(dictionaries)) else []
            if remarks := [*_refusals(group), *covers]:
                yield Text("\n".join(remarks), style="dim")
        if remarks := repeats_text(rows):
            yield Text("\n".join(remarks), style="dim")
        if any(rows["top1_mean"].notna()):
            yield Text(NOTE.format(marks_legend(rows_of(rows))), style="dim")
        for title, lines in absent(self.rows, self.report.suite, options=True):
            yield section(title, lines)
        if self.report.notes:
            yield section("Not plotted", self.report.notes)
        if self.report.paths:
            yield section(f"Files in {self.report.folder}", [_files(self.report)])

    def _texts(self, row: Row, mark: Mark) -> dict[str, str]:
        """Return the texts of a row by column."""
        declared = self.report.declared
        values = declared.values(row)
        return {
            "IPC": ipc_text(row["ipc"]),
            "method": row["method"],
            "top-1 %": _accuracy(row, mark),
            **{name: text(row) for name, text in OPTIONAL.items()},
            **{c.title: value_text(values.get(c.name), c.unit, c.digits) for c in declared.columns},
            **{name: text(row) for name, text in COSTS.items()},
        }


def render(report: Report, selection: Selection | None = None) -> RenderableType:
    """Return the leaderboard for a terminal of any width.

    Args:
        report: a report, as `report.build` returns it.
        selection: the values to show per column, such as ``{"dataset": ["digits"]}``; a column without an entry shows
            all.
    """
    rows = report.leaderboard
    for column, values in (selection or {}).items():
        cut_names = [f"{value}{CUT}" for value in values] if column == "method" else []
        rows = rows[rows[column].isin([*values, *cut_names])]
    return Board(report, rows)


def text(report: Report, selection: Selection | None = None, width: int = 100) -> str:
    """Return the same as text without colours."""
    screen = io.StringIO()
    Console(file=screen, width=width, color_system=None, force_terminal=False).print(render(report, selection))
    return "\n".join(line.rstrip() for line in screen.getvalue().splitlines()) + "\n"


def _table(title: str, texts: Sequence[Mapping[str, str]], best: Sequence[bool], width: int) -> Table:
    """Return a table with a section per IPC and the best method of each in bold."""
    table = Table(box=SPACED, title=Text(title), title_justify="left", title_style="bold", padding=(0, 1, 0, 0))
    names = _fitting(texts, width)
    for name in names:
        table.add_column(name, justify="left" if name == "method" else "right", no_wrap=name != "method")
    last_ipc = texts[0]["IPC"]
    for line, bold in zip(texts, best, strict=True):
        if line["IPC"] != last_ipc:
            table.add_section()
            last_ipc = line["IPC"]
        table.add_row(*(Text(line[name]) for name in names), style="bold" if bold else "")
    return table


def _fitting(texts: Sequence[Mapping[str, str]], width: int) -> list[str]:
    """Return the columns for which a terminal has room, without those that are empty."""
    always = {*FIRST, *COSTS}
    names = [name for name in texts[0] if name in always or any(line[name] for line in texts)]
    declared = [name for name in names if name not in always and name not in OPTIONAL]
    for dropped_name in ("", *reversed(declared), *LEAST_IMPORTANT):
        names = [name for name in names if name != dropped_name]
        if sum(2 + max(len(name), *(len(line[name]) for line in texts)) for name in names) < width:
            break
    return names


def _title(rows: pd.DataFrame) -> str:
    row = rows.iloc[0]
    teachers = rows["teacher_top1"].dropna()
    teacher = f" · teacher {mean_text(teachers.iloc[0])} %" if len(teachers) else ""
    devices = sorted({device for device in rows["device"] if device})
    device = f" · {devices[0]}" if len(devices) == 1 else ""
    return f"{row['dataset']} · {row['protocol']} · {row['student']}{teacher}{device}"


def _accuracy(row: Row, mark: Mark) -> str:
    if pd.isna(row["top1_mean"]):
        return missing_text(row["status"])
    return accuracy_text(row) + mark.sign


def _refusals(rows: pd.DataFrame) -> list[str]:
    """Return a line per reason why IPCs have no rank or no recovered fraction."""
    all_ipcs = set(rows.loc[rows["ipc"] != EVERY_IPC, "ipc"])
    lines = []
    for reason, group in rows[rows["refused"] != ""].groupby("refused", sort=False):
        ipcs = sorted(set(group["ipc"]))
        prefix = "" if set(ipcs) == all_ipcs else f"IPC {', '.join(map(str, ipcs))}: "
        lines.append(f" {prefix}{reason}")
    return lines


def _files(report: Report) -> str:
    """Return the names of the files of a report, and of its subfolders with their number of files."""
    names = [path.removeprefix(f"{report.folder}/") for path in report.paths]
    folders = Counter(name.partition("/")[0] for name in names if "/" in name)
    folder_texts = [f"{folder}/ ({count} files)" for folder, count in folders.items()]
    return "  ".join([*(name for name in names if "/" not in name), *folder_texts])


def section(title: str, lines: Sequence[str]) -> RenderableType:
    """Return a bold title and indented lines."""
    body = [Padding(Text(line), (0, 0, 0, 2)) for line in lines]
    return Group(Text(f"\n{title}", style="bold"), *body)
