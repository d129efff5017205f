"""The numbers of measures for every distilled set, beside the accuracies of the sets' students.

A measure returns named numbers and declares some of them as columns. Every number is in the table of sets. If a column
says which direction is better, it is correlated with the accuracies (`correlations`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from benchmark.errors import BenchmarkError
from leaderboards.results.axes import METHOD, SET, axis_values
from leaderboards.results.records import Record, Stored, keys_of

STAGE = "measure"
ACCURACY = "top1."  # an accuracy's column is named top1.PROTOCOL.STUDENT


class Measured(NamedTuple):
    """A distilled set with the record of a measure.

    Attributes:
        cell: one of the cells that use the set.
        key: the key of the measure's node.
        measure: name of the measure.
        numbers: what the measure returned.
    """

    cell: Record
    key: str
    measure: str
    numbers: dict[str, float | None]


def measured(stored: Stored) -> list[Measured]:
    """Return the finished measures of every distilled set and its teacher, in the order of the manifest."""
    by_set: dict[tuple[Any, ...], Measured] = {}
    for cell in stored.cells:
        for key in keys_of(cell, STAGE):
            record = stored.nodes.records.get(key)
            if record:
                name = record["identity"]["component"]["name"]
                by_set.setdefault((*axis_values(cell, SET), key), Measured(cell, key, name, record["metrics"]))
    return list(by_set.values())


def table(stored: Stored, cells: pd.DataFrame) -> pd.DataFrame:
    """Return a row per measured set: `SET`, its mean accuracy by protocol and student, and the numbers of all measures.

    Args:
        stored: the records of a suite.
        cells: one row per cell, as `cells.cells_table` returns them.

    Raises:
        BenchmarkError: two measures return numbers of one name.
    """
    rows: dict[tuple[Any, ...], dict[str, Any]] = {}
    origins: dict[str, str] = {}  # name of a number -> name of its measure
    for one in measured(stored):
        axes = {axis: one.cell[axis] for axis in SET}
        for name in one.numbers:
            if origins.setdefault(name, one.measure) != one.measure:
                raise BenchmarkError(
                    f"measures '{origins[name]}' and '{one.measure}' both return '{name}': rename it in one of them"
                )
        rows.setdefault(tuple(axes.values()), axes).update(
            {name: np.nan if value is None else float(value) for name, value in one.numbers.items()}
        )
    if not rows:
        return pd.DataFrame(columns=SET)
    labels = ACCURACY + cells["protocol"] + "." + cells["student"]
    accuracies = cells.assign(label=labels).pivot_table(index=SET, columns="label", values="top1", sort=False)
    sets = pd.DataFrame(list(rows.values())).merge(accuracies.reset_index(), on=SET, how="left")
    return sets[[*SET, *accuracies.columns, *origins]]


def methods_of(sets: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of `table` averaged over the draws of a method."""
    return sets.drop(columns=["teacher", "draw"]).groupby(METHOD, sort=False).mean().reset_index()


def protocol_and_student(accuracy: str) -> tuple[str, str]:
    """Return the protocol and the student of an accuracy's column, ``top1.PROTOCOL.STUDENT``."""
    protocol, _, student = accuracy.removeprefix(ACCURACY).partition(".")
    return protocol, student


def to_csv(frame: pd.DataFrame) -> bytes:
    """Return a table as CSV with six significant digits, because the numbers of measures differ by orders."""
    return frame.to_csv(index=False, float_format="%.6g", lineterminator="\n").encode()
