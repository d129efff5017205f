"""Results of a superseded version of the evaluation say so."""

from __future__ import annotations

from evaluators.students.accuracy import Accuracy
from leaderboards.results import versions


def published(**of_datasets: int) -> str:
    cells = [{"dataset": name, "nodes": {"evaluate": [name]}} for name in of_datasets]
    records = {name: {"identity": {"component": {"version": version}}} for name, version in of_datasets.items()}
    return versions.text(cells, records)


def test_the_current_version_is_that_of_the_evaluator():
    assert Accuracy.version == versions.CURRENT


def test_only_a_superseded_version_says_so():
    assert published(digits=versions.CURRENT) == f"Version {versions.CURRENT} of the evaluation."
    assert published(digits=1).startswith("Version 1 of the evaluation. **Version 1 is superseded**: ")
    assert published(digits=2, imagenette64=1).startswith(
        "Version of the evaluation: 2 on digits, 1 on imagenette64. **Version 1 is superseded**: "
    )
    assert versions.text([], {}) == ""
