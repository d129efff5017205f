"""The scores of every method with their 95 % intervals, which hold the errors of the control and of the full set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from leaderboards.inference.intervals import Mean
from leaderboards.inference.ratios import weighted_sum
from leaderboards.results import scores
from leaderboards.results.axes import BLOCK, axis_values
from leaderboards.results.pairwise import Blocks
from leaderboards.results.records import rows_of
from leaderboards.results.roles import BOUND, CONTROL

NAMES = {CONTROL: "random", BOUND: "full"}  # the names of the roles, in the names of components
ENDS = [f"{name}_{end}" for name in scores.SCORES for end in ("low", "high")]


def table(board: pd.DataFrame, blocks: Blocks) -> pd.DataFrame:
    """Return `scores.COLUMNS` and `ENDS`, the intervals; these are empty where a component has one seed.

    Args:
        board: the leaderboard, as `leaderboard.leaderboard` returns it.
        blocks: the blocks of its cells, as `pairwise.blocks` returns them.
    """
    frame = scores.table(board)
    ends = [_ends(row, blocks) for row in rows_of(frame)]
    return pd.concat([frame, pd.DataFrame(ends, columns=ENDS, index=frame.index, dtype="float64")], axis=1)


def _ends(row: Mapping[str, Any], blocks: Blocks) -> dict[str, float]:
    """Return the ends of the intervals of a row that has the axes `axes.SCORED`."""
    means, kind = dict[str, Mean](), "syn"
    for column, (protocol, role) in scores.COMPONENTS.items():
        block = blocks.get(axis_values({**row, "protocol": protocol}, BLOCK))
        if block is None:
            continue
        name = next((n for n in block.rows if block.roles.get(n) == role), None) if role else row["method"]
        if name is not None and name in block.rows:
            mean = block.model.means[name]
            means[column] = Mean(mean.value / 100, None if mean.error is None else mean.error / 100, mean.freedom)
        kind = NAMES.get(block.roles.get(row["method"], ""), kind)
    intervals = score_intervals(means, kind)
    return {
        f"{name}_{end}": value
        for name, pair in intervals.items()
        for end, value in zip(("low", "high"), pair, strict=True)
    }


def score_intervals(means: Mapping[str, Mean], row: str = "syn") -> dict[str, tuple[float, float]]:
    """Return the 95 % intervals of HLR, IOR, LRS and ARS, as far as their components are given with errors.

    Args:
        means: column of `scores.COMPONENTS` (``full_hard``, ``syn_hard``, ``random_any``, ...) -> accuracy as a
            fraction.
        row: ``random`` or ``full`` where the row is one of these itself, so that it is not compared with its own error.
    """
    intervals = {}
    for score, weights in scores.SCORES.items():
        components: dict[str, float] = {}
        for name, weight in weights.items():
            method, _, protocol = name.partition("_")
            renamed = f"{row if method == 'syn' else method}_{protocol}"
            source = renamed if renamed in means else name
            components[source] = components.get(source, 0.0) + weight
        if not components.keys() <= means.keys():
            continue
        total = weighted_sum(components, means)
        interval = total.interval if total.error else (total.value, total.value) if total.error == 0 else None
        if interval is not None:
            low, high = (min(max(end, -1.0), 1.0) for end in interval)
            intervals[score] = scores.shown(score, low), scores.shown(score, high)
    return intervals
