"""The values of the columns that evaluators and measures declare, by row of the leaderboard."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from benchmark.columns import Column
from leaderboards.results.axes import METHOD, ROW, axis_values
from leaderboards.results.columns import IN_LEADERBOARD, Columns, with_kept
from leaderboards.results.records import rows_of

FIRST = 4  # columns of a component that tables show; the CSV files have all

Values = Mapping[str, Any]


@dataclass(frozen=True)
class Declared:
    """The first columns of every evaluator and measure of a suite, and their values.

    Attributes:
        columns: beside top-1 and top-5 accuracy, in the order of the manifest.
        evaluated: what evaluators returned, means over the seeds of a row, by `axes.ROW`.
        measured: what measures returned, means over the draws of a method, by `axes.METHOD`.
    """

    columns: tuple[Column, ...] = ()
    evaluated: Mapping[Any, Values] = field(default_factory=dict)
    measured: Mapping[Any, Values] = field(default_factory=dict)

    def values(self, row: Values) -> dict[str, Any]:
        """Return the values of a row of the leaderboard by the names of the columns, and of their floors."""
        return {**self.evaluated.get(axis_values(row, ROW), {}), **self.measured.get(axis_values(row, METHOD), {})}

    def without_repeats(self, board: pd.DataFrame) -> pd.DataFrame:
        """Return the rows of a leaderboard without protocols that only repeat the training of another.

        A protocol does if its evaluator returns more than accuracies, such as accuracies under attack. If there is no
        other protocol, all rows stay.
        """
        repeats = {row["protocol"] for row in self.evaluated.values()}
        rows = board[~board["protocol"].isin(repeats)]
        return rows if rows["top1_mean"].notna().any() else board


def declared(columns: Columns, evaluated: pd.DataFrame, measured: pd.DataFrame) -> Declared:
    """Return the first columns of every component, and their values.

    Args:
        columns: the columns of a manifest.
        evaluated: what evaluators returned, a row per row of the leaderboard (`evaluations.table`).
        measured: what measures returned, a row per dataset, IPC and method (`measures.methods_of`).
    """
    first_columns: dict[str, Column] = {}
    for components in columns.values():
        for component in components.values():
            new_columns = [column for column in component if column.name not in IN_LEADERBOARD]
            first_columns |= {column.name: column for column in with_kept(new_columns[:FIRST])}
    by_row = {axis_values(row, ROW): row for row in rows_of(evaluated)}
    by_method = {axis_values(row, METHOD): row for row in rows_of(measured)}
    return Declared(tuple(first_columns.values()), by_row, by_method)
