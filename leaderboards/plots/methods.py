"""All methods of a suite on one dataset: a row of dots per method, the control and the bound as lines."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from benchmark.files import file_name
from leaderboards.plots import palette, style
from leaderboards.results.axes import EVERY_IPC
from leaderboards.results.roles import BOUND, CONTROL
from leaderboards.results.variants import ranked

MARKERS = (
    ("o", palette.BLUE),
    ("D", palette.VERMILION),
    ("s", palette.GREEN),
    ("^", palette.PURPLE),
    ("v", palette.ORANGE),
    ("P", palette.SKY),
)  # the markers of protocols, in the order of the suite
LEAST = 0.7  # inches for the rows of a panel
APART = 0.5  # the share of a row between the dots of its first and last protocol
Protocols = dict[str, tuple[str, str]]  # protocol -> marker and colour
Draw = Callable[[Axes, pd.DataFrame, Protocols], None]


def methods(leaderboard: pd.DataFrame) -> dict[str, Figure]:
    """Return a figure per dataset, as ``methods_DATASET``: a panel per student and IPC, a marker per protocol.

    The most accurate method under the first protocol is on top. Bars are one standard deviation. Dotted lines are the
    control under the protocol of their colour, the dashed line is the full training set.
    """
    figures = {}
    measured = leaderboard[leaderboard["top1_mean"].notna()]
    with style.plotting():
        for dataset, rows in measured[measured["ipc"] != EVERY_IPC].groupby("dataset", sort=False):
            bound = measured[(measured["dataset"] == dataset) & (measured["role"] == BOUND)]
            figures[f"methods_{file_name(str(dataset))}"] = _figure(str(dataset), rows, bound)
    return figures


def figure_by_protocol(rows: pd.DataFrame, text: str, draw: Draw) -> Figure:
    """Return a figure with a panel per student and IPC, and a marker per protocol in its legend.

    Args:
        rows: the rows of one dataset.
        text: what stands above the panels.
        draw: fills a panel; takes its axes and its rows, and the protocols of the figure.
    """
    panels = list(rows.groupby(["student", "ipc"], sort=False))[: style.PANELS]
    note = "" if len(panels) == rows.groupby(["student", "ipc"]).ngroups else "; more in the tables"
    longest = max(panel["method"].nunique() for _, panel in panels)
    titles = [f"{student}, IPC {ipc}" for (student, ipc), _ in panels]
    protocols: Protocols = dict(zip(rows["protocol"].unique(), MARKERS, strict=False))
    two_lines = rows["method"].str.contains("\n").any()
    row = max(0.1 + 0.04 * len(protocols), 0.32 if two_lines else 0)  # inches
    figure, all_axes = style.panels(titles, 0.9 + max(row * longest, LEAST), split=False)
    for axes, (_, panel) in zip(all_axes, panels, strict=True):
        draw(axes, panel, protocols)
    handles = [
        Line2D([], [], label=name, color=colour, marker=marker, linestyle="")
        for name, (marker, colour) in protocols.items()
    ]
    style.legend(figure, list(protocols), handles)
    style.note(figure, f"{text}{note}")
    return figure


def shift(number: int, protocols: Protocols) -> float:
    """Return how far the dots of a protocol lie above those of the middle one, in rows."""
    return APART * (0.5 - (number + 0.5) / len(protocols))


def _figure(dataset: str, rows: pd.DataFrame, bound: pd.DataFrame) -> Figure:
    limits = style.limits(pd.concat([rows, bound]))

    def draw(axes: Axes, panel: pd.DataFrame, protocols: Protocols) -> None:
        _panel(axes, panel, bound[bound["student"] == panel["student"].iloc[0]], protocols)
        axes.set_xlim(*limits)

    text = f"{dataset}: mean ± one standard deviation"
    text += "; dotted: the control" if (rows["role"] == CONTROL).any() else ""
    text += "; dashed: full data" if len(bound) else ""
    return figure_by_protocol(rows, text, draw)


def _panel(axes: Axes, panel: pd.DataFrame, bound: pd.DataFrame, protocols: Protocols) -> None:
    first_rows = panel[panel["protocol"] == panel["protocol"].iloc[0]]
    names = [*dict.fromkeys([*ranked(first_rows), *panel["method"]])][::-1]  # the last is on top
    for number, (protocol, (marker, colour)) in enumerate(protocols.items()):
        rows = panel[panel["protocol"] == protocol].set_index("method").reindex(names)
        heights = [position + shift(number, protocols) for position in range(len(names))]
        style.error_bars(axes, rows["top1_mean"], heights, rows["top1_std"], colour, horizontal=True)
        axes.plot(rows["top1_mean"], heights, linestyle="", marker=marker, color=colour, markersize=3.5)
        for value in panel.loc[(panel["role"] == CONTROL) & (panel["protocol"] == protocol), "top1_mean"]:
            axes.axvline(value, color=colour, linewidth=0.8, linestyle=":")
    for value in bound["top1_mean"].head(1):
        axes.axvline(value, color="0.3", linewidth=0.8, linestyle="--")
    style.name_rows(axes, names)
    axes.set_xlabel("top-1 accuracy (%)")
