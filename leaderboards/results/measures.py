"""What measures say about distilled sets, beside the accuracies of the sets' students, and whether the two go together.

A measure returns named numbers and declares some of them as columns. Every number is in the table of sets; those with
a better direction are correlated with the accuracies.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from benchmark.errors import BenchmarkError
from leaderboards.results.axes import METHOD, SET
from leaderboards.results.columns import Column, declared_columns
from leaderboards.results.records import Record, Stored, keys_of

STAGE = "measure"
CORRELATION_COLUMNS = ["protocol", "student", "dataset", "ipc", "column", "rho", "n"]
POINTS = 4  # methods, at least, for a correlation
ACCURACY = "top1."  # an accuracy's column is named top1.PROTOCOL.STUDENT
ALL = "all"  # in place of a student, a dataset and an IPC: all of them together


class Measured(NamedTuple):
    """A distilled set with the record of a measure.

    Attributes:
        cell: one of the cells that use the set.
        key: of the measure's node.
        measure: name of the measure.
        numbers: what the measure returned.
    """

    cell: Record
    key: str
    measure: str
    numbers: dict[str, float | None]


def measured(stored: Stored) -> list[Measured]:
    """Return the finished measures of every distilled set of a suite, in the order of the manifest."""
    by_key: dict[str, Measured] = {}
    for cell in stored.cells:
        for key in keys_of(cell, STAGE):
            record = stored.nodes.records.get(key)
            if record:
                name = record["identity"]["component"]["name"]
                by_key.setdefault(key, Measured(cell, key, name, record["metrics"]))
    return list(by_key.values())


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


def correlations(sets: pd.DataFrame, columns: Iterable[Column]) -> pd.DataFrame:
    """Return Spearman's rho of numbers and accuracies: `CORRELATION_COLUMNS`, the strongest of each group first.

    A point is a method; its draws are averaged; ``n`` counts the points. There is one rho for each dataset and IPC with
    `POINTS` methods or more, and, where there are several of these, one for ``all`` together. The latter correlates the
    ranks of the methods within their dataset, IPC and student, as shares of the number of methods, so that the levels
    of accuracies and numbers do not matter.

    Args:
        sets: as `table` returns them.
        columns: those that the measures declare; columns without a better direction are left out.
    """
    rows: list[dict[str, Any]] = []
    points = methods_of(sets)
    accuracies = [str(name) for name in points if str(name).startswith(ACCURACY)]
    for name in [column.name for column in columns if column.better and column.name in points]:
        pooled: dict[str, list[pd.DataFrame]] = {}
        for accuracy in accuracies:
            protocol, student = protocol_and_student(accuracy)
            for axes, pairs in _pairs(points, name, accuracy):
                rho = float(spearmanr(pairs["x"], pairs["y"]).statistic)
                rows.append({"protocol": protocol, "student": student, **axes, "rho": rho, "n": len(pairs)})
                pooled.setdefault(protocol, []).append((pairs.rank() - 0.5) / len(pairs))
        for protocol, parts in ((protocol, parts) for protocol, parts in pooled.items() if len(parts) > 1):
            ranks = pd.concat(parts)
            axes = {"student": ALL, "dataset": ALL, "ipc": ALL, "column": name}
            rho = float(ranks["x"].corr(ranks["y"]))
            rows.append({"protocol": protocol, **axes, "rho": rho, "n": len(ranks)})
    frame = pd.DataFrame(rows, columns=CORRELATION_COLUMNS)
    groups = frame.groupby(CORRELATION_COLUMNS[:4], sort=False).ngroup()
    order = frame.assign(group=groups, strength=-frame["rho"].abs()).sort_values(["group", "strength", "column"])
    return frame.loc[order.index].reset_index(drop=True)


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


def files(stored: Stored, sets: pd.DataFrame) -> dict[str, bytes]:
    """Return ``measures.csv`` and ``measure_correlation.csv`` of a `table`; {} where no set was measured."""
    if sets.empty:
        return {}
    declared = declared_columns(stored.columns, STAGE)
    return {"measures.csv": to_csv(sets), "measure_correlation.csv": to_csv(correlations(sets, declared))}


def _pairs(points: pd.DataFrame, name: str, accuracy: str) -> Iterator[tuple[dict[str, str], pd.DataFrame]]:
    """Yield the values of a number and an accuracy (x, y) for each dataset and IPC with enough different ones."""
    for (dataset, ipc), group in points.groupby(["dataset", "ipc"], sort=False):
        pairs = group[[name, accuracy]].dropna().set_axis(["x", "y"], axis=1)
        if len(pairs) >= POINTS and pairs.nunique().min() > 1:
            yield {"dataset": str(dataset), "ipc": str(ipc), "column": name}, pairs
