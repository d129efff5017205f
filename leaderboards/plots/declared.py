"""Plots of the columns that evaluators and measures declare. A new one is plotted without an edit here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from benchmark.columns import Column
from benchmark.files import file_name
from leaderboards.plots import style
from leaderboards.plots.style import line_style
from leaderboards.results.axes import EVERY_IPC
from leaderboards.results.correlations import ALL, LEVEL, correlations
from leaderboards.results.measures import ACCURACY, methods_of
from leaderboards.results.records import rows_of

DECADES = 30  # ratio of the values from which on their axis is logarithmic


def accuracy_against_measures(sets: pd.DataFrame, columns: Mapping[str, Sequence[Column]]) -> dict[str, Figure]:
    """Plot accuracy against what a measure found: a figure per measure, dataset and protocol, a panel per column.

    A figure has the first `style.PANELS` columns whose correlation is shown (corrected for the number of columns), at
    the largest IPC with one and with the first student of the suite. Where none is shown, there is no figure.

    Args:
        sets: what measures found, a row per distilled set (`correlations.contenders`).
        columns: what the measures declare, by measure.
    """
    figures = {}
    points = methods_of(sets)
    with style.plotting():
        for measure, measure_columns in columns.items():
            rho = correlations(sets, list(measure_columns))
            rho = rho[rho["p"] <= LEVEL]
            for (dataset, protocol), group in rho[rho["dataset"] != ALL].groupby(["dataset", "protocol"], sort=False):
                student = group["student"].iloc[0]
                ipc = max(group.loc[group["student"] == student, "ipc"], key=int)
                rhos = group[(group["student"] == student) & (group["ipc"] == ipc)].set_index("column")["rho"]
                rows = points[(points["dataset"] == dataset) & (points["ipc"] == int(ipc))]
                panels = {column: rhos[column.name] for column in measure_columns if column.name in rhos.index}
                figure = _scatter(rows, f"{ACCURACY}{protocol}.{student}", panels)
                facts = f"{dataset}, IPC {ipc}, protocol {protocol}, student {student}"
                rule = "rho: Spearman's, p <= 0.05 corrected for all distances; dotted: as many random real images"
                style.note(figure, f"{facts}; {rule}")
                figures[f"accuracy_against_{file_name(f'{measure}_{dataset}_{protocol}')}"] = figure
    return figures


def numbers(evaluated: pd.DataFrame, columns: Sequence[Column]) -> dict[str, Figure]:
    """Plot the numbers that an evaluator returns beside top-1 accuracy: a figure per dataset and protocol.

    A panel is a column, a row of dots a method, the best on top. A figure has the first `style.PANELS` columns that
    have two different values, at the largest IPC and with the first student of the suite.

    Args:
        evaluated: the means and deviations of the numbers (`evaluations.table`).
        columns: what the evaluators declare.
    """
    figures = {}
    with style.plotting():
        for (dataset, protocol), group in evaluated[evaluated["ipc"] != EVERY_IPC].groupby(["dataset", "protocol"]):
            rows = group[(group["ipc"] == group["ipc"].max()) & (group["student"] == group["student"].iloc[0])]
            fields = [c for c in columns if c.name in rows and rows[c.name].nunique() > 1][: style.PANELS]
            if not fields:
                continue
            figure, panels = style.panels([column.heading for column in fields], 1.0 + 0.2 * len(rows), split=False)
            for axes, column in zip(panels, fields, strict=True):
                dots = rows[rows[column.name].notna()].sort_values(column.name, ascending=column.better != "lower")
                style.dots(axes, dots["method"], dots[column.name], dots[f"{column.name}_std"])
                axes.set_xlabel(_label(column))
                axes.xaxis.set_major_locator(MaxNLocator(4))
            row = rows.iloc[0]
            facts = f"{dataset}, IPC {row['ipc']}, protocol {protocol}, student {row['student']}"
            style.note(figure, f"{facts}; the best on top; mean ± one standard deviation")
            figures[f"numbers_{file_name(f'{dataset}_{protocol}')}"] = figure
    return figures


def _label(column: Column) -> str:
    """Return the unit of a column and its better direction; the heading is the title of the panel."""
    better = {"higher": "higher is better", "lower": "lower is better", "": ""}[column.better]
    return ", ".join(part for part in (column.unit, better) if part)


def _scatter(points: pd.DataFrame, accuracy: str, rhos: Mapping[Column, float]) -> Figure:
    subset = dict(list(rhos.items())[: style.PANELS])
    titles = [f"{column.heading}\nrho = {rho:+.2f}".replace("-", "\N{MINUS SIGN}") for column, rho in subset.items()]
    figure, panels = style.panels(titles, 2.2, split=False)
    for axes, column in zip(panels, subset, strict=True):
        _panel(axes, points, column, accuracy)
    methods = list(points.sort_values(accuracy, ascending=False)["method"])
    handles = [Line2D([], [], label=name, **{**line_style(name), "linestyle": ""}) for name in methods]
    style.legend(figure, methods, handles)
    return figure


def _panel(axes: Axes, points: pd.DataFrame, column: Column, accuracy: str) -> None:
    for row in rows_of(points):
        axes.plot(row[column.name], row[accuracy], **{**line_style(row["method"]), "linestyle": ""})
    values = points[column.name].dropna()
    if column.floor in points:
        floor = points[column.floor].mean()
        axes.axvline(floor, color="#555555", linestyle=":", linewidth=0.9, zorder=1)
        values = pd.concat([values, pd.Series([floor]).dropna()])
    if values.min() > 0 and values.max() / values.min() > DECADES:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(numticks=style.TICKS))
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.margins(x=0.1, y=0.12)
    axes.set_xlabel(_label(column))
    axes.set_ylabel("top-1 accuracy (%)")
