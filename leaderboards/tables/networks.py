"""The networks of a dataset as a table: accuracy, cost, and who needs them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from leaderboards.results.records import rows_of
from leaderboards.results.text import mean_text
from leaderboards.results.units import duration
from leaderboards.tables.sheet import Cell, Line, Sheet

HEADINGS = ("top-1", "on training images", "seeds", "seconds", "control", "methods")
LEGEND = (
    "Top-1 (%) on the test split, mean ± standard deviation over seeds; empty for what classifies nothing. "
    "Control: whether random real images need it too, for their labels."
)


def sheets(networks: pd.DataFrame) -> Iterator[Sheet]:
    """Yield a table per dataset whose methods need more than the control does.

    Args:
        networks: the networks, as `results.networks.table` returns them.
    """
    for dataset, rows in networks.groupby("dataset", sort=False):
        if (rows["control"] == "no").any():
            lines = tuple(_line(row) for row in rows_of(rows.sort_values("control", ascending=False, kind="stable")))
            caption = f"Networks and preparations on {dataset}: how good they are, and which methods need them."
            headings = tuple(("", heading) for heading in HEADINGS)
            yield Sheet(f"needed_{dataset}", caption, headings, lines, (LEGEND,), first="network")


def _line(row: dict[str, Any]) -> Line:
    top1 = "" if pd.isna(row["top1_mean"]) else mean_text(row["top1_mean"], row["top1_std"])
    on_training = "" if pd.isna(row["train_top1"]) else mean_text(row["train_top1"])
    texts = (top1, on_training, str(row["seeds"]), duration(row["seconds"]), str(row["control"]), str(row["methods"]))
    return Line(str(row["network"]), tuple(map(Cell, texts)))
