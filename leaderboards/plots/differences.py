"""The verdicts on all methods of a dataset: their differences from the control, with the intervals of the verdicts."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmark.files import file_name
from leaderboards.plots import palette, style
from leaderboards.plots.methods import Protocols, figure_by_protocol, shift
from leaderboards.results import pairwise
from leaderboards.results.records import rows_of


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
    control = " or ".join(rows["control"].unique())
    text = f"{dataset}: difference from {control}, corrected 95 % interval"
    return figure_by_protocol(rows, f"{text}; filled: ahead or behind, hollow: tied or not known", _panel)


def _panel(axes: Axes, panel: pd.DataFrame, protocols: Protocols) -> None:
    first = panel[panel["protocol"] == panel["protocol"].iloc[0]].sort_values("difference", ascending=False)
    names = list(dict.fromkeys([*first["method"], *panel["method"]]))[::-1]  # the last is on top
    axes.axvline(0, color="0.3", linewidth=0.8)
    for number, (protocol, (marker, colour)) in enumerate(protocols.items()):
        for row in rows_of(panel[panel["protocol"] == protocol]):
            height = names.index(row["method"]) + shift(number, protocols)
            axes.plot([row["low"], row["high"]], [height, height], color=colour, linewidth=0.9, alpha=0.7)
            face = colour if row["decided"] else palette.WHITE
            axes.plot(row["difference"], height, marker=marker, color=colour, markerfacecolor=face, markersize=3.5)
    style.name_rows(axes, names)
    axes.set_xlabel("points of top-1 accuracy")
