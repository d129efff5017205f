"""Numbers of the leaderboard as text: means, differences, ranks, IPC, and which number of a block is marked as best."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from leaderboards.results.axes import BLOCK, EVERY_IPC, Block, axis_values
from leaderboards.results.pairwise import Pairwise

WORDS = {"failed": "failed", "blocked": "blocked", "missing": "not run", "skipped": "skipped"}  # in place of a number
DIGITS = 2  # to which two means are compared before one of them is called better


class Mark(NamedTuple):
    """How a number is marked in its block."""

    rank: int = 0  # 1: the best, 2: the second, 0: all others
    tied: bool = False  # within noise of the best; False for the best itself


def marks(rows: Sequence[Mapping[str, Any]], pairwise: Pairwise) -> list[Mark]:
    """Return the mark of every row: the best of its block, the second, and which rows are within noise of the best.

    A row competes with those of the given rows that share its dataset, IPC, protocol and student. Equal means share a
    rank; the first of equal bests counts as the best, and others may tie with it. A row has no mark if it has no
    number, no competitor, or no IPC of its own (such as the full set).

    Args:
        rows: rows of a leaderboard, of one block or of several.
        pairwise: the differences between the rows of every block.
    """
    blocks = defaultdict[Block, dict[int, float]](dict)
    for position, row in enumerate(rows):
        if row["ipc"] != EVERY_IPC and not pd.isna(row["top1_mean"]):
            blocks[axis_values(row, BLOCK)][position] = round(float(row["top1_mean"]), DIGITS)
    marked = [Mark()] * len(rows)
    for block, means in blocks.items():
        best = max(means, key=lambda position: means[position])
        levels = sorted(set(means.values()), reverse=True)[:2]
        for position, mean in means.items() if len(means) > 1 else ():
            rank = levels.index(mean) + 1 if mean in levels else 0
            tied = position != best and pairwise.tied(block, rows[best]["method"], rows[position]["method"])
            marked[position] = Mark(rank, tied)
    return marked


def mean_text(mean: float, deviation: float | None = None, plus_minus: str = "±") -> str:
    """Return ``62.1 ± 0.4``, or ``62.1`` where the deviation is unknown (None or not a number)."""
    return f"{mean:.1f}{_spread(deviation, plus_minus)}"


def difference_text(
    difference: float, deviation: float | None = None, plus_minus: str = "±", minus: str = "\N{MINUS SIGN}"
) -> str:
    """Return ``+1.2 ± 0.4``: a difference always has a sign, and one that rounds to 0 has a plus."""
    rounded = round(difference, 1)
    return f"{minus if rounded < 0 else '+'}{abs(rounded):.1f}{_spread(deviation, plus_minus)}"


def missing_text(status: str) -> str:
    """Return the word that stands in place of a number, by the status of its row."""
    return WORDS.get(status, "no number")


def part_text(row: Mapping[str, Any]) -> str:
    """Return `` (2/3)`` where only some cells of a row are done, else an empty text."""
    return f" ({row['seeds']}/{row['cells']})" if row["status"] == "partial" else ""


def ipc_text(ipc: int) -> str:
    """Return an IPC as text: ``all`` for a method whose set is the same at every IPC."""
    return "all" if ipc == EVERY_IPC else str(ipc)


def recovered_text(fraction: float) -> str:
    """Return the recovered fraction in percent, an empty text where it is unknown.

    Below -1 the fraction says only how close random images are to the full set, so the text is ``< -100 %``.
    """
    if pd.isna(fraction):
        return ""
    return "< -100 %" if fraction < -1 else f"{100 * fraction:.0f} %"


def rank_text(row: Mapping[str, Any]) -> str:
    """Return a rank with its interval, ``3 (2-4)`` with an en dash, or an empty text where there is no rank."""
    if pd.isna(row["rank"]):
        return ""
    low, high = row["rank_low"], row["rank_high"]
    return f"{row['rank']}" if pd.isna(low) or low == high else f"{row['rank']} ({low}\N{EN DASH}{high})"


def _spread(deviation: float | None, plus_minus: str) -> str:
    return "" if pd.isna(deviation) else f" {plus_minus} {deviation:.1f}"
