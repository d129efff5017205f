"""The roles of methods: what is compared (methods), and what methods are compared with (control, floor, bound)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from leaderboards.results.axes import BLOCK, Block, axis_values

CONTROL, FLOOR, BOUND = "control", "floor", "bound"  # the fourth role is "method"
WORDS = {CONTROL: "random real images", FLOOR: "noise", BOUND: "the full set"}  # what has a role, in messages

Row = Mapping[str, Any]


def rows_by_role(rows: Iterable[Row]) -> dict[tuple[Block, str], Row]:
    """Return the row that has a role in a block, by block and role.

    Of several rows with one role the first is returned that is no variant, or else the first.

    Args:
        rows: rows of a leaderboard.
    """
    plain_first = sorted(rows, key=lambda row: row["overrides"] != "")
    by_role: dict[tuple[Block, str], Row] = {}
    for row in plain_first:
        by_role.setdefault((axis_values(row, BLOCK), row["role"]), row)
    return by_role
