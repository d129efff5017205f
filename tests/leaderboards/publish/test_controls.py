"""A set is compared with published results of its own setting only: no other evaluator, student or data files."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from leaderboards.publish import controls, publication
from leaderboards.publish.controls import published_accuracies


def identity(ipc: int = 1, version: int = 2, epochs: int = 150, rate: float = 0.1, files: str = "abc", patch: int = 16):
    params = {"learning_rate": rate, "schedule": {"epochs": epochs}}
    return {
        "dataset": {"name": "digits", "fingerprint": files},
        "component": {"name": "accuracy", "version": version, "params": params},
        "student": {"arch": "test_resnet", "stem": {"patch": patch}},
        "ipc": ipc,
        "seed": 0,
    }


@pytest.fixture
def publish(monkeypatch):
    """Return a function that publishes one result of accuracy 50 % in each of two suites."""

    def published(
        method: str = "random_real", role: str = "control", protocol: str = "standard", **changes: Any
    ) -> None:
        cell = {"method": method, "role": role, "protocol": protocol, "nodes": {"evaluate": ["key"]}}
        record = {"identity": identity(**changes), "metrics": {"top1": 50.0}}
        suite = SimpleNamespace(cells=(cell,), records={"key": record})
        monkeypatch.setattr(controls.publication, "read_all", lambda: {"one": suite, "two": suite})

    return published


def test_a_result_of_the_same_setting_counts_once(publish):
    publish()
    assert published_accuracies(identity(), "standard", full_epochs=30) == {"random_real": [50.0]}


@pytest.mark.parametrize(
    "changes",
    [
        {"version": 1},
        {"rate": 0.2},
        {"epochs": 30},
        {"files": "def"},
        {"patch": 8},
        {"ipc": 10},
        {"protocol": "hard"},
        {"role": "method"},
    ],
)
def test_a_result_of_another_setting_does_not_count(publish, changes):
    publish(**changes)
    assert published_accuracies(identity(), "standard", full_epochs=30) == {}


def test_the_full_set_has_epochs_of_its_own(publish):
    publish("full", "bound", ipc=0, epochs=30)
    assert published_accuracies(identity(), "standard", full_epochs=30) == {"full": [50.0]}
    publish("full", "bound", ipc=0, epochs=150)
    assert published_accuracies(identity(), "standard", full_epochs=30) == {}


def test_published_suites_of_two_versions_are_not_pooled():
    axes = ("digits", "standard", "random_real", 1)
    records = [
        suite.records[cell["nodes"]["evaluate"][0]]
        for suite in (publication.read("main"), publication.read("barycenter"))
        for cell in suite.cells
        if (cell["dataset"], cell["protocol"], cell["method"], cell["ipc"]) == axes
    ]
    identities = {record["identity"]["component"]["version"]: record["identity"] for record in records}
    old, new = (published_accuracies(identities[version], "standard", full_epochs=30) for version in (1, 2))
    assert set(new) == {"random_real", "noise", "full"}
    assert not {*old["random_real"]} & {*new["random_real"]}
