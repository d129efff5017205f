"""The verdicts of a block as tables: one row per method, one row per pair of a suite."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from leaderboards.results.verdicts import Block, Comparison

COMPARED = ("difference", "low", "high", "verdict", "seeds_needed", "seeds_show")
COLUMNS = [
    *("method", "role", "mean", "error", "ci_low", "ci_high"),
    *("seeds", "expected", "partial", "unit", "units", "teachers", "variance"),
    *(f"control_{name}" for name in COMPARED),
    "best",
    *(f"best_{name}" for name in COMPARED),
    *("rank", "rank_low", "rank_high", "recovered", "recovered_low", "recovered_high", "refused"),
]
PAIR_COLUMNS = ["method", "other", "units", *COMPARED]
INTEGERS = ["control_seeds_needed", "best_seeds_needed", "rank", "rank_low", "rank_high"]


def table(block: Block, expected: int | Mapping[str, int] | None = None) -> pd.DataFrame:
    """Return `COLUMNS`: one row per method of a block, the most accurate first.

    Accuracies and differences are in points, the part recovered is a fraction. ``ci_low`` and ``ci_high`` are the 95 %
    interval of the mean, for one row at a time; ``low`` and ``high`` are corrected. ``partial`` says ``2/3`` where a
    row has two of three cells. ``unit`` is what intervals cover, and ``units`` how many there are. ``variance`` is
    ``pool`` or ``own``. ``seeds_needed`` would give the verdict ``seeds_show`` with 80 % power, were the true gap the
    observed one; it is empty where the verdict is known, or 1000 seeds do not suffice. A row has no verdict against
    itself.

    Args:
        block: the rows.
        expected: cells of a row, or of every row; by default as many as the row with the most has.
    """
    most = max((len(cells) for cells in block.rows.values()), default=0)
    rows = []
    for name in sorted(block.rows, key=lambda name: (-block.model.means[name].value, name)):
        wanted = expected.get(name, most) if isinstance(expected, Mapping) else expected or most
        row = {"method": name, "role": block.roles.get(name, "method"), **_sureness(block, name, wanted)}
        for prefix, other in (("control", block.control), ("best", block.best)):
            if other is not None and other != name and not (prefix == "best" and row["role"] == "bound"):
                compared = _compared(block.compare(name, other))
                row |= {f"{prefix}_{column}": value for column, value in compared.items()}
        row["best"] = block.best
        row |= dict(zip(("rank", "rank_low", "rank_high"), block.ranks.get(name, ()), strict=False))
        part = block.recovered(name)
        if part is not None:
            row |= {"recovered": part.value, "recovered_low": part.low, "recovered_high": part.high}
        rows.append({**row, "refused": block.refused})
    return pd.DataFrame(rows, columns=COLUMNS).astype(dict.fromkeys(INTEGERS, "Int64"))


def pairs(block: Block, wanted: Sequence[tuple[str, str]]) -> pd.DataFrame:
    """Return `PAIR_COLUMNS` of pairs of methods, as the suite names them; pairs without both rows are left out."""
    rows = []
    for one, other in wanted:
        if one in block.rows and other in block.rows:
            compared = block.compare(one, other)
            rows.append({"method": one, "other": other, "units": compared.gap.units, **_compared(compared)})
    return pd.DataFrame(rows, columns=PAIR_COLUMNS).astype({"seeds_needed": "Int64"})


def _sureness(block: Block, name: str, wanted: int) -> dict[str, Any]:
    """Return the mean of a row, how sure it is, and what that is made of."""
    cells, mean = block.rows[name], block.model.means[name]
    low, high = mean.interval or (None, None)
    teachers = len({cell[2] for cell in cells if len(cell) > 2})
    return {
        "mean": mean.value,
        "error": mean.error,
        "ci_low": None if low is None else max(low, 0.0),
        "ci_high": None if high is None else min(high, 100.0),
        "seeds": len(cells),
        "expected": wanted,
        "partial": f"{len(cells)}/{wanted}" if len(cells) < wanted else "",
        "unit": block.model.axis[1],
        "units": len(block.model.units[name]),
        "teachers": teachers or 1,
        "variance": block.model.source(name),
    }


def _compared(found: Comparison) -> dict[str, Any]:
    low, high = found.interval or (None, None)
    needed, show = (found.seeds.units, found.seeds.verdict) if found.seeds else (None, "")
    values = (found.gap.value, low, high, found.verdict, needed, show)
    return dict(zip(COMPARED, values, strict=True))
