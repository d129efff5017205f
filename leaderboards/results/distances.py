"""Distances of distilled sets beside the accuracies of their students, and whether one foretells the other."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from leaderboards.results.records import Record, Stored, keys_of

MEASURE = "distances"  # the component that measures them
SET = ["dataset", "ipc", "method", "draw"]  # what makes a row
CORRELATION_COLUMNS = ["protocol", "student", "dataset", "ipc", "distance", "rho", "n"]
POINTS = 4  # methods from which on a correlation is worth a number
ACCURACY = "top1."  # starts the name of an accuracy's column, top1.PROTOCOL.STUDENT
FLOOR = "_floor"  # ends the name of what chance reaches
EVERY = "all"  # datasets, students or IPCs, pooled


class Measured(NamedTuple):
    """A distilled set whose distances are known."""

    cell: Record  # one of those that it serves
    key: str  # of the node that measured it
    metrics: dict[str, float | None]


def measured(stored: Stored) -> list[Measured]:
    """Return every set of a suite whose distances are recorded, in the order of the manifest."""
    found: dict[str, Measured] = {}
    for cell in stored.cells:
        for key in keys_of(cell, "measure"):
            record = stored.nodes.records.get(key)
            if record and record["identity"]["component"]["name"] == MEASURE:
                found.setdefault(key, Measured(cell, key, record["metrics"]))
    return list(found.values())


def table(stored: Stored, cells: pd.DataFrame) -> pd.DataFrame:
    """Return a row per distilled set: `SET`, its mean accuracy by protocol and student, and its distances.

    Args:
        stored: the records of a suite.
        cells: as `records.cells_table` returns them.
    """
    rows = []
    for cell, _, metrics in measured(stored):
        axes = {name: cell[name] for name in SET}
        rows.append({**axes, **{name: _number(value) for name, value in metrics.items()}})
    if not rows:
        return pd.DataFrame(columns=SET)
    named = ACCURACY + cells["protocol"] + "." + cells["student"]
    accuracies = cells.assign(named=named).pivot_table(index=SET, columns="named", values="top1", sort=False)
    found = pd.DataFrame(rows).merge(accuracies.reset_index(), on=SET, how="left")
    return found[[*SET, *accuracies.columns, *(name for name in rows[0] if name not in SET)]]


def correlations(sets: pd.DataFrame) -> pd.DataFrame:
    """Return Spearman's rho of every distance and accuracy: `CORRELATION_COLUMNS`, the strongest first.

    A point is a method, its draws averaged; ``n`` counts them. Besides each dataset and IPC with `POINTS` methods or
    more there is, where these are several, one rho of each protocol for ``all`` of them: of the ranks that a method has
    within its dataset, IPC and student, as shares of their number, so that no level of accuracy or distance counts.
    """
    rows: list[dict[str, Any]] = []
    points = methods_of(sets)
    accuracies = [name for name in map(str, points) if name.startswith(ACCURACY)]
    for distance in _distances(points):
        pooled: dict[str, list[pd.DataFrame]] = {}
        for accuracy in accuracies:
            protocol, _, student = accuracy.removeprefix(ACCURACY).partition(".")
            for (dataset, ipc), group in points.groupby(["dataset", "ipc"], sort=False):
                pair = group[[distance, accuracy]].dropna().set_axis(["x", "y"], axis=1)
                if len(pair) >= POINTS and pair.nunique().min() > 1:
                    axes = {"protocol": protocol, "student": student, "dataset": dataset, "ipc": str(ipc)}
                    rows.append({**axes, "distance": distance, "rho": _rho(pair), "n": len(pair)})
                    pooled.setdefault(protocol, []).append((pair.rank() - 0.5) / len(pair))
        for protocol, parts in ((name, parts) for name, parts in pooled.items() if len(parts) > 1):
            ranks = pd.concat(parts)
            axes = {"protocol": protocol, "student": EVERY, "dataset": EVERY, "ipc": EVERY}
            rows.append({**axes, "distance": distance, "rho": float(ranks["x"].corr(ranks["y"])), "n": len(ranks)})
    found = pd.DataFrame(rows, columns=CORRELATION_COLUMNS)
    groups = found.groupby(CORRELATION_COLUMNS[:4], sort=False).ngroup()
    order = found.assign(group=groups, strength=-found["rho"].abs()).sort_values(["group", "strength", "distance"])
    return found.loc[order.index].reset_index(drop=True)


def methods_of(sets: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of `table` averaged over the draws of a method."""
    return sets.drop(columns="draw").groupby(["dataset", "ipc", "method"], sort=False).mean().reset_index()


def to_csv(frame: pd.DataFrame) -> bytes:
    """Return a table as CSV with six digits that count, for distances come in all sizes."""
    return frame.to_csv(index=False, float_format="%.6g", lineterminator="\n").encode()


def files(sets: pd.DataFrame) -> dict[str, bytes]:
    """Return ``distances.csv`` and ``distance_correlation.csv`` of a `table`; {} where no set was measured."""
    if sets.empty:
        return {}
    return {"distances.csv": to_csv(sets), "distance_correlation.csv": to_csv(correlations(sets))}


def _distances(points: pd.DataFrame) -> list[str]:
    other = (ACCURACY, *SET)
    return [name for name in map(str, points) if not name.startswith(other) and not name.endswith(FLOOR)]


def _rho(pair: pd.DataFrame) -> float:
    return float(spearmanr(pair["x"], pair["y"]).statistic)


def _number(value: float | None) -> float:
    return np.nan if value is None else float(value)
