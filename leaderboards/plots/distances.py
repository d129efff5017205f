"""Accuracy against distance (do sets that lie nearer to the real images teach better?), and maps of features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from benchmark.files import file_name
from leaderboards.plots import style
from leaderboards.plots.images import class_name
from leaderboards.plots.palette import look
from leaderboards.plots.style import style_of
from leaderboards.results.columns import Column
from leaderboards.results.measures import ACCURACY, POINTS, correlations, methods_of
from leaderboards.results.records import rows_of

SHOWN = {"w2": "exact W2", "mmd_rbf": "MMD², RBF kernel", "statistics_error": "statistics error"}
EXTRACTORS = {"teacher": "teacher's features", "neutral": "neutral features"}
REAL, SYNTHETIC, ATOM = range(3)  # what a point of a map is
TYPICAL = 0.95  # share of the real images that lie no farther off the plane of a map than a filled point
DECADES = 30  # ratio of distances from which on their axis is logarithmic


def accuracy_against_distance(sets: pd.DataFrame, columns: Sequence[Column]) -> dict[str, Figure]:
    """Draw accuracy against the distances `SHOWN`, a panel each, a figure per dataset and protocol.

    The IPC is the largest with `POINTS` methods or more, the student the suite's first.

    Args:
        sets: as `measures.table` returns them.
        columns: those that measures declare.
    """
    found = {}
    rho = {tuple(map(str, row[:-2])): row[-2] for row in correlations(sets, columns).itertuples(index=False, name=None)}
    points = methods_of(sets)
    with style.drawing():
        for accuracy in [name for name in map(str, points) if name.startswith(ACCURACY)]:
            protocol, _, student = accuracy.removeprefix(ACCURACY).partition(".")
            for dataset, every in points[points[accuracy].notna()].groupby("dataset", sort=False):
                name = f"accuracy_against_distance_{dataset}_{file_name(protocol)}"
                counts = every.groupby("ipc")["method"].nunique()
                if name not in found and (counts >= POINTS).any():
                    ipc = counts.index[counts >= POINTS].max()
                    axes = (protocol, student, str(dataset), str(ipc))
                    found[name] = _figure(every[every["ipc"] == ipc], str(accuracy), axes, rho)
    return found


def _figure(points: pd.DataFrame, accuracy: str, axes: tuple[str, ...], rho: dict[tuple[str, ...], float]) -> Figure:
    protocol, student, dataset, ipc = axes
    names = [(extractor, name) for extractor in EXTRACTORS for name in SHOWN]
    known = {(*axes, f"{extractor}.{name}"): (extractor, name) for extractor, name in names}
    drawn = {f"{pair[0]}.{pair[1]}": (pair, rho[key]) for key, pair in known.items() if key in rho}
    titles = [f"{EXTRACTORS[extractor]}, rho = {value:+.2f}" for (extractor, _), value in drawn.values()]
    figure, panels = style.panels(titles, 2.1)
    methods = list(points.sort_values(accuracy, ascending=False)["method"])
    for ax, (column, ((_, name), _)) in zip(panels, drawn.items(), strict=True):
        _panel(ax, points, column, accuracy)
        ax.set_xlabel(SHOWN[name])
    handles = [Line2D([], [], label=name, **{**style_of(name), "linestyle": ""}) for name in methods]
    style.legend(figure, methods, handles)
    style.note(
        figure,
        f"{dataset}, IPC {ipc}, protocol {protocol}, student {student}; rho: Spearman's rank correlation over "
        f"{len(points)} methods, negative where nearer is better; dotted: as many random real images",
    )
    return figure


def _panel(axes: Axes, points: pd.DataFrame, column: str, accuracy: str) -> None:
    for row in rows_of(points):
        axes.plot(row[column], row[accuracy], **{**style_of(row["method"]), "linestyle": ""})
    floor = points[f"{column}_floor"].mean()
    axes.axvline(floor, color="#555555", linestyle=":", linewidth=0.9, zorder=1)
    values = pd.concat([points[column].dropna(), pd.Series([floor])])
    if values.min() > 0 and values.max() / values.min() > DECADES:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(numticks=5))
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.margins(x=0.1, y=0.12)
    axes.set_ylabel("top-1 accuracy (%)")


def feature_map(arrays: Mapping[str, Any], method: str, names: Sequence[str]) -> Figure:
    """Draw a class per panel: its real images, the synthetic ones and, where there are any, the barycenter's atoms.

    Args:
        arrays: the measure's ``map.npz``.
        method: whose images these are.
        names: of the classes.
    """
    shown = arrays["shown"].tolist()
    titles = [
        f"{class_name(label, names)} ({share:.0%})" for label, share in zip(shown, arrays["explained"], strict=True)
    ]
    near = {label: np.quantile(_of(arrays, "off", label, REAL), TYPICAL) for label in shown}
    with style.drawing():
        figure, panels = style.panels(titles, 2.1)
        for axes, label in zip(panels, shown, strict=True):
            for kind in (REAL, ATOM, SYNTHETIC):
                points, far = _of(arrays, "points", label, kind), _of(arrays, "off", label, kind) > near[label]
                for part, hollow in ((points[~far], False), (points[far], kind == SYNTHETIC)):
                    axes.plot(*part.T, linestyle="", **_dot(kind, method, hollow))
            axes.set_aspect("equal", adjustable="datalim")
            axes.tick_params(length=0, labelleft=False, labelbottom=False)
        dots = {"real": (REAL, False), method: (SYNTHETIC, False), f"{method}, far off the plane": (SYNTHETIC, True)}
        dots |= {"atom of the barycenter": (ATOM, False)} if ATOM in arrays["kinds"] else {}
        handles = [Line2D([], [], linestyle="", label=text, **_dot(k, method, h)) for text, (k, h) in dots.items()]
        style.legend(figure, list(dots), handles)
        style.note(
            figure,
            "the teacher's features of a class in the plane of its real images' first two principal components (their "
            f"share of the variance); hollow: farther off that plane than {TYPICAL:.0%} of the real images",
        )
    return figure


def _of(arrays: Mapping[str, Any], name: str, label: int, kind: int) -> Any:
    return arrays[name][(arrays["labels"] == label) & (arrays["kinds"] == kind)]


def _dot(kind: int, method: str, hollow: bool) -> dict[str, Any]:
    """Return how a point of a map is drawn."""
    if kind == SYNTHETIC:
        colour = look(method).colour
        face = {"markerfacecolor": "white", "markeredgecolor": colour, "markeredgewidth": 1.2}
        return {"color": colour, "marker": "o", "markersize": 4.5, **(face if hollow else {"markeredgecolor": "white"})}
    if kind == ATOM:
        return {"color": "#111111", "marker": "x", "markersize": 4.5, "markeredgewidth": 0.9}
    return {"color": "#CDBB8C", "marker": ".", "markersize": 3.5, "markeredgewidth": 0}  # no method is of this colour
