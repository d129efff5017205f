"""A student that is tested with a moving average of its weights."""

from __future__ import annotations

import copy

import pytest
import torch
from toy_student import CUTMIX, Toy, context, furthest, hard_labels, network, toy_set, trained

from benchmark.api import LabeledSet
from evaluators.students import accuracy
from evaluators.students.averaged import Averaged
from evaluators.students.native import Native

__all__ = ["context"]


def states_of(context, monkeypatch, **options) -> tuple[dict, dict]:
    """Return the states of the tested network and of the student after training."""
    states, measure = [], accuracy.accuracy
    monkeypatch.setattr(
        accuracy, "accuracy", lambda model, *rest: states.append(model.state_dict()) or measure(model, *rest)
    )
    student = network(norm="batch")
    train = LabeledSet(toy_set(), hard_labels(CUTMIX, context))
    Averaged(schedule=CUTMIX, **options).evaluate(train, Toy(seed=1), student, context)
    return states[0], student.state_dict()


@pytest.mark.parametrize("statistics", [False, True])
def test_the_average_is_that_of_the_formula(statistics, context):
    """``w~ <- 0.9 w~ + 0.1 w`` in float64, from the random weights."""
    student = network(norm="batch")
    optimizer = torch.optim.SGD(student.parameters(), lr=0.1)
    average = Averaged(schedule=CUTMIX, averaging=0.9, average_statistics=statistics).tested(student, optimizer)
    exact = {name: value.double().clone() for name, value in student.state_dict().items()}
    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        optimizer.zero_grad()
        student(torch.randn(6, 3, 8, 8, generator=generator)).square().sum().backward()
        optimizer.step()
        for name, value in student.state_dict().items():
            averaged = name.endswith(("weight", "bias")) or (statistics and value.is_floating_point())
            exact[name] = 0.9 * exact[name] + 0.1 * value.double() if averaged else value.double().clone()
    for name, value in average.state_dict().items():
        torch.testing.assert_close(value.double(), exact[name], rtol=1e-5, atol=1e-6)


def test_training_is_that_of_native(context, monkeypatch):
    average, student = states_of(context, monkeypatch)
    kept, live = states_of(context, monkeypatch, averaging=0.0)
    assert furthest(student, live) == 0
    assert furthest(kept, live) == 0, "without an average the student itself is tested"
    assert furthest(average, student) > 1e-3


def test_with_its_defaults_it_learns_as_native_does(context):
    labels = hard_labels(CUTMIX, context)
    one, other = (trained(toy_set(), labels, context, CUTMIX, kind) for kind in (Native, Averaged))
    assert furthest(one, other) == 0
    assert furthest(one, copy.deepcopy(network()).state_dict()) > 0


def test_halves_fall_at_the_end():
    rates = [Native(schedule=CUTMIX, decay="late_halves").rate(step, 20) for step in range(20)]
    assert rates == [1.0] * 16 + [0.5] * 2 + [0.25] + [0.125]
