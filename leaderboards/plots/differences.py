"""The verdicts on all methods of a dataset: their differences from the control, with the intervals of the verdicts."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from benchmark.files import file_name
from leaderboards.plots import palette, style
from leaderboards.plots.methods import APART, LEAST, MARKERS
from leaderboards.results import pairwise


def differences(blocks: pairwise.Blocks) -> dict[str, Figure]:
    """Return a figure per dataset, as ``differences_DATASET``: a panel per student and IPC, a marker per protocol.

    Dots are differences from the control in points, bars their intervals, corrected for the number of comparisons. A
    filled dot is a row that is ahead of the control or behind it; a hollow one is tied or not known. The row with the
    largest difference under the first protocol is on top. `pairwise.from_control` chooses the rows.
    """
    rows = pairwise.from_control(blocks)
    with style.plotting():
        return {
            f"differences_{file_name(str(dataset))}": _figure(str(dataset), own)
            for dataset, own in rows.groupby("dataset", sort=False)
        }


def _figure(dataset: str, rows: pd.DataFrame) -> Figure:
    panels = list(rows.groupby(["student", "ipc"], sort=False))[: style.PANELS]
    left_out = "" if len(panels) == rows.groupby(["student", "ipc"]).ngroups else "; more in the tables"
    longest = max(panel["method"].nunique() for _, panel in panels)
    protocols = dict(zip(rows["protocol"].unique(), MARKERS, strict=False))
    titles = [f"{student}, IPC {ipc}" for (student, ipc), _ in panels]
    row = 0.1 + 0.04 * len(protocols)  # inches
    figure, all_axes = style.panels(titles, 0.9 + row * max(longest, LEAST), split=False)
    for axes, (_, panel) in zip(all_axes, panels, strict=True):
        _panel(axes, panel, protocols)
    handles = [
        Line2D([], [], label=name, color=colour, marker=marker, linestyle="")
        for name, (marker, colour) in protocols.items()
    ]
    style.legend(figure, list(protocols), handles)
    control = " or ".join(rows["control"].unique())
    text = f"{dataset}: difference from {control}, corrected 95 % interval"
    style.note(figure, f"{text}; filled: ahead or behind, hollow: tied or not known{left_out}")
    return figure


def _panel(axes: Axes, panel: pd.DataFrame, protocols: dict[str, tuple[str, str]]) -> None:
    first = panel[panel["protocol"] == panel["protocol"].iloc[0]].sort_values("difference", ascending=False)
    names = list(dict.fromkeys([*first["method"], *panel["method"]]))[::-1]  # the last is on top
    axes.axvline(0, color="0.3", linewidth=0.8)
    for number, (protocol, (marker, colour)) in enumerate(protocols.items()):
        shift = APART * (0.5 - (number + 0.5) / len(protocols))
        for _, row in panel[panel["protocol"] == protocol].iterrows():
            height = names.index(row["method"]) + shift
            axes.plot([row["low"], row["high"]], [height, height], color=colour, linewidth=0.9, alpha=0.7)
            face = colour if row["decided"] else palette.WHITE
            axes.plot(row["difference"], height, marker=marker, color=colour, markerfacecolor=face, markersize=3.5)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.set_xlabel("points of top-1 accuracy")
