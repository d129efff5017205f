"""The losses of the recovery methods, and their gradients in the pixels, against the formulas in float64.

Each test runs the loop of a method up to its first step. The settings are those of the authors' codes, on a small
network. G-VBSM has its own file.
"""

from __future__ import annotations

import dataclasses
import itertools
import math

import pytest
import torch
from float64 import TIGHT, apart, cross_entropy, first_iteration, forward, length, smooth

from benchmark.vision.models import batch_norms, create_model
from methods.cda import CDA
from methods.mmd import MMD
from methods.parts import recover
from methods.parts.statistics import ClassStatistics
from methods.scdd import SCDD
from methods.sre2l import SRe2L
from methods.wmdd import WMDD

STILL = {"crop_scale": (1.0, 1.0), "jitter": 0}
IPC = 3


@pytest.fixture
def first(toy_data):
    """A function that returns pixels, loss, gradient and unit of the first iteration of a method."""
    toy_data.info = toy_data.info.model_copy(update={"flip": False})
    return lambda method, context, ipc=IPC: first_iteration(method, toy_data, context, ipc)


@pytest.fixture
def toy_teacher(toy_teacher):
    return smooth(toy_teacher)


@pytest.fixture
def context(toy_data, toy_context):
    return dataclasses.replace(toy_context, prepared=ClassStatistics(batch_size=5).prepare(toy_data, toy_context))


def agrees(captured, exact):
    """Hold loss and gradient of the first iteration against a loss of the same pixels."""
    pixels, loss, gradient, _ = captured
    (slope,) = torch.autograd.grad(exact, [pixels])
    assert apart(loss, exact.detach()) < TIGHT
    assert apart(gradient, slope) < TIGHT


def running_gap(norms, first_weight):
    """Return ``sum_l a_l (|mu_l - mu*_l| + |v_l - v*_l|)``, over all images together."""
    total = 0.0
    for layer, (module, x) in enumerate(norms):
        values = x.transpose(0, 1).flatten(1)  # [C, all pixels of all images]
        mean = values.mean(1)
        spread = ((values - mean.unsqueeze(1)) ** 2).mean(1)
        weight = first_weight if layer == 0 else 1.0
        total = total + weight * (length(mean - module.running_mean) + length(spread - module.running_var))
    return total


def class_gaps(norms, prepared, variance, shares):
    """Yield for each layer and class the gaps of mean and variance, [C] each; `shares` [classes, n] weigh images."""
    first = 0
    for _, x in norms:
        columns = slice(first, first + x.shape[1])
        first = columns.stop
        for label, share in enumerate(shares.double()):
            own = x[len(share) * label : len(share) * (label + 1)]
            mean = sum(w * image.mean((1, 2)) for w, image in zip(share, own, strict=True))
            squares = [((image - mean.view(-1, 1, 1)) ** 2).mean((1, 2)) for image in own]
            spread = sum(w * square for w, square in zip(share, squares, strict=True))
            yield mean - prepared["mean"][label, columns], spread - prepared[variance][label, columns]


# the weights of the codes: ImageNet-1K, Tiny ImageNet, CIFAR-100 of SCDD
@pytest.mark.parametrize(
    "method",
    [
        SRe2L(**STILL),
        SRe2L(regulariser_weight=1.0, **STILL),
        CDA(regulariser_weight=0.05, **STILL),
        SCDD(regulariser_weight=0.005, **STILL),
    ],
    ids=lambda method: f"{method.name()}-{method.regulariser_weight}",
)
def test_sre2l_cda_and_scdd(method, first, toy_context):
    """``CE + lambda sum_l a_l (|mu_l - mu*_l| + |v_l - v*_l|)``, a_0 = 10."""
    teacher = toy_context.teachers[0]
    if isinstance(method, SCDD):  # its prepared tensors are the weights of another network
        teacher = smooth(create_model("test_resnet", classes=3, resolution=32, seed=6).eval().requires_grad_(False))
        for layer in batch_norms(teacher):
            layer.running_mean.normal_(0, 0.2, generator=torch.Generator().manual_seed(7))
        toy_context = dataclasses.replace(toy_context, prepared=teacher.state_dict())
    captured = first(method, toy_context)
    inside = forward(teacher, captured[0])
    ce = cross_entropy(inside.logits, captured[3].labels)
    agrees(captured, ce + method.regulariser_weight * running_gap(inside.norms, 10.0))


@pytest.mark.parametrize("variance", ["exact", "batch"])
@pytest.mark.parametrize(
    ("ce", "weight"), [(1.0, 10.0), (0.0, 500.0)], ids=["ImageNette", "ImageNet-1K"]
)  # with lambda 500, as on Tiny ImageNet, hardly anything but R is left
@pytest.mark.parametrize("weights", ["uniform", "learned"])
def test_wmdd_official(variance, ce, weight, weights, first, toy_data, context):
    """``|F - B| + ce CE + lambda sum_l mean_c (|mu_cl - mu*_cl| + |v_cl - v*_cl|)``: norms, not squares."""
    method = WMDD(class_variance=variance, ce_weight=ce, regulariser_weight=weight, weights=weights, **STILL)
    captured = first(method, context)
    goal = method.goal(toy_data, captured[3], context)
    shares = torch.full((3, IPC), 1 / IPC) if weights == "uniform" else goal.weights
    assert (shares.std() > 0.01) == (weights == "learned")
    inside = forward(context.teachers[0], captured[0])
    name = {"exact": "var", "batch": "batch_var"}[variance]
    gaps = class_gaps(inside.norms, context.prepared, name, shares)
    loss = length(inside.features - goal.atoms.flatten(0, 1)) + ce * cross_entropy(inside.logits, captured[3].labels)
    agrees(captured, loss + weight * sum(length(mean) + length(spread) for mean, spread in gaps) / 3)


def test_wmdd_of_the_paper(first, toy_data, context):
    """``sum |f_cj - b_cj|^2 + lambda sum_l sum_c (|mu_cl - mu*_cl|^2 + |v_cl - v*_cl|^2)``: squares, no CE."""
    method = WMDD(objective="paper", **STILL)
    captured = first(method, context)
    atoms = method.goal(toy_data, captured[3], context).atoms.flatten(0, 1)
    inside = forward(context.teachers[0], captured[0])
    gaps = class_gaps(inside.norms, context.prepared, "var", torch.full((3, IPC), 1 / IPC))
    loss = ((inside.features - atoms) ** 2).sum()
    agrees(captured, loss + 10 * sum((mean**2).sum() + (spread**2).sum() for mean, spread in gaps))


def test_wmdd_of_one_image_per_class(first, toy_data, context):
    """The atom of a class is the mean of its real features, which comes from the formula too."""
    captured = first(WMDD(regulariser="none", **STILL), context, ipc=1)
    real = toy_data.images.double() / 255
    features = forward(context.teachers[0], (real - 0.5) / 0.25).features
    means = torch.stack([features[toy_data.labels == label].mean(0) for label in range(3)])
    inside = forward(context.teachers[0], captured[0])
    agrees(captured, length(inside.features - means) + cross_entropy(inside.logits, captured[3].labels))


def test_sliced_wmdd(first, toy_data, context):
    """The atoms of each direction are the means of the n-th parts of the sorted real projections."""
    method = WMDD(transport="sliced", projections=5, regulariser="none", ce_weight=0.0, **STILL)
    captured = first(method, context)
    features = forward(context.teachers[0], captured[0]).features
    directions = torch.randn(features.shape[1], 5, generator=context.generator("directions")).double()
    total = 0.0
    for direction in directions.T:
        unit = direction / length(direction)
        for label, own in enumerate(features.split(IPC)):
            real = context.prepared["features"][toy_data.labels == label].double() @ unit
            parts = real.repeat_interleave(IPC).sort().values.view(IPC, -1)  # each point in IPC equal pieces
            total = total + ((own @ unit).sort().values - parts.mean(1)).square().sum()
    agrees(captured, (features.shape[1] * total / 5) ** 0.5)


@pytest.mark.parametrize("root", [False, True])
@pytest.mark.parametrize("kernel", ["linear", "gaussian", "energy"])
def test_mmd(kernel, root, first, toy_data, context):
    """``sum_c MMD^2(F_c, Y_c) + CE + R`` or its root, with all pairs of features one by one."""
    method = MMD(kernel=kernel, root=root, **STILL)
    captured = first(method, context)
    inside, loss = forward(context.teachers[0], captured[0]), 0.0
    real = [context.prepared["features"][toy_data.labels == label].double() for label in range(3)]
    if kernel != "linear":  # as many real features of each class as of the smallest
        size, generator = min(map(len, real)), context.generator("kernel", 0)
        real = [rows[torch.randperm(len(rows), generator=generator)[:size]] for rows in real]
    for own, rows in zip(inside.features.split(IPC), real, strict=True):
        squares = sorted(float(((a - b) ** 2).sum()) for a in rows for b in rows)
        middle = squares[(len(squares) - 1) // 2]

        def similar(a, b, middle=middle):
            square = ((a - b) ** 2).sum()
            energy = -((square + 1e-300) ** 0.5)  # its slope at 0 is 0
            return {"linear": (a * b).sum(), "gaussian": torch.exp(-square / middle), "energy": energy}[kernel]

        def mean(xs, ys, similar=similar):
            return sum(similar(x, y) for x in xs for y in ys) / (len(xs) * len(ys))

        loss = loss + mean(own, own) + mean(rows, rows) - 2 * mean(own, rows)
    gaps = class_gaps(inside.norms, context.prepared, "var", torch.full((3, IPC), 1 / IPC))
    regulariser = sum(length(average) + length(spread) for average, spread in gaps) / 3
    loss = loss**0.5 if root else loss
    agrees(captured, loss + cross_entropy(inside.logits, captured[3].labels) + regulariser)


def line(start, size, pixels):
    """Return the weights [pixels, pixels] of a bilinear resize of a part of a line; beyond its ends, these count."""
    weights = torch.zeros(pixels, pixels, dtype=torch.float64)
    for i in range(pixels):
        centre = start + (i + 0.5) / pixels * size
        place = min(max(centre, start + 0.5), start + size - 0.5) - 0.5
        left = math.floor(place)
        weights[i, left] += 1 - (place - left)
        weights[i, min(left + 1, pixels - 1)] += place - left
    return weights


@pytest.mark.parametrize("flip", [False, True])
def test_a_view_of_sre2l(flip, first, toy_data, toy_context, monkeypatch):
    """One crop for the whole unit, resized to full size, perhaps mirrored, then shifted around the edges."""
    boxes, sample = [], recover.sample_boxes
    monkeypatch.setattr(
        recover, "sample_boxes", lambda *given, **options: boxes.append(sample(*given, **options)) or boxes[-1]
    )
    toy_data.info = toy_data.info.model_copy(update={"flip": flip})
    method = SRe2L(jitter=3, regulariser_weight=0.5)
    captured = first(method, toy_context)
    pixels, _, _, unit = captured
    ((x, y, width, height),) = (32 * boxes[0].double()).tolist()
    crops = line(y, height, 32) @ pixels @ line(x, width, 32).T
    given = method._view(pixels.detach().float(), 0, unit, toy_data.info, toy_context).double()
    views = [
        (crops.flip(3) if mirrored else crops).roll((down, right), (2, 3))
        for mirrored, down, right in itertools.product((False, True) if flip else (False,), range(4), range(4))
    ]
    (view,) = [view for view in views if apart(given, view.detach()) < TIGHT]
    inside = forward(toy_context.teachers[0], view)
    agrees(captured, cross_entropy(inside.logits, unit.labels) + 0.5 * running_gap(inside.norms, 10.0))
