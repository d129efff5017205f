"""The rows of every block with their verdicts, and the differences between every two of them.

A *block* is one dataset, IPC, protocol and student. `verdicts` says how its rows are compared.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import pandas as pd

from leaderboards.inference import verdicts
from leaderboards.results import axes
from leaderboards.results.axes import BLOCK, EVERY_IPC, axis_values
from leaderboards.results.correct_images import Bits
from leaderboards.results.records import rows_of
from leaderboards.results.roles import BOUND, CONTROL, FLOOR, rows_by_role

COLUMNS = [*BLOCK, "method", "other", "difference", "ci_low", "ci_high", "verdict", "units", "rests_on_pool"]
DIFFERENCES, PAIRS = "differences", "pairs"  # the comparisons that figures show: from the control, and of the pairs
T = TypeVar("T")
UNITS = ["draw", "seed", "teacher"]  # what tells the cells of a row apart
Blocks = Mapping[axes.Block, verdicts.Block]


def blocks(cells: pd.DataFrame, bits: Mapping[str, Bits] | None = None) -> dict[axes.Block, verdicts.Block]:
    """Return every block in which a cell has a number. The bound joins the blocks of every IPC.

    Methods that are cut against the others stay out. Of several methods with the role control or bound, the first that
    is no variant has the role in a block; the others compete as methods.

    Args:
        cells: one row per cell, as `cells.cells_table` returns them.
        bits: key of an evaluation -> which test images were right (`correct_images.bits_by_key`).
    """
    cells = cells[cells["cut"] == ""]
    by_role, bits = rows_by_role(rows_of(cells)), bits or {}
    accuracies = _by_block(cells[(cells["status"] == "ok") & cells["top1"].notna()], lambda row: float(row["top1"]))
    correct = _by_block(cells[cells["evaluate_key"].isin(list(bits))], lambda row: bits[row["evaluate_key"]])
    floors = {method: FLOOR for method in cells.loc[cells["role"] == FLOOR, "method"]}
    blocks_by_axes = {}
    for block, rows in accuracies.items():
        every_ipc = (block[0], EVERY_IPC, *block[2:])
        roles, all_rows, right = dict(floors), dict(rows), dict(correct.get(block, {}))
        if control := by_role.get((block, CONTROL)):
            roles[control["method"]] = CONTROL
        if bound := by_role.get((every_ipc, BOUND)):
            roles[bound["method"]] = BOUND
            all_rows |= _only(bound["method"], accuracies.get(every_ipc, {}))
            right |= _only(bound["method"], correct.get(every_ipc, {}))
        blocks_by_axes[block] = verdicts.Block(all_rows, roles, right)
    return blocks_by_axes


def table(suite: str, blocks: Blocks) -> pd.DataFrame:
    """Return the suite and `COLUMNS` for every two methods of a block, the more accurate one first.

    The bound is compared with the control only.
    """
    pairs = []
    for cell, block in blocks.items():
        names = sorted(block.rows, key=lambda name: (-block.model.means[name].value, name))
        for one, other in itertools.combinations(names, 2):
            if block.bound not in (one, other) or block.control in (one, other):
                pairs.append((cell, one, other))
    rows = _compared(blocks, pairs)
    rows.insert(0, "suite", suite)
    return rows


def from_control(blocks: Blocks) -> pd.DataFrame:
    """Return `COLUMNS` for every method that competes, compared with the control of its block."""
    pairs = [
        (cell, name, block.control)
        for cell, block in blocks.items()
        for name in block.competing
        if block.control is not None and name != block.control
    ]
    return _compared(blocks, pairs)


def of_pairs(blocks: Blocks, pairs: Iterable[tuple[str, str]]) -> pd.DataFrame:
    """Return `COLUMNS` for the pairs of methods that a suite declares, in its order, where a block has both."""
    combinations = itertools.product(pairs, blocks.items())
    return _compared(blocks, [(cell, *pair) for pair, (cell, block) in combinations if block.rows.keys() >= set(pair)])


def plotted(blocks: Blocks, pairs: Iterable[tuple[str, str]]) -> dict[str, pd.DataFrame]:
    """Return the comparisons that figures show, by `DIFFERENCES` and `PAIRS`: those with an interval, without noise.

    The rows have `COLUMNS`, and ``decided``: the verdict is ahead or behind.
    """
    noise = {name for block in blocks.values() for name, role in block.roles.items() if role == FLOOR}
    all_rows = {DIFFERENCES: from_control(blocks), PAIRS: of_pairs(blocks, pairs)}
    frames = {kind: rows[rows["ci_low"].notna() & ~rows["method"].isin(noise)] for kind, rows in all_rows.items()}
    return {kind: rows.assign(decided=rows["verdict"].isin(verdicts.DECIDED)) for kind, rows in frames.items()}


def _compared(blocks: Blocks, pairs: Iterable[tuple[axes.Block, str, str]]) -> pd.DataFrame:
    """Return `COLUMNS` for some pairs of methods; differences are in percent points.

    ``ci_low`` and ``ci_high`` are corrected for the number of comparisons of the block; they are missing where there is
    no verdict. ``units`` counts the teachers that both methods have; draws, if there is one teacher; seeds, if there is
    one draw. ``rests_on_pool``: the verdict needs the variance that rows of the block share
    (`verdicts.Block.rests_on_pool`).
    """
    rows = []
    for cell, one, other in pairs:
        comparison = blocks[cell].compare(one, other, plan=False)
        low, high = comparison.interval or (None, None)
        judged = comparison.verdict, comparison.gap.units, blocks[cell].rests_on_pool(one, other)
        rows.append((*cell, one, other, comparison.gap.value, low, high, *judged))
    return pd.DataFrame(rows, columns=COLUMNS).astype(dict.fromkeys(("difference", "ci_low", "ci_high"), "float64"))


def _by_block(
    cells: pd.DataFrame, value: Callable[[dict[str, Any]], T]
) -> dict[axes.Block, dict[str, dict[tuple[int, ...], T]]]:
    """Return the values of some cells by block, method, and (draw, seed, teacher)."""
    by_block: dict[axes.Block, dict[str, dict[tuple[int, ...], T]]] = {}
    for row in rows_of(cells[[*BLOCK, "method", *UNITS, "top1", "evaluate_key"]]):
        methods = by_block.setdefault(axis_values(row, BLOCK), {})
        methods.setdefault(row["method"], {})[axis_values(row, UNITS)] = value(row)
    return by_block


def _only(name: str, rows: Mapping[str, T]) -> dict[str, T]:
    return {name: rows[name]} if name in rows else {}
