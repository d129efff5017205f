"""FADRM: what happens between its stages, the turns of its teachers, and the loss of all three methods in float64."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from float64 import TIGHT, apart, cross_entropy, first_iteration, forward, length, smooth
from fresh import fresh, interrupted
from torch import nn

from benchmark.vision.augment import normalize
from benchmark.vision.models import batch_norms, create_model
from methods.fadrm import FADRM
from methods.parts import recover
from methods.parts.patches import patch_images
from methods.parts.recover_state import RecoveryState
from methods.sre2l_pp import SRe2LPP

ONE_UNIT = {"one_slot_per_unit": False}
STILL = {"crop_scale": (1.0, 1.0), "jitter": 0, **ONE_UNIT}


def another(seed: int, arch: str = "test_resnet") -> nn.Module:
    """Return another smooth teacher."""
    teacher = smooth(create_model(arch, classes=3, resolution=32, seed=seed).eval().requires_grad_(False))
    for layer in batch_norms(teacher):
        layer.running_mean.normal_(0, 0.2, generator=torch.Generator().manual_seed(seed))
    return teacher


@pytest.fixture
def context(toy_data, toy_context):
    smooth(toy_context.teachers[0])
    toy_data.info = toy_data.info.model_copy(update={"flip": False})
    prepared = SRe2LPP(**STILL).preparation(toy_data.info).prepare(toy_data, toy_context)
    return dataclasses.replace(toy_context, prepared=prepared)


def start_of(data, unit, context):
    return normalize(patch_images(data, unit, context), data.info)


def bilinear(images, size):
    """Return images [N, C, S, S] in float64 at another size: each pixel by its place between the old pixels."""
    old = images.shape[-1]
    weights = torch.zeros(size, old, dtype=torch.float64)
    for i in range(size):
        place = min(max((i + 0.5) * old / size - 0.5, 0.0), old - 1.0)
        left = min(math.floor(place), old - 2)
        weights[i, left], weights[i, left + 1] = 1 - (place - left), place - left
    return weights @ images.double() @ weights.T


def loss_of(teacher, pixels, labels, weight):
    """Return ``CE + weight sum_l a_l (|mu_l - mu*_l| + |v_l - v*_l|)``, a_0 = 10; CE where there are no batch norms."""
    inside, total = forward(teacher, pixels), 0.0
    for layer, (module, x) in enumerate(inside.norms):
        values = x.transpose(0, 1).flatten(1)
        mean = values.mean(1)
        spread = ((values - mean.unsqueeze(1)) ** 2).mean(1)
        gaps = length(mean - module.running_mean) + length(spread - module.running_var)
        total = total + (10.0 if layer == 0 else 1.0) * gaps
    return cross_entropy(inside.logits, labels) + weight * total


@pytest.mark.parametrize(
    "method",
    [SRe2LPP(**STILL), FADRM(**STILL), FADRM(sizes=(28, None), **STILL), FADRM(alpha=0.0, **STILL)],
    ids=["sre2l_pp", "fadrm", "smaller", "start"],
)
def test_the_first_loss_is_that_of_sre2l_for_real_patches(method, toy_data, context):
    pixels, loss, gradient, unit = first_iteration(method, toy_data, context, 3)
    size = 28 if getattr(method, "sizes", (None,))[0] else 32
    assert apart(pixels.detach(), bilinear(start_of(toy_data, unit, context), size)) < TIGHT
    exact = loss_of(context.teachers[0], pixels, unit.labels, 0.01)
    (slope,) = torch.autograd.grad(exact, [pixels])
    assert apart(loss, exact.detach()) < TIGHT
    assert apart(gradient, slope) < TIGHT


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
@pytest.mark.parametrize(("before", "after"), [(24, 32), (32, 24), (32, 32)])
def test_a_stage_begins_with_a_mix_of_the_images_and_their_start(alpha, before, after):
    """``alpha resize(x, s) + (1 - alpha) resize(P, s)``, also where sizes are equal."""
    generator = torch.Generator().manual_seed(0)
    images, start = (
        torch.randn(2, 3, before, before, generator=generator),
        torch.randn(2, 3, 32, 32, generator=generator),
    )
    mixed = FADRM(iterations=10, sizes=(None, after), alpha=alpha).begin_stage(images, start, 5)
    exact = alpha * bilinear(images, after) + (1 - alpha) * bilinear(start, after)
    assert mixed.shape == (2, 3, after, after)
    assert apart(mixed, exact) < TIGHT


@pytest.mark.parametrize(
    ("iterations", "stages", "begins"), [(8, 4, [0, 2, 4, 6]), (10, 3, [0, 3, 6]), (3, 1, [0]), (2, 4, [0, 1])]
)
def test_stages_have_equally_many_iterations(iterations, stages, begins):
    method, images = FADRM(iterations=iterations, sizes=(None,) * stages), torch.zeros(1, 3, 8, 8)
    assert [i for i in range(iterations) if method.begin_stage(images, images, i) is not None] == begins


@pytest.fixture
def steps(monkeypatch):
    """Return a list to which every step appends its rate, the size of the images, the steps and betas of its Adam."""
    taken, step = [], RecoveryState.step

    def watched(self, loss, rate, low, high):
        step(self, loss, rate, low, high)
        count = int(self.optimizer.state[self.images]["step"])
        taken.append((rate, self.images.shape[-1], count, self.optimizer.param_groups[0]["betas"]))

    monkeypatch.setattr(RecoveryState, "step", watched)
    return taken


def test_each_stage_has_its_size_and_a_new_adam_under_one_cosine(steps, toy_data, context):
    method = FADRM(iterations=8, learning_rate=0.2, sizes=(24, 32, 24, None), jitter=2, **ONE_UNIT)
    (unit,) = method.units(toy_data.info, 2)
    result = method.distill(toy_data, unit, context)
    rates, sizes, counts, betas = zip(*steps, strict=True)
    assert sizes == (24, 24, 32, 32, 24, 24, 32, 32)
    assert counts == (1, 2) * 4
    assert set(betas) == {(0.5, 0.9)}
    assert rates == pytest.approx([0.1 * (1 + math.cos(math.pi * i / 8)) for i in range(8)])
    assert result.images.shape == (6, 3, 32, 32)
    assert result.extras["snapshots"].shape[2:] == (3, 32, 32)


def test_mixing_keeps_images_near_their_start(toy_data, context):
    far = []
    for alpha in (0.0, 0.5, 1.0):
        method = FADRM(iterations=8, learning_rate=0.1, alpha=alpha, **STILL)
        (unit,) = method.units(toy_data.info, 2)
        images = method.distill(toy_data, unit, fresh(context)).images.float()
        far.append(float((images - patch_images(toy_data, unit, context).float()).abs().mean()))
    assert far[0] < far[1] < far[2]


@pytest.mark.parametrize("sizes", [(24, None), (32, 24, 24, None)], ids=["inside a stage", "between stages"])
def test_a_run_that_was_interrupted_ends_with_the_same_bytes(sizes, toy_data, context, monkeypatch):
    monkeypatch.setattr(recover, "SAVE_EVERY", 4)
    method = FADRM(iterations=16, sizes=sizes, jitter=2, **ONE_UNIT)
    (unit,) = method.units(toy_data.info, 1)
    whole = method.distill(toy_data, unit, fresh(context))
    resumed, steps = interrupted(lambda again: method.distill(toy_data, unit, again), context, at=5)
    assert torch.equal(resumed.images, whole.images)
    assert steps[0] == 5, "it went on after the last save"


def test_teachers_take_turns_each_with_its_own_regulariser(toy_data, context, monkeypatch):
    """Iteration t: cross-entropy and R of teacher t mod K; a teacher without batch norms has no R."""
    teachers = (context.teachers[0], another(5), another(6, "test_vit"))
    context, seen, terms = dataclasses.replace(context, teachers=teachers), [], FADRM._terms

    def watched(self, view, *rest):
        result = terms(self, view, *rest)
        seen.append((view.detach().double(), float(self._total(result).detach())))
        return result

    monkeypatch.setattr(FADRM, "_terms", watched)
    method = FADRM(iterations=7, archs=("a", "b", "c"), regulariser_weight=0.5, **STILL)
    (unit,) = method.units(toy_data.info, 2)
    method.distill(toy_data, unit, context)
    for iteration, (view, loss) in enumerate(seen):
        exact = loss_of(teachers[iteration % 3], view, unit.labels, 0.5)
        assert loss == pytest.approx(float(exact), rel=TIGHT)
    assert len(seen) == 7
    assert [spec.arch for spec in method.teachers()] == ["a", "b", "c"]
    assert [spec.arch for spec in FADRM().teachers()] == [None]


def test_what_cannot_run_is_refused_in_words(toy_info):
    assert FADRM(sizes=(24, 32)).supports(toy_info, 1) is None
    assert "the last stage has 24 px" in FADRM(sizes=(32, 24)).supports(toy_info, 1)
    for archs in (("a", "b"), ("a",)):
        assert "these teachers" in FADRM(archs=archs, start="nearest_real").supports(toy_info, 1)
    assert "leave out teacher" in FADRM(archs=("a",), teacher="b").supports(toy_info, 1)
