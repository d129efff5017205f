"""Plots of one question each: ablation, students, one hyperparameter, training. Each returns figures by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from benchmark.files import file_name
from leaderboards.plots import style
from leaderboards.plots.palette import marker_style
from leaderboards.plots.style import error_bars, line_style
from leaderboards.results import variants
from leaderboards.results.axes import EVERY_IPC
from leaderboards.results.records import rows_of
from leaderboards.results.text import mean_text

# the hatch of each marker; the first three are bn, the others pcbn
HATCHES = {"p": "/////", "s": "/////", "D": "/////", "o": ".....", "^": ".....", "v": "....."}
OTHER_HATCH = "xxxxx"
INKS = ("#9ecae1", "#6baed6", "#3182bd", "#08519c", "#08306b")  # the colours of IPCs; the largest IPC is the darkest
MARKERS = ("o", "s", "^", "D", "v")


def ablation(leaderboard: pd.DataFrame) -> dict[str, Figure]:
    """Plot the variants of a method as bars with one standard deviation, a panel per dataset and student."""
    figures = {}
    with style.plotting():
        for protocol, group in variants.ablation(_by_ipc(leaderboard)).groupby("protocol"):
            group, words = style.fewer(group)
            methods = style.methods_of(group)[::-1]
            panels = [(n, p) for n, p in group.groupby(["dataset", "student"], sort=False) if p["method"].nunique() > 1]
            if not panels:
                continue
            figure, axes = style.panels([f"{dataset}, {student}" for (dataset, student), _ in panels], 2.0)
            for ax, (_, panel) in zip(axes, panels, strict=True):
                _bar_panel(ax, panel, [method for method in methods if method in set(panel["method"])])
            style.legend(figure, methods, [Patch(label=method, **_fill(method)) for method in methods])
            style.note(figure, f"protocol {protocol}; mean ± one standard deviation{words}")
            figures[f"ablation_{file_name(str(protocol))}"] = figure
    return figures


def networks(leaderboard: pd.DataFrame) -> dict[str, Figure]:
    """Plot a heat map of methods and students, a panel per dataset and IPC, a figure per protocol."""
    figures = {}
    rows = variants.main(_by_ipc(leaderboard))
    with style.plotting():
        for protocol, group in rows.sort_values("ipc", ascending=False, kind="stable").groupby("protocol"):
            group, words = style.fewer(group, "ipc", most=9)
            group = group.sort_values("ipc", kind="stable")
            panels = [(f"{dataset}, IPC {ipc}", _grid(panel)) for (dataset, ipc), panel in _several_students(group)]
            if not panels:
                continue
            height = 0.75 + 0.21 * max(len(grid) for _, grid in panels)
            figure, axes = style.panels([title for title, _ in panels], height)
            for ax, (_, grid) in zip(axes, panels, strict=True):
                _heat(ax, grid)
            style.note(
                figure, f"protocol {protocol}; top-1 accuracy (%); shades per student; the best is the darkest{words}"
            )
            figures[f"networks_{file_name(str(protocol))}"] = figure
    return figures


def sensitivity(leaderboard: pd.DataFrame) -> dict[str, Figure]:
    """Plot accuracy against the values of one hyperparameter, a line per IPC, a panel per dataset and student.

    Random real images are a dotted line in the colour of the IPC.
    """
    figures = {}
    with style.plotting():
        for (base, parameter), series in variants.series(_by_ipc(leaderboard)).items():
            for protocol, group in series.groupby("protocol"):
                group, words = style.fewer(group)
                panels = [
                    (n, p) for n, p in group.groupby(["dataset", "student"], sort=False) if p["value"].nunique() > 1
                ]
                if not panels:
                    continue
                figure, axes = style.panels([f"{dataset}, {student}" for (dataset, student), _ in panels], 2.3)
                for ax, (_, panel) in zip(axes, panels, strict=True):
                    control = variants.control_of(panel, leaderboard)
                    _line_per_ipc(ax, panel, dict(zip(control["ipc"], control["top1_mean"], strict=True)))
                    ax.set_xlabel(parameter.replace("_", " "))
                recipe = "; filled: the recipe's own value" if (group["overrides"] == "").any() else ""
                controls = " and ".join(sorted(set(variants.control_of(group, leaderboard)["method"])))
                dotted = f"; dotted: {controls}" if controls else ""
                facts = f"{base}, protocol {protocol}; mean ± one standard deviation"
                style.note(figure, f"{facts}{recipe}{dotted}{words}")
                figures[file_name(f"sensitivity_{base}_{parameter}_{protocol}")] = figure
    return figures


def training(curves: pd.DataFrame) -> dict[str, Figure]:
    """Plot the mean training loss over seeds at the largest IPC, a panel per dataset and student.

    Args:
        curves: a row per student and epoch (`cells.curves_table`).
    """
    figures = {}
    rows = curves[curves["ipc"] != EVERY_IPC]
    rows = rows[rows["ipc"] == rows.groupby(["dataset", "student"])["ipc"].transform("max")]
    with style.plotting():
        for protocol, group in rows.groupby("protocol"):
            group, words = style.fewer(group)
            panels = list(group.groupby(["dataset", "student", "ipc"], sort=False))
            titles = [f"{dataset}, {student}, IPC {ipc}" for (dataset, student, ipc), _ in panels]
            figure, axes = style.panels(titles, 2.3)
            for ax, (_, panel) in zip(axes, panels, strict=True):
                for method, lines in panel.groupby("method"):
                    mean = lines.groupby("epoch")["loss"].mean()
                    ax.plot(mean.index, mean, markevery=max(1, len(mean) // 5), **line_style(str(method)))
                ax.set_yscale("log")
                ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
                ax.yaxis.set_major_formatter("{x:g}")
                ax.yaxis.set_minor_locator(NullLocator())
                ax.set_xlabel("epoch")
                ax.set_ylabel("training loss")
            style.legend(figure, sorted(set(group["method"])))
            style.note(
                figure, f"protocol {protocol}; mean over seeds; losses under different labels do not compare{words}"
            )
            figures[f"training_{file_name(str(protocol))}"] = figure
    return figures


def _by_ipc(leaderboard: pd.DataFrame) -> pd.DataFrame:
    return leaderboard[leaderboard["top1_mean"].notna() & (leaderboard["ipc"] != EVERY_IPC)]


def _bar_panel(axes: Axes, panel: pd.DataFrame, methods: Sequence[str]) -> None:
    ipcs = sorted(panel["ipc"].unique())
    width = 0.8 / len(methods)
    for position, method in enumerate(methods):
        rows = panel[panel["method"] == method]
        x = [ipcs.index(ipc) + (position - (len(methods) - 1) / 2) * width for ipc in rows["ipc"]]
        axes.bar(x, rows["top1_mean"], width=0.92 * width, **_fill(method))
        error_bars(axes, x, rows["top1_mean"], rows["top1_std"], "#222222")
    axes.set_xticks(range(len(ipcs)), [f"IPC {ipc}" for ipc in ipcs])
    axes.tick_params(axis="x", length=0)
    axes.grid(axis="x", visible=False)
    axes.set_ylim(0, min(100, 1.08 * (panel["top1_mean"] + panel["top1_std"].fillna(0)).max()))
    axes.set_ylabel("top-1 accuracy (%)")


def _fill(method: str) -> Any:
    """Return the keyword arguments of matplotlib for the bar of a method; the bar of a variant is hatched."""
    marker = marker_style(method)
    hatch = HATCHES.get(marker.marker, OTHER_HATCH)
    inside = {"facecolor": "white", "hatch": hatch} if marker.hollow else {"facecolor": marker.colour}
    return {"edgecolor": marker.colour, "linewidth": 0.8, **inside}


def _several_students(rows: pd.DataFrame) -> list[tuple[Any, pd.DataFrame]]:
    groups = rows.groupby(["dataset", "ipc"], sort=False)
    return [(name, panel) for name, panel in groups if min(panel["student"].nunique(), panel["method"].nunique()) > 1]


def _grid(panel: pd.DataFrame) -> pd.DataFrame:
    """Return accuracies [methods, students], the best method on top."""
    grid = panel.pivot_table(index="method", columns="student", values="top1_mean", sort=False)
    return grid.loc[grid.mean(axis=1).sort_values(ascending=False).index]


def _heat(axes: Axes, grid: pd.DataFrame) -> None:
    """Plot a heat map; every column has its own scale, because students differ more than methods do."""
    span = (grid.max() - grid.min()).replace(0, np.nan)
    shades = ((grid - grid.min()) / span).fillna(1.0).where(grid.notna())
    sns.heatmap(
        shades, annot=grid.map(_text), fmt="", cmap="Blues", vmin=-0.15, vmax=2.2, cbar=False, ax=axes,
        linewidths=0.8, annot_kws={"fontsize": 7, "color": "#111111"}, xticklabels=list(grid.columns),
    )  # fmt: skip
    axes.set(xlabel="", ylabel="")
    axes.tick_params(length=0)
    axes.tick_params(axis="x", rotation=30 if len(grid.columns) > 2 else 0)
    axes.tick_params(axis="y", rotation=0)


def _text(mean: float) -> str:
    return "" if pd.isna(mean) else mean_text(mean)


def _line_per_ipc(axes: Axes, panel: pd.DataFrame, control: Mapping[int, float]) -> None:
    ipcs = sorted(panel["ipc"].unique())
    for position, ipc in enumerate(ipcs):
        rows = panel[panel["ipc"] == ipc].sort_values("value")
        ink = INKS[-1 - (len(ipcs) - 1 - position) % len(INKS)]
        line: Any = {"color": ink, "marker": MARKERS[position % len(MARKERS)]}
        error_bars(axes, rows["value"], rows["top1_mean"], rows["top1_std"], ink)
        axes.plot(rows["value"], rows["top1_mean"], markerfacecolor="white", **line)
        recipe = rows[rows["overrides"] == ""]
        axes.plot(recipe["value"], recipe["top1_mean"], linestyle="", **line)
        if ipc in control:
            axes.axhline(control[ipc], color=ink, linestyle=":", linewidth=0.9)
        end = rows_of(rows)[-1]
        axes.annotate(f" IPC {ipc}", (end["value"], end["top1_mean"]), xytext=(4, 0), textcoords="offset points",
                      va="center", fontsize=style.SMALL, color=ink)  # fmt: skip
    values = sorted(panel["value"].unique())
    if values[0] > 0 and values[-1] / values[0] > 20:
        axes.set_xscale("log")
        axes.set_xlim(values[0] / 2, values[-1] * (values[-1] / values[0]) ** 0.25)
        axes.set_xticks(values, [f"{value:g}" for value in values])
        axes.xaxis.set_minor_locator(NullLocator())
    else:
        axes.set_xlim(right=values[-1] + 0.25 * (values[-1] - values[0]))
        axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.set_ylabel("top-1 accuracy (%)")
