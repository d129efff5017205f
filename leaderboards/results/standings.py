"""Standings: the interval, the rank and the recovered fraction of every row, or the reason why a rank is refused.

A rank needs its *controls* in the same block: the control (random real images) in three draws, the floor (noise), and
the bound (the full training set) under the same protocol and student. The recovered fraction needs them too:
``recovered = (row - control) / (bound - control)`` is 0 for random real images and 1 for the full set. It stays empty
where the bound is not ahead of the control beyond noise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from leaderboards.results import statistics
from leaderboards.results.axes import BLOCK, EVERY_IPC, Block, axis_values
from leaderboards.results.pairwise import Pairwise, Rows, blocks, by_accuracy
from leaderboards.results.records import rows_of
from leaderboards.results.roles import BOUND, CONTROL, FLOOR, WORDS, rows_by_role
from leaderboards.results.statistics import Cells
from leaderboards.results.text import missing_text

DRAWS = 3  # of the control, at least
COLUMNS = ["ci_low", "ci_high", "recovered", "rank", "rank_low", "rank_high", "tied_with_best", "refused"]
INTEGERS = ["rank", "rank_low", "rank_high"]


@dataclass(frozen=True)
class Controls:
    """The control and the bound of one block.

    Attributes:
        control: accuracies of random real images.
        bound: accuracies of the full training set.
        missing: which of control, floor and bound are missing, in words.
    """

    control: Cells
    bound: Cells
    missing: tuple[str, ...]

    @property
    def refused(self) -> str:
        """Why there is no rank, or no recovered fraction; "" where there are both."""
        if self.missing:
            return f"rank refused: {', '.join(self.missing)}"
        return "" if self.range else f"nothing to recover: {WORDS[BOUND]} is not ahead of {WORDS[CONTROL]} beyond noise"

    @property
    def range(self) -> float | None:
        """The lead of the bound over the control in percent points; None where it is within noise."""
        if self.missing:
            return None
        gap, _ = statistics.difference(self.bound, self.control)
        return statistics.mean(self.bound).value - self.start if gap.value > 0 and not gap.includes_zero else None

    @property
    def start(self) -> float:
        """The mean accuracy of the control."""
        return statistics.mean(self.control).value


def with_standings(board: pd.DataFrame, cells: pd.DataFrame, pairwise: Pairwise) -> pd.DataFrame:
    """Return a leaderboard with `COLUMNS` appended.

    Accuracies are in percent, ``recovered`` is a fraction, ranks are those of the means in a block. A method whose set
    is the same at every IPC, such as `full`, has an interval but no rank.

    Args:
        board: as `leaderboard.leaderboard` returns it.
        cells: the cells of its rows, as `cells.cells_table` returns them.
        pairwise: the differences between all methods of a block.
    """
    by_block = blocks(cells)
    roles = rows_by_role(rows_of(board))
    standing: dict[tuple[Any, ...], dict[str, Any]] = {}
    for (suite, *axes), rows in board.groupby(["suite", *BLOCK], sort=False):
        block = tuple(axes)
        methods = by_block.get(block, {})
        for name in rows["method"]:
            standing[*block, name] = {"refused": "", **(_interval(methods[name]) if name in methods else {})}
        if block[BLOCK.index("ipc")] != EVERY_IPC:
            controls = _controls(block, by_block, roles)
            ranks = {} if controls.missing else _ranks("/".join(map(str, (suite, *block))), methods)
            for name, values in _competing(block, methods, controls, pairwise):
                standing[*block, name] |= {**ranks.get(name, {}), **values}
    keys = [axis_values(row, [*BLOCK, "method"]) for row in rows_of(board)]
    added = pd.DataFrame([standing[key] for key in keys], columns=COLUMNS, index=board.index)
    types = {**dict.fromkeys(COLUMNS[:3], "float64"), **dict.fromkeys(INTEGERS, "Int64")}
    return pd.concat([board, added.astype(types)], axis=1)


def _competing(
    block: Block, methods: Rows, controls: Controls, pairwise: Pairwise
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the standing of every method of a block that has a number, without its rank."""
    order = by_accuracy(methods)
    for name in order:
        tied = name == order[0] or pairwise.tied(block, order[0], name)
        values: dict[str, Any] = {"refused": controls.refused, "tied_with_best": tied}
        if controls.range:
            values["recovered"] = (statistics.mean(methods[name]).value - controls.start) / controls.range
        yield name, values


def _interval(cells: Cells) -> dict[str, float]:
    """Return the interval of a mean, cut at 0 and 100 percent."""
    interval = statistics.mean(cells).interval
    return {"ci_low": max(interval[0], 0.0), "ci_high": min(interval[1], 100.0)} if interval else {}


def _ranks(block_name: str, methods: Rows) -> dict[str, dict[str, int]]:
    """Return the rank of every method with its interval; 1 is the best, and equal means share the better rank.

    Args:
        block_name: decides the random numbers of the intervals.
        methods: of the block, with their accuracies.
    """
    means = {name: statistics.mean(cells).value for name, cells in methods.items()}
    ranks = {name: 1 + sum(other > value for other in means.values()) for name, value in means.items()}
    names = sorted(methods)
    standing = {name: {"rank": ranks[name]} for name in names}
    bounds = statistics.rank_intervals([methods[name] for name in names], block_name)
    for name, (low, high) in zip(names, bounds or (), strict=bool(bounds)):
        standing[name] |= {"rank_low": min(low, ranks[name]), "rank_high": max(high, ranks[name])}
    return standing


def _controls(
    block: Block, by_block: Mapping[Block, Rows], roles: Mapping[tuple[Block, str], Mapping[str, Any]]
) -> Controls:
    """Return the controls of a block, and which are missing."""
    every_ipc = tuple(EVERY_IPC if axis == "ipc" else value for axis, value in zip(BLOCK, block, strict=True))
    control, bound = roles.get((block, CONTROL)), roles.get((every_ipc, BOUND))
    random = by_block.get(block, {}).get(control["method"], {}) if control else {}
    full = by_block.get(every_ipc, {}).get(bound["method"], {}) if bound else {}
    missing = [_missing(FLOOR, roles.get((block, FLOOR)))]
    draws = len({draw for draw, _ in random})
    if control and 0 < draws < DRAWS:
        missing.append(f"{control['method']} has {draws} of {DRAWS} draws")
    elif draws < DRAWS:
        missing.append(_missing(CONTROL, control))
    missing.append(_missing(BOUND, bound))
    return Controls(random, full, tuple(words for words in missing if words))


def _missing(role: str, row: Mapping[str, Any] | None) -> str:
    """Return what is missing of a control, floor or bound; "" where nothing is."""
    if row is None:
        return f"{WORDS[role]} not in the suite"
    if row["status"] == "partial":
        return f"{row['method']} has {row['seeds']} of {row['cells']} cells"
    return "" if row["status"] == "ok" else f"{row['method']} {missing_text(row['status'])}"
