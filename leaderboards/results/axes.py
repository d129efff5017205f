"""The axes that tell the cells of a suite apart, and the groups of axes by which tables put cells together.

The groups are lists, because pandas takes a tuple for a single name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmark.record import CELL_AXES, ROW_AXES, SET_AXES

ROW = list(ROW_AXES)  # a row of the leaderboard; its cells differ in teacher, draw and seed
CELL = list(CELL_AXES)
BLOCK = ["dataset", "ipc", "protocol", "student"]  # where methods compete with one another
SET = list(SET_AXES)  # one distilled set
METHOD = ["dataset", "ipc", "method"]  # the distilled sets of a method: all draws
SCORED = ["dataset", "ipc", "method", "student"]  # the rows that differ only in their protocol
STUDENT = ["dataset", "ipc", "student"]  # the blocks that differ only in their protocol
EVERY_IPC = 0  # the IPC of a method whose set is the same at every IPC, such as `full`

Block = tuple[Any, ...]  # values of `BLOCK`


def axis_values(row: Mapping[str, Any], axes: Sequence[str]) -> tuple[Any, ...]:
    """Return the values that a row, a cell or a record has on some axes, in the order of the axes."""
    return tuple(row[axis] for axis in axes)
