"""A published suite that was run again: which cells are inside their intervals, and what differs where they are not.

The interval of a cell is the 95 % prediction interval of its row, ``mean ± t s sqrt(1 + 1/n)`` of the n published
cells: where one more cell lies (Student's t, n - 1 degrees of freedom). A row of a single cell has no deviation: its
interval is the published number and what `agreement` allows two honest runs of one node. Every interval is wider by one
test image on both sides, and cut at 0 and 100 %. One cell in twenty may lie outside by chance.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

import pandas as pd

from benchmark.record import EXTERNAL
from leaderboards.inference.intervals import Mean
from leaderboards.publish import survival
from leaderboards.publish.agreement import Spread, smallest_test_split
from leaderboards.publish.publication import Publication
from leaderboards.results import run_diff
from leaderboards.results.axes import CELL, ROW, axis_values
from leaderboards.results.cells import cells_table
from leaderboards.results.records import Record, Stored, keys_of, rows_of

SAME, INSIDE, OUTSIDE, NOT_RUN, ITSELF = "the same", "inside", "outside", "not run", "the published run"
COLUMNS = [*CELL, "published", "again", "difference", "low", "high", "verdict", "why", "surroundings"]
NUMBERS = ["published", "again", "difference", "low", "high"]
NO_CHANGE = "nothing recorded differs"
MADE_ELSEWHERE = "its set was made elsewhere, so it cannot be made again here"
Axes = tuple[Any, ...]  # values of `CELL`


@dataclass(frozen=True)
class Reproduction:
    """The published cells of a suite beside those of another run.

    Attributes:
        table: `COLUMNS`, a row per cell: accuracies in percent; ``why`` says why a cell was not run, or what differs in
            its identity; ``surroundings`` what differs in device, precision, versions and commit.
        verdicts: the verdicts of every two rows in both runs, by the cells that both have; see `survival.verdicts`.
    """

    table: pd.DataFrame
    verdicts: pd.DataFrame

    @property
    def counts(self) -> Counter[str]:
        """The number of cells of every verdict."""
        return Counter(self.table["verdict"])

    @property
    def surroundings(self) -> Counter[str]:
        """What differs in device, precision, versions and commit, with the number of cells of each."""
        return Counter(text for texts in self.table["surroundings"] for text in texts.split("; ") if text)


def finished(published: Publication, selection: Mapping[str, Iterable[object]] | None = None) -> dict[Axes, Record]:
    """Return the published cells with a number, by their values of `CELL`.

    Args:
        published: the publication.
        selection: axis -> the values to keep; an axis without values keeps all.
    """
    limits = {axis: set(values) for axis, values in (selection or {}).items() if values}
    cells = [cell for cell in published.cells if keys_of(cell, "evaluate")]
    chosen_cells = [cell for cell in cells if all(cell[axis] in values for axis, values in limits.items())]
    return {axis_values(cell, CELL): cell for cell in chosen_cells}


def compare(published: Publication, again: Stored, cells: Mapping[Axes, Record]) -> Reproduction:
    """Return which published cells another run gives again.

    Args:
        published: the publication.
        again: the other run.
        cells: those of the published ones to look at, as `finished` gives them.
    """
    stored = published.stored()
    pairs = {
        (*change.row, teacher, draw, seed): cell
        for change in run_diff.compare(stored, again).changes
        for (draw, seed, teacher), cell in change.cells.items()
    }
    intervals, reasons, new_keys = _intervals(published, cells), _reasons(again), _own_keys(again)
    rows = []
    for axes, cell in cells.items():
        record = published.records[keys_of(cell, "evaluate")[0]]
        low, high = intervals[axes]
        head = {**dict(zip(CELL, axes, strict=True)), "published": record["metrics"]["top1"], "low": low, "high": high}
        if axes not in pairs:
            unlisted = MADE_ELSEWHERE if cell["base"] == EXTERNAL else "the suite has no such cell today"
            rows.append({**head, "verdict": NOT_RUN, "why": reasons.get(axes, unlisted), "surroundings": ""})
            continue
        pair = pairs[axes]
        inside = low <= pair.b <= high
        verdict = SAME if pair.a == pair.b else INSIDE if inside else OUTSIDE
        if _is_itself(record, again.nodes.records.get(new_keys.get(axes, ""))):
            verdict = ITSELF
        changes = "; ".join(pair.identity) or ("" if pair.surroundings else NO_CHANGE)
        numbers = {"again": pair.b, "difference": pair.b - pair.a}
        rows.append(
            {**head, **numbers, "verdict": verdict, "why": changes, "surroundings": "; ".join(pair.surroundings)}
        )
    frame = pd.DataFrame(rows, columns=COLUMNS)
    table = frame.astype(dict.fromkeys(NUMBERS, "float64")).round(dict.fromkeys(NUMBERS, 4))
    return Reproduction(table, survival.verdicts(stored, again, pairs.keys() & cells.keys()))


def _intervals(published: Publication, cells: Mapping[Axes, Record]) -> dict[Axes, tuple[float, float]]:
    """Return the interval of every cell; all published cells of its row count."""
    rows = defaultdict[Axes, list[float]](list)
    by_dataset = defaultdict[str, list[float]](list)
    for cell in finished(published).values():
        top1 = float(published.records[keys_of(cell, "evaluate")[0]]["metrics"]["top1"])
        rows[axis_values(cell, ROW)].append(top1)
        by_dataset[cell["dataset"]].append(top1)
    images = {dataset: smallest_test_split(values) for dataset, values in by_dataset.items()}
    spread, intervals = Spread(published.records, published.cells), {}
    for axes, cell in cells.items():
        values = rows[axis_values(cell, ROW)]
        one_image = 100 / images[cell["dataset"]] if images[cell["dataset"]] else 0.0
        if len(values) > 1:
            error = stdev(values) * math.sqrt(1 + 1 / len(values))
            low, high = Mean(fmean(values), error, len(values) - 1).interval or (math.nan, math.nan)
        else:
            record = published.records[keys_of(cell, "evaluate")[0]]
            distance, _ = spread.allowed(record, "top1")
            low, high = values[0] - distance, values[0] + distance
        intervals[axes] = max(low - one_image, 0.0), min(high + one_image, 100.0)
    return intervals


def _reasons(again: Stored) -> dict[Axes, str]:
    """Return why cells of a run have no number, by their values of `CELL`."""
    return {
        axis_values(row, CELL): f"{row['status']}: {row['reason']}"
        for row in rows_of(cells_table(again))
        if row["status"] != "ok"
    }


def _own_keys(again: Stored) -> dict[Axes, str]:
    return {axis_values(cell, CELL): keys[0] for cell in again.cells if (keys := keys_of(cell, "evaluate"))}


def _is_itself(record: Record, again: Record | None) -> bool:
    """Return whether two records of a node are of one execution of it."""
    return again is not None and all(record.get(name) == again.get(name) for name in ("cost", "provenance"))
