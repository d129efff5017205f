"""IDM, M3D and HDD: cells, the queue of networks, the three distances in float64, and interruptions."""

from __future__ import annotations

import copy
import dataclasses
import math

import pytest
import torch
from float64 import TIGHT, apart, cross_entropy, smooth
from fresh import fresh, interrupted
from torch.nn import functional as F

from benchmark.identity import seed_of
from benchmark.vision.augment import normalize
from benchmark.vision.dsa import sample_augmentation
from methods.hdd import HDD, centroid, distance, exponential, product, project
from methods.idm import IDM
from methods.m3d import M3D, gaussian_mmd
from methods.parts import cells, descent, queue
from methods.parts.cells import class_by_class
from methods.parts.experts import new_network
from methods.parts.queue import Growth, Queue

CHEAP = {"batch_real": 2, "network_steps": 1, "network_batch": 2}


def numbers(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def set_of(method, data, context, ipc=2):
    (unit,) = method.units(data.info, ipc)
    return method.distill(data, unit, fresh(context))


# --- mosaics and their cells


def test_the_start_is_a_mosaic_of_different_images_and_is_the_set_without_iterations(toy_data, toy_context):
    images = set_of(IDM(iterations=0), toy_data, toy_context).images
    real = F.avg_pool2d(toy_data.images[toy_data.labels == 1].double() / 255, 2)
    quarters = [images[2:4, :, top : top + 16, left : left + 16] for top in (0, 16) for left in (0, 16)]
    found = [int((real - quarter).flatten(1).norm(dim=1).argmin()) for part in quarters for quarter in part.double()]
    assert len(set(found)) == 8
    for number, quarter in zip(found, torch.cat(quarters), strict=True):
        torch.testing.assert_close(quarter.double(), real[number], atol=1e-5, rtol=0)


def test_cells_expand_in_order_and_each_gradient_stays_in_its_cell():
    mosaics = torch.arange(1.0, 5.0).view(2, 2).repeat_interleave(4, 0).repeat_interleave(4, 1)
    mosaics = mosaics.expand(1, 3, 8, 8).double().requires_grad_()
    view = sample_augmentation(1, torch.Generator().manual_seed(1))
    still = dataclasses.replace(view, group="flip", samples=torch.ones(1, 3))  # no flip
    _, shown = IDM().views(still, mosaics.detach(), mosaics)
    assert [image.unique().tolist() for image in shown] == [[1.0], [2.0], [3.0], [4.0]]
    (gradient,) = torch.autograd.grad(shown[1].sum(), [mosaics])
    touched = gradient[0, 0] != 0
    assert touched[:4, 4:].all() and touched.sum() == 16


def test_what_a_set_cannot_be_made_of_is_said(toy_info):
    assert IDM().supports(toy_info, 2) is None
    assert "has 11 training images, fewer than IPC 3 x 2^2 = 12: choose a factor below 2" in IDM().supports(toy_info, 3)
    assert IDM(factor=1).supports(toy_info, 3) is None
    assert "3 cells do not tile 32 px" in IDM(factor=3).supports(toy_info, 1)
    many = toy_info.model_copy(update={"class_names": tuple(map(str, range(201))), "train_counts": (50,) * 201})
    assert "m3d is infeasible on toy (201 classes)" in M3D().supports(many, 1)


def test_classes_are_summed_and_each_gets_its_own_gradient(toy_data):
    (unit,) = IDM().units(toy_data.info, 2)
    images = numbers(6, 3, 2, 2)
    total, gradient = class_by_class(images, unit, lambda label, own: (label + 1) * own.square().sum() / 2)
    weights = torch.tensor([1.0, 1, 2, 2, 3, 3]).view(-1, 1, 1, 1)
    assert torch.allclose(gradient, weights * images)
    assert torch.allclose(total, (weights * images.square()).sum() / 2)


# --- the loss


class Stub:
    """What a drawn network is for the loss."""

    def __init__(self, network, percent):
        self.network, self.percent = network, percent


@pytest.mark.parametrize("ce_weight", [0.0, 0.5])
def test_the_loss_and_its_gradient_are_those_of_the_formula(ce_weight, toy_data, toy_context):
    """``|mean f(real) - mean f(cells)|^2 + w a CE``, image by image; at 60 % the weight 0.5 is a factor of 30."""
    method = IDM(ce_weight=ce_weight)
    network = smooth(new_network("convnet_d3", toy_data.info, seed=3)).requires_grad_(False)
    real = normalize(toy_data.images[:3], toy_data.info)
    own = normalize(toy_data.images[3:4], toy_data.info).requires_grad_()
    view = sample_augmentation(1, torch.Generator().manual_seed(4), flip=True)
    loss = method.loss(Stub(network, 60.0), 2, *method.views(view, real, own))
    (gradient,) = torch.autograd.grad(loss, [own])

    exact, image = network.double(), own.detach().double().requires_grad_()
    corners = [image[:, :, top : top + 16, left : left + 16] for top in (0, 16) for left in (0, 16)]
    small = [F.interpolate(cell, size=32, mode="bilinear", align_corners=False) for cell in corners]
    seen_cells = [view.apply(cell) for cell in small]
    maps = [exact.forward_features(cell).flatten() for cell in seen_cells]
    targets = [exact.forward_features(view.apply(each[None].double())).flatten() for each in real]
    gap = sum(maps) / 4 - sum(targets) / 3
    logits = torch.cat([exact(cell) for cell in seen_cells])
    expected = (gap**2).sum() + ce_weight * 60 * cross_entropy(logits, torch.tensor([2] * 4))
    (slope,) = torch.autograd.grad(expected, [image])
    assert apart(loss.detach(), expected.detach()) < TIGHT
    assert apart(gradient, slope) < TIGHT
    if ce_weight:
        without = IDM(ce_weight=0).loss(Stub(network.float(), 60.0), 2, *method.views(view, real, own))
        assert float((loss - without).detach()) / float(cross_entropy(logits, torch.tensor([2] * 4))) == pytest.approx(
            30, rel=1e-4
        )


def test_equal_embeddings_have_no_gap():
    features = torch.ones(5, 3, requires_grad=True)
    gap = M3D().gap(torch.ones(4, 3), features)
    gap.backward()
    assert gap == 0 and not features.grad.any()


@pytest.mark.parametrize("method", [IDM, M3D, HDD])
def test_a_step_goes_down_the_loss(method, toy_data, toy_context):
    method = method(iterations=1, learning_rate=1e-3, **CHEAP)
    network = new_network("convnet_d3", toy_data.info, seed=3).requires_grad_(False)
    real = normalize(toy_data.images[:4], toy_data.info)
    own = normalize(toy_data.images[4:5], toy_data.info)
    view = sample_augmentation(1, torch.Generator().manual_seed(4), flip=True)
    losses = []
    for _ in range(3):
        own = own.detach().requires_grad_()
        loss = method.loss(Stub(network, 10.0), 0, *method.views(view, real, own))
        (gradient,) = torch.autograd.grad(loss, [own])
        losses.append(float(loss.detach()))
        own = own - 0.05 * gradient / gradient.norm()
    assert losses == sorted(losses, reverse=True)


# --- M3D


def test_m3d_of_a_set_and_itself_is_nothing_and_of_two_sets_is_the_double_sum():
    one, other = numbers(5, 3), numbers(4, 3, seed=1)
    assert float(M3D().gap(one, one)) == pytest.approx(0, abs=1e-12)

    def mean(a, b, squared):
        return sum(math.exp(-float(((x - y) ** 2).sum()) / (2 * squared)) for x in a for y in b) / (len(a) * len(b))

    median = float(
        sorted(float(((x - y) ** 2).sum()) for x in one for y in other)[9]
    )  # the lower of the two in the middle
    by_hand = median * (mean(one, one, median) + mean(other, other, median) - 2 * mean(one, other, median))
    assert float(M3D().gap(one, other)) == pytest.approx(by_hand, rel=1e-10)


def test_m3d_with_the_linear_kernel_is_idm_and_a_wide_kernel_comes_near_it():
    one, other = numbers(5, 3), numbers(4, 3, seed=1)
    means = IDM().gap(one, other)
    assert torch.equal(M3D(kernel="linear").gap(one, other), means)
    errors = [abs(float(M3D(bandwidth=b).gap(one, other) - means)) / float(means) for b in (1.0, 1e2, 1e4)]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 1e-3
    shifted = other - other.mean(0) + one.mean(0)
    assert float(IDM().gap(one, shifted)) < 1e-20
    assert float(M3D().gap(one, shifted)) > 1e-3, "it sees more than the means"


def test_the_gradient_of_m3d_is_that_of_differences():
    one, other = numbers(5, 3), numbers(4, 3, seed=1).requires_grad_()
    squared = torch.tensor(2.0, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda points: gaussian_mmd(one, points, squared), [other])


# --- HDD


@pytest.mark.parametrize("k", [0.5, 2.4])
@pytest.mark.parametrize("onto", [project, exponential])
def test_points_and_centroids_lie_on_the_hyperboloid(onto, k):
    points = onto(numbers(6, 4), k)
    torch.testing.assert_close(product(points, points), torch.full((6,), -k, dtype=torch.float64))
    middle = centroid(points.mean(0), k)
    assert float(product(middle, middle)) == pytest.approx(-k)
    torch.testing.assert_close(centroid(points[:1].mean(0), k), points[0])


@pytest.mark.parametrize("k", [0.5, 2.4])
def test_distances_along_a_line_are_those_of_its_parameter(k):
    """``f = sqrt(k) sinh(a) e`` and ``g = sqrt(k) sinh(b) e`` are ``sqrt(k) |a - b|`` apart."""
    direction = F.normalize(numbers(1, 4), dim=1)
    a, b = 0.3, 1.7
    f, g = (math.sqrt(k) * math.sinh(x) * direction for x in (a, b))
    assert float(HDD(curvature=k, scale=7).gap(f, g)) == pytest.approx(7 * math.sqrt(k) * (b - a), rel=1e-6)
    f, g = (math.sqrt(k) * x * direction for x in (a, b))
    gap = HDD(map="exp", curvature=k, scale=7).gap(f, g)
    assert float(gap) == pytest.approx(7 * math.sqrt(k) * (b - a), rel=1e-6)


def test_the_larger_k_is_the_nearer_hdd_comes_to_the_distance_of_means():
    one, other = numbers(5, 3), numbers(4, 3, seed=1)
    length = float((one.mean(0) - other.mean(0)).norm())
    errors = [abs(float(HDD(scale=1, curvature=k).gap(one, other)) - length) / length for k in (1.0, 1e2, 1e4)]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 1e-3


@pytest.mark.parametrize("onto", ["proj", "exp"])
def test_sets_that_coincide_have_a_finite_gradient_and_others_that_of_differences(onto):
    method, one = HDD(map=onto), numbers(5, 3)
    same = one.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(method.gap(one, same), [same])
    assert torch.isfinite(gradient).all()
    assert float(gradient.abs().max()) < 1e-5
    points = numbers(4, 3, seed=1).requires_grad_()
    make = project if onto == "proj" else exponential

    def gap(features):
        middle = (centroid(make(each, 1.0).mean(0), 1.0) for each in (one, features))
        return distance(*middle, 1.0)

    assert torch.autograd.gradcheck(gap, [points])


def test_the_exponential_map_keeps_only_the_direction_of_long_vectors():
    direction = F.normalize(numbers(1, 4), dim=1)
    method = HDD(map="exp")
    assert float(method.gap(20 * direction, 30 * direction)) < 0.1  # 0 but for the digits of float64
    assert float(method.gap(2 * direction, 3 * direction)) == pytest.approx(100, rel=1e-5)


# --- the queue


@pytest.fixture
def small(toy_data, toy_context):
    growth = Growth("convnet_d3", most=5, interval=2, steps=2, batch=3, rate=0.01)
    return Queue(growth, toy_data, toy_context)


def test_the_oldest_network_leaves_first(small):
    sizes, firsts = [], []
    for iteration in range(8):
        small.drawn(iteration)
        sizes.append(len(small.learners))
        firsts.append(next(small.learners[0].network.parameters()).flatten()[0].item())
    assert sizes == [4, 4, 5, 5, 5, 5, 5, 5]
    assert firsts[0] == firsts[3] and len(set(firsts)) == 3, "the first leaves at iterations 4 and 6"


def test_two_networks_learn_and_their_accuracy_is_in_percent(small, monkeypatch):
    learner = small.drawn(0)
    assert learner.percent == 0
    before = [next(each.network.parameters()).clone() for each in small.learners]
    small.train(0)
    moved = [not torch.equal(next(e.network.parameters()), b) for e, b in zip(small.learners, before, strict=True)]
    assert sum(moved) == 2
    for each, learned in zip(small.learners, moved, strict=True):
        assert each.shown == (6 if learned else 0)
        assert each.percent == pytest.approx(100 * int(each.correct) / 6 if learned else 0)


def test_a_learner_steps_as_sgd_with_momentum_and_decay(small, toy_data):
    small.drawn(0)
    learner, rows = small.learners[1], torch.tensor([0, 5, 9])
    exact = new_network("convnet_d3", toy_data.info, seed_of(small.context.seed, "network", 1))
    weights, momentum = list(exact.parameters()), [0.0] * 20
    learner.network.train().requires_grad_(True)
    for _ in range(2):
        small._step(learner, rows)
        loss = F.cross_entropy(exact(normalize(toy_data.images[rows], toy_data.info)), toy_data.labels[rows])
        slopes = torch.autograd.grad(loss, weights)
        with torch.no_grad():
            for k, (weight, slope) in enumerate(zip(weights, slopes, strict=True)):
                momentum[k] = 0.9 * momentum[k] + slope + 5e-4 * weight
                weight -= 0.01 * momentum[k]
    for weight, expected in zip(learner.network.parameters(), weights, strict=True):
        torch.testing.assert_close(weight, expected, atol=1e-6, rtol=1e-4)


def test_the_network_that_matches_is_frozen_and_in_eval_mode(small):
    for iteration in (0, 1):
        network = small.drawn(iteration).network
        assert not network.training
        assert not any(weight.requires_grad for weight in network.parameters())
        small.train(iteration)


# --- the loop


def test_an_interrupted_run_ends_with_the_same_bytes(toy_data, toy_context, monkeypatch):
    monkeypatch.setattr(descent, "SAVE_EVERY", 2)
    method = IDM(iterations=4, interval=2, networks=3, **CHEAP)
    (unit,) = method.units(toy_data.info, 1)
    whole = method.distill(toy_data, unit, fresh(toy_context))
    resumed, steps = interrupted(lambda again: method.distill(toy_data, unit, again), toy_context, at=3)
    assert torch.equal(resumed.images, whole.images)
    assert steps == [3, 4]


def test_a_queue_goes_on_from_a_state_with_the_same_networks(toy_data, toy_context):
    one, other = (queue.Queue(IDM(**CHEAP).growth(), toy_data, toy_context) for _ in range(2))
    one.drawn(0)
    one.train(0)
    other.load_state_dict(copy.deepcopy(one.state_dict()))
    for each in (one, other):
        for iteration in (1, 2, 3):
            each.train(iteration)
    for mine, theirs in zip(one.learners, other.learners, strict=True):
        assert (mine.percent, mine.shown) == (theirs.percent, theirs.shown)
        assert all(map(torch.equal, mine.network.parameters(), theirs.network.parameters()))


def test_networks_and_views_change_with_the_iteration_and_views_with_the_class(toy_data, toy_context, monkeypatch):
    views, sample = [], cells.CellMatching.views

    def recording(self, view, real, own):
        views.append((view.group, view.samples.tolist()))
        return sample(self, view, real, own)

    monkeypatch.setattr(cells.CellMatching, "views", recording)
    monkeypatch.setattr(queue.Queue, "train", lambda self, iteration: None)
    set_of(IDM(iterations=2, **CHEAP), toy_data, toy_context, ipc=1)
    assert len(views) == 6
    assert len({str(view) for view in views}) == 6
