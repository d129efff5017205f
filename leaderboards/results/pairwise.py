"""The differences between every two methods of a block, with their intervals and ties; and variance components.

A *block* is one dataset, IPC, protocol and student. Two methods *tie* if the 95 % interval of their mean difference
includes 0. The difference is paired over the (draw, seed) that both have; where these are fewer than two, the interval
is Welch's for two independent means. A single cell has no interval, so it ties only with an equal number. The p values
are not corrected for the number of comparisons; those of the critical-difference diagram are.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import pandas as pd

from leaderboards.results import statistics
from leaderboards.results.axes import BLOCK, Block, axis_values
from leaderboards.results.records import rows_of
from leaderboards.results.statistics import Cells

COLUMNS = [
    *("suite", *BLOCK, "method", "other", "difference", "standard_error", "ci_low", "ci_high", "p_value", "tied"),
    *("pairs", "rule"),  # paired, or welch
]
VARIANCE_COLUMNS = [
    *("suite", *BLOCK, "method", "draws", "seeds"),
    *("draw_variance", "seed_variance", "residual_variance", "reason"),  # in squared percent points
]
NOT_CROSSED = "several draws have to meet the same seeds: set draws: 2 and seeds: 2, or more, in the suite's block"
Rows = Mapping[str, Cells]  # accuracies by method


def blocks(cells: pd.DataFrame) -> dict[Block, dict[str, dict[tuple[int, int], float]]]:
    """Return the accuracies of all cells with status ``ok``, by block, method, and (draw, seed)."""
    by_block: dict[Block, dict[str, dict[tuple[int, int], float]]] = {}
    done = cells[(cells["status"] == "ok") & cells["top1"].notna()]
    for row in rows_of(done[[*BLOCK, "method", "draw", "seed", "top1"]]):
        methods = by_block.setdefault(axis_values(row, BLOCK), {})
        methods.setdefault(row["method"], {})[row["draw"], row["seed"]] = float(row["top1"])
    return by_block


def by_accuracy(methods: Rows) -> list[str]:
    """Return the methods of a block, the most accurate first."""
    return sorted(methods, key=lambda name: (-statistics.mean(methods[name]).value, name))


def table(cells: pd.DataFrame) -> pd.DataFrame:
    """Return `COLUMNS`: a row for every two methods of a block, the more accurate one first, in percent points.

    ``pairs`` counts the (draw, seed) of a paired difference. ``tied`` is empty where the numbers differ and there is no
    interval.

    Args:
        cells: one row per cell, as `cells.cells_table` returns them.
    """
    rows, suite = [], cells["suite"].max()
    for block, methods in blocks(cells).items():
        for one, other in itertools.combinations(by_accuracy(methods), 2):
            gap, pairs = statistics.difference(methods[one], methods[other])
            low, high = gap.interval or (None, None)
            numbers = (gap.value, gap.error, low, high, gap.p_value, gap.includes_zero)
            rows.append((suite, *block, one, other, *numbers, pairs, "paired" if pairs else "welch"))
    numeric = dict.fromkeys(COLUMNS[7:12], "float64")
    return pd.DataFrame(rows, columns=COLUMNS).astype(numeric)


def variances(cells: pd.DataFrame) -> pd.DataFrame:
    """Return `VARIANCE_COLUMNS`: the variance components of every row, or the reason why they cannot be separated."""
    rows, suite = [], cells["suite"].max()
    for block, methods in blocks(cells).items():
        for name, row in methods.items():
            grid = statistics.crossed(row)
            parts = statistics.components(grid) if grid is not None else None
            numbers = (parts.draw, parts.seed, parts.residual, "") if parts else (None, None, None, NOT_CROSSED)
            rows.append((suite, *block, name, len({draw for draw, _ in row}), len({seed for _, seed in row}), *numbers))
    numeric = dict.fromkeys(VARIANCE_COLUMNS[8:11], "float64")
    return pd.DataFrame(rows, columns=VARIANCE_COLUMNS).astype(numeric)


class Pairwise:
    """The rows of a `table`, found by block and two methods in either order. All ties of a report come from here."""

    def __init__(self, differences: pd.DataFrame) -> None:
        self._rows = {(axis_values(row, BLOCK), row["method"], row["other"]): row for row in rows_of(differences)}

    def tied(self, block: Block, one: str, other: str) -> bool:
        """Whether two methods of a block tie."""
        row, _ = self._find(block, one, other)
        return row is not None and row["tied"] is True

    def difference(self, block: Block, one: str, other: str) -> tuple[float, float | None] | None:
        """Return the difference ``one - other`` and its standard error; None where a method has no number."""
        row, sign = self._find(block, one, other)
        if row is None:
            return None
        return sign * row["difference"], None if pd.isna(row["standard_error"]) else row["standard_error"]

    def _find(self, block: Block, one: str, other: str) -> tuple[dict[str, Any] | None, int]:
        row = self._rows.get((block, one, other))
        return (row, 1) if row is not None else (self._rows.get((block, other, one)), -1)
