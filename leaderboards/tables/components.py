"""Variance components as a table: what draws, seeds and teachers contribute, and how many a verdict needs."""

from __future__ import annotations

from collections.abc import Iterator
from math import sqrt
from typing import Any

import pandas as pd

from benchmark.files import file_name
from leaderboards.inference.power import POWER
from leaderboards.results.axes import BLOCK
from leaderboards.results.components import COUNTS, EFFECTS, GAP, MOST, RESIDUAL
from leaderboards.results.records import rows_of
from leaderboards.results.text import ipc_text
from leaderboards.tables.sheet import Cell, Line, Sheet

MINUS = "\N{MINUS SIGN}"
LEGEND = (
    "Standard deviations in percent points; rest: what no other column explains. "
    f"Needed for a verdict on a gap of {GAP:g} point with probability {POWER:.0%}, corrected for the rows of a block. "
    "Paired: cells where draw i meets seed i and teacher i; in brackets with the error of the test images, "
    f"{MINUS} where no number suffices. Crossed (without that error): the fewest cells, as draws x seeds x teachers; "
    f"empty where {MOST} of each do not suffice."
)


def sheets(components: pd.DataFrame) -> Iterator[Sheet]:
    """Yield a table per block in which components are separated.

    Args:
        components: the components, as `results.components.table` returns them.
    """
    for key, rows in components[components["reason"] == ""].groupby(BLOCK, sort=False):
        axes: tuple[Any, ...] = tuple(key)
        dataset, ipc, protocol, student = axes
        effects = [name for name in EFFECTS if rows[f"{name}_variance"].notna().any()]
        headings = [*map(_heading, effects), "paired needed", "crossed needed"]
        caption = f"Where the variance comes from: {dataset}, IPC {ipc_text(int(ipc))}, {protocol}, student {student}."
        lines = tuple(_line(row, effects) for row in rows_of(rows))
        name = file_name(f"variance_{dataset}_ipc{ipc}_{protocol}_{student}")
        yield Sheet(name, caption, tuple(("", heading) for heading in headings), lines, (LEGEND,))


def _heading(effect: str) -> str:
    return "rest" if effect == RESIDUAL else effect.replace("_", " x ")


def _line(row: dict[str, Any], effects: list[str]) -> Line:
    variances = [row[f"{name}_variance"] for name in effects]
    deviations = ["" if pd.isna(value) else f"{sqrt(value):.1f}" for value in variances]
    counts = [row[f"{name}_needed"] for name in COUNTS if not pd.isna(row[f"{name}_needed"])]
    with_images = row["paired_needed_images"]
    paired = f"{row['paired_needed']} ({MINUS if pd.isna(with_images) else with_images})"
    return Line(row["method"], tuple(map(Cell, [*deviations, paired, " x ".join(map(str, counts))])))
