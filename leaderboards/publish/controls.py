"""The published results that a set from Python is compared with: of random real images, noise and the full set."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from leaderboards.publish import publication
from leaderboards.results.records import flat, keys_of
from leaderboards.results.roles import WORDS

SETTING = ("dataset", "student", "component")  # the fields of identities that two comparable evaluations share
EPOCHS = "component.params.schedule.epochs"  # fewer on the full set

Identity = Mapping[str, Any]


def published_accuracies(own: Identity, protocol: str, full_epochs: int) -> dict[str, list[float]]:
    """Return the published accuracies that can be compared with an evaluation, in percent, by method.

    They have its protocol, its IPC (or are of the full set) and its `SETTING`: files of the dataset, student, and
    evaluator with version and hyperparameters.

    Args:
        own: the identity in the record of the evaluation.
        protocol: its protocol.
        full_epochs: the epochs of a student on the full set.

    Raises:
        BenchmarkError: see `publication.read`.
    """
    setting = _setting(own)
    full_setting = {name: full_epochs if name == EPOCHS else value for name, value in setting.items()}
    settings = {own["ipc"]: setting, 0: full_setting}  # the settings by IPC
    accuracies = defaultdict[str, dict[str, float]](dict)  # the accuracies by method and key: suites share records
    for published in publication.read_all().values():
        for cell in published.cells:
            if cell["protocol"] == protocol and cell.get("role") in WORDS:
                for key in keys_of(cell, "evaluate"):
                    record = published.records[key]
                    if _setting(record["identity"]) == settings.get(record["identity"]["ipc"]):
                        accuracies[cell["method"]][key] = record["metrics"]["top1"]
    return {method: list(by_key.values()) for method, by_key in accuracies.items()}


def _setting(identity: Identity) -> dict[str, Any]:
    """Return the values of `SETTING` by their dotted names."""
    return {name: value for part in SETTING for name, value in flat(identity[part], part)}
