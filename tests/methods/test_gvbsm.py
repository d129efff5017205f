"""G-VBSM: its loss against the formula in float64, its moving averages, its spectrum and its teachers in turn."""

from __future__ import annotations

import copy
import dataclasses
import math

import numpy as np
import pytest
import torch
from float64 import TIGHT, apart, cross_entropy, first_iteration, smooth
from fresh import fresh, interrupted
from torch import nn
from torch.nn import functional as F

from benchmark.vision.augment import normalize
from benchmark.vision.models import create_model
from methods.gvbsm import GVBSM, spectrum_gap
from methods.parts import recover
from methods.parts.generalized import GeneralPenalty, GeneralStatistics, patch_moments
from methods.parts.patches import Patches

ARCHS = ("test_resnet", "test_efficientnet", "convnet_d3")  # the last one has no batch norm
STILL = {"crop_scale": (1.0, 1.0), "jitter": 0}
PATCH = 4


@pytest.fixture
def context(toy_data, toy_context):
    others = [create_model(arch, classes=3, resolution=32, seed=3).eval().requires_grad_(False) for arch in ARCHS[1:]]
    context = dataclasses.replace(toy_context, teachers=(*toy_context.teachers, *others))
    return dataclasses.replace(context, prepared=GeneralStatistics(archs=ARCHS).prepare(toy_data, context))


def slow_statistics(x, *, convolution):
    """Return means and variances, written out, of the input [N, C, H, W] of a layer, in float64."""
    result = {"mean": x.mean((0, 2, 3)), "var": x.var((0, 2, 3), correction=0)}
    if not convolution:
        return result
    height, width = (math.ceil(side / PATCH) * PATCH for side in x.shape[2:])
    x = F.interpolate(x, (height, width), mode="bilinear")
    patches = [
        x[:, :, top : top + PATCH, left : left + PATCH]
        for top in range(0, height, PATCH)
        for left in range(0, width, PATCH)
    ]
    means, variances = zip(*((patch.mean(), patch.var(correction=0)) for patch in patches), strict=True)
    return result | {"patch_mean": torch.stack(means), "patch_var": torch.stack(variances)}


def slow_layers(teacher, images):
    """Return (name, module, statistics) of every layer in a float64 forward pass."""
    teacher, inputs = copy.deepcopy(teacher).double(), {}
    modules = {
        name: module for name, module in teacher.named_modules() if isinstance(module, nn.Conv2d | nn.BatchNorm2d)
    }
    for name, module in modules.items():
        module.register_forward_pre_hook(lambda module, given, name=name: inputs.__setitem__(name, given[0]))
    logits = teacher(images.double())
    layers = [
        (name, module, slow_statistics(inputs[name], convolution=isinstance(module, nn.Conv2d)))
        for name, module in modules.items()
    ]
    return logits, layers


def slow_penalty(turn, layers, wanted, averages, momentum, dropped=(), start="first"):
    """Return R and a scalar with R's gradient."""
    value, slope = 0.0, 0.0
    convolutions = [name for name, module, _ in layers if isinstance(module, nn.Conv2d)]
    for index, (name, module, statistics) in enumerate(layers):
        if isinstance(module, nn.Conv2d) and name in [convolutions[i] for i in dropped]:
            continue
        for kind, now in statistics.items():
            key = f"{turn}.{name}.{kind}"
            goal = getattr(module, f"running_{kind}") if isinstance(module, nn.BatchNorm2d) else wanted[key].double()
            old = averages.get(key, torch.zeros_like(goal) if start == "zero" else None)
            averages[key] = now.detach() if old is None else momentum * old + (1 - momentum) * now.detach()
            gap = averages[key] - goal
            length = gap.square().sum().sqrt()
            weight = 10.0 if index == 0 else 1.0
            value = value + weight * length
            slope = slope + weight * (gap / length * now).sum()
    return value, slope


def test_the_penalty_is_that_of_the_formula_over_several_turns(context):
    """Value and gradient over eight iterations of three teachers, with convolutions left out."""
    generator = torch.Generator().manual_seed(5)
    memory, averages = {}, {}
    masks = {i: torch.rand(200, generator=generator) < 0.4 for i in range(8)}
    penalty = GeneralPenalty(
        context.teachers,
        context.prepared,
        memory,
        patch=PATCH,
        momentum=0.8,
        first_layer_weight=10.0,
        drop=lambda iteration, n: masks[iteration][:n],
    )
    with penalty:
        for iteration in range(8):
            images = torch.randn(4, 3, 32, 32, generator=generator).requires_grad_()
            teacher = context.teachers[iteration % 3]
            penalty.begin(iteration)
            teacher(images)
            result = penalty()
            (gradient,) = torch.autograd.grad(result, images)
            _, layers = slow_layers(teacher, images)
            count = sum(isinstance(module, nn.Conv2d) for _, module, _ in layers)
            out = masks[iteration][:count].nonzero().flatten().tolist()
            value, slope = slow_penalty(iteration % 3, layers, context.prepared, averages, 0.8, out)
            (expected,) = torch.autograd.grad(slope, images)
            assert apart(result.detach(), value.detach()) < TIGHT
            assert apart(gradient, expected) < TIGHT
    assert set(memory) == set(averages)


@pytest.mark.parametrize("start", ["zero", "first"])
def test_the_first_loss_and_its_gradient_are_those_of_the_formula(start, toy_data, context):
    """``CE + 0.01 R + D``, at the start of the loop, from noise."""
    toy_data.info = toy_data.info.model_copy(update={"flip": False})
    context = dataclasses.replace(context, teachers=tuple(map(smooth, context.teachers)))
    method = GVBSM(archs=ARCHS, averages_start=start, drop_rate=0.0, **STILL)
    pixels, loss, gradient, unit = first_iteration(method, toy_data, context, 4)
    logits, layers = slow_layers(context.teachers[0], pixels)
    value, slope = slow_penalty(0, layers, context.prepared, {}, 0.8, start=start)
    ce = cross_entropy(logits, unit.labels)
    exact = (ce + 0.01 * value).detach() + slow_spectrum_gap(pixels.detach(), 3, 4.0)
    (expected,) = torch.autograd.grad(ce + 0.01 * slope, [pixels])
    flattening = slow_spectrum_gradient(pixels.detach(), 3, 4.0)
    assert apart(loss, exact) < TIGHT
    assert apart(gradient, expected + flattening) < TIGHT
    assert float(flattening.norm()) > 0.1 * float(expected.norm())


def slow_spectrum_gap(images, classes, temperature):
    total = 0.0
    for own in images.double().numpy().reshape(classes, -1, *images.shape[1:]):
        flat = own.reshape(len(own), -1)
        values = np.linalg.eigvals(np.array([[a @ b for b in flat] for a in flat])).real
        p, q = (np.exp(v - v.max()) / np.exp(v - v.max()).sum() for v in (values / temperature, values))
        total += sum(a * math.log(a / b) for a, b in zip(p, q, strict=True) if a > 0)
    return total


def slow_spectrum_gradient(images, classes, temperature):
    """``dD/de = softmax(e) - softmax(e / tau)``, and ``de/dX = 2 v v^T X`` of an eigenvalue e with the vector v."""
    gradients = []
    for own in images.double().numpy().reshape(classes, len(images) // classes, -1):
        values, vectors = np.linalg.eigh(own @ own.T)
        q, p = (np.exp(v - v.max()) / np.exp(v - v.max()).sum() for v in (values, values / temperature))
        gradients.append(2 * (vectors * (q - p)) @ vectors.T @ own)
    return torch.tensor(np.concatenate(gradients)).view(images.shape)


class TestSpectrum:
    def images(self, scale=0.03, n=4):
        return scale * torch.randn(2 * n, 3, 32, 32, generator=torch.Generator().manual_seed(1))

    def test_it_is_that_of_the_formula(self):
        images = self.images()
        assert float(spectrum_gap(images, 2, 4.0)) == pytest.approx(slow_spectrum_gap(images, 2, 4.0), rel=1e-5)

    def test_its_gradient_is_that_of_the_formula(self):
        images = self.images().requires_grad_()
        (gradient,) = torch.autograd.grad(spectrum_gap(images, 2, 4.0), [images])
        assert apart(gradient, slow_spectrum_gradient(images.detach(), 2, 4.0)) < TIGHT

    def test_its_weight_and_temperature_are_those_of_the_method(self, toy_data, context):
        method, images = GVBSM(spectrum_weight=2.5, temperature=3.0), self.images(n=2)
        unit = method.units(toy_data.info.model_copy(update={"class_names": ("a", "b")}), 2)[0]
        result = method.goal(toy_data, unit, context).view_loss(images)
        assert float(result) == pytest.approx(2.5 * slow_spectrum_gap(images, 2, 3.0), rel=1e-5)

    def test_one_image_of_a_class_has_none(self):
        assert float(spectrum_gap(self.images(), 8, 4.0)) == 0

    def test_descent_makes_the_images_of_a_class_differ(self):
        images = self.images().requires_grad_()
        with torch.no_grad():
            images[1:4] = images[:1] + 0.1 * images[1:4]  # nearly the same image four times

        def condition(values):
            values = torch.linalg.eigvalsh(values.view(2, 4, -1) @ values.view(2, 4, -1).mT)[0]
            return float((values[-1] / values.sum()).detach())

        before = condition(images)
        for _ in range(20):
            (gradient,) = torch.autograd.grad(spectrum_gap(images, 2, 4.0), images)
            with torch.no_grad():
                images -= 0.01 * gradient
        assert condition(images) < before

    def test_larger_images_are_pooled(self):
        images = self.images()
        large = images.repeat_interleave(2, 2).repeat_interleave(2, 3)
        assert float(spectrum_gap(large, 2, 4.0)) == pytest.approx(float(spectrum_gap(images, 2, 4.0)), rel=1e-4)


class TestStatistics:
    def test_they_are_those_of_all_images_at_once(self, toy_data, context):
        statistics = GeneralStatistics(archs=ARCHS, crop_scale=(1.0, 1.0), batch_size=7)
        data = type(toy_data)(toy_data.info.model_copy(update={"flip": False}), toy_data.images, toy_data.labels)
        result, expected = statistics.prepare(data, context), {}
        images = normalize(data.images, data.info)
        for turn, teacher in enumerate(context.teachers):
            for name, module, layer in slow_layers(teacher, images)[1]:
                if isinstance(module, nn.Conv2d):
                    expected |= {f"{turn}.{name}.{kind}": value for kind, value in layer.items()}
        assert set(result) == set(expected)
        for name, value in expected.items():
            assert apart(result[name], value) < TIGHT

    def test_patches_that_do_not_tile_a_map_are_those_of_the_map_scaled_up(self):
        x = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(2))
        expected = slow_statistics(x.double(), convolution=True)
        mean, variance = patch_moments(x, PATCH)
        assert mean.shape == (4,)
        torch.testing.assert_close(mean.double(), expected["patch_mean"], rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(variance.double(), expected["patch_var"], rtol=1e-4, atol=1e-6)


def fixed_penalty(context, memory, momentum=0.8):
    return GeneralPenalty(
        context.teachers[:1],
        {name: value for name, value in context.prepared.items() if name.startswith("0.")},
        memory,
        patch=PATCH,
        momentum=momentum,
        first_layer_weight=1.0,
        drop=lambda iteration, n: torch.zeros(n, dtype=torch.bool),
    )


def test_moving_averages_start_at_0_as_in_the_code(toy_data, context):
    """So the first is a fifth of the statistics, and the share of images that stay the same is 1 - 0.8^n."""
    memory, method = {}, GVBSM(archs=ARCHS, drop_rate=0.0)
    assert method.averages_start == "zero"
    unit = method.units(toy_data.info, 1)[0]
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(6))
    with method.penalty(method.goal(toy_data, unit, context), unit, memory, context) as penalty:
        for turn in range(1, 4):
            penalty.begin(0)
            context.teachers[0](images)
            penalty()
            expected = (1 - 0.8**turn) * images.mean((0, 2, 3))
            torch.testing.assert_close(memory["0.conv1.0.mean"], expected, rtol=1e-4, atol=1e-6)


def test_moving_averages_that_start_at_the_first_value_keep_it(context):
    """Of images that stay the same the average is their value for ever."""
    memory = {}
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(6))
    values = []
    with fixed_penalty(context, memory) as penalty:
        for iteration in range(3):
            penalty.begin(iteration)
            context.teachers[0](images)
            values.append(float(penalty()))
            torch.testing.assert_close(memory["0.conv1.0.mean"], images.mean((0, 2, 3)), rtol=1e-4, atol=1e-6)
    assert values == pytest.approx([values[0]] * 3, rel=1e-5)


def test_an_interrupted_run_ends_with_the_same_bytes(toy_data, context, monkeypatch):
    monkeypatch.setattr(recover, "SAVE_EVERY", 4)
    method = GVBSM(archs=ARCHS, iterations=9)
    (unit,) = method.units(toy_data.info, 2)
    whole = method.distill(toy_data, unit, fresh(context))
    resumed, steps = interrupted(lambda again: method.distill(toy_data, unit, again), context, at=6)
    assert steps[0] == 5
    assert torch.equal(whole.images, resumed.images)


def test_teachers_take_turns(toy_data, context):
    met = []
    for index, teacher in enumerate(context.teachers):
        forward = teacher.forward_head
        teacher.forward_head = lambda *given, index=index, forward=forward, **options: (
            met.append(index) or forward(*given, **options)
        )
    method = GVBSM(archs=ARCHS, iterations=5)
    method.distill(toy_data, method.units(toy_data.info, 1)[0], context)
    assert met[::2] == [0, 1, 2, 0, 1]


def test_a_recovery_lowers_its_loss(toy_data, context):
    one = dataclasses.replace(context, teachers=context.teachers[:1])
    settings = {"drop_rate": 0.0, "momentum": 0.0, "archs": ARCHS[:1], **STILL}
    losses = []
    for iterations in (1, 40):
        method = GVBSM(iterations=iterations, **settings)
        result = method.distill(toy_data, method.units(toy_data.info, 2)[0], one).metadata["losses"]
        losses.append(result["ce"] + method.regulariser_weight * result["regulariser"] + result["view"])
    assert losses[1] < losses[0]


def test_what_it_cannot_do_is_said_in_words(toy_info):
    assert GVBSM().supports(toy_info, 2) is None
    assert "no per-class statistics of these teachers" in GVBSM(regulariser="pcbn").supports(toy_info, 2)
    assert "no per-class statistics of these teachers" in GVBSM(start="nearest_real").supports(toy_info, 2)
    assert "leave out teacher" in GVBSM(teacher="resnet18").supports(toy_info, 2)


def test_without_a_regulariser_it_can_start_from_patches(toy_info):
    method = GVBSM(regulariser="none", start="patches")
    assert method.supports(toy_info, 2) is None
    assert method.preparation(toy_info) == Patches(factor=1, crop_scale=method.crop_scale)
    assert GVBSM(regulariser="none").preparation(toy_info) is None
    assert "another preparation" in GVBSM(start="patches").supports(toy_info, 2)
