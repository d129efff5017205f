"""MTT: its loss and gradients against training unrolled by hand, its experts, and the errors it raises."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from float64 import TIGHT, Captured, apart, cross_entropy, smooth
from fresh import fresh, interrupted
from pydantic import ValidationError
from slow_dsa import FORMULAS
from torch import nn
from torch.nn import functional as F

from benchmark.errors import BenchmarkError
from benchmark.identity import seed_of
from benchmark.plan import discovery, recipes
from benchmark.synthetic import SyntheticSet
from benchmark.vision.augment import denormalize, normalize
from benchmark.vision.dsa import Augmentation, sample_augmentation
from methods import mtt
from methods.mtt import MTT, Learner
from methods.parts import descent
from methods.parts.experts import Experts, flat_weights, new_network
from methods.parts.real import random_indices
from methods.parts.unroll import recomputed, trajectory_loss, unrolled

SMALL = {"inner_steps": 3, "start_epochs": 1, "expert_span": 1, "experts": 1, "expert_epochs": 1, "expert_batch": 12}
WAYS = pytest.mark.parametrize("gradients", [unrolled, recomputed])


@pytest.fixture
def context(toy_data, toy_context):
    prepared = MTT(**SMALL).preparation(toy_data.info).prepare(toy_data, toy_context)
    return dataclasses.replace(toy_context, prepared=prepared)


def run(method, data, context, ipc=1):
    return SyntheticSet.merge([method.distill(data, unit, context) for unit in method.units(data.info, ipc)])


class Tiny:
    """A two-layer network, six images and three inner steps in float64, small enough to be unrolled by hand."""

    steps = 3

    def __init__(self):
        generator = torch.Generator().manual_seed(0)
        self.labels = torch.tensor([0, 0, 1, 1, 2, 2])
        self.images = torch.randn(6, 2, 4, 4, generator=generator, dtype=torch.float64).requires_grad_()
        self.rho = torch.tensor(math.log(0.3), dtype=torch.float64, requires_grad=True)
        network = nn.Sequential(nn.Flatten(), nn.Linear(32, 5), nn.Tanh(), nn.Linear(5, 3)).double()
        with torch.no_grad():
            for weight in network.parameters():
                weight.copy_(torch.randn(weight.shape, generator=generator, dtype=torch.float64) / 3)
        self.network, self.learner = network, Learner(network, self.labels)
        self.start = flat_weights(network)
        self.target = self.start + 0.1 * torch.randn(self.start.shape, generator=generator, dtype=torch.float64)
        self.batches = [
            (torch.tensor([2, 0, 5, 3]), Augmentation("color", torch.rand(4, 3, generator=generator))),
            (torch.tensor([1, 4]), Augmentation("scale", torch.rand(2, 3, generator=generator))),
            (torch.tensor([5, 1, 0]), Augmentation("flip", torch.rand(3, 3, generator=generator))),
        ]

    def step(self, index, weights, learned):
        return self.learner.step(weights, learned, self.batches[index])

    def by_hand(self):
        """Return the loss with the backward pass of the network written out: no autograd inside the loop."""
        w1, b1, w2, b2 = (p.detach().clone() for p in self.network.parameters())
        alpha = self.rho.exp()
        for rows, view in self.batches:
            x, truth = view.apply(self.images[rows]).flatten(1), F.one_hot(self.labels[rows], 3).double()
            hidden = torch.tanh(x @ w1.T + b1)
            logits = hidden @ w2.T + b2
            error = (torch.exp(logits) / torch.exp(logits).sum(1, keepdim=True) - truth) / len(rows)
            back = (error @ w2) * (1 - hidden**2)
            w1, b1, w2, b2 = (
                w1 - alpha * back.T @ x,
                b1 - alpha * back.sum(0),
                w2 - alpha * error.T @ hidden,
                b2 - alpha * error.sum(0),
            )
        end = torch.cat([w1.flatten(), b1, w2.flatten(), b2])
        return ((end - self.target) ** 2).sum() / ((self.start - self.target) ** 2).sum()


@WAYS
def test_loss_and_gradients_are_those_of_training_by_hand(gradients):
    tiny = Tiny()
    expected = tiny.by_hand()
    wanted = torch.autograd.grad(expected, [tiny.images, tiny.rho])
    loss, result = gradients(tiny.step, tiny.start, tiny.target, [tiny.images, tiny.rho], tiny.steps)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-9)
    for a, b in zip(result, wanted, strict=True):
        assert a.shape == b.shape
        assert (a - b).norm() <= 1e-9 * b.norm()
        assert b.norm() > 0


def test_both_memories_give_equal_gradients_through_a_convnet(toy_info):
    generator = torch.Generator().manual_seed(1)
    network = new_network("convnet_d3", toy_info, seed=1).double()
    learner = Learner(network, torch.tensor([0, 1, 2]))
    images = torch.randn(3, 3, 32, 32, generator=generator, dtype=torch.float64).requires_grad_()
    rho = torch.tensor(-3.0, dtype=torch.float64, requires_grad=True)
    views = [sample_augmentation(3, generator) for _ in range(4)]
    start = flat_weights(network)
    target = start + 0.01 * torch.randn(start.shape, generator=generator, dtype=torch.float64)

    def step(index, weights, learned):
        return learner.step(weights, learned, (torch.tensor([2, 0, 1]), views[index]))

    (loss, whole), (again, parts) = (way(step, start, target, [images, rho], 4) for way in (unrolled, recomputed))
    assert loss.item() == pytest.approx(again.item(), rel=1e-9)
    for a, b in zip(whole, parts, strict=True):
        assert (a - b).norm() <= 1e-4 * a.norm()
        assert a.norm() > 0


@WAYS
def test_loss_is_0_at_the_target_1_without_a_step_and_counts_squares(gradients):
    tiny = Tiny()
    learned = [tiny.images, tiny.rho]
    end = tiny.start
    for index in range(tiny.steps):
        end = tiny.step(index, end.detach().requires_grad_(), learned).detach()
    loss, result = gradients(tiny.step, tiny.start, end, learned, tiny.steps)
    assert loss.item() < 1e-20
    assert all(gradient.abs().max() < 1e-9 for gradient in result)
    start, target = torch.zeros(4), torch.ones(4)
    assert trajectory_loss(start, start, target) == 1
    assert trajectory_loss(3 * target, start, target) == 4


def test_constant_memory_holds_one_graph_at_a_time():
    """Counted in tensors that autograd saves and that are alive at the same time."""

    def most_alive(gradients, steps):
        tiny, alive, most = Tiny(), 0, 0

        class Saved:
            def __init__(self, tensor):
                nonlocal alive, most
                self.tensor, alive = tensor, alive + 1
                most = max(most, alive)

            def __del__(self):
                nonlocal alive
                alive -= 1

        def step(index, weights, learned):
            return tiny.step(index % 3, weights, learned)

        with torch.autograd.graph.saved_tensors_hooks(Saved, lambda saved: saved.tensor):
            gradients(step, tiny.start, tiny.target, [tiny.images, tiny.rho], steps)
        return most

    assert most_alive(unrolled, 24) > 3 * most_alive(unrolled, 6)
    assert most_alive(recomputed, 24) == most_alive(recomputed, 6)


def small_images(data):
    """Return the toy data at 8 px, where augmentation pixel by pixel is quick."""
    info = data.info.model_copy(update={"resolution": 8})
    return type(data)(info, data.images[:, :, ::4, ::4].contiguous(), data.labels)


def slow_logits(weights, images):
    """Return the logits of a smooth ConvNet of three blocks, written out; its weights come block by block."""
    out = images
    for kernel, bias, scale, shift in zip(*(weights[i:-2:4] for i in range(4)), strict=True):
        patches = F.unfold(out, 3, padding=1)  # [n, 9 C, pixels]
        maps = torch.einsum("of,nfp->nop", kernel.flatten(1), patches) + bias.view(1, -1, 1)
        centred = maps - maps.mean(2, keepdim=True)
        normed = centred / ((centred**2).mean(2, keepdim=True) + 1e-5).sqrt()
        rough = torch.log1p(torch.exp(normed * scale.view(1, -1, 1) + shift.view(1, -1, 1)))
        half = rough.view(len(images), -1, out.shape[2] // 2, 2, out.shape[3] // 2, 2)
        out = half.mean((3, 5))
    return out.flatten(1) @ weights[-2].T + weights[-1]


def slow_trajectory_loss(network, ends, images, alpha, batches, labels):
    """Return the loss of MTT: training on augmented images written out, with a gradient through all of it."""
    sizes = [weight.numel() for weight in network.parameters()]
    shapes = [weight.shape for weight in network.parameters()]
    start, target = (end.double() for end in ends)
    weights = [part.view(shape).requires_grad_() for part, shape in zip(start.split(sizes), shapes, strict=True)]
    for rows, view in batches:
        samples = view.samples.double().tolist()
        views = [FORMULAS[view.group](images[row], u) for row, u in zip(rows.tolist(), samples, strict=True)]
        loss = cross_entropy(slow_logits(weights, torch.stack(views)), labels[rows])
        slopes = torch.autograd.grad(loss, weights, create_graph=True)
        weights = [weight - alpha * slope for weight, slope in zip(weights, slopes, strict=True)]
    end = torch.cat([weight.flatten() for weight in weights])
    return ((end - target) ** 2).sum() / ((start - target) ** 2).sum()


@pytest.mark.parametrize(("precision", "bound"), [(torch.float64, TIGHT), (torch.float32, 1e-3)])
@pytest.mark.parametrize("memory", ["constant", "unrolled"])
def test_the_first_loss_and_its_gradients_are_those_of_the_formula(
    memory, precision, bound, toy_data, toy_context, monkeypatch
):
    """Through twelve steps on augmented images, of all six groups, from an expert's weights.

    In float32 the loss is as near; the gradient is within 3e-4, since it passes twelve steps and norms of 2 x 2 pixels.
    """
    data = small_images(toy_data)
    method = MTT(**SMALL | {"inner_steps": 12}, memory=memory, step_size=0.01)
    trajectories = method.preparation(data.info).prepare(data, toy_context)["trajectories"]
    context = dataclasses.replace(toy_context, prepared={"trajectories": trajectories.to(precision)})

    def capture(objective, *given, **options):
        raise Captured(*objective(0))

    def network(*given, **options):
        return smooth(new_network(*given, **options)).to(precision)

    monkeypatch.setattr(mtt, "descend", capture)
    monkeypatch.setattr(mtt, "new_network", network)
    monkeypatch.setattr(mtt, "normalize", lambda *given: normalize(*given).to(precision))
    with pytest.raises(Captured) as caught:
        run(method, data, context, ipc=2)
    loss, (pixels, slope) = caught.value.args

    start = data.read(random_indices(data, (0, 1, 2), (0, 1), context)).double() / 255
    images, alpha = ((start - 0.5) / 0.25).requires_grad_(), torch.tensor(0.01).double().requires_grad_()
    batches = method._batches(6, data.info, 0, context)
    assert {view.group for _, view in batches} == set(FORMULAS)
    plain, labels = new_network("convnet_d3", data.info, seed=0), torch.tensor([0, 0, 1, 1, 2, 2])
    exact = slow_trajectory_loss(plain, trajectories[0], images, alpha, batches, labels)
    wanted, wanted_slope = torch.autograd.grad(exact, [images, alpha])
    assert apart(loss, exact.detach()) < TIGHT
    assert apart(pixels, wanted) < bound
    assert apart(slope, 0.01 * wanted_slope) < bound  # alpha = exp(rho)


@pytest.mark.parametrize("memory", ["constant", "unrolled"])
def test_the_first_step_goes_down_the_gradients(memory, toy_data, context):
    """Pixels and step size after one step of SGD; the loss and its gradients are those of `unrolled`."""
    method = MTT(**SMALL, iterations=1, memory=memory, learning_rate=2.0, step_size=0.05, step_size_rate=1e-3)
    result = run(method, toy_data, context)
    start, target = context.prepared["trajectories"][0]
    images = normalize(toy_data.read(random_indices(toy_data, (0, 1, 2), (0,), context)), toy_data.info)
    images, alpha = images.requires_grad_(), torch.tensor(0.05, requires_grad=True)
    learner = Learner(new_network("convnet_d3", toy_data.info, seed=0), torch.arange(3))
    weights = start.clone().requires_grad_()
    for batch in method._batches(3, toy_data.info, 0, context):
        weights = learner.step(weights, [images, alpha.log()], batch)
    loss = (weights - target).square().sum() / (start - target).square().sum()
    pixels, slope = torch.autograd.grad(loss, [images, alpha])
    assert result.metadata["loss"] == pytest.approx(loss.item(), rel=1e-4)
    expected = denormalize((images - 2.0 * pixels).detach(), toy_data.info)
    assert torch.allclose(result.images, expected, atol=1e-4)
    # d rho = -(rate / alpha^2) dL/drho = -(rate / alpha) dL/dalpha
    assert result.metadata["step_size"] == pytest.approx(0.05 * math.exp(-1e-3 * slope.item() / 0.05), rel=1e-3)
    assert result.metadata["step_size"] != pytest.approx(0.05, rel=1e-6)


def test_every_image_is_used_before_one_is_used_again(toy_info, toy_context):
    method = MTT(inner_steps=7, batch_synthetic=2)
    batches = [rows for rows, _ in method._batches(5, toy_info, 0, toy_context)]
    assert [len(rows) for rows in batches] == [2, 2, 1, 2, 2, 1, 2]
    assert sorted(torch.cat(batches[:3]).tolist()) == list(range(5))
    assert sorted(torch.cat(batches[3:6]).tolist()) == list(range(5))
    whole = MTT(inner_steps=2)._batches(5, toy_info, 0, toy_context)
    assert [sorted(rows.tolist()) for rows, _ in whole] == [list(range(5))] * 2
    assert len(whole[0][1].samples) == 5, "each image has random numbers of its own"


def test_stretches_start_below_the_last_start_and_span_the_epochs(toy_context):
    epochs = torch.arange(8.0).expand(3, 8) + 100 * torch.arange(3.0).unsqueeze(1)
    context = dataclasses.replace(toy_context, prepared={"trajectories": epochs.unsqueeze(-1)})
    method = MTT(start_epochs=4, expert_span=3, expert_epochs=7)
    stretches = [[int(end) for end in method._stretch(iteration, context)] for iteration in range(200)]
    assert {start for start, _ in stretches} == {100 * e + t for e in range(3) for t in range(4)}
    assert all(end - start == 3 for start, end in stretches)


def test_a_step_size_stays_positive_or_its_loss_is_said_in_words(toy_data, context):
    """Where steps on alpha itself would lead below 0, and far below."""
    calm = {**SMALL, "learning_rate": 1e-6, "step_size": 0.5}
    slow, fast = (MTT(**calm, iterations=3, step_size_rate=rate) for rate in (1e-5, 1e6))
    assert 0 < run(slow, toy_data, context).metadata["step_size"] < 0.5 * 0.5
    with pytest.raises(BenchmarkError, match="the step size vanished; lower step_size_rate"):
        run(fast, toy_data, context)


def test_divergence_is_said_in_words(toy_data, context):
    with pytest.raises(BenchmarkError, match=r"mtt-0: the images diverged .* lower its learning rates"):
        run(MTT(**SMALL, iterations=10, learning_rate=1e30), toy_data, context)


def test_an_interrupted_run_ends_with_the_same_bytes(toy_data, context, monkeypatch):
    monkeypatch.setattr(descent, "SAVE_EVERY", 2)
    method = MTT(**SMALL, iterations=4, step_size_rate=1e-4)
    whole = run(method, toy_data, fresh(context))
    resumed, steps = interrupted(lambda again: run(method, toy_data, again), context, at=3)
    assert steps == [3, 4], "it went on after the last save"
    assert torch.equal(whole.images, resumed.images)
    assert whole.metadata == resumed.metadata


class TestExperts:
    def test_snapshots_are_those_of_plain_training(self, toy_data, toy_context):
        experts = Experts(experts=2, epochs=2, batch_size=20, learning_rate=0.05)
        result = experts.prepare(toy_data, toy_context)["trajectories"]
        network = new_network("convnet_d3", toy_data.info, seed_of(toy_context.seed, "expert", 1))
        assert result.shape == (2, 3, sum(weight.numel() for weight in network.parameters()))
        assert result.dtype == torch.float32
        for epoch in range(3):
            assert (result[1, epoch] - flat_weights(network)).norm() <= 1e-2 * (result[1, 2] - result[1, 0]).norm()
            generator = toy_context.generator("expert", 1, epoch)
            for rows in torch.randperm(36, generator=generator).split(20):
                images = sample_augmentation(len(rows), generator).apply(normalize(toy_data.read(rows), toy_data.info))
                loss = F.cross_entropy(network(images), toy_data.labels[rows])
                for weight, slope in zip(
                    network.parameters(), torch.autograd.grad(loss, list(network.parameters())), strict=True
                ):
                    weight.data -= 0.05 * slope
        assert not torch.equal(result[0, 0], result[1, 0]), "every expert starts elsewhere"
        assert not torch.equal(result[1, 0], result[1, 1]), "a snapshot does not follow the live weights"

    def test_they_learn(self, toy_data, toy_context):
        result = Experts(experts=1, epochs=6, batch_size=12).prepare(toy_data, toy_context)["trajectories"][0]
        learner = Learner(new_network("convnet_d3", toy_data.info, 0), toy_data.labels)
        images, losses = normalize(toy_data.images, toy_data.info), []
        for weights in (result[0], result[-1]):
            torch.nn.utils.vector_to_parameters(weights, learner.network.parameters())
            losses.append(F.cross_entropy(learner.network(images), toy_data.labels).item())
        assert losses[1] < 0.7 * losses[0]

    def test_a_killed_preparation_keeps_its_finished_experts(self, toy_data, toy_context, monkeypatch):
        experts = Experts(experts=2, epochs=1)
        whole = experts.prepare(toy_data, fresh(toy_context))

        def stop(step, total, scalars):
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            experts.prepare(toy_data, dataclasses.replace(toy_context, report=stop))
        trained = []
        original = Experts._trajectory

        def counted(self, data, read, expert, context):
            trained.append(expert)
            return original(self, data, read, expert, context)

        monkeypatch.setattr(Experts, "_trajectory", counted)
        assert torch.equal(experts.prepare(toy_data, toy_context)["trajectories"], whole["trajectories"])
        assert trained == [1]
        experts.prepare(toy_data, toy_context)
        assert trained == [1], "the commit may fail: what is saved stays until then"

    def test_two_drivers_on_one_preparation_do_not_disturb_each_other(self, toy_data, toy_context):
        experts, other = Experts(experts=2, epochs=1), []

        def overtake(step, total, scalars):
            if step == 1:  # the other driver prepares the same, and is done with it first
                other.append(experts.prepare(toy_data, dataclasses.replace(toy_context, report=lambda *_: None)))
                for path in toy_context.scratch.iterdir():
                    path.unlink()

        mine = experts.prepare(toy_data, dataclasses.replace(toy_context, report=overtake))
        assert torch.equal(mine["trajectories"], other[0]["trajectories"])

    @pytest.mark.parametrize("damage", [b"", b"half", None])
    def test_a_damaged_expert_is_trained_anew(self, toy_data, toy_context, damage):
        experts = Experts(experts=2, epochs=1)
        whole = experts.prepare(toy_data, toy_context)["trajectories"]
        path = toy_context.scratch / "expert-1.pt"
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(bytes(data) if damage is None else damage)
        assert torch.equal(experts.prepare(toy_data, toy_context)["trajectories"], whole)

    def test_divergence_names_the_expert(self, toy_data, toy_context):
        with pytest.raises(BenchmarkError, match=r"expert 0 diverged in epoch \d; lower the experts' learning rate"):
            Experts(experts=1, epochs=3, batch_size=8, learning_rate=1e30).prepare(toy_data, toy_context)

    def test_every_ipc_asks_for_the_same(self, toy_info):
        assert discovery.load_preparation("experts") is Experts
        assert Experts.name() == "experts"
        for name in ("digits", "cifar10", "imagenette64", "tiny_imagenet"):
            methods = [recipes.resolve_method("mtt", name, ipc, {}) for ipc in (1, 10, 50, 100)]
            assert len({method.preparation(toy_info) for method in methods}) == 1


class TestRefusals:
    def test_what_is_too_large_is_said_in_words(self, toy_info):
        many = toy_info.model_copy(update={"class_names": tuple(map(str, range(201))), "train_counts": (50,) * 201})
        assert "infeasible on toy (201 classes at 32 px)" in MTT().supports(many, 1)
        assert "infeasible on toy (3 classes at 224 px)" in MTT().supports(
            toy_info.model_copy(update={"resolution": 224}), 1
        )
        assert MTT().supports(toy_info.model_copy(update={"resolution": 128}), 1) is None
        assert "class 'green' of toy has 11 training images" in MTT().supports(toy_info, 12)

    def test_a_stretch_beyond_the_experts_end_is_refused(self):
        assert MTT(start_epochs=49, expert_span=2, expert_epochs=50)
        with pytest.raises(ValidationError, match="lies beyond the experts' last epoch; raise expert_epochs"):
            MTT(start_epochs=50, expert_span=2, expert_epochs=50)
