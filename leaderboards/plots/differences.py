"""Differences of accuracy with the intervals of their verdicts: from the control, and of the pairs of a suite."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmark.files import file_name
from leaderboards.plots import palette, style
from leaderboards.plots.methods import Protocols, figure_by_protocol, shift
from leaderboards.results.pairwise import PAIRS
from leaderboards.results.records import rows_of


def differences(compared: Mapping[str, pd.DataFrame]) -> dict[str, Figure]:
    """Return the figures ``differences_DATASET`` and ``pairs_DATASET``, where they have a row.

    There is a panel per student and IPC, and a marker per protocol. Dots are differences in points, bars their
    intervals, corrected for the number of comparisons. A filled dot is ahead or behind; half filled, this needs the
    variance that rows share; a hollow one is tied or not known. The first row is on top.

    Args:
        compared: the rows of both kinds of figures (`pairwise.plotted`).
    """
    with style.plotting():
        return {
            f"{kind}_{file_name(str(dataset))}": _figure(kind, str(dataset), group)
            for kind, rows in compared.items()
            for dataset, group in rows.groupby("dataset", sort=False)
        }


def _figure(kind: str, dataset: str, rows: pd.DataFrame) -> Figure:
    against = f" from {' or '.join(rows['other'].unique())}"
    if kind == PAIRS:
        against, rows = "", rows.assign(method=rows["method"] + "\n\N{MINUS SIGN} " + rows["other"])
    text = f"{dataset}: difference of top-1 accuracy{against}, corrected 95 % interval; filled: ahead or behind"
    half = ", half filled: so by the shared variance (†)" if rows["rests_on_pool"].any() else ""
    return figure_by_protocol(rows, f"{text}{half}, hollow: tied or not known", _panel)


def _panel(axes: Axes, panel: pd.DataFrame, protocols: Protocols) -> None:
    names = list(panel["method"].unique())[::-1]  # the last is on top
    axes.axvline(0, color="0.3", linewidth=0.8)
    for number, (protocol, (marker, colour)) in enumerate(protocols.items()):
        for row in rows_of(panel[panel["protocol"] == protocol]):
            height = names.index(row["method"]) + shift(number, protocols)
            axes.plot([row["ci_low"], row["ci_high"]], [height, height], color=colour, linewidth=0.9, alpha=0.7)
            axes.plot(
                row["difference"],
                height,
                marker=marker,
                color=colour,
                markersize=4,
                fillstyle="left" if row["decided"] and row["rests_on_pool"] else "full",
                markerfacecolor=colour if row["decided"] else palette.WHITE,
                markerfacecoloralt=palette.WHITE,
            )
    style.name_rows(axes, names)
    axes.set_xlabel("points")
