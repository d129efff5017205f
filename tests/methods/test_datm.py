"""TESLA, FTD and DATM: gradients, the experts' step, windows, starts and labels against the formulas, in float64."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from float64 import TIGHT, apart
from fresh import fresh, interrupted
from pydantic import ValidationError
from torch import nn

from benchmark.errors import BenchmarkError
from benchmark.plan import discovery, recipes
from benchmark.run.returned import check
from benchmark.synthetic import CLASSES, SyntheticSet
from benchmark.vision.augment import normalize
from benchmark.vision.dsa import Augmentation
from methods import datm, mtt
from methods.datm import DATM, first_labels
from methods.ftd import FTD
from methods.mtt import MTT, Learner
from methods.parts import descent
from methods.parts.experts import Experts, flat_weights, new_network
from methods.parts.flat_experts import FlatExperts, flat_direction
from methods.parts.real import random_indices
from methods.parts.unroll import detached, recomputed, unrolled
from methods.tesla import TESLA

SMALL = {"inner_steps": 2, "start_epochs": 1, "expert_span": 1, "experts": 2, "expert_epochs": 2, "expert_batch": 12}


class Steps:
    """Training of a two-layer network on six images with learned labels, in float64; its gradients are written out."""

    def __init__(self, steps):
        generator = torch.Generator().manual_seed(0)

        def normal(*shape):
            return torch.randn(shape, generator=generator, dtype=torch.float64)

        self.images, self.labels = normal(6, 2, 4, 4).requires_grad_(), normal(6, 3).requires_grad_()
        self.rho = torch.tensor(math.log(0.3), dtype=torch.float64, requires_grad=True)
        network = nn.Sequential(nn.Flatten(), nn.Linear(32, 5), nn.Tanh(), nn.Linear(5, 3)).double()
        self.start = normal(sum(weight.numel() for weight in network.parameters())) / 3
        self.target = self.start + 0.1 * normal(*self.start.shape)
        self.learner, self.steps = Learner(network, torch.zeros(6, dtype=torch.int64)), steps
        uniform = [torch.rand(4, 3, generator=generator) for _ in range(3)]
        views = [Augmentation(group, u) for group, u in zip(("color", "scale", "flip"), uniform, strict=True)]
        rows = [torch.randperm(6, generator=generator)[:4] for _ in range(3)]
        self.batches = list(zip(rows, views, strict=True))[:steps]

    @property
    def learned(self):
        return [self.images, self.rho, self.labels]

    def by(self, gradients):
        def step(index, weights, learned):
            return self.learner.step(weights, learned, self.batches[index])

        return gradients(step, self.start, self.target, self.learned, self.steps)

    def gradient(self, weights, batch):
        """Return the gradient [P] of the cross-entropy: the backward pass of the network, written out."""
        rows, view = batch
        x, truth = view.apply(self.images[rows]).flatten(1), torch.exp(self.labels[rows])
        truth = truth / truth.sum(1, keepdim=True)
        w1, b1, w2, b2 = (part.view(s) for part, s in zip(weights.split([160, 5, 15, 3]), SHAPES, strict=True))
        hidden = torch.tanh(x @ w1.T + b1)
        scores = torch.exp(hidden @ w2.T + b2)
        error = (scores / scores.sum(1, keepdim=True) - truth) / len(rows)
        back = (error @ w2) * (1 - hidden**2)
        return torch.cat([(back.T @ x).flatten(), back.sum(0), (error.T @ hidden).flatten(), error.sum(0)])

    def whole(self):
        """Return the loss, with a graph through all steps."""
        weights, alpha = self.start, self.rho.exp()
        for batch in self.batches:
            weights = weights - alpha * self.gradient(weights, batch)
        return ((weights - self.target) ** 2).sum() / ((self.start - self.target) ** 2).sum()

    def tesla(self):
        """Return loss and gradients by the formulas of TESLA: theta_i are numbers, and so is G in that of alpha."""
        alpha, thetas = self.rho.exp().detach(), [self.start]
        slopes = [self.gradient(thetas[-1], batch).detach() for batch in self.batches[:1]]
        for batch in self.batches[1:]:
            thetas.append(thetas[-1] - alpha * slopes[-1])
            slopes.append(self.gradient(thetas[-1], batch).detach())
        total, scale = sum(slopes), ((self.start - self.target) ** 2).sum()
        factor = 2 * (alpha * (self.target - self.start) + alpha**2 * total) / scale
        products = sum(factor @ self.gradient(theta, batch) for theta, batch in zip(thetas, self.batches, strict=True))
        images, labels = torch.autograd.grad(products, [self.images, self.labels])
        free = self.rho.exp()
        loss = ((self.start - free * total - self.target) ** 2).sum() / scale
        return loss, [images, torch.autograd.grad(loss, self.rho)[0], labels]


SHAPES = [(5, 32), (5,), (3, 5), (3,)]


class TestTesla:
    @pytest.mark.parametrize("steps", [1, 3])
    def test_gradients_in_images_step_size_and_labels_are_those_of_the_formula(self, steps):
        tiny = Steps(steps)
        loss, result = tiny.by(detached)
        exact, wanted = tiny.tesla()
        assert apart(loss, exact.detach()) < 1e-12
        assert [apart(a, b) < 1e-10 for a, b in zip(result, wanted, strict=True)] == [True] * 3

    def test_one_step_has_the_gradients_of_mtt_and_three_steps_have_not(self):
        for steps, equal in ((1, True), (3, False)):
            tiny = Steps(steps)
            loss, result = tiny.by(detached)
            whole = tiny.whole()
            wanted = torch.autograd.grad(whole, tiny.learned)
            assert apart(loss, whole.detach()) < 1e-12, "the loss is exact"
            assert [apart(a, b) < 1e-10 for a, b in zip(result, wanted, strict=True)] == [equal] * 3
            assert equal or all(apart(a, b) > 1e-3 for a, b in zip(result, wanted, strict=True))

    @pytest.mark.parametrize("gradients", [unrolled, recomputed])
    def test_mtt_has_the_gradients_of_learned_labels(self, gradients):
        tiny = Steps(3)
        loss, result = tiny.by(gradients)
        whole = tiny.whole()
        assert apart(loss, whole.detach()) < 1e-12
        for a, b in zip(result, torch.autograd.grad(whole, tiny.learned), strict=True):
            assert apart(a, b) < 1e-10
            assert b.norm() > 0

    def test_the_method_is_mtt_with_another_gradient(self):
        fields = {name: field.default for name, field in TESLA.model_fields.items()}
        assert {**fields, "memory": "constant"} == {name: field.default for name, field in MTT.model_fields.items()}
        assert mtt.GRADIENTS[TESLA().memory] is detached
        assert TESLA.name() == "tesla"

    def test_a_thousand_classes_are_affordable_at_64_pixels(self, toy_info):
        names = tuple(map(str, range(1000)))
        many = toy_info.model_copy(update={"class_names": names, "train_counts": (50,) * 1000, "resolution": 64})
        assert TESLA().supports(many, 1) is None
        assert "infeasible" in MTT().supports(many, 1)
        assert "infeasible" in TESLA().supports(many.model_copy(update={"resolution": 224}), 1)


class Valley:
    """A small network with a loss, in float64."""

    def __init__(self):
        generator = torch.Generator().manual_seed(3)
        self.weights = [
            torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_() for shape in ((6, 4), (4,))
        ]
        self.x = torch.randn(9, 6, generator=generator, dtype=torch.float64)

    def loss(self):
        return (torch.tanh(self.x @ self.weights[0] + self.weights[1]) ** 2).mean() + self.weights[1].exp().sum()

    def gradient(self, at):
        """Return the gradient at other weights, as one vector."""
        w, b = (part.view(shape) for part, shape in zip(at.split([24, 4]), ((6, 4), (4,)), strict=True))
        out = torch.tanh(self.x @ w + b)
        back = 2 * out * (1 - out**2) / out.numel()
        return torch.cat([(self.x.T @ back).flatten(), back.sum(0) + b.exp()])

    @property
    def flat(self):
        return torch.cat([weight.detach().flatten() for weight in self.weights])

    def direction(self, radius, flatness):
        return torch.cat([part.flatten() for part in flat_direction(self.weights, self.loss, radius, flatness)])


class TestFlatExperts:
    def test_the_direction_is_that_of_the_formula_and_the_weights_are_restored(self):
        valley, rho, alpha = Valley(), 0.5, 0.3
        w = valley.flat
        g = valley.gradient(w)
        e = rho * w**2 * g / (torch.linalg.vector_norm(w.abs() * g) + 1e-12)
        ahead = valley.gradient(w + e)
        cosine = (g @ ahead) / (g.norm() * ahead.norm())
        across = g - cosine * g.norm() * ahead / ahead.norm()
        assert apart(valley.direction(rho, alpha), ahead - alpha * across) < 1e-12
        assert torch.equal(valley.flat, w)
        assert all(weight.requires_grad and weight.grad is None for weight in valley.weights)

    def test_what_is_taken_away_is_orthogonal_to_the_gradient_ahead(self):
        valley = Valley()
        ahead = valley.direction(0.5, 0.0)
        across = ahead - valley.direction(0.5, 1.0)
        assert abs(across @ ahead) < 1e-12 * ahead.norm() ** 2
        assert across.norm() > 1e-3 * ahead.norm()

    def test_a_small_radius_gives_the_plain_gradient(self):
        valley = Valley()
        plain = valley.gradient(valley.flat)
        gaps = [apart(valley.direction(radius, 0.3), plain) for radius in (0.1, 0.01, 0.001)]
        assert gaps[0] > 5 * gaps[1] > 25 * gaps[2] > 0, "linear in the radius"
        assert apart(valley.direction(0.0, 0.3), plain) < 1e-12

    def test_experts_take_this_step_on_the_views_of_plain_experts(self, toy_data, toy_context):
        data, fields = small_images(toy_data), {"experts": 1, "epochs": 1, "batch_size": 36, "learning_rate": 0.5}
        plain = Experts(**fields).prepare(data, fresh(toy_context))["trajectories"][0]
        unmoved = FlatExperts(**fields, radius=0.0).prepare(data, fresh(toy_context))["trajectories"][0]
        assert apart(unmoved, plain) < TIGHT
        flat = FlatExperts(**fields, radius=0.1).prepare(data, fresh(toy_context))["trajectories"][0]
        assert torch.equal(flat[0], plain[0]), "the same first weights"
        assert apart(flat[1] - flat[0], plain[1] - plain[0]) > 1e-2

    def test_ftd_and_datm_share_the_experts_of_digits_at_every_ipc(self, toy_info):
        made = [
            recipes.resolve_method(name, "digits", ipc, {}).preparation(toy_info)
            for name in ("ftd", "datm")
            for ipc in (1, 10)
        ]
        assert len(set(made)) == 1
        assert made[0].name() == "flat_experts"
        assert discovery.load_preparation("flat_experts") is FlatExperts


def small_images(data):
    """Return the toy data at 8 px."""
    info = data.info.model_copy(update={"resolution": 8})
    return type(data)(info, data.images[:, :, ::4, ::4].contiguous(), data.labels)


@pytest.fixture
def data(toy_data):
    return small_images(toy_data)


@pytest.fixture
def context(data, toy_context):
    """Trajectories of random weights: what is tested here does not ask where they come from."""
    weights = [flat_weights(new_network("convnet_d3", data.info, seed=seed)) for seed in range(6)]
    return dataclasses.replace(toy_context, prepared={"trajectories": torch.stack(weights).view(2, 3, -1)})


def run(method, data, context, ipc=2):
    (unit,) = method.units(data.info, ipc)
    return check(method.distill(data, unit, context), method, unit, data.info)


def scripted(losses):
    """Return a gradient that is 1 everywhere, with given losses."""
    left = iter(losses)

    def gradients(step, start, target, learned, steps):
        return torch.tensor(next(left)), tuple(torch.ones_like(tensor) for tensor in learned)

    return gradients


class TestFTD:
    def test_the_set_is_the_average_of_the_images(self, data, context, monkeypatch):
        monkeypatch.setitem(mtt.GRADIENTS, "constant", scripted([0.5] * 3))
        images = run(FTD(**SMALL, iterations=3, ema=0.8, learning_rate=1.0, momentum=0.5), data, context).images
        position, speed, average = 0.0, 0.0, 0.0
        for _ in range(3):
            speed = 0.5 * speed + 1.0
            position -= speed
            average = 0.8 * average + 0.2 * position
        start = data.read(random_indices(data, (0, 1, 2), (0, 1), context)) / 255
        assert torch.allclose(images, start + 0.25 * average, atol=1e-6)

    def test_without_an_average_it_is_mtt(self, data, context):
        plain, flat = MTT(**SMALL, iterations=2), FTD(**SMALL, iterations=2, ema=0.0)
        assert torch.equal(run(plain, data, context).images, run(flat, data, fresh(context)).images)


class TestWindow:
    def test_it_grows_from_t0_to_the_last_start(self):
        method = DATM(first_start=2, early_epochs=10, start_epochs=21, growth=1000)
        assert [method.starts(i) for i in (0, 90, 91, 1000, 2000)] == [(2, 10), (2, 10), (2, 11), (2, 21), (2, 21)]
        fixed = DATM(first_start=2, start_epochs=21)
        assert [fixed.starts(i) for i in (0, 1000)] == [(2, 21)] * 2
        assert MTT(start_epochs=4).starts(17) == (0, 4)

    def test_stretches_start_inside(self, toy_context):
        epochs = torch.arange(12.0).view(1, 12, 1)
        context = dataclasses.replace(toy_context, prepared={"trajectories": epochs})
        method = DATM(first_start=3, early_epochs=5, start_epochs=9, growth=10, expert_epochs=11)
        drawn = [{int(method._stretch(i, context)[0]) for i in range(a, b)} for a, b in ((0, 2), (10, 200))]
        assert drawn[0] <= {3, 4}
        assert drawn[1] == set(range(3, 9))

    @pytest.mark.parametrize(("first", "early"), [(5, 5), (0, 30), (20, None)])
    def test_an_empty_window_is_refused(self, first, early):
        with pytest.raises(ValidationError, match="first_start < early_epochs <= start_epochs does not hold"):
            DATM(first_start=first, early_epochs=early, start_epochs=20)


class TestThreshold:
    METHOD = DATM(**SMALL, iterations=3, learning_rate=1.0, momentum=0.5, label_rate=0.1, step_size_rate=0.0)

    def test_an_iteration_above_it_changes_nothing(self, data, context, monkeypatch):
        start = run(self.METHOD.model_copy(update={"iterations": 0}), data, context)
        monkeypatch.setitem(mtt.GRADIENTS, "constant", scripted([1.0, 1.01, 0.5]))
        result = run(self.METHOD, data, context)
        assert torch.allclose(result.images, start.images - 0.25 * (1 + 1.5), atol=1e-6), "nor the momentum"
        assert result.metadata["steps"] == 2

    def test_labels_have_their_own_momentum_and_alpha_moves_too(self, data, context, monkeypatch):
        method = self.METHOD.model_copy(update={"step_size_rate": 1e-5})
        start = run(method.model_copy(update={"iterations": 0}), data, context)

        def gradients(step, first, target, learned, steps):
            return torch.tensor(0.5), (torch.zeros_like(learned[0]), torch.ones(()), torch.eye(3).repeat(2, 1))

        monkeypatch.setitem(mtt.GRADIENTS, "constant", gradients)
        result = run(method, data, context)
        moved = start.targets.log() - 0.1 * (1 + 1.9 + 2.71) * torch.eye(3).repeat(2, 1)
        assert torch.allclose(result.targets, moved.softmax(1), atol=1e-6)
        assert result.metadata["step_size"] == pytest.approx(0.01 * math.exp(-0.1 * (1 + 1.5 + 1.75)))
        assert torch.equal(result.images, start.images)

    def test_a_run_that_learned_nothing_fails(self, data, context, monkeypatch):
        monkeypatch.setitem(mtt.GRADIENTS, "constant", scripted([1.5] * 3))
        with pytest.raises(BenchmarkError, match=r"datm-0: the loss never fell to the threshold.* raise threshold"):
            run(self.METHOD, data, context)


class Table:
    """A learner whose weights are a table of logits by image; the first pixel of an image is its number."""

    labels = torch.tensor([0, 1, 2])

    def logits(self, weights, images):
        return weights[images[:, 0, 0, 0].round().long()]


class TestStart:
    def test_experts_choose_what_they_get_right_in_the_order_of_the_scan(self, data, context, monkeypatch):
        """Expert 0 is right on two images of class 1, expert 1 on three more: then come images that both get wrong."""
        monkeypatch.setattr(datm, "CHUNK", 4)
        monkeypatch.setattr(datm, "normalize", lambda images, info: images.float())
        data.images[:, 0, 0, 0] = torch.arange(len(data.images))
        members = data.indices_of(1)
        scan = members[torch.randperm(len(members), generator=context.generator("choice", 1))].tolist()
        right = [{scan[9], scan[3]}, {scan[3], scan[10], scan[0], scan[6]}]
        experts = torch.zeros(2, 2, len(data.images), 3)
        for expert, rows in enumerate(right):
            experts[expert, -1, sorted(rows), 1] = 1.0
        context = dataclasses.replace(context, prepared={"trajectories": experts})
        chosen = {n: DATM()._right(data, 1, tuple(range(n)), Table(), context).tolist() for n in (1, 2, 5, 7)}
        order = [scan[3], scan[9], scan[0], scan[6], scan[10]]
        assert chosen == {1: order[:1], 2: order[:2], 5: order, 7: [*order, scan[1], scan[2]]}

    def test_labels_are_the_mean_logits_of_those_who_are_right(self):
        images = torch.arange(3.0).view(3, 1, 1, 1)
        one = torch.tensor([[3.0, 1.0, 0.0], [0.0, 5.0, 1.0], [2.0, 0.0, 1.0]])
        two = torch.tensor([[5.0, 0.0, 4.0], [9.0, 5.0, 1.0], [0.0, 2.0, 1.0]])
        labels = first_labels(iter([one, two]), images, Table())
        assert labels[:2].tolist() == [[4.0, 0.5, 2.0], [0.0, 5.0, 1.0]]
        assert labels[2].softmax(0).tolist() == pytest.approx([0.05, 0.05, 0.9]), "nobody is right"

    def test_the_start_is_real_images_with_the_labels_of_experts(self, data, context):
        method = DATM(**SMALL, iterations=0)
        result = run(method, data, context)
        real = {image.numpy().tobytes() for image in data.images}
        assert all(image.numpy().tobytes() in real for image in (result.images * 255).round().to(torch.uint8))
        learner = Learner(new_network("convnet_d3", data.info, seed=0), torch.tensor([0, 0, 1, 1, 2, 2]))
        experts = iter(context.prepared["trajectories"][:, -1])
        images = normalize((result.images * 255).round().to(torch.uint8), data.info)
        assert torch.allclose(result.targets, first_labels(experts, images, learner).softmax(1), atol=1e-5)
        assert dict(result.metadata) == {"step_size": pytest.approx(0.01), "steps": 0}

    def test_a_class_stays_where_a_label_says_another(self, data, context, monkeypatch, tmp_path):
        def gradients(step, start, target, learned, steps):
            return torch.tensor(0.5), (*map(torch.zeros_like, learned[:2]), torch.tensor([9.0, 0, -9]).expand(6, 3))

        monkeypatch.setitem(mtt.GRADIENTS, "constant", gradients)
        result = run(DATM(**SMALL, iterations=3), data, context)
        assert result.targets.argmax(1).tolist() == [2] * 6
        assert torch.allclose(result.targets.sum(1), torch.ones(6))
        result.save(tmp_path / "set")
        for copy in (result, SyntheticSet.load(tmp_path / "set"), SyntheticSet.merge([result, result])):
            assert torch.equal(copy.classes, copy.classes.sort().values)
            assert torch.bincount(copy.classes).tolist() == [len(copy) // 3] * 3
            assert torch.equal(copy.extras[CLASSES], copy.classes)


@pytest.mark.parametrize(
    "method",
    [
        DATM(**SMALL, iterations=4, threshold=1e6, ema=0.5),
        FTD(**SMALL, iterations=4),
        TESLA(**SMALL, iterations=4),
    ],
    ids=["datm", "ftd", "tesla"],
)
def test_an_interrupted_run_ends_with_the_same_bytes(method, data, context, monkeypatch):
    monkeypatch.setattr(descent, "SAVE_EVERY", 2)
    whole = run(method, data, fresh(context))
    resumed, steps = interrupted(lambda again: run(method, data, again), context, at=3)
    assert steps == [3, 4], "it went on after the last save"
    assert torch.equal(whole.images, resumed.images)
    assert torch.equal(whole.targets, resumed.targets)
    assert whole.metadata == resumed.metadata
