"""Plots of accuracy against images per class, protocols, bytes and seconds. Each function returns figures by name."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

from benchmark.files import file_name
from leaderboards.plots import style
from leaderboards.plots.palette import marker_style
from leaderboards.plots.style import error_bars, line_style
from leaderboards.results.axes import EVERY_IPC
from leaderboards.results.records import rows_of
from leaderboards.results.text import mean_text

DECADES = 30  # ratio of bytes from which on only powers of ten are ticks
POINTS = 3  # points of a panel, at least; fewer are easier to read in a table
WIDE = 4  # protocols; the names of more are set smaller
FACTOR = 1.5  # ratio of the highest cost to the lowest, at least
SHORTEST = 1.0  # seconds; a shorter time is mostly that of starting up


def accuracy_against_ipc(leaderboard: pd.DataFrame) -> dict[str, Figure]:
    """Plot mean accuracy against IPC: a figure per protocol, a panel per dataset and student.

    A panel with several IPCs has a line per method; all these panels have the same IPC axis. A panel with one IPC has a
    row of dots per method. A method that does not depend on IPC, such as `full`, is a dashed line. Error bars are one
    standard deviation.
    """
    figures = {}
    with style.plotting():
        for protocol, group in _measured(leaderboard).groupby("protocol"):
            rows, words = style.fewer(group)
            by_ipc = rows[rows["ipc"] != EVERY_IPC]
            if by_ipc.empty:
                continue
            groups = by_ipc.groupby(["dataset", "student"])
            several = groups["ipc"].nunique() > 1
            most = groups["method"].nunique()[~several].max()  # rows of dots; not a number where there are none
            figure, panels = _panels(rows, max(2.3 if several.any() else 0, 0 if pd.isna(most) else 1.0 + 0.2 * most))
            methods, ticks = style.methods_of(rows), sorted(set(by_ipc["ipc"]))
            for axes, panel in panels:
                if panel.loc[panel["ipc"] != EVERY_IPC, "ipc"].nunique() > 1:
                    _curves(axes, panel, methods, ticks)
                else:
                    _dots(axes, panel)
            if several.any():
                style.legend(figure, methods)
            steps = several.any() and by_ipc["student_steps"].notna().any()
            below = "; below each IPC: the steps of a student" if steps else ""
            style.note(figure, f"protocol {protocol}; mean ± one standard deviation{below}{words}")
            figures[f"accuracy_against_ipc_{file_name(str(protocol))}"] = figure
    return figures


def accuracy_against_bytes(leaderboard: pd.DataFrame) -> dict[str, Figure]:
    """Plot accuracy against the bytes of images, labels and online teachers: labels can take more than the images."""
    return _against(leaderboard, leaderboard["total_bytes"].astype("float64"), "bytes", "all that is sent")


def accuracy_against_seconds(leaderboard: pd.DataFrame) -> dict[str, Figure]:
    """Plot accuracy against the time for a set and its labels, what it needed amortised as in `costs.csv`.

    Times on different devices do not compare, so only the rows of the device with most rows are plotted.
    """
    parts = leaderboard[["amortised_seconds", "relabel_seconds"]].sum(axis=1, skipna=False)
    total = parts.clip(lower=SHORTEST)
    devices = leaderboard.loc[leaderboard["top1_mean"].notna(), "device"]
    rows = leaderboard[leaderboard["device"] == devices.mode().max()] if len(devices) else leaderboard
    return _against(rows, total[rows.index], "seconds", "time for set and labels")


def accuracy_by_protocol(leaderboard: pd.DataFrame) -> dict[str, Figure]:
    """Plot accuracy under each protocol at the largest IPC, a panel per dataset and student.

    There is a panel where there are `POINTS` protocols or more. They stand in the order of the bytes of their labels.
    """
    rows = _measured(leaderboard[leaderboard["ipc"] != EVERY_IPC])
    rows = rows[rows["ipc"] == rows.groupby(["dataset", "student"])["ipc"].transform("max")]
    several = rows.groupby(["dataset", "student"])["protocol"].transform("nunique") >= POINTS
    if not several.any():
        return {}
    with style.plotting():
        group, words = style.fewer(rows[several])
        methods = style.methods_of(group)
        figure, parts = _panels(group, 2.4)
        for axes, panel in parts:
            _protocols(axes, panel, methods)
        style.legend(figure, methods)
        style.note(
            figure,
            f"largest IPC; protocols in the order of the bytes of their labels; mean ± one standard deviation{words}",
        )
    return {"accuracy_by_protocol": figure}


def _protocols(axes: Axes, panel: pd.DataFrame, methods: list[str]) -> None:
    order = panel.groupby("protocol", sort=False)["labels_bytes"].mean().sort_values(kind="stable").index
    positions = {protocol: position for position, protocol in enumerate(order)}
    for number, method in enumerate(methods):
        rows = panel[panel["method"] == method].sort_values("protocol", key=lambda names: names.map(positions))
        place = rows["protocol"].map(positions).astype(float)  # of no rows, pandas makes texts
        x = place + 0.25 * ((number + 0.5) / len(methods) - 0.5)  # side by side
        error_bars(axes, x, rows["top1_mean"], rows["top1_std"], marker_style(method).colour)
        axes.plot(x, rows["top1_mean"], **{**line_style(method), "linewidth": 0.8})
    axes.set_xticks(range(len(order)), [name.replace("_", "\n") for name in order])
    axes.tick_params(axis="x", labelsize=6 if len(order) > WIDE else 7)
    axes.set_xlim(-0.5, len(order) - 0.5)
    style.accuracy_axis(axes, panel)


def _against(leaderboard: pd.DataFrame, cost: pd.Series, unit: str, label: str) -> dict[str, Figure]:
    """Plot accuracy against a cost in bytes or seconds, a figure per protocol, a panel per dataset and student."""
    figures = {}
    rows = _measured(leaderboard.assign(cost=cost))
    with style.plotting():
        for protocol, group in rows[rows["cost"].notna()].groupby("protocol"):
            subset, words = style.fewer(group)
            costs = subset.groupby(["dataset", "student"])["cost"]
            if costs.size().max() < POINTS or (costs.max() / costs.min()).max() < FACTOR:
                continue
            methods = [*style.methods_of(subset), *sorted(set(subset.loc[subset["ipc"] == EVERY_IPC, "method"]))]
            figure, parts = _panels(subset, 2.3)
            for axes, panel in parts:
                _costs(axes, panel, methods, unit)
                axes.set_xlabel(label)
            style.legend(figure, methods)
            facts = f"protocol {protocol}; a point per IPC, mean ± one standard deviation"
            if unit == "seconds":
                device = subset["device"].iloc[0]
                facts += f"; on {device}; shorter times are shown as 1 s; costs.csv says which times compare"
            style.note(figure, f"{facts}{words}")
            figures[f"accuracy_against_{unit}_{file_name(str(protocol))}"] = figure
    return figures


def _costs(axes: Axes, panel: pd.DataFrame, methods: list[str], unit: str) -> None:
    for method in methods:
        curve = panel[panel["method"] == method].sort_values("ipc")
        error_bars(axes, curve["cost"], curve["top1_mean"], curve["top1_std"], marker_style(method).colour)
        axes.plot(curve["cost"], curve["top1_mean"], **line_style(method))
    axes.set_xscale("log")
    low, high = panel["cost"].min(), panel["cost"].max()
    axes.set_xlim(low / 2, high * 2)
    if unit == "seconds":
        style.time_axis(axes, panel["cost"])
    else:
        axes.xaxis.set_major_formatter(EngFormatter("B"))
        axes.xaxis.set_major_locator(LogLocator(subs=(1,) if high / low > DECADES else (1, 2, 5), numticks=style.TICKS))
        axes.xaxis.set_minor_formatter(NullFormatter())
    style.accuracy_axis(axes, panel)


def _measured(leaderboard: pd.DataFrame) -> pd.DataFrame:
    return leaderboard[leaderboard["top1_mean"].notna()]


def _curves(axes: Axes, panel: pd.DataFrame, methods: list[str], ticks: list[int]) -> None:
    """Plot a line per method over the IPC axis of the suite."""
    points = panel[panel["ipc"] != EVERY_IPC].sort_values("ipc")
    for method in methods:
        curve = points[points["method"] == method]
        x = curve["ipc"].astype(float)
        error_bars(axes, x, curve["top1_mean"], curve["top1_std"], marker_style(method).colour)
        axes.plot(x, curve["top1_mean"], **line_style(method))
    axes.set_xscale("log")
    steps = points.groupby("ipc")["student_steps"].max()
    axes.set_xticks(ticks, [_with_steps(tick, steps.get(tick)) for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlim(ticks[0] / 1.35, ticks[-1] * 1.35)
    axes.set_xlabel("images per class")
    style.accuracy_axis(axes, panel)
    _baselines(axes, panel)


def _with_steps(ipc: int, steps: Any) -> str:
    """Return an IPC and below it the steps of a student: more images also mean more training under a fixed batch."""
    return str(ipc) if pd.isna(steps) else f"{ipc}\n{EngFormatter(sep='')(int(steps))}"


def _dots(axes: Axes, panel: pd.DataFrame) -> None:
    """Plot the only IPC of a panel: a row per method, the best on top."""
    points = panel[panel["ipc"] != EVERY_IPC].sort_values(["top1_mean", "method"])
    style.dots(axes, points["method"], points["top1_mean"], points["top1_std"])
    axes.set_xlabel("top-1 accuracy (%)")
    above_labels = 20 if len(points) < len(panel) else None
    axes.set_title(f"{axes.get_title(loc='left')}, IPC {points['ipc'].iloc[0]}", loc="left", pad=above_labels)
    axes.set_xlim(*style.limits(panel))
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    _baselines(axes, panel, upright=True)


def _panels(rows: pd.DataFrame, height: float) -> tuple[Figure, list[tuple[Axes, pd.DataFrame]]]:
    """Return a figure with a panel for every dataset and student that has a number at some IPC, and their rows."""
    groups = rows.groupby(["dataset", "student"], sort=False)
    panels_with_rows = [(axes, panel) for axes, panel in groups if (panel["ipc"] != EVERY_IPC).any()]
    figure, panels = style.panels([f"{dataset}, {student}" for (dataset, student), _ in panels_with_rows], height)
    return figure, [(axes, panel) for axes, (_, panel) in zip(panels, panels_with_rows, strict=True)]


def _baselines(axes: Axes, panel: pd.DataFrame, upright: bool = False) -> None:
    """Add a dashed line for every method that does not depend on IPC, with its label outside the frame."""
    low, high = axes.get_xlim() if upright else axes.get_ylim()
    rows = panel[panel["ipc"] == EVERY_IPC].sort_values("top1_mean")
    position = -math.inf
    for row in rows_of(rows):
        accuracy = row["top1_mean"]
        position = max(accuracy, position + 0.16 * (high - low))  # so that labels do not overlap
        line: Any = {"color": marker_style(row["method"]).colour, "linestyle": "--", "linewidth": 0.9, "zorder": 1}
        label = f"{row['method']}\n{mean_text(accuracy)}"
        if upright:
            axes.axvline(accuracy, **line)
            transform = axes.get_xaxis_transform()
            axes.text(position, 1.01, label, transform=transform, ha="center", fontsize=style.SMALL)
        else:
            axes.axhline(accuracy, **line)
            transform = axes.get_yaxis_transform()
            axes.text(1.01, position, label, transform=transform, va="center", fontsize=style.SMALL)
