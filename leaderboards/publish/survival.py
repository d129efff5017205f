"""Verdicts of a published suite beside those of another run of the same cells: which of them survive."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pandas as pd

from leaderboards.inference.verdicts import AHEAD, BEHIND, DECIDED
from leaderboards.results import pairwise
from leaderboards.results.axes import BLOCK, CELL, axis_values
from leaderboards.results.cells import cells_table
from leaderboards.results.correct_images import bits_by_key
from leaderboards.results.records import Stored, rows_of

PAIR = [*BLOCK, "method", "other"]
VALUES = ["difference", "ci_low", "ci_high", "verdict", "rests_on_pool"]
AGAIN = "_again"
OPPOSITE = {AHEAD: BEHIND, BEHIND: AHEAD}


def verdicts(published: Stored, again: Stored, cells: Collection[tuple[Any, ...]]) -> pd.DataFrame:
    """Return every two rows of every block with their verdict in both runs.

    Both runs are judged by the same cells, so that blocks and corrections are the same.

    Args:
        published: the records of the publication.
        again: those of the other run.
        cells: the cells that both have, as values of `CELL`.

    Returns:
        `PAIR`, `VALUES`, and `VALUES` with the suffix `AGAIN`, in percent points; the row that the publication has
        ahead comes first.
    """
    first, second = _pairs(published, cells), _pairs(again, cells)
    mirror = second.rename(columns={"method": "other", "other": "method", "ci_low": "ci_high", "ci_high": "ci_low"})
    for name in ("difference", "ci_low", "ci_high"):
        mirror[name] = -mirror[name]
    mirror["verdict"] = mirror["verdict"].replace(OPPOSITE)
    return first.merge(pd.concat([second, mirror]), on=PAIR, suffixes=("", AGAIN))


def summary(table: pd.DataFrame) -> list[str]:
    """Return how many verdicts of `verdicts` survive, in words; nothing where no pair is decided in either run."""
    decided, decided_here = table["verdict"].isin(DECIDED), table[f"verdict{AGAIN}"].isin(DECIDED)
    opposite = decided_here & (table[f"verdict{AGAIN}"] == table["verdict"].map(OPPOSITE))
    if not (decided | decided_here).any():
        return []
    same, turned, lost = (int((decided & mask).sum()) for mask in (decided_here & ~opposite, opposite, ~decided_here))
    return [
        f"Pairs of rows: {len(table)}; the published cells decide {decided.sum()}. Of these, {same} have the same "
        f"verdict here, {turned} the opposite one, and {lost} are not decided here.",
        f"Decided here only: {(decided_here & ~decided).sum()}.",
    ]


def _pairs(stored: Stored, axes_of_cells: Collection[tuple[Any, ...]]) -> pd.DataFrame:
    """Return the rows of `pairwise.table` for the chosen cells alone."""
    cells = cells_table(stored)
    selected_cells = cells[[axis_values(row, CELL) in axes_of_cells for row in rows_of(cells)]]
    return pairwise.table(stored.suite, pairwise.blocks(selected_cells, bits_by_key(stored)))[[*PAIR, *VALUES]]
