"""Standings: the interval, the rank, the part recovered and the verdicts of every row, or why a rank is refused.

All numbers come from `verdicts`. A rank also needs its *controls* in the same block: the control (random real images)
in three draws, the floor (noise), and the bound (the full training set) under the same protocol and student. The part
recovered needs them too: ``(row - control) / (bound - control)`` is 0 for random real images and 1 for the full set. It
stays empty where the bound is not ahead of the control. A row with fewer than two seeds has no verdict and no rank,
and neither has a block in which no row scatters.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from leaderboards.inference import verdicts
from leaderboards.results import axes
from leaderboards.results.axes import BLOCK, EVERY_IPC, axis_values
from leaderboards.results.pairwise import Blocks
from leaderboards.results.records import rows_of
from leaderboards.results.roles import BOUND, CONTROL, FLOOR, WORDS, rows_by_role
from leaderboards.results.text import missing_text

DRAWS = 3  # the fewest draws of the control
FLOATS = ["ci_low", "ci_high", "recovered", "recovered_low", "recovered_high"]
INTEGERS = ["rank", "rank_low", "rank_high", "seeds_needed_control", "seeds_needed_best"]
TEXTS = ["verdict_control", "verdict_best", "covers", "rests_on_pool"]
COLUMNS = [
    *(*FLOATS, "rank", "rank_low", "rank_high"),
    *("verdict_control", "seeds_needed_control", "verdict_best", "seeds_needed_best", "refused"),
    *("covers", "rests_on_pool"),
]
Rows = Mapping[tuple[axes.Block, str], Mapping[str, Any]]  # the row of the leaderboard that has a role in a block


def with_standings(board: pd.DataFrame, blocks: Blocks) -> pd.DataFrame:
    """Return a leaderboard with `COLUMNS` appended.

    Accuracies are in percent, ``recovered`` is a fraction, ranks are those of the means in a block. ``verdict_control``
    and ``verdict_best`` are ``ahead``, ``behind``, ``tied``, ``not known`` or ``no verdict``, and empty for the control
    and the best themselves; ``rests_on_pool`` is "yes" where the verdict against the control needs the variance that
    rows share (`verdicts.Block.rests_on_pool`); ``seeds_needed_*`` says how many seeds would tell, and is empty where
    the verdict is known or `power.MOST` seeds do not suffice. ``covers`` says what the interval of a row covers: draws,
    seeds, teachers and test images. A method whose set is the same at every IPC, such as `full`, has an interval only.

    Args:
        board: the leaderboard, as `leaderboard.leaderboard` returns it.
        blocks: the blocks of its cells, as `pairwise.blocks` returns them.
    """
    rows = rows_of(board)
    roles = rows_by_role(rows)
    reasons = {key: _missing_controls(key, blocks, roles) for key in blocks}
    standings = []
    for row in rows:
        key = axis_values(row, BLOCK)
        is_measured = key in blocks and row["method"] in blocks[key].rows
        entry = _standing(row["method"], blocks[key], reasons[key], key) if is_measured else {"refused": _no_rank(row)}
        if "ci_low" in entry and entry["ci_low"] is not None:
            entry["covers"] = covered(row["method"], blocks[key], row["teachers"], row["sets"])
        standings.append(entry)
    columns = pd.DataFrame(standings, columns=COLUMNS, index=board.index)
    texts = {name: columns[name].astype(object).fillna("") for name in TEXTS}
    types = {**dict.fromkeys(FLOATS, "float64"), **dict.fromkeys(INTEGERS, "Int64")}
    return pd.concat([board, columns.astype(types).assign(**texts)], axis=1)


def _standing(name: str, block: verdicts.Block, reason: str, key: axes.Block) -> dict[str, Any]:
    """Return the standing of a row that has a number."""
    low, high = block.model.means[name].interval or (None, None)
    standing: dict[str, Any] = {
        "ci_low": None if low is None else max(low, 0.0),
        "ci_high": None if high is None else min(high, 100.0),
        "refused": "",
    }
    if key[BLOCK.index("ipc")] == EVERY_IPC:
        return standing
    control = block.row_of(CONTROL)
    for against, other in (("control", control), ("best", block.best)):
        if other not in (None, name):
            comparison = block.compare(name, other)
            standing[f"verdict_{against}"] = comparison.verdict
            standing[f"seeds_needed_{against}"] = comparison.seeds.units if comparison.seeds else None
    if control not in (None, name) and block.rests_on_pool(name, control):
        standing["rests_on_pool"] = "yes"
    if block.best is None:
        standing["verdict_best"] = verdicts.NO_VERDICT
    if reason:
        return {**standing, "refused": f"rank refused: {reason}"}
    standing |= dict(zip(("rank", "rank_low", "rank_high"), block.ranks.get(name, ()), strict=False))
    if part := block.recovered(name):
        standing |= {"recovered": part.value, "recovered_low": part.low, "recovered_high": part.high}
    return {**standing, "refused": f"no part recovered: {block.refused}" if block.refused else ""}


def _no_rank(row: Mapping[str, Any]) -> str:
    return f"rank refused: {row['method']}: {row['cut']}" if row["cut"] and not pd.isna(row["top1_mean"]) else ""


def covered(name: str, block: verdicts.Block, teachers: int, sets: int) -> str:
    """Return in words what the interval of a row covers: draws only where every draw has another set.

    Args:
        name: the row.
        block: its block.
        teachers: the number of teachers that its cells have met; 0 where none is used.
        sets: how many different sets of images its cells have.
    """
    cells = block.rows[name]
    draws, seeds = (len({cell[axis] for cell in cells}) for axis in range(2))
    words = "draws" if sets >= draws else "one set of images" if sets == 1 else f"{sets} sets of images"
    several = [text for text, number in ((words, draws), ("seeds", seeds)) if number > 1]
    of_teachers = {0: [], 1: ["one teacher"]}.get(int(teachers), [f"{teachers} teachers"])
    images = ["test images"] if cells.keys() <= block.correct.get(name, {}).keys() else []
    return ", ".join([*several, *of_teachers, *images])


def _missing_controls(key: axes.Block, blocks: Blocks, roles: Rows) -> str:
    """Return which of control, floor and bound are missing in a block, in words; "" where none is."""
    floor, control = roles.get((key, FLOOR)), roles.get((key, CONTROL))
    bound = roles.get(((key[0], EVERY_IPC, *key[2:]), BOUND))
    cells = blocks[key].rows.get(control["method"], {}) if control else {}
    draws = len({cell[0] for cell in cells})
    absent = [WORDS[role] for role, row in ((FLOOR, floor), (CONTROL, control), (BOUND, bound)) if row is None]
    reasons = [f"{' and '.join(absent)} not run on this dataset, IPC, protocol and student" if absent else ""]
    reasons.append(_missing(floor))
    if control and 0 < draws < DRAWS:
        reasons.append(f"{control['method']} has {draws} of {DRAWS} draws")
    elif draws < DRAWS:
        reasons.append(_missing(control))
    reasons.append(_missing(bound))
    return "; ".join(words for words in reasons if words)


def _missing(row: Mapping[str, Any] | None) -> str:
    """Return what is missing of a control, floor or bound that the block has; "" where nothing is."""
    if row is None:
        return ""
    if row["status"] == "partial":
        return f"{row['method']} has {row['seeds']} of {row['cells']} cells"
    return "" if row["status"] == "ok" else f"{row['method']} {missing_text(row['status'])}"
