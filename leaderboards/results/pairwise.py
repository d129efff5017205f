"""Who is ahead of whom, by how much, and whether that may be said: every pair of rows compared, ties, variances.

Rows compete in a *block*: one dataset, IPC, protocol and student. Two rows *tie* when the 95 % interval of their mean
difference includes 0: over the (draw, seed) pairs that both have, or, where these are fewer than two, by Welch's
interval of two independent means. A single cell has no interval, so it ties with nothing but an equal number. The
p values are not corrected for the number of pairs; those of the critical-difference diagram are.
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
NOT_CROSSED = "several draws have to meet the same seeds: in the suite's block, draws: 2 and seeds: 2 or more"
Rows = Mapping[str, Cells]  # method -> its cells


def blocks(cells: pd.DataFrame) -> dict[Block, dict[str, dict[tuple[int, int], float]]]:
    """Return the accuracies of all cells that are ok, by block, method, and (draw, seed)."""
    found: dict[Block, dict[str, dict[tuple[int, int], float]]] = {}
    done = cells[(cells["status"] == "ok") & cells["top1"].notna()]
    for row in rows_of(done[[*BLOCK, "method", "draw", "seed", "top1"]]):
        methods = found.setdefault(axis_values(row, BLOCK), {})
        methods.setdefault(row["method"], {})[row["draw"], row["seed"]] = float(row["top1"])
    return found


def by_accuracy(methods: Rows) -> list[str]:
    """Return the methods of a block, the most accurate first."""
    return sorted(methods, key=lambda name: (-statistics.mean(methods[name]).value, name))


def table(cells: pd.DataFrame) -> pd.DataFrame:
    """Return `COLUMNS`: every pair of a block, the more accurate method first, in percent points.

    ``tied`` is empty where nothing is known of the noise and the numbers differ.
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
    """Return `VARIANCE_COLUMNS`: the variance components of every row, or why they cannot be told apart."""
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
    """The differences of a `table`, by block and pair in either order: the one place that says what a tie is."""

    def __init__(self, found: pd.DataFrame) -> None:
        self._known = {(axis_values(row, BLOCK), row["method"], row["other"]): row for row in rows_of(found)}

    def tied(self, block: Block, one: str, other: str) -> bool:
        """Whether two methods of a block tie."""
        row, _ = self._find(block, one, other)
        return row is not None and row["tied"] is True

    def difference(self, block: Block, one: str, other: str) -> tuple[float, float | None] | None:
        """Return how far one method is ahead of another with the standard error; None where a number is missing."""
        row, sign = self._find(block, one, other)
        if row is None:
            return None
        return sign * row["difference"], None if pd.isna(row["standard_error"]) else row["standard_error"]

    def _find(self, block: Block, one: str, other: str) -> tuple[dict[str, Any] | None, int]:
        found = self._known.get((block, one, other))
        return (found, 1) if found is not None else (self._known.get((block, other, one)), -1)
