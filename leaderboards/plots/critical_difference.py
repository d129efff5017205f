"""The critical-difference diagram: mean ranks over many blocks, and which methods cannot be told apart.

Friedman's test with Nemenyi's for all pairs (Demsar, 2006), by scikit-posthocs. A block is a dataset, IPC and student.
It counts if it has a number for every method that has a number in any block of the protocol. Blocks of one dataset are
not independent, so with many of them the diagram separates more methods than it should. Where no two methods are told
apart, there is no diagram.
"""

from __future__ import annotations

from collections import defaultdict

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from benchmark.files import file_name
from leaderboards.plots import style
from leaderboards.plots.palette import marker_style
from leaderboards.results import variants
from leaderboards.results.axes import EVERY_IPC, STUDENT

METHODS, BLOCKS = 3, 3  # the fewest methods and blocks for a test
LEVEL = 0.05
TIED = "not told apart at 5 % (Friedman, Nemenyi)"
INCHES = 0.17  # per line of text


def blocks(leaderboard: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the mean accuracies [complete blocks, methods] by protocol, without variants and methods that are cut."""
    rows = variants.main(leaderboard)
    rows = rows[(rows["cut"] == "") & rows["top1_mean"].notna() & (rows["ipc"] != EVERY_IPC)]
    return {
        str(protocol): group.pivot(index=STUDENT, columns="method", values="top1_mean").dropna()
        for protocol, group in rows.groupby("protocol", sort=False)
    }


def critical_difference(leaderboard: pd.DataFrame) -> dict[str, Figure]:
    """Plot a diagram for every protocol in which it tells two methods apart."""
    figures = {}
    with style.plotting():
        for protocol, accuracies in blocks(leaderboard).items():
            if not _nothing_to_show(accuracies):
                figure = _diagram(accuracies)
                style.note(figure, f"protocol {protocol}; mean rank over {len(accuracies)} blocks; joined: {TIED}")
                figures[f"critical_difference_{file_name(protocol)}"] = figure
    return figures


def not_plotted(leaderboard: pd.DataFrame) -> tuple[str, ...]:
    """Return a line per reason why there is no diagram, with the protocols that it holds for."""
    faults = defaultdict[str, list[str]](list)
    for protocol, accuracies in blocks(leaderboard).items():
        faults[_nothing_to_show(accuracies)].append(protocol)
    return tuple(f"critical difference, protocol {', '.join(names)}: {why}" for why, names in faults.items() if why)


def _nothing_to_show(accuracies: pd.DataFrame) -> str:
    """Return why a diagram would show nothing, an empty text if it shows something."""
    complete, methods = accuracies.shape
    if methods < METHODS:
        return f"it needs {METHODS} methods, and {methods} are measured in all blocks"
    if complete < BLOCKS:
        return f"it needs {BLOCKS} blocks (dataset, IPC, student), and {complete} have all {methods} methods"
    if not (_p_values(accuracies) < LEVEL).to_numpy().any():
        return f"no two of {methods} methods are told apart in {complete} blocks (Friedman, Nemenyi, 5 %)"
    return ""


def _p_values(accuracies: pd.DataFrame) -> pd.DataFrame:
    """Return the p value of every two methods [methods, methods]."""
    import scikit_posthocs

    p_values: pd.DataFrame = scikit_posthocs.posthoc_nemenyi_friedman(accuracies)
    return p_values


def _diagram(accuracies: pd.DataFrame) -> Figure:
    import scikit_posthocs

    ranks = accuracies.rank(axis=1, ascending=False).mean().sort_values(kind="stable")
    p_values = _p_values(accuracies[ranks.index])
    figure = Figure(figsize=(style.COLUMN, 1.0), layout="constrained")
    axes = figure.add_subplot()
    parts = scikit_posthocs.critical_difference_diagram(
        ranks,
        p_values,
        alpha=LEVEL,
        ax=axes,
        label_fmt_left="{label} {rank:.1f}",
        label_fmt_right="{rank:.1f} {label}",
        label_props={"fontsize": 7},
        marker_props={"s": 12, "clip_on": False},
        elbow_props={"linewidth": 0.8, "clip_on": False},
        crossbar_props={"color": "#222222", "linewidth": 2.2},
        color_palette={name: marker_style(name).colour for name in ranks.index},
        text_h_margin=0.1,
    )
    for label in parts["labels"]:
        label.set_color("#111111")
    lines = len(parts["crossbars"]) + (len(ranks) + 1) // 2
    figure.set_figheight(0.6 + INCHES * lines)
    _ticks(axes, len(ranks))
    return figure


def _ticks(axes: Axes, methods: int) -> None:
    axes.set_xlim(1, methods)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 5, 10]))
    axes.set_yticks([])
    axes.grid(visible=False)
    axes.set_xlabel("mean rank")
    axes.xaxis.set_label_position("top")
