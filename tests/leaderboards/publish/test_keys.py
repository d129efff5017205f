"""The keys of everything that is published, computed again by today's code."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from benchmark.api import Component, Unit
from benchmark.identity import key_of
from benchmark.plan import discovery, nodes
from benchmark.vision.models import Stem
from benchmark.vision.training import TeacherTraining
from leaderboards.publish.publication import FOLDER

RECORDS = sorted(FOLDER.glob("*/records.jsonl"))
LOADERS: dict[str, Callable[[str], type[Component]]] = {
    "prepare": cache(discovery.load_preparation),
    "distill": cache(discovery.load_method),
    "relabel": cache(discovery.load_labels),
    "evaluate": cache(discovery.load_evaluator),
    "measure": cache(discovery.load_measure),
}


def component_today(stage: str, component: dict[str, Any]) -> dict[str, Any]:
    """Return what today's code says of a component with these hyperparameters."""
    params = component["params"]
    if stage != "teacher":
        return LOADERS[stage](component["name"])(**params).identity()
    recipe, stem = TeacherTraining(**params["recipe"]), Stem(**params["stem"])
    params = {"recipe": recipe.model_dump(mode="json"), "stem": stem.model_dump()}
    return {"name": recipe.arch, "version": nodes.TEACHER_VERSION, "params": params}


def identity_today(identity: dict[str, Any]) -> dict[str, Any]:
    """Return a recorded identity with every part that the code names or fills in made again."""
    today = {**identity, "component": component_today(identity["stage"], identity["component"])}
    if "unit" in identity:
        today["unit"] = Unit(**identity["unit"]).model_dump()
    if "student" in identity:
        today["student"] = {**identity["student"], "stem": Stem(**identity["student"]["stem"]).model_dump()}
    return today


@pytest.mark.parametrize("path", RECORDS, ids=[path.parent.name for path in RECORDS])
def test_todays_code_computes_every_published_key(path: Path) -> None:
    """A result of an earlier version of its component has the key of its identity, which today's code cannot make."""
    records = [json.loads(line) for line in path.read_text().splitlines()]
    assert records
    for record in records:
        assert record["key"] == key_of(record["identity"]), "the record is not its key's"
        today = identity_today(record["identity"])
        name, version = today["component"]["name"], today["component"]["version"]
        assert record["identity"]["component"]["version"] <= version, name
        if record["identity"]["component"]["version"] == version:
            assert record["key"] == key_of(today), name


@pytest.mark.parametrize("path", RECORDS, ids=[path.parent.name for path in RECORDS])
def test_different_draws_have_different_images(path: Path) -> None:
    """Otherwise the interval of a row does not cover the choice of its images, whatever its seeds."""
    cells = pd.read_csv(path.parent / "cells.csv")
    done = cells[(cells["status"] == "ok") & (cells["role"] != "bound")]
    counts = done.groupby(["dataset", "ipc", "method"])[["draw", "set_sha256"]].nunique()
    assert counts[counts["set_sha256"] < counts["draw"]].empty
