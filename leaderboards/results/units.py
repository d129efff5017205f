"""Bytes, seconds and the values of declared columns as people read them."""

from __future__ import annotations

import re
from typing import Any

import humanize
import pandas as pd

SHORT = {"second": "s", "minute": "min", "hour": "h", "day": "d"}
MINUTES = 600  # seconds from which on a duration is given in whole minutes


def size(count: Any) -> str:
    """Return a number of bytes with a decimal prefix (``1.23 MB``), an empty text where it is unknown."""
    return "" if pd.isna(count) else re.sub("Bytes?", "B", humanize.naturalsize(count, format="%.3g"))


def duration(seconds: Any) -> str:
    """Return seconds in words (``5.7 s``, ``1 min 35 s``, ``2 h 5 min``), an empty text where they are unknown."""
    if pd.isna(seconds):
        return ""
    unit = "seconds" if seconds < MINUTES else "minutes"
    digits = "%.2g" if seconds < 60 else "%.0f"
    words = humanize.precisedelta(float(seconds), minimum_unit=unit, format=digits).replace(" and ", " ")
    return re.sub(r"(second|minute|hour|day)s?,?", lambda word: SHORT[word[1]], words)


def value_text(value: Any, unit: str, digits: int) -> str:
    """Return a value in its unit, an empty text where it is unknown.

    Args:
        value: a number; seconds where the unit is ``s``, bytes where it is ``B``.
        unit: the unit of the value; any other unit than ``s`` and ``B`` stands in the heading, not beside the number.
        digits: behind the decimal point.
    """
    if pd.isna(value):
        return ""
    if unit in ("s", "B"):
        return duration(value) if unit == "s" else size(value)
    return f"{value:.{digits}f}".replace("-", "\N{MINUS SIGN}")
