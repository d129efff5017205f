"""Numbers that evaluators declare beside top-1 and top-5 accuracy, such as the accuracy under attack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from benchmark.columns import Column
from leaderboards.results.axes import ROW
from leaderboards.results.columns import IN_LEADERBOARD, declared_columns, with_kept
from leaderboards.results.leaderboard import to_csv
from leaderboards.results.records import Stored

STAGE = "evaluate"


def columns(stored: Stored) -> list[Column]:
    """Return the columns that evaluators declare and the leaderboard does not have, and what is kept of others."""
    declared = declared_columns(stored.columns, STAGE)
    return with_kept(column for column in declared if column.name not in IN_LEADERBOARD)


def table(stored: Stored) -> pd.DataFrame:
    """Return `ROW`, the number of seeds, and for every such column its mean and its deviation over seeds.

    The mean has the name of the column (``fgsm_top1``), the deviation that name and ``_std``. There is a row for every
    row of the leaderboard whose evaluator returned one of these numbers.
    """
    number_columns = columns(stored)
    rows: list[dict[str, Any]] = []
    for cell in stored.cells:
        for record in stored.records(cell, STAGE):
            numbers = _numbers(record["metrics"], number_columns)
            if numbers:
                rows.append({**{axis: cell[axis] for axis in ROW}, **numbers})
    if not rows:
        return pd.DataFrame(columns=ROW)
    groups = pd.DataFrame(rows).groupby(ROW, sort=False)
    means, deviations = groups.mean(), groups.std().add_suffix("_std")
    names = [name for pair in zip(means, deviations, strict=True) for name in pair]
    return pd.concat([groups.size().rename("seeds"), means.join(deviations)[names]], axis=1).reset_index()


def _numbers(metrics: Mapping[str, Any], number_columns: Sequence[Column]) -> dict[str, float]:
    """Return the declared numbers of a record, and in percent what each is of the number that it is a part of."""
    numbers = {column.name: metrics[column.name] for column in number_columns if column.name in metrics}
    for column in number_columns:
        if column.name in numbers and (total := metrics.get(column.part_of)):
            numbers[column.kept.name] = 100 * numbers[column.name] / total
    return numbers


def files(frame: pd.DataFrame) -> dict[str, bytes]:
    """Return ``evaluations.csv`` of a `table`; {} where there is no such number."""
    return {"evaluations.csv": to_csv(frame)} if len(frame) else {}
