"""Recipes of papers: each hyperparameter changes only what its name says."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from toy_student import CUTMIX, INFO, PLAIN, N, Toy, context, furthest, hard_labels, network, toy_set, trained

from benchmark.api import LabeledSet, Labels
from benchmark.config_files import names
from benchmark.errors import BenchmarkError
from benchmark.plan.protocol import load_protocol
from benchmark.plan.suite import MethodEntry
from benchmark.vision.augment import Schedule
from benchmark.vision.datasets import load_dataset
from evaluators.labels.per_epoch import PerEpoch
from evaluators.students.native import Native

__all__ = ["context"]
ONE = Schedule(epochs=1, batch_size=N)


def teacher_labels(schedule: Schedule, context, folder) -> Labels:
    return PerEpoch(schedule=schedule).label(toy_set(), INFO, context, folder)


def test_without_more_it_is_the_standard_one(context, tmp_path):
    labels = teacher_labels(CUTMIX, context, tmp_path)
    expected = trained(toy_set(), labels, context, CUTMIX)
    assert furthest(trained(toy_set(), labels, context, CUTMIX, Native), expected) == 0


@pytest.mark.parametrize("gamma", [0.0, 0.1])
def test_mse_has_the_gradient_of_its_formula(gamma, context, tmp_path):
    images, labels = toy_set(weights=torch.rand(N)), teacher_labels(ONE, context, tmp_path)
    options = {"divergence": "mse", "gamma": gamma, "optimizer": "sgd", "weight_decay": 0, "temperature": 7.0}
    got, reference = trained(images, labels, context, ONE, Native, **options), network()
    (view,) = ONE.views(context.seed, 0, N)
    logits = reference(view.apply(((images.images / 255 - 0.5) / 0.25)[view.indices]))
    gap = ((logits - torch.tensor(labels.logits[0]).float()) ** 2).mean(1)
    own = F.cross_entropy(logits, images.targets[view.indices], reduction="none")  # unmixed
    weights = view.mix((images.weights / images.weights.mean())[view.indices])
    (weights * (gap + gamma * own)).mean().backward()
    for key, parameter in reference.named_parameters():
        torch.testing.assert_close(got[key], parameter.detach() - 1e-3 * parameter.grad, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize(("zeta", "last"), [(1.0, 0.0), (2.0, 0.5), (3.0, 0.75)])
def test_a_slow_cosine_ends_early(zeta, last):
    rates = [Native(schedule=ONE, zeta=zeta).rate(step, 1000) for step in range(1001)]
    assert rates[0] == 1 and rates == sorted(rates, reverse=True)
    assert rates[-1] == pytest.approx(last, abs=1e-3)


@pytest.mark.parametrize(
    ("decay", "shares"),
    [
        ("step", [1.0] * 5 + [0.1] * 5),
        ("fifths", [1.0] * 8 + [0.2] * 2 + [0.04] * 2),
        ("halves", [1.0] * 2 + [0.5] * 2 + [0.25] * 2 + [0.125] * 2 + [0.0625] * 2),
        ("late_halves", [1.0] * 16 + [0.5] * 2 + [0.25, 0.125]),
    ],
)
def test_rates_fall_at_the_steps_of_their_recipe(decay, shares):
    evaluator = Native(schedule=ONE, decay=decay)
    assert [evaluator.rate(step, len(shares)) for step in range(len(shares))] == pytest.approx(shares)


@pytest.mark.parametrize("mix", ["dsa_of_cells", "cutmix_of_cells"])
def test_an_epoch_of_cells_shows_four_for_each_mosaic_and_says_so(mix, context, monkeypatch):
    monkeypatch.setattr("evaluators.students.accuracy.accuracy", lambda *given: {})
    schedule, images = Schedule(epochs=2, batch_size=10, mix=mix), toy_set()
    for shown, views in ((4 * N, schedule), (N, PLAIN)):
        evaluator = Native(schedule=views)
        data = LabeledSet(images, hard_labels(views, context))
        numbers = evaluator.evaluate(data, SimpleNamespace(info=INFO), network(), context)
        assert numbers["images_shown"] == shown
        assert numbers["student_steps"] == views.epochs * -(-shown // views.batch_size)
    assert len(numbers["curve_loss"]) == PLAIN.epochs
    assert schedule.steps(N) == 2 * -(-4 * N // 10)


def test_the_learned_rate_is_that_of_the_set(context):
    labels, rate = hard_labels(PLAIN, context), 0.03
    images = toy_set(metadata={"step_size": rate})
    own = trained(images, labels, context, PLAIN, Native, learned_rate=True, learning_rate=9.0, optimizer="sgd")
    given = trained(images, labels, context, PLAIN, Native, learning_rate=rate, optimizer="sgd")
    assert furthest(own, given) == 0
    with pytest.raises(BenchmarkError, match="no step_size"):
        Native(schedule=PLAIN, learned_rate=True).peak_rate(LabeledSet(toy_set(), labels))


ENTRIES = [(name, key) for name in names("protocols") for key in load_protocol(name).methods or ["random_real"]]


def test_mse_needs_logits_of_the_views(context):
    with pytest.raises(BenchmarkError, match="mse needs per-epoch labels"):
        trained(toy_set(), hard_labels(PLAIN, context), context, PLAIN, Native, divergence="mse")


@pytest.mark.parametrize(("name", "key"), ENTRIES)
def test_every_recipe_trains_a_student(name, key, context, tmp_path):
    method, _, dataset = key.partition("@")
    own = load_protocol(name).for_method(MethodEntry(method=method, base=method.partition("+")[0]), dataset)
    short = own.model_copy(update={"schedule": {**own.schedule, "epochs": 2}})
    regime, evaluator = short.components(load_dataset(dataset or "digits"), full_data=False)
    images, teachers = toy_set(metadata={"step_size": 0.01}), context.teachers * len(regime.teachers())
    asked = replace(context, teachers=teachers)
    train = LabeledSet(images, regime.label(images, INFO, asked, tmp_path))
    assert train.labels.kind == regime.labels_kind
    student = network()
    numbers = evaluator.evaluate(train, Toy(seed=1), student, asked)
    assert np.isfinite(numbers["train_loss"]) and len(numbers["curve_loss"]) == 2
    assert furthest(student.state_dict(), network().state_dict()) > 0


def test_hard_labels_are_learned_under_dsa(context):
    views = Schedule(epochs=40, batch_size=12, mix="dsa", flip=False)
    numbers = trained(toy_set(), hard_labels(views, context), context, views, Native, learning_rate=0.003)
    student = network()
    student.load_state_dict(numbers)
    logits = student.eval()((toy_set().images / 255 - 0.5) / 0.25)
    assert (logits.argmax(1) == toy_set().targets).float().mean() > 0.9
