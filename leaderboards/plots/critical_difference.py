"""The critical-difference diagram: mean ranks over many blocks, and which methods cannot be told apart.

Friedman's test with Nemenyi's for all pairs (Demsar, 2006), by scikit-posthocs. A block is a dataset, IPC and student;
it counts when every method of the protocol that was measured anywhere was measured there. Blocks that share a dataset
are not independent, so the diagram is bolder than it should be where they are many.
"""

from __future__ import annotations

from collections import defaultdict

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from benchmark.files import file_name
from leaderboards.plots import style
from leaderboards.plots.palette import look
from leaderboards.results import variants
from leaderboards.results.axes import EVERY_IPC, STUDENT

METHODS, BLOCKS = 3, 3  # fewer are not worth a test
LEVEL = 0.05
TIED = "not told apart at 5 % (Friedman, Nemenyi)"
INCHES = 0.17  # that a line of text takes


def blocks(leaderboard: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return, by protocol, the mean accuracies [complete blocks, methods] of the methods as their recipes make them."""
    rows = variants.main(leaderboard)
    rows = rows[rows["top1_mean"].notna() & (rows["ipc"] != EVERY_IPC)]
    return {
        str(protocol): group.pivot(index=STUDENT, columns="method", values="top1_mean").dropna()
        for protocol, group in rows.groupby("protocol", sort=False)
    }


def critical_difference(leaderboard: pd.DataFrame) -> dict[str, Figure]:
    """Draw a diagram per protocol that has three methods and three complete blocks or more."""
    found = {}
    with style.drawing():
        for protocol, accuracies in blocks(leaderboard).items():
            if not _too_few(accuracies):
                figure = _diagram(accuracies)
                style.note(figure, f"protocol {protocol}; mean rank over {len(accuracies)} blocks; joined: {TIED}")
                found[f"critical_difference_{file_name(protocol)}"] = figure
    return found


def not_drawn(leaderboard: pd.DataFrame) -> tuple[str, ...]:
    """Return for which protocols there is no diagram, and why: a line per reason."""
    faults = defaultdict[str, list[str]](list)
    for protocol, accuracies in blocks(leaderboard).items():
        faults[_too_few(accuracies)].append(protocol)
    return tuple(f"critical difference, protocol {', '.join(names)}: {why}" for why, names in faults.items() if why)


def _too_few(accuracies: pd.DataFrame) -> str:
    """Return why some blocks cannot be tested, "" if they can."""
    complete, methods = accuracies.shape
    if methods < METHODS:
        return f"{methods} of {METHODS} methods"
    if complete < BLOCKS:
        return f"{complete} of {BLOCKS} blocks (dataset, IPC, student) in which all {methods} methods were measured"
    return ""


def _diagram(accuracies: pd.DataFrame) -> Figure:
    import scikit_posthocs

    ranks = accuracies.rank(axis=1, ascending=False).mean().sort_values(kind="stable")
    p_values = scikit_posthocs.posthoc_nemenyi_friedman(accuracies[ranks.index])
    figure = Figure(figsize=(style.COLUMN, 1.0), layout="constrained")
    axes = figure.add_subplot()
    drawn = scikit_posthocs.critical_difference_diagram(
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
        color_palette={name: look(name).colour for name in ranks.index},
        text_h_margin=0.1,
    )
    for label in drawn["labels"]:
        label.set_color("#111111")
    lines = len(drawn["crossbars"]) + (len(ranks) + 1) // 2
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
