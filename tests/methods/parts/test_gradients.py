"""DC and DSA: the distance of gradients by hand, their steps against a slow reference, schedule and interruptions."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
import torch
from float64 import TIGHT, Captured, Smooth, apart, cross_entropy, length
from fresh import fresh, interrupted
from torch import nn

from benchmark.identity import seed_of
from benchmark.synthetic import SyntheticSet
from benchmark.vision.augment import normalize
from benchmark.vision.dsa import sample_augmentation
from benchmark.vision.models import batch_norms
from methods.dc import DC
from methods.dsa import DSA
from methods.parts import gradients
from methods.parts.gradients import row_distance, weight_gradients
from methods.parts.real import random_indices

BOTH = pytest.mark.parametrize("method", [DC, DSA])


def run(method, data, context, ipc=1):
    return SyntheticSet.merge([method.distill(data, unit, context) for unit in method.units(data.info, ipc)])


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_hand(one, other):
    """Return the distance of two lists of gradients, row by row."""
    total = 0.0
    for a, b in zip(one, other, strict=True):
        if a.dim() == 1:
            continue
        for row_a, row_b in zip(a, b, strict=True):
            total = total + 1 - (row_a * row_b).sum() / (length(row_a) * length(row_b) + 1e-6)
    return total


class TestDistance:
    def test_two_and_four_dimensions_by_hand(self):
        a, b = torch.tensor([[3.0, 4.0], [1.0, 0.0]]), torch.tensor([[4.0, 3.0], [0.0, 2.0]])
        assert float(row_distance([a], [b])) == pytest.approx((1 - 24 / 25) + 1, abs=1e-6)
        one, other = ([drawn(4, 3, seed=s), drawn(5, 2, 3, 3, seed=s + 1)] for s in (0, 2))
        assert apart(row_distance(one, other), by_hand(one, other)) < 1e-14

    @pytest.mark.parametrize("factor", [3.0, 0.2, -1.0, -7.0])
    def test_only_the_direction_of_a_row_counts(self, factor):
        gradient = [100 * drawn(4, 3), 100 * drawn(5, 2, 3, 3)]
        expected = 0.0 if factor > 0 else 2.0 * (4 + 5)
        assert float(row_distance([factor * g for g in gradient], gradient)) == pytest.approx(expected, abs=1e-6)

    def test_biases_do_not_count(self):
        weights = [drawn(4, 3), drawn(4)]
        assert row_distance(weights, [weights[0], drawn(4, seed=5)]) == row_distance([weights[0]], [weights[0]])

    def test_a_row_of_zeros_counts_one_and_has_a_finite_gradient(self):
        zero = torch.zeros(2, 3, dtype=torch.float64, requires_grad=True)
        distance = row_distance([zero], [drawn(2, 3)])
        assert distance.item() == 2
        distance.backward()
        assert zero.grad.isfinite().all()


class TestGradientInThePixels:
    """On a network without corners: at a ReLU's, central differences would be wrong."""

    @pytest.fixture
    def network(self):
        network = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Tanh(), nn.Flatten(), nn.Linear(12, 3)).double()
        with torch.no_grad():
            for number, weight in enumerate(network.parameters()):
                weight.copy_(drawn(*weight.shape, seed=number) / 2)
        return network

    def test_central_differences(self, network):
        real, images = drawn(5, 2, 4, 4, seed=8), drawn(2, 2, 4, 4, seed=9)
        target = weight_gradients(network, real, 1)

        def loss(pixels):
            return row_distance(weight_gradients(network, pixels, 1, differentiable=True), target)

        leaf = images.clone().requires_grad_()
        (slope,) = torch.autograd.grad(loss(leaf), [leaf])
        for place in itertools.product((0, 1), (0, 1), (0, 3), (1, 2)):
            shift = torch.zeros_like(images)
            shift[place] = 1e-5
            central = (loss(images + shift) - loss(images - shift)).detach() / 2e-5
            assert slope[place].item() == pytest.approx(central.item(), rel=1e-6, abs=1e-9)

    def test_none_reaches_the_real_side(self, network):
        real = drawn(5, 2, 4, 4, seed=8).requires_grad_()
        assert not any(gradient.requires_grad for gradient in weight_gradients(network, real, 1))


def small_network(arch, info, seed, norm="instance"):
    """Return a network that is smaller than any ConvNet, and without corners."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        layer = nn.BatchNorm2d(6) if norm == "batch" else nn.GroupNorm(6, 6)
        first, last = nn.Conv2d(3, 6, 5, stride=3), nn.Linear(6 * 3 * 3, info.classes)
        return nn.Sequential(first, layer, Smooth(), nn.AvgPool2d(3), nn.Flatten(), last)


@pytest.fixture(autouse=True)
def small_networks(monkeypatch):
    monkeypatch.setattr(gradients, "new_network", small_network)


@pytest.fixture
def float64(monkeypatch):
    read, start = gradients.from_data, gradients._Course._start
    monkeypatch.setattr(gradients, "from_data", lambda *given: lambda rows: read(*given)(rows).double())
    monkeypatch.setattr(gradients, "new_network", lambda *given, **options: small_network(*given, **options).double())
    monkeypatch.setattr(gradients._Course, "_start", lambda self: start(self).double())


class Reference:
    """The outer steps of a method from its formula, in float64: class by class, with the training written out."""

    def __init__(self, method, data, context, ipc):
        self.method, self.data, self.context, self.ipc = method, data, context, ipc
        if method.start == "real":
            rows = random_indices(data, (0, 1, 2), tuple(range(ipc)), context)
            self.images = normalize(data.read(rows), data.info).double()
        else:
            self.images = torch.randn(3 * ipc, 3, 32, 32, generator=context.generator("start")).double()
        seed = seed_of(context.seed, "network", 0)
        self.network = small_network(method.arch, data.info, seed).double()
        self.weights = list(self.network.parameters())

    def step(self, number):
        """Return the loss and its gradient in the images."""
        images, loss = self.images.clone().requires_grad_(), 0.0
        for label in range(3):
            members = self.data.indices_of(label)
            order = torch.randperm(len(members), generator=self.context.generator("real", number, label))
            real = normalize(self.data.read(members[order[: self.method.batch_real]]), self.data.info).double()
            own = images[self.ipc * label : self.ipc * (label + 1)]
            if isinstance(self.method, DSA):
                view = sample_augmentation(1, self.context.generator("view", number, label))
                real, own = (view.rows(torch.zeros(len(x), dtype=torch.int64)).apply(x) for x in (real, own))
            pulls = []
            for batch in (real, own):
                entropy = cross_entropy(self.network(batch), torch.full((len(batch),), label))
                pulls.append(torch.autograd.grad(entropy, self.weights, create_graph=True))
            loss = loss + by_hand(pulls[1], [pull.detach() for pull in pulls[0]])
        (slope,) = torch.autograd.grad(loss, [images])
        return loss.detach(), slope

    def train(self, number, epochs):
        """Train the network before an outer step."""
        generator = self.context.generator("training", number)
        labels = torch.arange(3).repeat_interleave(self.ipc)
        for _ in range(epochs):
            for rows in torch.randperm(3 * self.ipc, generator=generator).split(self.method.network_batch):
                batch = self.images[rows]
                if isinstance(self.method, DSA):
                    batch = sample_augmentation(len(rows), generator).apply(batch)
                pulls = torch.autograd.grad(cross_entropy(self.network(batch), labels[rows]), self.weights)
                with torch.no_grad():
                    for weight, pull in zip(self.weights, pulls, strict=True):
                        weight -= self.method.network_rate * pull


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(("method", "seed"), [(DC, 0), (DSA, 0), (DSA, 4), (DSA, 12)])
def test_two_outer_steps_are_those_of_the_formula(method, seed, toy_data, toy_context, monkeypatch):
    def capture(objective, optimizer, *rest, **options):
        (group,) = optimizer.param_groups
        (images,), rate = group["params"], group["lr"]
        first = objective(0)
        images.data = images - rate * first[1][0]
        raise Captured(first, objective(1))

    monkeypatch.setattr(gradients, "descend", capture)
    context = dataclasses.replace(toy_context, seed=seed)
    method = method(outer_steps=2, inner_epochs=2, network_batch=4, network_rate=0.05, batch_real=4)
    reference = Reference(method, toy_data, context, ipc=2)
    with pytest.raises(Captured) as caught:
        run(method, toy_data, context, ipc=2)
    for number, (loss, (gradient,)) in enumerate(caught.value.args):
        if number:
            reference.images = reference.images - method.learning_rate * slope  # noqa: F821, from the first turn
            reference.train(number, epochs=2)
        exact, slope = reference.step(number)
        assert apart(loss, exact) < TIGHT
        assert apart(gradient, slope) < TIGHT


def test_steps_and_epochs_are_those_of_the_code_at_its_ipc():
    published = {1: (1, 1), 10: (10, 50), 20: (20, 25), 30: (30, 20), 40: (40, 15), 50: (50, 10)}
    assert {ipc: DC().schedule(ipc) for ipc in published} == published
    assert [DC().schedule(ipc) for ipc in (2, 5, 100)] == [(2, 250), (5, 100), (50, 10)]
    assert DC(outer_steps=3, inner_epochs=0).schedule(10) == (3, 0)
    assert DC(outer_steps=3).schedule(10) == (3, 50)


@BOTH
def test_a_network_is_new_in_every_iteration_and_trains_between_outer_steps(method, toy_data, toy_context, monkeypatch):
    events, course = [], gradients._Course
    seeds, train = course._new_network, course._train
    monkeypatch.setattr(course, "_new_network", lambda self, i: events.append(f"new {i}") or seeds(self, i))
    monkeypatch.setattr(course, "_train", lambda self, step: events.append(f"train {step}") or train(self, step))
    run(method(iterations=2, outer_steps=3, inner_epochs=1, batch_real=1), toy_data, toy_context)
    assert events[1:] == ["new 0", "train 1", "train 2", "new 1", "train 4", "train 5"]


def test_some_classes_of_a_step_leave_the_others_alone(toy_data, toy_context):
    method = DSA(iterations=1, classes_per_step=1)
    result = run(method, toy_data, toy_context).images
    start = toy_data.read(random_indices(toy_data, (0, 1, 2), (0,), toy_context)) / 255
    changed = [not torch.allclose(a, b, atol=1e-6) for a, b in zip(result, start, strict=True)]
    assert sum(changed) == 1


def test_batch_norms_see_real_images_before_every_outer_step(toy_data, toy_context, monkeypatch):
    method = DSA(iterations=1, outer_steps=2, inner_epochs=1, batch_real=2)
    (unit,) = method.units(toy_data.info, 1)
    course, settled = gradients._Course(method, toy_data, unit, toy_context), []
    monkeypatch.setattr(course, "_settle", settled.append)
    course.objective(0)
    course.objective(1)
    assert settled == [0, 1]


def test_batch_norms_see_real_images_of_all_classes_and_are_then_fixed(toy_data, toy_context, monkeypatch):
    monkeypatch.setattr(gradients, "SETTLING", 4)
    method = DSA(iterations=1, norm="batch")
    (unit,) = method.units(toy_data.info, 1)
    course = gradients._Course(method, toy_data, unit, toy_context)
    seen, first = [], batch_norms(course.network)[0]
    first.register_forward_hook(lambda norm, inputs, output: seen.append((inputs[0].detach(), norm.training)))
    course._settle(0)
    (inputs, training) = seen[0]
    assert training and len(inputs) == 4 * 3
    assert torch.allclose(first.running_mean, 0.1 * inputs.mean((0, 2, 3)), atol=1e-6)
    course._match(0, course.images[:1], 0)
    assert not seen[-1][1], "matching leaves the statistics alone"
    course._train(1)
    assert seen[-1][1]


@BOTH
def test_an_interrupted_run_ends_with_the_same_bytes(method, toy_data, toy_context, monkeypatch):
    monkeypatch.setattr(gradients, "SAVE_EVERY", 5)  # steps, of which two make an iteration
    method = method(iterations=4, outer_steps=2, inner_epochs=1, batch_real=2)
    whole = run(method, toy_data, fresh(toy_context))
    resumed, steps = interrupted(lambda again: run(method, toy_data, again), toy_context, at=5)
    assert steps == [5, 6, 7, 8], "it went on after a whole iteration"
    assert torch.equal(whole.images, resumed.images)
    assert whole.metadata == resumed.metadata


@BOTH
def test_images_start_as_in_the_code(method, toy_data, toy_context, monkeypatch):
    monkeypatch.setattr(gradients, "row_distance", lambda one, other: 0 * sum(g.sum() for g in one))
    result = run(method(iterations=1), toy_data, toy_context).images
    if method is DSA:
        start = toy_data.read(random_indices(toy_data, (0, 1, 2), (0,), toy_context))
        assert torch.allclose(result, start / 255, atol=1e-6)
    else:
        noise = normalize(result, toy_data.info)
        assert abs(noise.mean()) < 0.05 and abs(noise.std() - 1) < 0.05


def test_what_it_cannot_do_is_said(toy_info):
    assert "class 'green' of toy has 11 training images" in DSA().supports(toy_info, 12)
    assert DC().supports(toy_info, 12) is None, "noise needs no real image to start from"
    many = toy_info.model_copy(update={"train_counts": (12,) * 201, "class_names": tuple(map(str, range(201)))})
    assert "201 classes" in DSA().supports(many, 1)
