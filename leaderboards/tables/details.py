"""Tables beside the accuracies: the networks that methods need, and what draws, seeds and teachers contribute."""

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
from leaderboards.results.text import ipc_text, mean_text
from leaderboards.results.units import duration
from leaderboards.tables.sheet import Cell, Line, Sheet

NEEDED = ("top-1", "on training images", "seeds", "seconds", "control", "methods")
NEEDED_LEGEND = (
    "Top-1 (%) on the test split, mean ± standard deviation over seeds; empty for what classifies nothing. "
    "Control: whether random real images need it too, for their labels."
)
MINUS = "\N{MINUS SIGN}"
VARIANCE_LEGEND = (
    "Standard deviations in percent points; rest: what no other column explains. "
    f"Needed for a verdict on a gap of {GAP:g} point with probability {POWER:.0%}, corrected for the rows of a block. "
    "Paired: cells where draw i meets seed i and teacher i; in brackets with the error of the test images, "
    f"{MINUS} where no number suffices. Crossed (without that error): the fewest cells, as draws x seeds x teachers; "
    f"empty where {MOST} of each do not suffice."
)


def needed(networks: pd.DataFrame) -> Iterator[Sheet]:
    """Yield a table per dataset whose methods need more than the control does.

    Args:
        networks: the networks, as `results.networks.table` returns them.
    """
    for dataset, rows in networks.groupby("dataset", sort=False):
        if (rows["control"] == "no").any():
            control_first = rows.sort_values("control", ascending=False, kind="stable")
            lines = tuple(map(_network_line, rows_of(control_first)))
            caption = f"Networks and preparations on {dataset}: how good they are, and which methods need them."
            headings = tuple(("", heading) for heading in NEEDED)
            yield Sheet(f"needed_{dataset}", caption, headings, lines, (NEEDED_LEGEND,), first="network")


def _network_line(row: dict[str, Any]) -> Line:
    top1 = "" if pd.isna(row["top1_mean"]) else mean_text(row["top1_mean"], row["top1_std"])
    on_training = "" if pd.isna(row["train_top1"]) else mean_text(row["train_top1"])
    texts = (top1, on_training, str(row["seeds"]), duration(row["seconds"]), str(row["control"]), str(row["methods"]))
    return Line(str(row["network"]), tuple(map(Cell, texts)))


def variance(components: pd.DataFrame) -> Iterator[Sheet]:
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
        lines = tuple(_variance_line(row, effects) for row in rows_of(rows))
        name = file_name(f"variance_{dataset}_ipc{ipc}_{protocol}_{student}")
        yield Sheet(name, caption, tuple(("", heading) for heading in headings), lines, (VARIANCE_LEGEND,))


def _heading(effect: str) -> str:
    return "rest" if effect == RESIDUAL else effect.replace("_", " x ")


def _variance_line(row: dict[str, Any], effects: list[str]) -> Line:
    variances = [row[f"{name}_variance"] for name in effects]
    deviations = ["" if pd.isna(value) else f"{sqrt(value):.1f}" for value in variances]
    counts = [row[f"{name}_needed"] for name in COUNTS if not pd.isna(row[f"{name}_needed"])]
    with_images = row["paired_needed_images"]
    paired = f"{row['paired_needed']} ({MINUS if pd.isna(with_images) else with_images})"
    return Line(row["method"], tuple(map(Cell, [*deviations, paired, " x ".join(map(str, counts))])))
