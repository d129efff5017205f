"""The networks and preparations of a suite: how good each is, what it cost, and which methods needed it.

A method is no better than the networks that it looks through, so the accuracy of every auxiliary network stands beside
that of the dataset's teacher. Equal networks of several seeds are one row.
"""

from __future__ import annotations

import json
from collections import defaultdict
from statistics import fmean, stdev
from typing import Any

import pandas as pd

from leaderboards.results.records import SHARED, Record, Stored, keys_of
from leaderboards.results.roles import CONTROL

COLUMNS = ["suite", "dataset", "stage", "network", "seeds", "top1_mean", "top1_std", "seconds", "control", "methods"]


def table(stored: Stored) -> pd.DataFrame:
    """Return `COLUMNS`: a row per network or preparation that a finished cell stands on.

    ``top1`` is the test accuracy in percent, empty for a preparation that records none; ``seconds`` are those of one
    seed; ``control`` says whether random real images under some protocol need it too; ``methods`` names the others.
    """
    records: dict[tuple[str, ...], dict[str, Record]] = defaultdict(dict)
    users: dict[tuple[str, ...], dict[str, str]] = defaultdict(dict)  # method -> role
    for cell in stored.cells:
        for stage in SHARED if stored.records(cell, "evaluate") else ():
            for key in keys_of(cell, stage):
                if record := stored.nodes.records.get(key):
                    component = record["identity"]["component"]
                    name = str(component["name"])
                    kind = (cell["dataset"], stage, name, json.dumps(component, sort_keys=True))
                    records[kind][key] = record
                    users[kind][cell["method"]] = cell["role"]
    rows = [_row(stored.suite, kind, list(records[kind].values()), users[kind]) for kind in records]
    return pd.DataFrame(rows, columns=COLUMNS)


def _row(suite: str, kind: tuple[str, ...], records: list[Record], users: dict[str, str]) -> dict[str, Any]:
    dataset, stage, network, _ = kind
    top1 = [record["metrics"]["top1"] for record in records if "top1" in record["metrics"]]
    seconds = [record["cost"]["seconds"] for record in records if record["cost"].get("seconds") is not None]
    return {
        **{"suite": suite, "dataset": dataset, "stage": stage, "network": network, "seeds": len(records)},
        "top1_mean": fmean(top1) if top1 else None,
        "top1_std": stdev(top1) if len(top1) > 1 else None,
        "seconds": fmean(seconds) if seconds else None,
        "control": "yes" if CONTROL in users.values() else "no",
        "methods": ", ".join(method for method, role in users.items() if role != CONTROL),
    }
