"""One colour and one marker per method, the same in every plot.

The colours are those of Okabe and Ito and of Paul Tol's "muted" scheme, which people with any common colour blindness
tell apart; the marker tells methods apart in grey. Controls (random images, noise, the full set) are grey or black.
"""

from __future__ import annotations

import re
import zlib
from typing import NamedTuple

BLUE, VERMILION, GREEN, ORANGE = "#0072B2", "#D55E00", "#009E73", "#E69F00"
SKY, PURPLE, INDIGO, WINE, OLIVE = "#56B4E9", "#CC79A7", "#332288", "#882255", "#999933"
BLACK, GREY, SILVER = "#000000", "#6E6E6E", "#A8A8A8"


class Look(NamedTuple):
    """How a method is drawn."""

    colour: str
    marker: str
    hollow: bool = False  # variants of a method: an empty marker on a dashed line


KNOWN = {
    "full": Look(BLACK, "_"),
    "random_real": Look(GREY, "X"),
    "noise": Look(SILVER, "x"),
    "herding": Look(GREY, "P"),
    "kmeans_real": Look(GREY, "d"),
    "sre2l": Look(ORANGE, "s"),
    "mmd": Look(GREEN, "D"),
    "wmdd": Look(BLUE, "o"),
    "cda": Look(VERMILION, "s"),
    "gvbsm": Look(PURPLE, "D"),
    "scdd": Look(SKY, "P"),
    "rded": Look(INDIGO, "^"),
    "dm": Look(WINE, "v"),
    "mtt": Look(OLIVE, ">"),
    "datadam": Look(VERMILION, "v"),
    # the ablation of WMDD: feature term + batch-norm term
    "ce+bn": Look(ORANGE, "s", hollow=True),
    "ce+pcbn": Look(ORANGE, "^", hollow=True),
    "ce+none": Look(ORANGE, "<", hollow=True),
    "mmd+none": Look(GREEN, ">", hollow=True),
    "wasserstein+none": Look(BLUE, "h", hollow=True),
    "mmd+bn": Look(GREEN, "D", hollow=True),
    "mmd+pcbn": Look(GREEN, "v", hollow=True),
    "wasserstein+bn": Look(BLUE, "p", hollow=True),
    "wasserstein+pcbn": Look(BLUE, "o", hollow=True),
}
COLOURS = ("#AA4499", "#44AA99", "#CC6677", "#117733", "#DDCC77", "#8C510A")  # of methods that are not known above
MARKERS = ("p", "*", "<", "d", "h")


def look(method: str) -> Look:
    """Return the colour and marker of a method.

    A variant (``wmdd+bn``) has the colour of its method, and a hollow marker. What is not listed is drawn by a hash of
    its name, so that it stays the same from plot to plot.
    """
    name = method.casefold()
    if name in KNOWN:
        return KNOWN[name]
    number = zlib.crc32(name.encode())
    marker = MARKERS[number % len(MARKERS)]
    base = KNOWN.get(re.split(r"[^a-z0-9_]", name)[0])
    return Look(base.colour, marker, hollow=True) if base else Look(COLOURS[number // 8 % len(COLOURS)], marker)
