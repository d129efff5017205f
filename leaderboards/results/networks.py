"""The networks and preparations of a suite: how accurate each is, what it cost, and which methods needed it.

A method depends on the networks whose features it uses, so the accuracy of every auxiliary network stands beside that
of the dataset's teacher. Equal networks of several seeds are one row.
"""

from __future__ import annotations

import json
from collections import defaultdict
from statistics import stdev
from typing import Any

import pandas as pd

from leaderboards.results.cells import cost, known_mean
from leaderboards.results.records import SHARED, Record, Stored, keys_of
from leaderboards.results.roles import CONTROL

COLUMNS = [
    *("suite", "dataset", "stage", "network", "seeds", "top1_mean", "top1_std", "train_top1"),
    *("seconds", "control", "methods"),
]


def table(stored: Stored) -> pd.DataFrame:
    """Return `COLUMNS`: a row per network or preparation that a finished cell stands on.

    ``top1`` is the test accuracy in percent, empty for a preparation, which sees no
    test image; ``train_top1`` is that on training images, where a preparation records it; ``seconds`` are those of one
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
    datasets = list(dict.fromkeys(cell["dataset"] for cell in stored.cells))
    kinds = sorted(records, key=lambda kind: (datasets.index(kind[0]), SHARED.index(kind[1]), *kind[2:]))
    rows = [_row(stored.suite, kind, list(records[kind].values()), users[kind]) for kind in kinds]
    return pd.DataFrame(rows, columns=COLUMNS)


def _row(suite: str, kind: tuple[str, ...], records: list[Record], users: dict[str, str]) -> dict[str, Any]:
    dataset, stage, network, _ = kind
    records = sorted(records, key=lambda record: str(record["key"]))  # so that sums do not depend on their order
    top1, on_training = (
        [record["metrics"][name] for record in records if name in record["metrics"]] for name in ("top1", "train_top1")
    )
    return {
        **{"suite": suite, "dataset": dataset, "stage": stage, "network": network, "seeds": len(records)},
        "top1_mean": known_mean(top1),
        "top1_std": stdev(top1) if len(top1) > 1 else None,
        "train_top1": known_mean(on_training),
        "seconds": known_mean(cost(record, "seconds") for record in records),
        "control": "yes" if CONTROL in users.values() else "no",
        "methods": ", ".join(sorted(method for method, role in users.items() if role != CONTROL)),
    }
