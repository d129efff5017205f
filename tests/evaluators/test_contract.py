"""The contract that every file in evaluators/ keeps: its name, its columns, its manners."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from toy_student import INFO, PLAIN, N, Toy, context, hard_labels, network, toy_set

from benchmark.api import Column, Component, Context, LabeledSet, Measure, SyntheticSet, TeacherSpec
from benchmark.plan import discovery
from benchmark.vision.models import create_model
from evaluators.measures.distances import Distances

__all__ = ["context"]
PARTS = ("students", "measures", "labels")  # those of the folders that DISTILLBENCH_EXTRA names too
STUDENTS, MEASURES, LABELS = map(discovery.component_names, (f"evaluators.{part}" for part in PARTS))
IPC = 6


def check_form(kind: type[Component], name: str, columns: tuple[Column, ...]) -> None:
    assert kind.name() == name
    assert kind.version >= 1
    assert kind.__doc__
    assert len({column.name for column in columns}) == len(columns), "two columns show the same number"
    assert len({column.heading for column in columns}) == len(columns), "two columns have the same heading"
    assert all(column.heading and column.digits >= 0 for column in columns)
    assert all(column.better in ("higher", "lower", "") for column in columns)


def check_numbers(columns: tuple[Column, ...], metrics: dict[str, Any]) -> None:
    """Every column and its floor is a number that was returned, or one that is not defined."""
    for name in [name for column in columns for name in (column.name, column.floor) if name]:
        assert name in metrics, f"the column {name} is never filled"
        value = metrics[name]
        assert value is None or (isinstance(value, int | float) and math.isfinite(value)), name


@pytest.mark.parametrize("name", STUDENTS)
def test_an_evaluator_returns_its_columns(name: str, tmp_path: Path) -> None:
    kind = discovery.load_evaluator(name)
    check_form(kind, name, kind.columns)
    evaluator = kind(schedule=PLAIN)
    if reason := evaluator.missing():
        pytest.skip(reason)
    context = Context(torch.device("cpu"), torch.float32, seed=1, scratch=tmp_path)
    train = LabeledSet(toy_set(), hard_labels(PLAIN, context))
    metrics = evaluator.evaluate(train, Toy(seed=1), network(), context)
    assert kind.columns
    check_numbers(kind.columns, metrics)
    for column in kind.columns:
        assert column.unit != "%" or 0 <= metrics[column.name] <= 100


@pytest.fixture
def real_set(toy_data) -> SyntheticSet:
    indices = torch.cat([toy_data.indices_of(label)[:IPC] for label in range(3)])
    return SyntheticSet(toy_data.read(indices), toy_data.labels[indices])


def network_of(spec: TeacherSpec, toy_teacher: torch.nn.Module, size: int) -> torch.nn.Module:
    """Return a frozen network for a specification, with random weights."""
    if spec == TeacherSpec():
        return toy_teacher
    arch = "test_efficientnet" if spec.neutral else str(spec.arch)
    return create_model(arch, classes=3, resolution=size, seed=3).eval().requires_grad_(False)


def measured(measure: Measure, images: SyntheticSet, data: Any, context: Context, folder: Path) -> dict[str, Any]:
    """Return what a measure says of a set, after its preparation, as the engine asks for it."""
    networks = {spec: network_of(spec, context.teachers[0], data.info.resolution) for spec in measure.teachers()}
    if preparation := measure.preparation(data.info):
        needed = [network_of(spec, context.teachers[0], data.info.resolution) for spec in preparation.teachers()]
        prepared = preparation.prepare(data, dataclasses.replace(context, teachers=needed))
        context = dataclasses.replace(context, prepared=prepared)
    return measure.measure(images, data, dataclasses.replace(context, teachers=tuple(networks.values())), folder)


@pytest.mark.parametrize("name", MEASURES)
def test_a_measure_returns_its_columns(name, toy_data, toy_context, real_set, tmp_path, capsys) -> None:
    kind = discovery.load_measure(name)
    check_form(kind, name, kind.columns)
    (folder := tmp_path / "files").mkdir()
    before = real_set.images.clone(), torch.get_rng_state()
    metrics = measured(kind(), real_set, toy_data, toy_context, folder)
    check_numbers(kind.columns, metrics)
    assert metrics == measured(kind(), real_set, toy_data, toy_context, folder), "the same seed gives the same numbers"
    assert torch.equal(real_set.images, before[0])
    assert torch.equal(torch.get_rng_state(), before[1]), "torch's global generator was used"
    assert capsys.readouterr() == ("", "")


def test_columns_are_no_hyperparameters() -> None:
    """Nor do they enter an identity: a new heading changes no key."""
    kinds = [*map(discovery.load_evaluator, STUDENTS), *map(discovery.load_measure, MEASURES)]
    assert all("columns" not in kind.model_fields for kind in kinds)
    assert set(Distances().identity()["params"]) == {"images_per_class", "draws"}


@pytest.mark.parametrize("name", LABELS)
def test_labels_take_the_bytes_of_their_formula(name: str, context: Context, tmp_path: Path) -> None:
    kind = discovery.load_labels(name)
    check_form(kind, name, ())
    regime = kind(schedule=PLAIN)
    assert regime.label(toy_set(), INFO, context, tmp_path).nbytes == regime.bytes_of(N, INFO.classes)
