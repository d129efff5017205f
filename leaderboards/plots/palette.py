"""One colour and one marker per method, the same in every plot.

The colours are those of Okabe and Ito and of Paul Tol's "muted" scheme: people with a common colour blindness can tell
them apart. In a grey print the markers tell methods apart. Controls are grey or black, each with its own line style.
"""

from __future__ import annotations

import re
import zlib
from typing import NamedTuple

BLUE, VERMILION, GREEN, ORANGE = "#0072B2", "#D55E00", "#009E73", "#E69F00"
SKY, PURPLE, INDIGO, WINE, OLIVE = "#56B4E9", "#CC79A7", "#332288", "#882255", "#999933"
BLACK, DARK, GREY, SILVER, WHITE = "#000000", "#3D3D3D", "#6E6E6E", "#A8A8A8", "#FFFFFF"
Dashes = str | tuple[float, tuple[float, ...]]  # a line style of matplotlib
DASHED: Dashes = (0, (4, 1.5))


class MarkerStyle(NamedTuple):
    """The colour, the marker and the line of a method.

    A variant of a method has a hollow marker on a dashed line.
    """

    colour: str
    marker: str
    line: Dashes = "-"
    hollow: bool = False


def _variant(colour: str, marker: str) -> MarkerStyle:
    return MarkerStyle(colour, marker, DASHED, hollow=True)


KNOWN = {
    "full": MarkerStyle(BLACK, "_"),
    "random_real": MarkerStyle(GREY, "X", (0, (1, 1))),
    "noise": MarkerStyle(SILVER, "x", (0, (1, 3))),
    "herding": MarkerStyle(DARK, "P", (0, (6, 1.5, 1, 1.5))),
    "kmeans_real": MarkerStyle(SILVER, "d", (0, (3, 1, 1, 1, 1, 1))),
    "sre2l": MarkerStyle(ORANGE, "s"),
    "mmd": MarkerStyle(GREEN, "D"),
    "wmdd": MarkerStyle(BLUE, "o"),
    "cda": MarkerStyle(VERMILION, "s"),
    "gvbsm": MarkerStyle(PURPLE, "D"),
    "scdd": MarkerStyle(SKY, "P"),
    "rded": MarkerStyle(INDIGO, "^"),
    "dm": MarkerStyle(WINE, "v"),
    "mtt": MarkerStyle(OLIVE, ">"),
    "datadam": MarkerStyle(VERMILION, "v"),
    # the ablation of WMDD: feature term + batch-norm term
    "ce+bn": _variant(ORANGE, "s"),
    "ce+pcbn": _variant(ORANGE, "^"),
    "ce+none": _variant(ORANGE, "<"),
    "mmd+none": _variant(GREEN, ">"),
    "wasserstein+none": _variant(BLUE, "h"),
    "mmd+bn": _variant(GREEN, "D"),
    "mmd+pcbn": _variant(GREEN, "v"),
    "wasserstein+bn": _variant(BLUE, "p"),
    "wasserstein+pcbn": _variant(BLUE, "o"),
}
COLOURS = ("#AA4499", "#44AA99", "#CC6677", "#117733", "#DDCC77", "#8C510A")  # the colours of other methods
MARKERS = ("p", "*", "<", "d", "h")


def marker_style(method: str) -> MarkerStyle:
    """Return the style of a method, which is the same in every plot.

    A variant (``wmdd+bn``) has the colour of its base. A method that is not in `KNOWN` gets a style from a hash of its
    name.
    """
    name = method.casefold()
    if name in KNOWN:
        return KNOWN[name]
    number = zlib.crc32(name.encode())
    marker = MARKERS[number % len(MARKERS)]
    base = KNOWN.get(re.split(r"[^a-z0-9_]", name)[0])
    return _variant(base.colour, marker) if base else MarkerStyle(COLOURS[number // 8 % len(COLOURS)], marker)
