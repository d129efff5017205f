"""The scores of every method with their 95 % intervals, which hold the errors of the control and of the full set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from leaderboards.results import scores
from leaderboards.results.axes import BLOCK, axis_values
from leaderboards.results.pairwise import Blocks
from leaderboards.results.ratios import score_intervals
from leaderboards.results.records import rows_of
from leaderboards.results.roles import BOUND, CONTROL
from leaderboards.results.statistics import Mean

NAMES = {CONTROL: "random", BOUND: "full"}  # of the roles, in the names of components
SCORES = [name for name in scores.COLUMNS if name.startswith(("hlr", "ior", "lrs", "ars"))]
ENDS = [f"{name}_{end}" for name in SCORES for end in ("low", "high")]


def table(board: pd.DataFrame, blocks: Blocks) -> pd.DataFrame:
    """Return `scores.COLUMNS` and `ENDS`, the intervals; these are empty where a component has one seed.

    Args:
        board: as `leaderboard.leaderboard` returns it.
        blocks: of its cells, as `pairwise.blocks` returns them.
    """
    frame = scores.table(board)
    ends = [_ends(row, blocks) for row in rows_of(frame)]
    return pd.concat([frame, pd.DataFrame(ends, columns=ENDS, index=frame.index, dtype="float64")], axis=1)


def _ends(row: Mapping[str, Any], blocks: Blocks) -> dict[str, float]:
    """Return the ends of the intervals of a row that has the axes `axes.SCORED`."""
    means, own = dict[str, Mean](), "syn"
    for column, (protocol, role) in scores.COMPONENTS.items():
        block = blocks.get(axis_values({**row, "protocol": protocol}, BLOCK))
        if block is None:
            continue
        name: str = next((n for n in block.rows if block.roles.get(n) == role), "") if role else row["method"]
        if name in block.rows:
            mean = block.model.means[name]
            means[column] = Mean(mean.value / 100, None if mean.error is None else mean.error / 100, mean.freedom)
        own = NAMES.get(block.roles.get(row["method"], ""), own)
    intervals = score_intervals(means, own)
    return {
        f"{name}_{end}": value
        for name, pair in intervals.items()
        for end, value in zip(("low", "high"), pair, strict=True)
    }
