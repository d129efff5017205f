"""Labels and students: a student depends only on labels, weights and views, not on how these are stored."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch.nn import functional as F
from toy_student import (
    CLASSES,
    CPU,
    CUTMIX,
    INFO,
    PLAIN,
    N,
    Toy,
    context,
    furthest,
    hard_labels,
    network,
    toy_set,
    trained,
)

from benchmark.api import LabeledSet, Labels
from benchmark.errors import BenchmarkError
from benchmark.vision.augment import Schedule
from evaluators.labels.hard import Hard
from evaluators.labels.per_epoch import PerEpoch
from evaluators.students.accuracy import Accuracy

__all__ = ["CLASSES", "CPU", "Toy", "context", "toy_set"]  # a fixture is found where it is imported


# --- labels


def test_per_epoch_labels_are_the_teachers_answers_to_the_views(context, tmp_path):
    images = toy_set()
    labels = PerEpoch(schedule=CUTMIX).label(images, INFO, context, tmp_path)
    assert labels.kind == "per_epoch" and labels.seed == context.seed
    assert labels.logits.shape == (4, N, CLASSES) and labels.logits.dtype == np.float16
    assert labels.nbytes == 4 * N * CLASSES * 2
    normal = (images.images / 255 - 0.5) / 0.25
    for epoch in range(4):
        answers = [
            context.teachers[0](view.apply(normal[view.indices])) for view in CUTMIX.views(context.seed, epoch, N)
        ]
        stored = torch.tensor(labels.logits[epoch]).float()
        torch.testing.assert_close(stored, torch.cat(answers), atol=2e-3, rtol=2e-3)


def test_per_epoch_labels_survive_their_file(context, tmp_path):
    labels = PerEpoch(schedule=CUTMIX).label(toy_set(), INFO, context, tmp_path)
    labels.save(tmp_path)
    again = Labels.load(tmp_path)
    assert again.views == labels.views and np.array_equal(again.logits, labels.logits)
    assert Schedule.model_validate(again.views) == CUTMIX
    assert set(json.loads((tmp_path / "labels.json").read_text())) == {"kind", "views", "seed"}, "as published records"


def test_labels_that_store_nothing_take_no_bytes(context, tmp_path):
    hard = Hard(schedule=PLAIN)
    online = PerEpoch(schedule=CUTMIX, storage="online")
    for regime in (hard, online):
        labels = regime.label(toy_set(), INFO, context, tmp_path)
        assert labels.logits is None and labels.nbytes == 0
    assert not list(tmp_path.iterdir())
    assert online.teachers() and not hard.teachers()


# --- the student


def test_a_separable_set_teaches_its_classes(context):
    schedule = Schedule(epochs=30, batch_size=12, crop_scale=(0.9, 1.0), flip=False, mix="none")
    train = LabeledSet(toy_set(), hard_labels(schedule, context))
    numbers = Accuracy(schedule=schedule, learning_rate=0.003).evaluate(train, Toy(80, seed=1), network(), context)
    assert numbers["top1"] > 95 and numbers["top5"] == 100
    assert numbers["curve_loss"][-1] == numbers["train_loss"] < 0.8 * numbers["curve_loss"][0]


def test_the_test_split_is_read_once_after_the_last_step(context):
    student = network()
    test = Toy(seed=1, student=student)
    Accuracy(schedule=CUTMIX).evaluate(LabeledSet(toy_set(), hard_labels(CUTMIX, context)), test, student, context)
    assert (test.reads == 1).all()
    assert furthest(test.state_at_first_read, student.state_dict()) == 0
    assert furthest(test.state_at_first_read, network().state_dict()) > 0


def test_a_curve_has_at_most_a_hundred_points(context):
    schedule = Schedule(epochs=150, batch_size=4, mix="none")
    train = LabeledSet(toy_set(4), hard_labels(schedule, context))
    numbers = Accuracy(schedule=schedule).evaluate(train, Toy(), network(), context)
    assert len(numbers["curve_loss"]) == 100 and numbers["curve_loss"][-1] == numbers["train_loss"]


@pytest.mark.parametrize("schedule", [PLAIN, CUTMIX])
def test_the_loss_of_hard_labels_has_the_gradient_of_mixed_cross_entropy(schedule, context):
    one_step = schedule.model_copy(update={"epochs": 1, "batch_size": N})
    images, reference = toy_set(weights=torch.rand(N)), network()
    got = trained(images, hard_labels(one_step, context), context, one_step, optimizer="sgd", weight_decay=0)
    (view,) = one_step.views(context.seed, 0, N)
    logits = reference(view.apply(((images.images / 255 - 0.5) / 0.25)[view.indices]))
    own = images.targets[view.indices]
    weights = (images.weights / images.weights.mean())[view.indices]
    weights = view.share * weights + (1 - view.share) * weights[view.partner]
    own_loss = F.cross_entropy(logits, own, reduction="none")
    partner_loss = F.cross_entropy(logits, own[view.partner], reduction="none")
    (weights * (view.share * own_loss + (1 - view.share) * partner_loss)).mean().backward()
    for key, parameter in reference.named_parameters():
        torch.testing.assert_close(got[key], parameter.detach() - 1e-3 * parameter.grad, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("schedule", [PLAIN, CUTMIX])
def test_one_hot_targets_and_one_hot_labels_train_as_classes_do(schedule, context):
    images, labels = toy_set(), hard_labels(schedule, context)
    expected = trained(images, labels, context, schedule)
    one_hot = F.one_hot(images.targets, CLASSES).float()
    assert furthest(trained(replace(images, targets=one_hot), labels, context, schedule), expected) == 0
    certain = Labels("soft", (one_hot * 1000).half().numpy(), labels.views, labels.seed)
    assert furthest(trained(images, certain, context, schedule, temperature=1.0), expected) < 1e-6


def test_one_hot_per_epoch_labels_train_as_classes_do(context):
    images, labels = toy_set(), hard_labels(PLAIN, context)
    visits = [torch.cat([v.indices for v in PLAIN.views(labels.seed, epoch, N)]) for epoch in range(PLAIN.epochs)]
    logits = F.one_hot(images.targets[torch.stack(visits)], CLASSES).half() * 1000
    replayed = Labels("per_epoch", logits.numpy(), labels.views, labels.seed)
    expected = trained(images, labels, context, PLAIN)
    assert furthest(trained(images, replayed, context, PLAIN, temperature=1.0), expected) < 1e-6


def test_stored_and_online_teacher_labels_train_the_same_student(context, tmp_path):
    images = toy_set()
    stored = PerEpoch(schedule=CUTMIX).label(images, INFO, context, tmp_path)
    online = PerEpoch(schedule=CUTMIX, storage="online").label(images, INFO, context, tmp_path)
    options = {"optimizer": "sgd", "learning_rate": 0.1, "temperature": 2.0}
    a, b = (trained(images, labels, context, CUTMIX, **options) for labels in (stored, online))
    moved = furthest(a, network().state_dict())
    assert furthest(a, b) < 0.01 * moved
    shifted = replace(stored, logits=stored.logits[::-1].copy())  # labels of other views
    assert furthest(trained(images, shifted, context, CUTMIX, **options), b) > 0.05 * moved


def test_t_squared_scales_the_step(context, tmp_path):
    schedule = Schedule(epochs=1, batch_size=N)
    labels = PerEpoch(schedule=schedule).label(toy_set(), INFO, context, tmp_path)
    start = network().state_dict()["classifier.weight"]
    steps = [
        trained(toy_set(), labels, context, schedule, optimizer="sgd", weight_decay=0, temperature=3.0, t_squared=flag)
        for flag in (False, True)
    ]
    small, large = (step["classifier.weight"] - start for step in steps)
    torch.testing.assert_close(large, 9 * small, atol=2e-7, rtol=1e-2)


def test_hard_labels_have_no_temperature(context):
    labels, options = hard_labels(PLAIN, context), {"optimizer": "sgd", "weight_decay": 0}
    plain = trained(toy_set(), labels, context, PLAIN, **options)
    hot = trained(toy_set(), labels, context, PLAIN, temperature=3.0, t_squared=True, **options)
    assert furthest(plain, hot) == 0


def test_an_image_of_weight_zero_teaches_nothing(context):
    ignored = 5
    weights = torch.ones(N).index_fill(0, torch.tensor([ignored]), 0)
    images = toy_set(weights=weights)
    other = toy_set(weights=weights, images=images.images.clone())
    other.images[ignored] = 255 - other.images[ignored]
    other.targets[ignored] = (other.targets[ignored] + 1) % CLASSES
    labels = hard_labels(PLAIN, context)
    first = trained(images, labels, context, PLAIN)
    assert furthest(first, trained(other, labels, context, PLAIN)) == 0
    unweighted = [trained(replace(s, weights=None), labels, context, PLAIN) for s in (images, other)]
    assert furthest(*unweighted) > 1e-4


def test_only_ratios_of_weights_count(context):
    labels = hard_labels(CUTMIX, context)
    weighted = trained(toy_set(weights=torch.full((N,), 0.125)), labels, context, CUTMIX)
    assert furthest(weighted, trained(toy_set(), labels, context, CUTMIX)) == 0


def test_bytes_and_fractions_train_the_same_student(context):
    labels = hard_labels(CUTMIX, context)
    fractions = toy_set(images=toy_set().images.float() / 255)
    assert furthest(trained(fractions, labels, context, CUTMIX), trained(toy_set(), labels, context, CUTMIX)) < 1e-6


def test_labels_of_other_views_are_refused(context):
    with pytest.raises(BenchmarkError, match="same schedule"):
        trained(toy_set(), hard_labels(PLAIN, context), context, CUTMIX)


# --- protocols


@pytest.mark.parametrize("name", ["standard", "hard"])
def test_protocols_name_what_exists(name):
    protocol = yaml.safe_load(Path("configs/protocols", f"{name}.yaml").read_text())
    assert protocol["version"] >= 1 and protocol["title"] and protocol["description"]
    schedule = Schedule(epochs=1, batch_size=2, **protocol["schedule"])
    regimes = {"per_epoch": PerEpoch, "hard": Hard}
    labels = dict(protocol["labels"])
    regimes[labels.pop("name")](schedule=schedule, **labels)
    evaluator = dict(protocol["evaluator"])
    assert evaluator.pop("name") == Accuracy.name()
    Accuracy(schedule=schedule, **evaluator)
