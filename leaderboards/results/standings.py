"""Where a row stands: its interval, the part of the way that it recovers, its rank, and when a rank is refused.

A rank needs its *controls* in the same block: random real images in three draws, noise, and the full training set under
the same protocol and student. So does ``recovered = (row - random_real) / (full - random_real)``: 0 is what random real
images give, 1 what all images give. Where full and random_real tie there is no way to go, and it stays empty.
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
from leaderboards.results.statistics import Cells
from leaderboards.results.text import WORDS

RANDOM, NOISE, FULL = "random_real", "noise", "full"
DRAWS = 3  # of random real images, at least
COLUMNS = ["ci_low", "ci_high", "recovered", "rank", "rank_low", "rank_high", "tied_with_best", "refused"]
INTEGERS = ["rank", "rank_low", "rank_high"]


@dataclass(frozen=True)
class Controls:
    """The controls of one block.

    Attributes:
        random: accuracies of random real images.
        full: of the full training set.
        missing: what is not there, in words.
    """

    random: Cells
    full: Cells
    missing: tuple[str, ...]

    @property
    def refused(self) -> str:
        """Why there is no rank, or no part recovered; "" where there are both."""
        if self.missing:
            return f"rank refused: {', '.join(self.missing)}"
        return "" if self.way else f"nothing to recover: {FULL} is not ahead of {RANDOM} beyond noise"

    @property
    def way(self) -> float | None:
        """How far the full set is ahead of random images, in percent points; None where that is within noise."""
        if self.missing:
            return None
        gap, _ = statistics.difference(self.full, self.random)
        return statistics.mean(self.full).value - self.start if gap.value > 0 and not gap.includes_zero else None

    @property
    def start(self) -> float:
        """Mean accuracy of random images."""
        return statistics.mean(self.random).value


def with_standings(board: pd.DataFrame, cells: pd.DataFrame, pairwise: Pairwise) -> pd.DataFrame:
    """Return a leaderboard with `COLUMNS` appended.

    Accuracies in percent, ``recovered`` as a fraction, ranks among the methods of a block by their means. What is the
    same at every IPC, such as `full`, has an interval and does not compete.

    Args:
        board: as `tables.leaderboard` returns it.
        cells: what its rows were made of.
        pairwise: the difference of every two methods of a block.
    """
    known, suite = blocks(cells), board["suite"].max()
    state = {axis_values(row, [*BLOCK, "method"]): row for row in rows_of(board)}
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for block, rows in board.groupby(BLOCK, sort=False):
        axes, methods = tuple(block), known.get(tuple(block), {})
        for name in rows["method"]:
            found[*axes, name] = {"refused": "", **(_interval(methods[name]) if name in methods else {})}
        if axes[BLOCK.index("ipc")] != EVERY_IPC:
            for name, values in _competing((suite, *axes), methods, _controls(axes, known, state), pairwise):
                found[*axes, name] |= values
    added = pd.DataFrame([found[key] for key in state], columns=COLUMNS, index=board.index)
    types = {**dict.fromkeys(COLUMNS[:3], "float64"), **dict.fromkeys(INTEGERS, "Int64")}
    return pd.concat([board, added.astype(types)], axis=1)


def _competing(
    suite_block: Block, methods: Rows, controls: Controls, pairwise: Pairwise
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield how every method of a block that has a number stands against the others."""
    order = by_accuracy(methods)
    ranks = {} if controls.missing else _ranks("/".join(map(str, suite_block)), methods)
    for name in order:
        values = {**ranks.get(name, {}), "refused": controls.refused}
        values["tied_with_best"] = name == order[0] or pairwise.tied(suite_block[1:], order[0], name)
        if controls.way:
            values["recovered"] = (statistics.mean(methods[name]).value - controls.start) / controls.way
        yield name, values


def _interval(cells: Cells) -> dict[str, float]:
    """Return the interval of a mean, cut where a percentage ends."""
    interval = statistics.mean(cells).interval
    return {"ci_low": max(interval[0], 0.0), "ci_high": min(interval[1], 100.0)} if interval else {}


def _ranks(name_of_block: str, methods: Rows) -> dict[str, dict[str, int]]:
    """Return the rank of every method, 1 the best, equal means sharing the better one, with its interval."""
    means = {name: statistics.mean(cells).value for name, cells in methods.items()}
    ranks = {name: 1 + sum(other > value for other in means.values()) for name, value in means.items()}
    names = sorted(methods)
    found = {name: {"rank": ranks[name]} for name in names}
    bounds = statistics.rank_intervals([methods[name] for name in names], name_of_block)
    for name, (low, high) in zip(names, bounds or (), strict=bool(bounds)):
        found[name] |= {"rank_low": min(low, ranks[name]), "rank_high": max(high, ranks[name])}
    return found


def _controls(block: Block, known: Mapping[Block, Rows], state: Mapping[tuple[Any, ...], Any]) -> Controls:
    """Return the controls of a block, and what of them is missing."""
    axes = dict(zip(BLOCK, block, strict=True))
    everywhere = tuple(EVERY_IPC if name == "ipc" else value for name, value in axes.items())
    random = known.get(block, {}).get(RANDOM, {})
    full = known.get(everywhere, {}).get(FULL, {})
    missing = [_missing(NOISE, state.get((*block, NOISE)))]
    draws = len({draw for draw, _ in random})
    if draws < DRAWS:
        row = state.get((*block, RANDOM))
        missing.append(f"{RANDOM} has {draws} of {DRAWS} draws" if draws else _missing(RANDOM, row))
    missing.append(_missing(FULL, state.get((*everywhere, FULL))))
    return Controls(random, full, tuple(word for word in missing if word))


def _missing(name: str, row: Any) -> str:
    """Return what is missing of a control, "" if nothing is."""
    if row is None:
        return f"{name} not in the suite"
    if row["status"] == "partial":
        return f"{name} has {row['seeds']} of {row['cells']} cells"
    return "" if row["status"] == "ok" else f"{name} {WORDS[row['status']]}"
