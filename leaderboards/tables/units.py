"""Bytes and seconds as people read them."""

from __future__ import annotations

from typing import Any

import pandas as pd


def size(count: Any) -> str:
    """Return a number of bytes with a decimal prefix, "" where it is unknown."""
    if pd.isna(count):
        return ""
    value = float(count)
    for unit in ("B", "kB", "MB"):
        if value < 999.5:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} GB" if value < 999.5 else f"{value / 1000:.3g} TB"


def duration(seconds: Any) -> str:
    """Return seconds in the unit that needs the fewest digits, "" where they are unknown."""
    if pd.isna(seconds):
        return ""
    for limit, unit, name in ((99.5, 1, "s"), (99.5 * 60, 60, "min")):
        if seconds < limit:
            return f"{seconds / unit:.2g} {name}" if seconds / unit < 10 else f"{seconds / unit:.0f} {name}"
    return f"{seconds / 3600:.3g} h"
