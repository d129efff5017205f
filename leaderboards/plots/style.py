"""What all plots share: style, panels, legends, and turning a figure into a PNG for a page and an SVG for a paper."""

from __future__ import annotations

import io
import math
import re
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from leaderboards.plots.palette import look
from leaderboards.results.axes import EVERY_IPC
from leaderboards.results.variants import ranked

PANELS = 6  # of a figure, at most, where they can be chosen
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
STROKES = ("_", "x")  # markers that are nothing but an edge
ERROR: Any = {"fmt": "none", "capsize": 2, "elinewidth": 0.9, "capthick": 0.9}


@contextmanager
def drawing() -> Iterator[None]:
    """Draw in the style of all plots."""
    with mpl.rc_context({**sns.axes_style("ticks"), **STYLE}):
        yield


def images(figure: Figure) -> dict[str, bytes]:
    """Return a figure as ``{"png": ..., "svg": ...}``; equal figures give equal bytes."""
    found = {}
    with mpl.rc_context(STYLE):
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # laid out once for both
        for kind, facts in (("png", {"Software": None}), ("svg", {"Date": None})):
            buffer = io.BytesIO()
            figure.savefig(buffer, format=kind, dpi=200, metadata=facts)
            found[kind] = buffer.getvalue()
    return found


def fewer(rows: pd.DataFrame, axis: str = "student", most: int = PANELS) -> tuple[pd.DataFrame, str]:
    """Return rows that make no more panels than a reader looks at, and a word on what was left out.

    Args:
        rows: of which every dataset and value of the axis would be a panel.
        axis: a column; where panels are too many, of every dataset the value with most rows stays, the first of equals.
        most: panels.
    """
    counts = rows.groupby(["dataset", axis], sort=False).size()
    if len(counts) <= most:
        return rows, ""
    kept = set(counts.groupby("dataset", sort=False).idxmax())
    chosen = [pair in kept for pair in zip(rows["dataset"], rows[axis], strict=True)]
    return rows[chosen], f"; one {'IPC' if axis == 'ipc' else axis} per dataset, all others in the tables"


def panels(titles: Sequence[str], height: float) -> tuple[Figure, list[Axes]]:
    """Return a figure with an empty, titled panel for every title, three in a line at most.

    Args:
        titles: of the panels.
        height: of one, in inches.
    """
    columns = min(len(titles), 3)
    lines = math.ceil(len(titles) / columns)
    width = {1: COLUMN, 2: 0.9 * 2 * COLUMN, 3: 7.0}[columns]
    figure = Figure(figsize=(width, height * lines), layout="constrained")
    axes = [figure.add_subplot(lines, columns, position + 1) for position in range(len(titles))]
    for ax, title in zip(axes, titles, strict=True):
        ax.set_title(title.replace(", ", "\n", 1) if columns == 3 else title, loc="left")
        sns.despine(ax=ax)
    return figure, axes


def note(figure: Figure, text: str) -> None:
    """Write above a figure under which conditions its numbers hold."""
    width = int(figure.get_figwidth() / 0.052)  # inches that a letter takes
    figure.suptitle(textwrap.fill(text, width), x=0.01, ha="left", fontsize=6.5, color="#555555")


def legend(figure: Figure, methods: list[str], handles: list[Any] | None = None) -> None:
    """Put a legend below a figure and make room for it.

    Args:
        figure: to be grown by the legend's height.
        methods: names, in the order of the legend.
        handles: what stands for each; None: its line and marker.
    """
    handles = handles or [Line2D([], [], label=name, **style_of(name)) for name in methods]
    rows = legend_lines(figure.get_figwidth(), methods)
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=math.ceil(len(methods) / rows),
        frameon=False,
        handlelength=1.8,
        columnspacing=1.2,
    )
    figure.set_figheight(figure.get_figheight() + 0.16 * rows)


def legend_lines(width: float, methods: list[str]) -> int:
    """Return how many lines a legend needs in a figure of so many inches."""
    longest = 0.42 + 0.06 * max(map(len, methods))  # inches: the handle, and 7 pt letters
    return math.ceil(len(methods) / max(1, int(width / longest)))


def style_of(method: str) -> Any:
    """Return how a method's line and markers are drawn."""
    colour, marker, hollow = look(method)
    edge = {"markerfacecolor": "white", "linestyle": (0, (4, 1.5))} if hollow else {"markeredgecolor": "white"}
    if marker in STROKES:
        edge = {"markeredgecolor": colour}
    bold = hollow or marker in STROKES
    return {"color": colour, "marker": marker, "markeredgewidth": 1.0 if bold else 0.5, **edge}


def methods_of(rows: pd.DataFrame) -> list[str]:
    """Return the methods that depend on IPC, the most accurate first."""
    return ranked(rows[rows["ipc"] != EVERY_IPC])


def limits(panel: pd.DataFrame) -> tuple[float, float]:
    """Return the range of accuracies with error bars and a margin, never beyond what a percentage can be."""
    error = panel["top1_std"].fillna(0)
    low, high = (panel["top1_mean"] - error).min(), (panel["top1_mean"] + error).max()
    margin = max(0.07 * (high - low), 1.0)
    return max(low - margin, -1.0), min(high + margin, 101.5)


def file_name(text: str) -> str:
    """Return a text as part of a file's name."""
    return re.sub(r"[^\w.-]+", "_", text)
