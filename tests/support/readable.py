"""Whether the texts of a figure can be read."""

from __future__ import annotations

import itertools

from matplotlib.figure import Figure
from matplotlib.text import Text


def readable(figure: Figure) -> None:
    """Assert that the texts of a figure lie inside it and apart from each other."""
    figure.draw_without_rendering()
    texts = [*figure.texts]
    for axes in figure.axes:
        ticks = [(axes.get_xlim(), axes.get_xticklabels(), 0), (axes.get_ylim(), axes.get_yticklabels(), 1)]
        labels = [
            text for limits, found, i in ticks for text in found if min(limits) <= text.get_position()[i] <= max(limits)
        ]
        titles = [child for child in axes.get_children() if isinstance(child, Text)]
        texts += [*titles, axes.xaxis.label, axes.yaxis.label, *labels]
    named = [(text, text.get_window_extent()) for text in [*texts, *figure.legends]]
    named = [(text, box) for text, box in named if box.width > 1]
    for (one, a), (other, b) in itertools.combinations(named, 2):
        assert not a.overlaps(b), (one, other)
    inside = figure.bbox.padded(1)
    for text, box in named:
        assert inside.contains(box.x0, box.y0), text
        assert inside.contains(box.x1, box.y1), text
