"""Plots of a leaderboard: PNG for a page, SVG for a paper. Each function returns figures by name and writes nothing."""

from __future__ import annotations

import io
import math
import re
from typing import Any

import matplotlib as mpl
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, NullLocator

from leaderboards.palette import look
from leaderboards.records import EVERY_IPC, rows_of

SPREAD = 1.2  # ratio of the last method's IPC to the first's, where points of one IPC stand side by side
COLUMN = 3.4  # inches, the width of a column of a two-column paper
STYLE: Any = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same picture on every machine
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "axes.linewidth": 0.7,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.3,
    "lines.markersize": 4.5,
    "svg.hashsalt": "leaderboards",  # equal tables give equal bytes
    "svg.fonttype": "none",
}
ERROR: Any = {"fmt": "none", "capsize": 2, "elinewidth": 0.9, "capthick": 0.9}


def accuracy_against_ipc(leaderboard: pd.DataFrame) -> dict[str, Figure]:
    """Draw mean accuracy (error bars: one standard deviation) against IPC, a panel per dataset and student.

    One figure per protocol. A method that does not depend on IPC, such as `full`, is a dashed line. Where no dataset
    has two IPCs there is nothing to join, and methods are rows of dots instead.
    """
    measured = leaderboard[leaderboard["top1_mean"].notna()]
    figures = {}
    with mpl.rc_context({**sns.axes_style("ticks"), **STYLE}):
        for protocol, rows in measured.groupby("protocol"):
            by_ipc = rows[rows["ipc"] != EVERY_IPC]
            if by_ipc.empty:
                continue
            several = by_ipc.groupby(["dataset", "student"])["ipc"].nunique().max() > 1
            figure = _curves(rows) if several else _dots(rows)
            facts = f"protocol {protocol}; mean ± one standard deviation"
            figure.suptitle(facts, x=0.01, ha="left", fontsize=6.5, color="#555555")
            figures[f"accuracy_against_ipc_{_file_name(str(protocol))}"] = figure
    return figures


def images(figure: Figure) -> dict[str, bytes]:
    """Return a figure as ``{"png": ..., "svg": ...}``; equal figures give equal bytes."""
    found = {}
    with mpl.rc_context(STYLE):
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # laid out once for both
        for kind, facts in (("png", {"Software": None}), ("svg", {"Date": None})):
            buffer = io.BytesIO()
            figure.savefig(buffer, format=kind, dpi=300, metadata=facts)
            found[kind] = buffer.getvalue()
    return found


def _curves(rows: pd.DataFrame) -> Figure:
    methods = _methods(rows)
    figure, panels = _panels(rows, height=2.3)
    for axes, panel in panels:
        points = panel[panel["ipc"] != EVERY_IPC].sort_values("ipc")
        ticks = sorted(points["ipc"].unique())
        for position, method in enumerate(methods):
            curve = points[points["method"] == method]
            shift = SPREAD ** ((position + 0.5) / len(methods) - 0.5)
            x, y = curve["ipc"].astype(float) * shift, curve["top1_mean"]
            axes.errorbar(x, y, yerr=curve["top1_std"].fillna(0), ecolor=look(method).colour, **ERROR)
            axes.plot(x, y, **_style(method))
        axes.set_xscale("log")
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlim(ticks[0] / 1.35, ticks[-1] * 1.35)
        axes.set_xlabel("images per class")
        axes.set_ylabel("top-1 accuracy (%)")
        axes.set_ylim(*_limits(panel))
        _baselines(axes, panel)
    _legend(figure, methods)
    figure.set_figheight(figure.get_figheight() + 0.16 * _legend_lines(figure.get_figwidth(), methods))
    return figure


def _dots(rows: pd.DataFrame) -> Figure:
    """Draw the methods of every panel as rows, the best on top."""
    most = rows[rows["ipc"] != EVERY_IPC].groupby(["dataset", "student"])["method"].nunique().max()
    figure, panels = _panels(rows, height=1.0 + 0.2 * most)
    for axes, panel in panels:
        points = panel[panel["ipc"] != EVERY_IPC].sort_values(["top1_mean", "method"])
        for height, row in enumerate(rows_of(points.fillna({"top1_std": 0}))):
            colour = look(row["method"]).colour
            axes.errorbar(row["top1_mean"], height, xerr=row["top1_std"], ecolor=colour, **ERROR)
            axes.plot(row["top1_mean"], height, **_style(row["method"]))
        axes.set_yticks(range(len(points)), points["method"])
        axes.set_ylim(-0.6, len(points) - 0.4)
        axes.grid(axis="y", visible=False)
        axes.set_xlabel("top-1 accuracy (%)")
        above_labels = 20 if len(points) < len(panel) else None
        axes.set_title(f"{axes.get_title(loc='left')}, IPC {points['ipc'].iloc[0]}", loc="left", pad=above_labels)
        axes.set_xlim(*_limits(panel))
        axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
        _baselines(axes, panel, upright=True)
    return figure


def _panels(rows: pd.DataFrame, height: float) -> tuple[Figure, list[tuple[Axes, pd.DataFrame]]]:
    """Return a figure with an empty, titled panel for every dataset and student that was measured at some IPC."""
    groups = rows.groupby(["dataset", "student"], sort=False)
    found = [(name, panel) for name, panel in groups if (panel["ipc"] != EVERY_IPC).any()]
    columns = min(len(found), 3)
    lines = math.ceil(len(found) / columns)
    width = {1: COLUMN, 2: 0.9 * 2 * COLUMN, 3: 7.0}[columns]
    figure = Figure(figsize=(width, height * lines), layout="constrained")
    axes = [figure.add_subplot(lines, columns, position + 1) for position in range(len(found))]
    for ax, ((dataset, student), _) in zip(axes, found, strict=True):
        ax.set_title(f"{dataset}\n{student}" if columns == 3 else f"{dataset}, {student}", loc="left")
        sns.despine(ax=ax)
    return figure, [(ax, panel) for ax, (_, panel) in zip(axes, found, strict=True)]


def _baselines(axes: Axes, panel: pd.DataFrame, upright: bool = False) -> None:
    """Draw what does not depend on IPC as dashed lines, labelled outside the frame where no point can be."""
    low, high = axes.get_xlim() if upright else axes.get_ylim()
    rows = panel[panel["ipc"] == EVERY_IPC].sort_values("top1_mean")
    place = -math.inf
    for row in rows_of(rows):
        accuracy = row["top1_mean"]
        place = max(accuracy, place + 0.14 * (high - low))  # labels keep their distance
        line: Any = {"color": look(row["method"]).colour, "linestyle": "--", "linewidth": 0.9, "zorder": 1}
        label = f"{row['method']}\n{accuracy:.1f}"
        if upright:
            axes.axvline(accuracy, **line)
            axes.text(place, 1.01, label, transform=axes.get_xaxis_transform(), ha="center", fontsize=6.5)
        else:
            axes.axhline(accuracy, **line)
            axes.text(1.01, place, label, transform=axes.get_yaxis_transform(), va="center", fontsize=6.5)


def _legend(figure: Figure, methods: list[str]) -> None:
    handles = [Line2D([], [], label=name, **_style(name)) for name in methods]
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=math.ceil(len(methods) / _legend_lines(figure.get_figwidth(), methods)),
        frameon=False,
        handlelength=1.8,
        columnspacing=1.2,
    )


def _legend_lines(width: float, methods: list[str]) -> int:
    """Return how many lines a legend needs in a figure of so many inches."""
    longest = 0.42 + 0.06 * max(map(len, methods))  # inches: the handle, and 7 pt letters
    return math.ceil(len(methods) / max(1, int(width / longest)))


def _style(method: str) -> Any:
    colour, marker, hollow = look(method)
    edge = {"markerfacecolor": "white", "linestyle": (0, (4, 1.5))} if hollow else {"markeredgecolor": "white"}
    return {"color": colour, "marker": marker, "markeredgewidth": 1.0 if hollow else 0.5, **edge}


def _methods(rows: pd.DataFrame) -> list[str]:
    """Return the methods that depend on IPC, the most accurate first."""
    means = rows[rows["ipc"] != EVERY_IPC].groupby("method")["top1_mean"].mean()
    return [str(name) for name in means.sort_values(ascending=False, kind="stable").index]


def _limits(panel: pd.DataFrame) -> tuple[float, float]:
    """Return the range of accuracies with error bars and a margin, never beyond what a percentage can be."""
    error = panel["top1_std"].fillna(0)
    low, high = (panel["top1_mean"] - error).min(), (panel["top1_mean"] + error).max()
    margin = max(0.07 * (high - low), 1.0)
    return max(low - margin, -1.0), min(high + margin, 101.5)


def _file_name(text: str) -> str:
    return re.sub(r"[^\w.-]+", "_", text)
