"""EDC: its loss against the formula in float64, the statistics of its classes, and its starts."""

from __future__ import annotations

import copy
import dataclasses
import math

import pytest
import torch
from float64 import TIGHT, apart, cross_entropy, first_iteration, length, smooth
from fresh import fresh, interrupted
from torch import nn
from torch.nn import functional as F

from benchmark.api import Job
from benchmark.vision.augment import normalize
from benchmark.vision.models import create_model
from methods.edc import EDC
from methods.gvbsm import GVBSM
from methods.parts.conditional import CLASS, ConditionalStatistics, general, of_labels
from methods.parts.generalized import GeneralPenalty, GeneralStatistics
from methods.parts.patches import scored_crops
from methods.rded import RDED

ARCHS = ("test_resnet", "test_efficientnet", "convnet_d3")  # the last one has no batch norm
STILL = {"crop_scale": (1.0, 1.0)}
PATCH = 4


@pytest.fixture
def context(toy_data, toy_context):
    toy_data.info = toy_data.info.model_copy(update={"flip": False})
    others = [create_model(arch, classes=3, resolution=32, seed=3).eval().requires_grad_(False) for arch in ARCHS[1:]]
    return dataclasses.replace(toy_context, teachers=tuple(map(smooth, (*toy_context.teachers, *others))))


def prepared(toy_data, context, **options):
    statistics = ConditionalStatistics(archs=ARCHS, **STILL, **options).prepare(toy_data, context)
    return dataclasses.replace(context, prepared=statistics)


def layers_of(teacher, images):
    """Return the logits and (name, module, input) of every convolution and batch norm in float64."""
    teacher, inputs = copy.deepcopy(teacher).double(), []
    for name, module in teacher.named_modules():
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d):
            module.register_forward_pre_hook(lambda module, given, name=name: inputs.append((name, module, given[0])))
    return teacher(images.double()), inputs


def cells(x):
    """Return the patches of [N, C, H, W], each as [N, everything else]."""
    height, width = (math.ceil(side / PATCH) * PATCH for side in x.shape[2:])
    x = F.interpolate(x, (height, width), mode="bilinear")
    corners = [(top, left) for top in range(0, height, PATCH) for left in range(0, width, PATCH)]
    return [x[:, :, top : top + PATCH, left : left + PATCH].flatten(1) for top, left in corners]


def groups(x, *, convolution):
    """Return by kind the groups of values over which statistics are taken, [N, values] each."""
    found = {"": [x[:, channel].flatten(1) for channel in range(x.shape[1])]}
    return found | ({"patch_": cells(x)} if convolution else {})


def statistics(x, *, convolution, within=False):
    """Return mean and variance of every group, written out; within: the mean of the variances of single images."""
    result = {}
    for kind, values in groups(x, convolution=convolution).items():
        means = torch.stack([value.mean() for value in values])
        spread = [
            torch.stack([((row - row.mean()) ** 2).mean() for row in value]).mean()
            if within
            else ((value - value.mean()) ** 2).mean()
            for value in values
        ]
        result |= {f"{kind}mean": means, f"{kind}var": torch.stack(spread)}
    return result


# --- statistics of classes


@pytest.mark.parametrize("spread", ["total", "within"])
def test_statistics_of_classes_are_those_of_their_images(spread, toy_data, context):
    found = prepared(toy_data, context, spread=spread, batch_size=7).prepared
    for turn, teacher in enumerate(context.teachers):
        for label in (0, 2):
            images = normalize(toy_data.images[toy_data.indices_of(label)], toy_data.info)
            for name, module, x in layers_of(teacher, images)[1]:
                exact = statistics(x, convolution=isinstance(module, nn.Conv2d), within=spread == "within")
                for kind, value in exact.items():
                    mine = found[f"{CLASS}{turn}.{name}.{kind}"][label].double()
                    torch.testing.assert_close(mine, value, rtol=1e-4, atol=1e-6)


def test_those_of_all_classes_are_those_of_gvbsm(toy_data, context):
    for spread in ("total", "within"):
        mine = general(prepared(toy_data, context, spread=spread).prepared)
        theirs = GeneralStatistics(archs=ARCHS, **STILL).prepare(toy_data, context)
        assert set(mine) == set(theirs)
        for name, value in theirs.items():
            assert apart(mine[name], value.double()) < TIGHT


def test_the_law_of_total_variance_tells_the_two_spreads_apart(toy_data, context):
    total, within = (prepared(toy_data, context, spread=spread).prepared for spread in ("total", "within"))
    for label in range(3):
        images = normalize(toy_data.images[toy_data.indices_of(label)], toy_data.info)
        name, _, x = layers_of(context.teachers[0], images)[1][0]
        between = x.mean((2, 3)).var(0, correction=0)
        gap = total[f"{CLASS}0.{name}.var"][label] - within[f"{CLASS}0.{name}.var"][label]
        assert float(length(between)) > 1e-5
        torch.testing.assert_close(gap.double(), between, rtol=1e-2, atol=1e-6)


def test_the_target_of_a_batch_is_the_average_over_its_labels():
    """Labels (a, a, b): (2 a + b) / 3, and for variances also the variance of the means."""
    known = {
        f"{CLASS}0.x.mean": torch.tensor([[1.0, 2.0], [9.0, 9.0], [4.0, -1.0]]),
        f"{CLASS}0.x.var": torch.tensor([[0.5, 1.0], [9.0, 9.0], [2.0, 4.0]]),
        "0.x.mean": torch.zeros(2),
    }
    labels = torch.tensor([0, 0, 2])
    within, total = (of_labels(known, labels, spread) for spread in ("within", "total"))
    mean, variance = torch.tensor([2.0, 1.0]), torch.tensor([1.0, 2.0])
    between = torch.tensor([(2 * 1 + 4) / 3, (2 * 1 + 4) / 3])
    assert set(within) == set(total) == {"0.x.mean", "0.x.var"}
    for target in (within, total):
        torch.testing.assert_close(target["0.x.mean"], mean)
    torch.testing.assert_close(within["0.x.var"], variance)
    torch.testing.assert_close(total["0.x.var"], variance + between)


# --- the loss


def penalty_by_hand(turn, layers, known, target, averages, share):
    """Return R and a scalar with R's gradient, for averages that start at their first value."""
    value, slope = 0.0, 0.0
    for index, (name, module, x) in enumerate(layers):
        for kind, now in statistics(x, convolution=isinstance(module, nn.Conv2d)).items():
            key = f"{turn}.{name}.{kind}"
            norm = isinstance(module, nn.BatchNorm2d)
            everywhere = getattr(module, f"running_{kind}") if norm else known[key].double()
            old = averages.get(key)
            averages[key] = now.detach() if old is None else 0.8 * old + 0.2 * now.detach()
            for weight, goal in ((1 - share, everywhere), (share, target[key].double())):
                gap = averages[key] - goal
                weight *= 10.0 if index == 0 else 1.0
                value = value + weight * length(gap)
                slope = slope + weight * (gap / length(gap) * now).sum()
    return value, slope


@pytest.mark.parametrize(("share", "spread"), [(0.5, "total"), (0.2, "within")])
def test_the_first_loss_and_its_gradient_are_those_of_the_formula(share, spread, toy_data, context):
    context = dataclasses.replace(prepared(toy_data, context, spread=spread), seed=8)  # no tie in a max-pool
    method = EDC(archs=ARCHS, class_share=share, class_spread=spread, regulariser_weight=0.1, **STILL)
    pixels, loss, gradient, unit = first_iteration(method, toy_data, context, 2)
    logits, layers = layers_of(context.teachers[0], pixels)
    target = of_labels(context.prepared, unit.labels, spread)
    value, slope = penalty_by_hand(0, layers, context.prepared, target, {}, share)
    ce = cross_entropy(logits, unit.labels)
    (expected,) = torch.autograd.grad(ce + 0.1 * slope, [pixels])
    assert apart(loss, (ce + 0.1 * value).detach()) < TIGHT
    assert apart(gradient, expected) < TIGHT


def penalty(context, share, memory=None, class_target=None):
    made = GeneralPenalty(
        context.teachers,
        general(context.prepared),
        {} if memory is None else memory,
        patch=PATCH,
        momentum=0.8,
        first_layer_weight=10.0,
        drop=lambda iteration, n: torch.zeros(n, dtype=torch.bool),
    )
    made.class_share = share
    made.class_target = class_target or of_labels(context.prepared, torch.tensor([0, 1, 2]), "total")
    return made


def values(made, context, iterations=5):
    generator, found = torch.Generator().manual_seed(5), []
    with made:
        for iteration in range(iterations):
            images = torch.randn(3, 3, 32, 32, generator=generator).requires_grad_()
            made.begin(iteration)
            context.teachers[iteration % 3](images)
            result = made()
            found.append((result.detach(), torch.autograd.grad(result, images)[0], images))
    return found


def test_the_average_moves_by_hand_and_its_gradient_has_factor_one(toy_data, context):
    context = prepared(toy_data, context)
    averages, target = {}, of_labels(context.prepared, torch.tensor([0, 1, 2]), "total")
    for iteration, (value, gradient, images) in enumerate(values(penalty(context, 0.5), context)):
        _, layers = layers_of(context.teachers[iteration % 3], images)
        exact, slope = penalty_by_hand(iteration % 3, layers, context.prepared, target, averages, 0.5)
        (expected,) = torch.autograd.grad(slope, images)
        assert apart(value, exact.detach()) < TIGHT
        assert apart(gradient, expected) < TIGHT


def test_classes_that_are_like_all_images_give_gvbsm(toy_data, context):
    context = prepared(toy_data, context)
    same = penalty(context, 0.5)
    same.class_target = same.target
    for mine, theirs in zip(values(same, context), values(penalty(context, 0.0), context), strict=True):
        assert apart(mine[0], theirs[0].double()) < TIGHT
        assert apart(mine[1], theirs[1].double()) < TIGHT


def test_without_classes_the_method_is_gvbsm(toy_data, context):
    context = dataclasses.replace(context, prepared=GeneralStatistics(archs=ARCHS, **STILL).prepare(toy_data, context))
    shared = {"archs": ARCHS, "iterations": 4, "start": "random_real", "averages_start": "first", "jitter": 0, **STILL}
    theirs = GVBSM(drop_rate=0.0, spectrum_weight=0.0, learning_rate=0.05, **shared)
    mine = EDC(class_share=0.0, **shared)
    assert mine.preparation(toy_data.info).identity() == theirs.preparation(toy_data.info).identity()
    (unit,) = mine.units(toy_data.info, 2)
    assert torch.equal(*(method.distill(toy_data, unit, fresh(context)).images for method in (mine, theirs)))


def test_swapped_statistics_of_patches_change_the_loss(toy_data, context):
    """The files of the code hold class means and variances of patches under each other's names."""
    context = prepared(toy_data, context)
    target = of_labels(context.prepared, torch.tensor([0, 1, 2]), "total")
    swapped = dict(target)
    for name in target:
        if name.endswith("patch_mean"):
            other = name.removesuffix("mean") + "var"
            swapped[name], swapped[other] = target[other], target[name]
    right, wrong = (values(penalty(context, 0.5, class_target=each), context, 1)[0][0] for each in (target, swapped))
    assert abs(float(right - wrong)) > 0.01 * float(right)


# --- starts


def test_without_iterations_it_is_its_start(toy_data, context):
    context = prepared(toy_data, context)
    method = EDC(archs=ARCHS, iterations=0)
    (unit,) = method.units(toy_data.info, 2)
    images = method.distill(toy_data, unit, fresh(context)).images
    for image, label in zip(images, unit.labels, strict=True):
        own = toy_data.images[toy_data.indices_of(int(label))]
        assert (own == image).flatten(1).all(1).any()


def test_a_start_of_mosaics_is_that_of_rded(toy_data, context):
    context = prepared(toy_data, context)
    method = EDC(archs=ARCHS, iterations=0, start_factor=2)
    (unit,) = method.units(toy_data.info, 2)
    images = method.distill(toy_data, unit, fresh(context)).images
    assert torch.equal(images, RDED(factor=2, crops=4).distill(toy_data, unit, fresh(context)).images)
    one = dataclasses.replace(context, teachers=context.teachers[:1])
    assert not torch.equal(images, RDED(factor=2, crops=4).distill(toy_data, unit, fresh(one)).images)


def test_every_teacher_scores_the_crops_of_the_mosaics(toy_info):
    job = Job(info=toy_info, images=6, classes=(0, 1, 2), ipc=2)
    with_mosaics, without = (EDC(archs=ARCHS, start_factor=factor).work(job) for factor in (2, None))
    (scored,) = RDED(factor=2, crops=4).work(job)
    assert scored.images == 4 * sum(toy_info.train_counts)
    assert with_mosaics == (*(dataclasses.replace(scored, arch=arch) for arch in ARCHS), *without)


def test_crops_are_scored_by_the_mean_logits_of_the_teachers(toy_data, context):
    images, boxes = toy_data.images[:2], torch.tensor([[0.0, 0.0, 0.5, 0.5], [0.5, 0.5, 0.5, 0.5]])
    crops, losses = scored_crops(images, boxes, 1, 16, toy_data.info, context)
    padded = F.pad(normalize(crops.flatten(0, 1), toy_data.info), (8, 8, 8, 8)).double()
    logits = sum(copy.deepcopy(teacher).double()(padded) for teacher in context.teachers) / len(context.teachers)
    exact = torch.stack([cross_entropy(row.unsqueeze(0), [1]) for row in logits])
    assert apart(losses.flatten(), exact) < TIGHT


def test_an_interrupted_run_ends_with_the_same_bytes(toy_data, context, monkeypatch):
    monkeypatch.setattr("methods.parts.recover.SAVE_EVERY", 3)
    context = prepared(toy_data, context)
    method = EDC(archs=ARCHS, iterations=6)
    (unit,) = method.units(toy_data.info, 2)
    whole = method.distill(toy_data, unit, fresh(context))
    resumed, _ = interrupted(lambda again: method.distill(toy_data, unit, again), context, at=5)
    assert torch.equal(whole.images, resumed.images)


def test_what_it_cannot_do_is_said_in_words(toy_info):
    assert EDC().supports(toy_info, 2) is None
    assert "fewer than IPC 12" in EDC().supports(toy_info, 12)
    assert "choose a factor below 2" in EDC(start_factor=2).supports(toy_info, 5)
    assert "no per-class statistics" in EDC(regulariser="pcbn").supports(toy_info, 2)
