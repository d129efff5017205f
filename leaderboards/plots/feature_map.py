"""Maps of features: where the distilled images of a class lie among its real ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from leaderboards.plots import style
from leaderboards.plots.images import class_name
from leaderboards.plots.palette import marker_style

REAL, SYNTHETIC, ATOM = range(3)  # the kinds of points
TYPICAL = 0.95  # share of the real images that lie nearer to the plane of a map than a hollow point


def feature_map(arrays: Mapping[str, Any], method: str, names: Sequence[str]) -> Figure:
    """Plot a panel per class: its real images, its synthetic ones and, where there are any, the barycenter's atoms.

    Args:
        arrays: ``map.npz`` of the measure.
        method: the method that made the synthetic images.
        names: the names of the classes.
    """
    classes = arrays["shown"].tolist()
    shares = zip(classes, arrays["explained"], strict=True)
    titles = [f"{class_name(label, names)} ({share:.0%})" for label, share in shares]
    near = {label: np.quantile(_of(arrays, "off", label, REAL), TYPICAL) for label in classes}
    with style.plotting():
        figure, panels = style.panels(titles, 2.1)
        for axes, label in zip(panels, classes, strict=True):
            for kind in (REAL, ATOM, SYNTHETIC):
                points, far = _of(arrays, "points", label, kind), _of(arrays, "off", label, kind) > near[label]
                for part, hollow in ((points[~far], False), (points[far], kind == SYNTHETIC)):
                    axes.plot(*part.T, linestyle="", **_dot(kind, method, hollow))
            axes.set_aspect("equal", adjustable="datalim")
            axes.tick_params(length=0, labelleft=False, labelbottom=False)
        dots = {"real": (REAL, False), method: (SYNTHETIC, False), f"{method}, far from the plane": (SYNTHETIC, True)}
        dots |= {"atom of the barycenter": (ATOM, False)} if ATOM in arrays["kinds"] else {}
        handles = [Line2D([], [], linestyle="", label=text, **_dot(k, method, h)) for text, (k, h) in dots.items()]
        style.legend(figure, list(dots), handles)
        style.note(
            figure,
            "a class in the teacher's features, on the plane of the first two principal components of its real images "
            f"(in brackets: their share of the variance); hollow: farther from that plane than {TYPICAL:.0%} of the "
            "real images",
        )
    return figure


def _of(arrays: Mapping[str, Any], name: str, label: int, kind: int) -> Any:
    return arrays[name][(arrays["labels"] == label) & (arrays["kinds"] == kind)]


def _dot(kind: int, method: str, hollow: bool) -> dict[str, Any]:
    """Return the keyword arguments of matplotlib for a point."""
    if kind == SYNTHETIC:
        colour = marker_style(method).colour
        face = {"markerfacecolor": "white", "markeredgecolor": colour, "markeredgewidth": 1.2}
        return {"color": colour, "marker": "o", "markersize": 4.5, **(face if hollow else {"markeredgecolor": "white"})}
    if kind == ATOM:
        return {"color": "#111111", "marker": "x", "markersize": 4.5, "markeredgewidth": 0.9}
    return {"color": "#CDBB8C", "marker": ".", "markersize": 3.5, "markeredgewidth": 0}  # no method has this colour
