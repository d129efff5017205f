"""The rows of every block with their verdicts, the differences between every two of them, and variance components.

A *block* is one dataset, IPC, protocol and student. `verdicts` says how its rows are compared.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import pandas as pd

from leaderboards.results import axes, statistics, verdicts
from leaderboards.results.axes import BLOCK, EVERY_IPC, axis_values
from leaderboards.results.records import rows_of
from leaderboards.results.roles import BOUND, CONTROL, FLOOR, rows_by_role

COLUMNS = ["suite", *BLOCK, "method", "other", "difference", "ci_low", "ci_high", "verdict", "units"]
VARIANCE_COLUMNS = [
    *("suite", *BLOCK, "method", "draws", "seeds"),
    *("draw_variance", "seed_variance", "residual_variance", "reason"),  # in squared percent points
]
NOT_CROSSED = "several draws have to meet the same seeds: set draws: 2 and seeds: 2, or more, in the suite's block"
Cells = dict[tuple[int, ...], float]  # (draw, seed) -> accuracy in percent
Blocks = Mapping[axes.Block, verdicts.Block]


def blocks(cells: pd.DataFrame) -> dict[axes.Block, verdicts.Block]:
    """Return every block in which a cell has a number. The bound joins the blocks of every IPC.

    Of several methods with the role control or bound, the first that is no variant has the role in a block; the others
    compete as methods.

    Args:
        cells: one row per cell, as `cells.cells_table` returns them.
    """
    accuracies, by_role = _accuracies(cells), rows_by_role(rows_of(cells))
    floors = {method: FLOOR for method in cells.loc[cells["role"] == FLOOR, "method"]}
    found = {}
    for block, rows in accuracies.items():
        every_ipc = (block[0], EVERY_IPC, *block[2:])
        roles, joined = dict(floors), dict(rows)
        if control := by_role.get((block, CONTROL)):
            roles[control["method"]] = CONTROL
        if bound := by_role.get((every_ipc, BOUND)):
            roles[bound["method"]] = BOUND
            joined |= {name: row for name, row in accuracies.get(every_ipc, {}).items() if name == bound["method"]}
        found[block] = verdicts.Block(joined, roles, {})
    return found


def table(suite: str, compared: Blocks) -> pd.DataFrame:
    """Return `COLUMNS`: a row for every two methods of a block, the more accurate one first, in percent points.

    ``ci_low`` and ``ci_high`` are corrected for the number of comparisons. ``units`` counts the draws (or seeds, where
    there is one draw) that both methods have. The bound is compared with the control only.
    """
    rows = []
    for axes_of, block in compared.items():
        names = sorted(block.rows, key=lambda name: (-block.model.means[name].value, name))
        for one, other in itertools.combinations(names, 2):
            if block.bound in (one, other) and block.control not in (one, other):
                continue
            found = block.compare(one, other, plan=False)
            low, high = found.interval or (None, None)
            rows.append((suite, *axes_of, one, other, found.gap.value, low, high, found.verdict, found.gap.units))
    return pd.DataFrame(rows, columns=COLUMNS).astype(dict.fromkeys(("difference", "ci_low", "ci_high"), "float64"))


def variances(cells: pd.DataFrame) -> pd.DataFrame:
    """Return `VARIANCE_COLUMNS`: the variance components of every row, or the reason why they cannot be separated."""
    rows, suite = [], cells["suite"].max()
    for block, methods in _accuracies(cells).items():
        for name, row in methods.items():
            grid = statistics.crossed(row)
            parts = statistics.components(grid) if grid is not None else None
            numbers = (parts.draw, parts.seed, parts.residual, "") if parts else (None, None, None, NOT_CROSSED)
            rows.append((suite, *block, name, len({cell[0] for cell in row}), len({cell[1] for cell in row}), *numbers))
    numeric = dict.fromkeys(VARIANCE_COLUMNS[8:11], "float64")
    return pd.DataFrame(rows, columns=VARIANCE_COLUMNS).astype(numeric)


def _accuracies(cells: pd.DataFrame) -> dict[axes.Block, dict[str, Cells]]:
    """Return the accuracies of all cells with status ``ok``, by block, method, and (draw, seed)."""
    by_block: dict[axes.Block, dict[str, Cells]] = {}
    done = cells[(cells["status"] == "ok") & cells["top1"].notna()]
    for row in rows_of(done[[*BLOCK, "method", "draw", "seed", "top1"]]):
        methods = by_block.setdefault(axis_values(row, BLOCK), {})
        methods.setdefault(row["method"], {})[row["draw"], row["seed"]] = float(row["top1"])
    return by_block
