"""What all plots share: style, panels, legends, ticks, and the PNG (for a page) and SVG (for a paper) of a figure."""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from leaderboards.plots.palette import marker_style
from leaderboards.results.axes import EVERY_IPC
from leaderboards.results.units import duration
from leaderboards.results.variants import ranked

DPI = 200  # the resolution of a PNG
PANELS = 6  # the most panels of a figure; only where there are more datasets, there are more panels
COLUMN = 3.4  # inches, the width of a column of a two-column paper
STYLE: Any = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so that pictures are the same on every machine
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
    "svg.hashsalt": "leaderboards",  # so that equal tables give equal bytes
    "svg.fonttype": "none",
}
STROKES = ("_", "x")  # markers without a face
SMALL = 7  # points, the smallest text of a plot
TIMES = (0.01, 0.1, 1, 10, 60, 600, 3600, 6 * 3600, 86400, 10 * 86400)  # seconds, ticks of an axis of time
TICKS = 5  # the most ticks of an axis


@contextmanager
def plotting() -> Iterator[None]:
    """Use the style of all plots inside the ``with`` block."""
    with mpl.rc_context({**sns.axes_style("ticks"), **STYLE}):
        yield


def images(figure: Figure, source: str | None = None) -> dict[str, bytes]:
    """Return a figure as ``{"png": ..., "svg": ...}``; equal figures give equal bytes.

    Args:
        figure: the figure.
        source: what it was drawn from; the SVG has it among its metadata.
    """
    png, svg = io.BytesIO(), io.BytesIO()
    with mpl.rc_context(STYLE):
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # the layout is computed once, for both formats
        figure.set_dpi(DPI)  # `savefig` would draw everything twice
        FigureCanvasAgg(figure).print_png(png, metadata={"Software": None})
        FigureCanvasSVG(figure).print_svg(svg, metadata={"Date": None, "Source": source})
    return {"png": png.getvalue(), "svg": svg.getvalue()}


def fewer(rows: pd.DataFrame, axis: str = "student", most: int = PANELS) -> tuple[pd.DataFrame, str]:
    """Return rows that fill at most `most` panels where possible, and a note on the rows that were left out.

    Where there are more panels, each dataset keeps only the value of the axis with the most rows, the first of equals.

    Args:
        rows: each dataset and value of the axis is a panel.
        axis: a column of the rows.
        most: panels.
    """
    counts = rows.groupby(["dataset", axis], sort=False).size()
    if len(counts) <= most:
        return rows, ""
    pairs = set(counts.groupby("dataset", sort=False).idxmax())
    mask = [pair in pairs for pair in zip(rows["dataset"], rows[axis], strict=True)]
    return rows[mask], f"; one {'IPC' if axis == 'ipc' else axis} per dataset, all others in the tables"


def panels(titles: Sequence[str], height: float, split: bool = True) -> tuple[Figure, list[Axes]]:
    """Return a figure with an empty panel under every title, at most three in a line.

    Args:
        titles: the titles of the panels.
        height: the height of one panel, in inches.
        split: whether a title like "dataset, student" takes two lines where three panels stand side by side.
    """
    columns = 2 if len(titles) == 4 else min(len(titles), 3)
    lines = math.ceil(len(titles) / columns)
    width = {1: COLUMN, 2: 0.9 * 2 * COLUMN, 3: 7.0}[columns]
    figure = Figure(figsize=(width, height * lines), layout="constrained")
    axes = [figure.add_subplot(lines, columns, position + 1) for position in range(len(titles))]
    for ax, title in zip(axes, titles, strict=True):
        ax.set_title(title.replace(", ", "\n", 1) if split and columns == 3 else title, loc="left")
        sns.despine(ax=ax)
    return figure, axes


def note(figure: Figure, text: str) -> None:
    """Write above a figure under which conditions its numbers hold."""
    width = int(figure.get_figwidth() / 0.056)  # inches per letter
    figure.suptitle(textwrap.fill(text, width), x=0.01, ha="left", fontsize=SMALL, color="#444444")


def legend(figure: Figure, methods: list[str], handles: list[Any] | None = None) -> None:
    """Add a legend below a figure.

    Args:
        figure: the figure; it grows by the height of the legend.
        methods: names, in the order of the legend.
        handles: the handle of each; None for its line and marker.
    """
    handles = handles or [Line2D([], [], label=name, **line_style(name)) for name in methods]
    rows = legend_lines(figure.get_figwidth(), methods)
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=math.ceil(len(methods) / rows),
        frameon=False,
        handlelength=2.2,
        columnspacing=1.2,
    )
    figure.set_figheight(figure.get_figheight() + 0.16 * rows)


def legend_lines(width: float, methods: list[str]) -> int:
    """Return the number of lines of a legend in a figure of some width in inches."""
    longest = 0.48 + 0.06 * max(map(len, methods))  # inches: the handle, and 7 pt letters
    return math.ceil(len(methods) / max(1, int(width / longest)))


def line_style(method: str) -> Any:
    """Return the keyword arguments of matplotlib for the line and the markers of a method."""
    style = marker_style(method)
    edge = {"markeredgecolor": style.colour if style.marker in STROKES else "white"}
    edge = {"markerfacecolor": "white"} if style.hollow else edge
    width = 1.0 if style.hollow or style.marker in STROKES else 0.5
    line = {"linestyle": style.line, "markeredgewidth": width}
    return {"color": style.colour, "marker": style.marker, **line, **edge}


def error_bars(axes: Axes, x: Any, y: Any, deviation: Any, colour: str, horizontal: bool = False) -> None:
    """Add error bars of one standard deviation; a deviation that is unknown has none."""
    spread: dict[str, Any] = {"xerr" if horizontal else "yerr": np.nan_to_num(deviation)}
    axes.errorbar(x, y, **spread, ecolor=colour, fmt="none", capsize=2, elinewidth=0.9, capthick=0.9, alpha=0.7)


def dots(axes: Axes, methods: pd.Series, means: pd.Series, deviations: pd.Series) -> None:
    """Plot a number per method as rows of dots, the last on top, with error bars of one standard deviation."""
    for height, (method, mean, deviation) in enumerate(zip(methods, means, deviations, strict=True)):
        colour = marker_style(method).colour
        error_bars(axes, [mean], [height], [deviation], colour, horizontal=True)
        axes.plot(mean, height, **line_style(method))
    name_rows(axes, methods)
    axes.grid(axis="y", visible=False)


def name_rows(axes: Axes, methods: Sequence[str] | pd.Series) -> None:
    """Name rows of dots, the first at the bottom."""
    axes.set_yticks(range(len(methods)), methods)
    axes.set_ylim(-0.6, len(methods) - 0.4)


def time_axis(axes: Axes, seconds: pd.Series) -> None:
    """Label a logarithmic axis of seconds in seconds, minutes, hours and days."""
    ticks = [tick for tick in TIMES if seconds.min() / 2 <= tick <= seconds.max() * 2]
    ticks = ticks[:: math.ceil(len(ticks) / TICKS)] if ticks else [seconds.min()]
    axes.set_xticks(ticks, [duration(tick) for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())


def methods_of(rows: pd.DataFrame) -> list[str]:
    """Return the methods whose sets depend on IPC, the most accurate first."""
    return ranked(rows[rows["ipc"] != EVERY_IPC])


def accuracy_axis(axes: Axes, panel: pd.DataFrame) -> None:
    """Name the upright axis of accuracies, and give it the `limits` of a panel."""
    axes.set_ylabel("top-1 accuracy (%)")
    axes.set_ylim(*limits(panel))


def limits(panel: pd.DataFrame) -> tuple[float, float]:
    """Return the range of an axis of accuracies: error bars and a margin, within 0 to 100 % and a little more."""
    error = panel["top1_std"].fillna(0)
    low, high = (panel["top1_mean"] - error).min(), (panel["top1_mean"] + error).max()
    margin = max(0.07 * (high - low), 1.0)
    return max(low - margin, -1.0), min(high + margin, 101.5)
