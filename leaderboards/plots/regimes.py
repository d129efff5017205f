"""A plot of accuracy against all bytes that a student needs, with all label regimes."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, NullFormatter

from benchmark.files import file_name
from leaderboards.plots import style
from leaderboards.plots.palette import marker_style
from leaderboards.results.axes import EVERY_IPC
from leaderboards.results.records import rows_of

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">")  # protocols have markers, methods have colours
POINTS = 3  # protocols of a panel, at least


def regimes(board: pd.DataFrame) -> dict[str, Figure]:
    """Plot accuracy against total bytes, a figure per dataset: the largest IPC, the first student.

    A colour is a method, a marker is a protocol, that is a label regime. Bytes are those of images (as PNG where that
    is recorded), of labels as stored, and of the teacher where labels are made while the student trains.
    """
    rows = board[board["top1_mean"].notna() & board["total_bytes"].notna()]
    figures = {}
    with style.plotting():
        for dataset, group in rows.groupby("dataset", sort=False):
            part = group[group["student"] == group["student"].iloc[0]]
            subset = part[(part["ipc"] == part["ipc"].max()) | (part["ipc"] == EVERY_IPC)]
            protocols = list(subset.loc[subset["ipc"] != EVERY_IPC, "protocol"].unique())
            if len(protocols) >= POINTS:
                figures[f"regimes_{file_name(str(dataset))}"] = _figure(subset, str(dataset), protocols)
    return figures


def _figure(rows: pd.DataFrame, dataset: str, protocols: list[str]) -> Figure:
    figure, (axes,) = style.panels([f"{dataset}, {rows['student'].iloc[0]}"], 2.8, split=False)
    rows = rows[rows["protocol"].isin(protocols)]
    markers = dict(zip(protocols, (MARKERS * len(protocols))[: len(protocols)], strict=True))
    for row in rows_of(rows):
        colour = marker_style(row["method"]).colour
        style.error_bars(axes, [row["total_bytes"]], [row["top1_mean"]], [row["top1_std"]], colour)
        point: Any = {"markeredgecolor": "white", "markeredgewidth": 0.5, "linestyle": ""}
        axes.plot(row["total_bytes"], row["top1_mean"], marker=markers[row["protocol"]], color=colour, **point)
    _axis(axes, rows)
    methods = list(dict.fromkeys(rows["method"]))
    handles = [Line2D([], [], color=marker_style(name).colour, label=name, linewidth=3) for name in methods]
    handles += [Line2D([], [], color="#444444", marker=markers[name], linestyle="", label=name) for name in protocols]
    style.legend(figure, [*methods, *protocols], handles)
    ipc = rows["ipc"].max()
    style.note(
        figure, f"IPC {ipc}; colour: method, marker: label regime; images, labels, and teachers that label online"
    )
    return figure


def _axis(axes: Axes, rows: pd.DataFrame) -> None:
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(EngFormatter(unit="B"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("all bytes that are sent")
    style.accuracy_axis(axes, rows)
