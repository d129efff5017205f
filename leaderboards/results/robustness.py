"""What is left of an accuracy under attack and corruption, where a suite's protocol asks for it."""

from __future__ import annotations

from typing import Any

import pandas as pd

from leaderboards.results.leaderboard import to_csv
from leaderboards.results.records import Stored

ROW = ["dataset", "ipc", "method", "protocol", "student"]  # what makes a row
END = "_top1"  # ends the name of an accuracy that stands beside a student's top1


def table(stored: Stored) -> pd.DataFrame:
    """Return `ROW`, the number of seeds, and the means of all accuracies that evaluators gave beside top1 and top5.

    Accuracies in percent, named as the evaluator names them (``fgsm_top1``); deviations over seeds as ``fgsm_std``.
    """
    rows: list[dict[str, Any]] = []
    for cell in stored.cells:
        for record in stored.records(cell, "evaluate"):
            further = {name: value for name, value in record["metrics"].items() if name.endswith(END)}
            if further:
                rows.append({**{name: cell[name] for name in ROW}, **further})
    if not rows:
        return pd.DataFrame(columns=ROW)
    groups = pd.DataFrame(rows).groupby(ROW, sort=False)
    means, stds = groups.mean(), groups.std().rename(columns=lambda name: f"{name.removesuffix(END)}_std")
    paired = [name for pair in zip(means, stds, strict=True) for name in pair]
    return pd.concat([groups.size().rename("seeds"), means.join(stds)[paired]], axis=1).reset_index()


def files(found: pd.DataFrame) -> dict[str, bytes]:
    """Return ``robustness.csv`` of a `table`; {} where no protocol asked for it."""
    return {"robustness.csv": to_csv(found)} if len(found) else {}
