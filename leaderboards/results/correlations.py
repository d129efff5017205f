"""Whether the distances of distilled sets go together with the accuracies of their students.

A *place* is one dataset and IPC, a point is a method with its draws averaged. Noise (the role floor) is left out: it is
far from everything and bad at everything, so it alone would make a correlation. Values of two places are never pooled.

**Permutations.** If a distance said nothing, every order of the accuracies would be as likely. So the accuracies of a
place are permuted (all orders up to `EXACT` methods, else `SAMPLES` random ones), which gives the distribution of
Spearman's rho for all distances together. The interval of a rho without any relation, and the p value, are those of the
largest absolute rho over all distances, so they are corrected for the number of distances (Westfall and Young 1993).

**All places together.** The mean of the places' rho, over the students of a place first. Every place is permuted by
itself, with one order for all its students, because they judge the same sets.

**Nothing is said** where even a rho of 1 would not be significant at `LEVEL`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmark.columns import Column
from leaderboards.results.axes import METHOD
from leaderboards.results.columns import declared_columns
from leaderboards.results.measures import ACCURACY, STAGE, methods_of, protocol_and_student, to_csv
from leaderboards.results.records import Stored
from leaderboards.results.roles import FLOOR

COLUMNS = ["protocol", "student", "dataset", "ipc", "column", "rho", "null_low", "null_high", "p", "n", "columns"]
ALL = "all"  # the name in place of a student, a dataset and an IPC: all of them together
POINTS = 4  # methods of a place, at least
EXACT = 7  # methods up to which all orders are tried
SAMPLES = 4999  # random orders
LEVEL = 0.05
Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Place:
    """The correlations of a place, for one protocol and student.

    Attributes:
        axes: protocol, student, dataset, ipc.
        names: the names of the distances.
        rho: [distances].
        null: rho under the orders of `orders` [orders, distances].
        methods: number of points.
    """

    axes: tuple[str, str, str, str]
    names: tuple[str, ...]
    rho: Matrix
    null: Matrix
    methods: int


def contenders(stored: Stored, sets: pd.DataFrame) -> pd.DataFrame:
    """Return the measured sets without those of methods with the role floor."""
    floors = {cell["method"] for cell in stored.cells if cell["role"] == FLOOR}
    return sets[~sets["method"].isin(floors)]


def correlations(sets: pd.DataFrame, columns: Iterable[Column]) -> pd.DataFrame:
    """Return `COLUMNS` where something can be said, the strongest of each group first.

    ``null_low`` and ``null_high`` are the 95 % interval of a rho without any relation, and ``p`` is the probability of
    one as far from 0; both are corrected for the number of distances, ``columns``. ``n`` counts methods, summed over
    places.

    Args:
        sets: the sets of `contenders`.
        columns: those that the measures declare; columns without a better direction are left out.
    """
    points = methods_of(sets)
    names = [column.name for column in columns if column.better and column.name in points]
    places = list(_places(points, names))
    rows = [row for place in places for row in _rows(place)]
    for protocol in dict.fromkeys(place.axes[0] for place in places):
        rows += _together([place for place in places if place.axes[0] == protocol])
    frame = pd.DataFrame(rows, columns=COLUMNS)
    groups = frame.groupby(COLUMNS[:4], sort=False).ngroup()
    order = frame.assign(group=groups, strength=-frame["rho"].abs()).sort_values(["group", "strength", "column"])
    return frame.loc[order.index].reset_index(drop=True)


@cache
def orders(methods: int) -> NDArray[np.int64]:
    """Return orders of some methods [orders, methods]; the first is the identity."""
    if methods <= EXACT:
        return np.array(list(itertools.permutations(range(methods))))
    generator = np.random.default_rng(0)
    permutations = np.tile(np.arange(methods), (SAMPLES + 1, 1))
    permutations[1:] = generator.permuted(permutations[1:], axis=1)
    return permutations


def _places(points: pd.DataFrame, names: list[str]) -> Iterator[Place]:
    accuracies = [str(name) for name in points if str(name).startswith(ACCURACY)]
    for accuracy in accuracies:
        protocol, student = protocol_and_student(accuracy)
        for (dataset, ipc), group in points.dropna(subset=accuracy).groupby(METHOD[:2], sort=False):
            columns = tuple(name for name in names if group[name].notna().all() and group[name].nunique() > 1)
            if len(group) >= POINTS and columns and group[accuracy].nunique() > 1:
                x = _ranks(group[list(columns)].to_numpy(dtype=np.float64))
                y = _ranks(group[[accuracy]].to_numpy(dtype=np.float64))[:, 0]
                null = y[orders(len(group))] @ x
                axes = (protocol, student, str(dataset), str(ipc))
                yield Place(axes, columns, y @ x, null, len(group))


def _ranks(values: Matrix) -> Matrix:
    """Return ranks [n, columns] with mean 0 and length 1, so that products are rank correlations."""
    ranks = pd.DataFrame(values).rank().to_numpy()
    centred = ranks - ranks.mean(0)
    scaled: Matrix = centred / np.linalg.norm(centred, axis=0)
    return scaled


def _rows(place: Place) -> Iterator[dict[str, Any]]:
    largest = np.abs(place.null).max(1)
    if _share(largest, 1.0) > LEVEL:
        return  # no rho could be significant
    limit = float(np.quantile(largest, 1 - LEVEL, method="higher"))
    for name, rho in zip(place.names, place.rho, strict=True):
        facts = dict(zip(COLUMNS[:4], place.axes, strict=True))
        interval = {"null_low": -limit, "null_high": limit, "p": _share(largest, abs(float(rho)))}
        yield {**facts, "column": name, "rho": float(rho), **interval, "n": place.methods, "columns": len(place.names)}


def _together(places: list[Place]) -> Iterator[dict[str, Any]]:
    """Yield the rows of all places of a protocol together, where there are several datasets or IPCs."""
    by_place: dict[tuple[str, str], list[Place]] = {}
    for place in places:
        by_place.setdefault((place.axes[2], place.axes[3]), []).append(place)
    names = [name for name in places[0].names if all(name in place.names for place in places)]
    if len(by_place) < 2 or not names:
        return
    rho, null = np.zeros(len(names)), np.zeros((SAMPLES + 1, len(names)))
    for number, students in enumerate(by_place.values()):
        rows = np.random.default_rng(number).integers(len(students[0].null), size=SAMPLES + 1)
        rows[0] = 0
        for place in students:
            columns = np.array([place.names.index(name) for name in names])
            weight = 1 / (len(students) * len(by_place))
            rho += weight * place.rho[columns]
            null += weight * place.null[rows][:, columns]
    count = sum(max(place.methods for place in students) for students in by_place.values())
    merged = Place((places[0].axes[0], ALL, ALL, ALL), tuple(names), rho, null, count)
    yield from _rows(merged)


def _share(largest: Matrix, rho: float) -> float:
    """Return the share of the orders whose largest rho is as far from 0."""
    return float(np.mean(largest >= rho - 1e-9)) if not math.isnan(rho) else 1.0


def files(stored: Stored, sets: pd.DataFrame) -> dict[str, bytes]:
    """Return ``measures.csv`` and ``measure_correlation.csv`` of measured sets; {} where no set was measured."""
    if sets.empty:
        return {}
    table = correlations(contenders(stored, sets), declared_columns(stored.columns, STAGE))
    return {"measures.csv": to_csv(sets), "measure_correlation.csv": to_csv(table)}
