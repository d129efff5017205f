"""DWA: the ascent of the teacher, and the loss in the perturbed one, in float64."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
from float64 import TIGHT, apart, cross_entropy, first_iteration, forward, length, smooth
from fresh import fresh, interrupted
from torch.nn import functional as F

from benchmark.vision.augment import normalize
from methods.dwa import DWA, ascended
from methods.parts.real import random_indices
from methods.sre2l import SRe2L

STILL = {"crop_scale": (1.0, 1.0), "jitter": 0}


@pytest.fixture
def batch(toy_data):
    return normalize(toy_data.images[:9], toy_data.info), toy_data.labels[:9]


def moved(before, after):
    """Return the length of the way between two networks, over all weights."""
    pairs = zip(before.parameters(), after.parameters(), strict=True)
    return float(length(torch.cat([(b.double() - a.double()).detach().flatten() for a, b in pairs])))


def test_one_step_has_the_radius_and_more_steps_no_more(batch, toy_teacher):
    assert moved(toy_teacher, ascended(toy_teacher, *batch, steps=1, radius=0.5)) == pytest.approx(0.5, rel=1e-4)
    assert 0.25 < moved(toy_teacher, ascended(toy_teacher, *batch, steps=12, radius=0.5)) <= 0.5 * (1 + 1e-4)


def test_the_loss_rises_by_the_length_of_the_gradient(batch, toy_teacher):
    images, labels = batch
    exact = copy.deepcopy(smooth(toy_teacher)).double().requires_grad_()
    before = F.cross_entropy(exact(images.double()), labels)
    slope = length(torch.cat([g.flatten() for g in torch.autograd.grad(before, list(exact.parameters()))]))
    exact.requires_grad_(False)
    after = F.cross_entropy(ascended(exact, images.double(), labels, steps=1, radius=1e-4)(images.double()), labels)
    assert float((after - before).detach()) == pytest.approx(1e-4 * float(slope), rel=1e-2)


def test_two_steps_are_those_of_the_formula(batch, toy_teacher):
    """``theta <- theta + (rho / K) g / (|g| + 1e-12)``, the second gradient in the moved network."""
    images, labels = batch[0].double(), batch[1]
    expected = copy.deepcopy(smooth(toy_teacher)).double().requires_grad_()
    for _ in range(2):
        gradients = torch.autograd.grad(cross_entropy(expected(images), labels), list(expected.parameters()))
        norm = sum((g**2).sum() for g in gradients) ** 0.5
        with torch.no_grad():
            for weight, g in zip(expected.parameters(), gradients, strict=True):
                weight += 0.3 / 2 * g / (norm + 1e-12)
    got = ascended(toy_teacher, *batch, steps=2, radius=0.3)
    assert moved(expected, got) < TIGHT * 0.3 * 10
    assert not any(weight.requires_grad for weight in got.parameters())


def test_the_teacher_and_all_running_statistics_stay(batch, toy_teacher):
    before = {name: value.clone() for name, value in toy_teacher.state_dict().items()}
    buffers = dict(toy_teacher.named_buffers())
    perturbed = ascended(toy_teacher, *batch, steps=3, radius=1.0)
    assert all(torch.equal(before[name], value) for name, value in toy_teacher.state_dict().items())
    assert all(torch.equal(buffers[name], value) for name, value in perturbed.named_buffers())
    assert not any(weight.requires_grad for weight in toy_teacher.parameters())
    assert not perturbed.training


@pytest.mark.parametrize("nothing", [{"ascent_radius": 0.0}, {"ascent_steps": 0}])
def test_without_ascent_and_weight_it_is_sre2l(nothing, toy_data, toy_context):
    (unit,) = SRe2L().units(toy_data.info, 2)
    options = {"iterations": 3, "start": "random_real"}
    expected = SRe2L(**options).distill(toy_data, unit, fresh(toy_context))
    got = DWA(**options, **nothing, variance_weight=1.0).distill(toy_data, unit, fresh(toy_context))
    assert torch.equal(got.images, expected.images)
    assert got.metadata == expected.metadata


@pytest.mark.parametrize("weight", [11.0, 2.0])
def test_the_loss_is_that_of_the_perturbed_teacher(weight, toy_data, toy_context):
    """``CE + 0.01 sum_l a_l (|mu_l - mu*_l| + r |v_l - v*_l|)``, a_0 = 10."""
    smooth(toy_context.teachers[0])
    toy_data.info = toy_data.info.model_copy(update={"flip": False})
    method = DWA(variance_weight=weight, ascent_radius=0.5, ascent_steps=3, **STILL)
    pixels, loss, gradient, unit = first_iteration(method, toy_data, toy_context, 2)
    chosen = random_indices(toy_data, unit.classes, unit.slots, toy_context)
    start = normalize(toy_data.images[chosen], toy_data.info)
    assert torch.equal(pixels, start.double())
    inside = forward(ascended(toy_context.teachers[0], start, unit.labels, steps=3, radius=0.5), pixels)
    exact = cross_entropy(inside.logits, unit.labels)
    for layer, (module, x) in enumerate(inside.norms):
        mean = x.mean((0, 2, 3))
        spread = ((x - mean.view(-1, 1, 1)) ** 2).mean((0, 2, 3))
        gap = length(mean - module.running_mean) + weight * length(spread - module.running_var)
        exact = exact + 0.01 * (10 if layer == 0 else 1) * gap
    (slope,) = torch.autograd.grad(exact, [pixels])
    assert apart(loss, exact.detach()) < TIGHT
    assert apart(gradient, slope) < TIGHT


def test_units_have_teachers_of_their_own(toy_data, toy_context, monkeypatch):
    used = []

    def spy(network, images, labels, **options):
        assert network is toy_context.teachers[0], "every unit starts from the teacher"
        used.append(ascended(network, images, labels, **options))
        return used[-1]

    monkeypatch.setattr("methods.dwa.ascended", spy)
    method = DWA(iterations=1, one_slot_per_unit=True)
    for unit in method.units(toy_data.info, 2):
        method.distill(toy_data, unit, dataclasses.replace(fresh(toy_context), seed=unit.index))
    assert len(used) == 2
    assert moved(*used) > 0


def test_without_iterations_the_set_is_its_start(toy_data, toy_context):
    (unit,) = DWA().units(toy_data.info, 4)
    result = DWA(iterations=0).distill(toy_data, unit, toy_context)
    chosen = random_indices(toy_data, unit.classes, unit.slots, toy_context)
    assert torch.equal(result.images, toy_data.images[chosen])
    assert result.metadata["snapshot_iterations"] == []


def test_an_interrupted_run_ends_with_the_same_bytes(toy_data, toy_context, monkeypatch):
    monkeypatch.setattr("methods.parts.recover.SAVE_EVERY", 2)
    method, unit = DWA(iterations=5), DWA().units(toy_data.info, 2)[0]
    whole = method.distill(toy_data, unit, fresh(toy_context))
    resumed, _ = interrupted(lambda again: method.distill(toy_data, unit, again), toy_context, at=3)
    assert torch.equal(resumed.images, whole.images)
