"""Accuracy against what it takes: images per class, bytes, seconds. Each function returns figures by name."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

from benchmark.files import file_name
from leaderboards.plots import style
from leaderboards.plots.palette import look
from leaderboards.plots.style import ERROR, style_of
from leaderboards.results.axes import EVERY_IPC
from leaderboards.results.records import rows_of

SPREAD = 1.2  # ratio of the last method's IPC to the first's, where points of one IPC stand side by side
DECADES = 30  # ratio of costs from which on powers of ten are ticks enough
POINTS = 3  # from which on a panel shows more than the table does
WIDE = 4  # protocols from which on their names are set smaller
FACTOR = 1.5  # between the least and the most costly, below which costs tell nothing apart
SHORTEST = 1.0  # seconds; below, what a process does for the first time counts more than the method


def accuracy_against_ipc(leaderboard: pd.DataFrame) -> dict[str, Figure]:
    """Draw mean accuracy (error bars: one standard deviation) against IPC, a panel per dataset and student.

    One figure per protocol. A method that does not depend on IPC, such as `full`, is a dashed line. Where no dataset
    has two IPCs there is nothing to join, and methods are rows of dots instead.
    """
    found = {}
    with style.drawing():
        for protocol, every in _measured(leaderboard).groupby("protocol"):
            rows, words = style.fewer(every)
            by_ipc = rows[rows["ipc"] != EVERY_IPC]
            if by_ipc.empty:
                continue
            several = by_ipc.groupby(["dataset", "student"])["ipc"].nunique().max() > 1
            figure = _curves(rows) if several else _dots(rows)
            style.note(figure, f"protocol {protocol}; mean ± one standard deviation{words}")
            found[f"accuracy_against_ipc_{file_name(str(protocol))}"] = figure
    return found


def accuracy_against_bytes(leaderboard: pd.DataFrame) -> dict[str, Figure]:
    """Draw accuracy against the bytes of images and labels together, for labels can outweigh the images."""
    total = leaderboard["images_bytes"].astype("float64") + leaderboard["labels_bytes"].astype("float64")
    return _against(leaderboard, total, "bytes", "images and labels, bytes", EngFormatter("B"))


def accuracy_against_seconds(leaderboard: pd.DataFrame) -> dict[str, Figure]:
    """Draw accuracy against the seconds that a set and its labels took: prepare, distill and relabel.

    Seconds of different devices do not compare, so only the rows of the device with most rows are drawn.
    """
    parts = leaderboard[["distill_seconds", "relabel_seconds"]].sum(axis=1, skipna=False)
    total = (parts + leaderboard["prepare_seconds"].fillna(0)).clip(lower=SHORTEST)
    devices = leaderboard.loc[leaderboard["top1_mean"].notna(), "device"]
    rows = leaderboard[leaderboard["device"] == devices.mode().max()] if len(devices) else leaderboard
    return _against(rows, total[rows.index], "seconds", "seconds to make set and labels", EngFormatter("s"))


def accuracy_by_protocol(leaderboard: pd.DataFrame) -> dict[str, Figure]:
    """Draw accuracy under one protocol after the other, at the largest IPC, a panel per dataset and student.

    Only where there are `POINTS` protocols or more; those with the fewest bytes of labels stand first.
    """
    rows = _measured(leaderboard[leaderboard["ipc"] != EVERY_IPC])
    rows = rows[rows["ipc"] == rows.groupby(["dataset", "student"])["ipc"].transform("max")]
    several = rows.groupby(["dataset", "student"])["protocol"].transform("nunique") >= POINTS
    if not several.any():
        return {}
    with style.drawing():
        group, words = style.fewer(rows[several])
        methods = style.methods_of(group)
        figure, parts = _panels(group, 2.4)
        for axes, panel in parts:
            _protocols(axes, panel, methods)
        style.legend(figure, methods)
        style.note(figure, f"largest IPC; by bytes of labels; mean ± one standard deviation{words}")
    return {"accuracy_by_protocol": figure}


def _protocols(axes: Axes, panel: pd.DataFrame, methods: list[str]) -> None:
    order = panel.groupby("protocol", sort=False)["labels_bytes"].mean().sort_values(kind="stable").index
    places = {protocol: place for place, protocol in enumerate(order)}
    for position, method in enumerate(methods):
        rows = panel[panel["method"] == method].sort_values("protocol", key=lambda names: names.map(places))
        x = rows["protocol"].map(places) + 0.25 * ((position + 0.5) / len(methods) - 0.5)
        axes.errorbar(x, rows["top1_mean"], yerr=rows["top1_std"].fillna(0), ecolor=look(method).colour, **ERROR)
        axes.plot(x, rows["top1_mean"], **{**style_of(method), "linewidth": 0.8})
    axes.set_xticks(range(len(order)), [name.replace("_", "\n") for name in order])
    axes.tick_params(axis="x", labelsize=6 if len(order) > WIDE else 7)
    axes.set_xlim(-0.5, len(order) - 0.5)
    axes.set_ylabel("top-1 accuracy (%)")
    axes.set_ylim(*style.limits(panel))


def _against(
    leaderboard: pd.DataFrame, cost: pd.Series, name: str, label: str, form: EngFormatter
) -> dict[str, Figure]:
    found = {}
    rows = _measured(leaderboard.assign(cost=cost))
    with style.drawing():
        for protocol, every in rows[rows["cost"].notna()].groupby("protocol"):
            group, words = style.fewer(every)
            panels = group.groupby(["dataset", "student"])["cost"]
            if panels.size().max() < POINTS or (panels.max() / panels.min()).max() < FACTOR:
                continue
            methods = [*style.methods_of(group), *_fixed(group)]
            figure, parts = _panels(group, 2.3)
            for axes, panel in parts:
                _costs(axes, panel, methods)
                axes.set_xlabel(label)
                axes.xaxis.set_major_formatter(form)
            style.legend(figure, methods)
            where = (
                f"; on {group['device'].iloc[0]}, a second at least; exclusive runs: see costs.csv"
                if name == "seconds"
                else ""
            )
            style.note(figure, f"protocol {protocol}; a point per IPC, mean ± one standard deviation{where}{words}")
            found[f"accuracy_against_{name}_{file_name(str(protocol))}"] = figure
    return found


def _costs(axes: Axes, panel: pd.DataFrame, methods: list[str]) -> None:
    for method in methods:
        curve = panel[panel["method"] == method].sort_values("ipc")
        y = curve["top1_mean"]
        axes.errorbar(curve["cost"], y, yerr=curve["top1_std"].fillna(0), ecolor=look(method).colour, **ERROR)
        axes.plot(curve["cost"], y, **style_of(method))
    axes.set_xscale("log")
    low, high = panel["cost"].min(), panel["cost"].max()
    axes.set_xlim(low / 2, high * 2)
    axes.xaxis.set_major_locator(LogLocator(subs=(1,) if high / low > DECADES else (1, 2, 5), numticks=5))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_ylabel("top-1 accuracy (%)")
    axes.set_ylim(*style.limits(panel))


def _measured(leaderboard: pd.DataFrame) -> pd.DataFrame:
    return leaderboard[leaderboard["top1_mean"].notna()]


def _fixed(rows: pd.DataFrame) -> list[str]:
    return sorted(set(rows.loc[rows["ipc"] == EVERY_IPC, "method"]))


def _curves(rows: pd.DataFrame) -> Figure:
    methods = style.methods_of(rows)
    figure, panels = _panels(rows, height=2.3)
    for axes, panel in panels:
        points = panel[panel["ipc"] != EVERY_IPC].sort_values("ipc")
        ticks = sorted(points["ipc"].unique())
        for position, method in enumerate(methods):
            curve = points[points["method"] == method]
            shift = SPREAD ** ((position + 0.5) / len(methods) - 0.5)
            x, y = curve["ipc"].astype(float) * shift, curve["top1_mean"]
            axes.errorbar(x, y, yerr=curve["top1_std"].fillna(0), ecolor=look(method).colour, **ERROR)
            axes.plot(x, y, **style_of(method))
        axes.set_xscale("log")
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlim(ticks[0] / 1.35, ticks[-1] * 1.35)
        axes.set_xlabel("images per class")
        axes.set_ylabel("top-1 accuracy (%)")
        axes.set_ylim(*style.limits(panel))
        _baselines(axes, panel)
    style.legend(figure, methods)
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
            axes.plot(row["top1_mean"], height, **style_of(row["method"]))
        axes.set_yticks(range(len(points)), points["method"])
        axes.set_ylim(-0.6, len(points) - 0.4)
        axes.grid(axis="y", visible=False)
        axes.set_xlabel("top-1 accuracy (%)")
        above_labels = 20 if len(points) < len(panel) else None
        axes.set_title(f"{axes.get_title(loc='left')}, IPC {points['ipc'].iloc[0]}", loc="left", pad=above_labels)
        axes.set_xlim(*style.limits(panel))
        axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
        _baselines(axes, panel, upright=True)
    return figure


def _panels(rows: pd.DataFrame, height: float) -> tuple[Figure, list[tuple[Axes, pd.DataFrame]]]:
    """Return a figure with a panel for every dataset and student that was measured at some IPC."""
    groups = rows.groupby(["dataset", "student"], sort=False)
    found = [(name, panel) for name, panel in groups if (panel["ipc"] != EVERY_IPC).any()]
    figure, axes = style.panels([f"{dataset}, {student}" for (dataset, student), _ in found], height)
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
