"""NCFM: its distance of characteristic functions in float64, its networks, its two kinds of steps, and psi."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from float64 import TIGHT, apart
from fresh import fresh, interrupted
from torch.nn import functional as F

from benchmark.vision.augment import normalize
from methods.datm import DATM
from methods.ncfm import NCFM, Sampler, _Course, amplitude_and_phase, characteristic_gap
from methods.parts import descent
from methods.parts.experts import flat_weights, new_network
from methods.parts.pairs import Pairs, load_flat

CHEAP = {"batch_real": 2, "networks": 2, "network_epochs": 1, "frequencies": 16}


def numbers(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture
def pairs(toy_info):
    """Two pairs of networks which no training has seen."""
    weights = [flat_weights(new_network("convnet_d3", toy_info, seed)) for seed in range(4)]
    return {"initial": torch.stack(weights[:2]), "trained": torch.stack(weights[2:])}


@pytest.fixture
def context(toy_context, pairs):
    return dataclasses.replace(toy_context, prepared=pairs)


def course_of(data, context, ipc=1, **fields):
    method = NCFM(**(CHEAP | fields))
    (unit,) = method.units(data.info, ipc)
    return _Course(method, data, unit, fresh(context))


# --- the distance


def by_hand(one, other, frequencies):
    """Return amplitude and phase gap of every frequency, from complex numbers."""
    result = []
    for t in frequencies:
        first, second = (sum(torch.exp(1j * (t @ f)) for f in points) / len(points) for points in (one, other))
        lengths = abs(first), abs(second)
        phase = lengths[0] * lengths[1] - first.real * second.real - first.imag * second.imag
        result.append(((lengths[0] - lengths[1]) ** 2, 2 * phase, abs(first - second) ** 2))
    return [torch.stack(values) for values in zip(*result, strict=True)]


def test_amplitude_and_phase_are_those_of_the_formula_and_sum_to_the_whole_gap():
    one, other, frequencies = numbers(5, 3), numbers(4, 3, seed=1), numbers(7, 3, seed=2)
    amplitude, phase = amplitude_and_phase(one, other, frequencies)
    exact_amplitude, exact_phase, whole = by_hand(one, other, frequencies)
    torch.testing.assert_close(amplitude, exact_amplitude)
    torch.testing.assert_close(phase, exact_phase)
    torch.testing.assert_close(amplitude + phase, whole)


@pytest.mark.parametrize("share", [0.5, 0.2])
def test_the_loss_of_a_class_is_that_of_the_formula_in_float32_too(share):
    one, other, frequencies = numbers(5, 3), numbers(4, 3, seed=1), numbers(7, 3, seed=2)
    spheres = [points / points.norm(dim=1, keepdim=True) for points in (one, other)]
    amplitude, phase, _ = by_hand(*spheres, frequencies)
    expected = 300 * (share * amplitude + (1 - share) * phase).sqrt().mean()
    method = NCFM(amplitude=share)
    assert apart(method.gap(one.float(), other.float(), frequencies.float()), expected) < TIGHT
    assert float(method.gap(3 * one, other, frequencies)) == pytest.approx(float(expected)), "length does not count"


def test_two_points_differ_in_phase_alone():
    one, other, frequencies = numbers(1, 3), numbers(1, 3, seed=1), numbers(7, 3, seed=2)
    amplitude, phase = amplitude_and_phase(one, other, frequencies)
    torch.testing.assert_close(amplitude, torch.zeros(7, dtype=torch.float64))
    torch.testing.assert_close(phase, 2 - 2 * torch.cos(frequencies @ (one - other)[0]))


def test_equal_sets_have_the_floor_and_no_gradient():
    one = numbers(5, 3)
    same = one.clone().requires_grad_()
    loss = NCFM().gap(one, same, numbers(7, 3, seed=2))
    assert float(loss.detach()) == pytest.approx(300 * math.sqrt(0.5e-12), rel=1e-3)
    (gradient,) = torch.autograd.grad(loss, [same])
    assert float(gradient.abs().max()) < 1e-6


def test_the_order_of_points_and_of_frequencies_does_not_count():
    one, other, frequencies = numbers(5, 3), numbers(4, 3, seed=1), numbers(7, 3, seed=2)
    shuffled = characteristic_gap(one[[4, 2, 0, 1, 3]], other[[1, 3, 0, 2]], frequencies.flip(0), 0.5)
    torch.testing.assert_close(shuffled, characteristic_gap(one, other, frequencies, 0.5))


def test_many_frequencies_estimate_the_squared_mmd_of_the_gaussian_kernel():
    """The mean of ``|R - S|^2`` over normal t is the squared MMD for ``exp(-|a - b|^2 / 2)``."""
    one, other = (F.normalize(numbers(n, 4, seed=n), dim=1) for n in (6, 3))
    amplitude, phase = amplitude_and_phase(one, other, numbers(200_000, 4, seed=9))

    def kernel(a, b):
        return sum(math.exp(-float(((x - y) ** 2).sum()) / 2) for x in a for y in b) / (len(a) * len(b))

    expected = kernel(one, one) + kernel(other, other) - 2 * kernel(one, other)
    assert float((amplitude + phase).mean()) == pytest.approx(expected, rel=0.02)


def test_the_gradient_is_that_of_differences():
    one, other = numbers(5, 3), numbers(4, 3, seed=1).requires_grad_()
    frequencies = numbers(7, 3, seed=2).requires_grad_()
    assert torch.autograd.gradcheck(lambda points, t: characteristic_gap(one, points, t, 0.5), [other, frequencies])


# --- the networks


def test_pairs_are_networks_before_and_after_training_and_resume(toy_data, toy_context):
    pairs = Pairs(networks=2, epochs=1, batch_size=12, learning_rate=0.02)
    found = pairs.prepare(toy_data, fresh(toy_context))
    size = sum(weight.numel() for weight in new_network("convnet_d3", toy_data.info, seed=0).parameters())
    assert found["initial"].shape == found["trained"].shape == (2, size)
    assert not torch.equal(found["initial"][0], found["initial"][1])

    def loss(weights):
        network = load_flat(new_network("convnet_d3", toy_data.info, seed=0), weights)
        pixels = (toy_data.images.float() / 255 - 0.5) / 0.25
        return float(F.cross_entropy(network(pixels), toy_data.labels))

    assert loss(found["trained"][0]) < loss(found["initial"][0])


def test_an_iteration_has_a_network_between_those_of_a_pair_and_calibrates_in_the_trained_one(toy_data, context, pairs):
    course = course_of(toy_data, context)
    for iteration in range(4):
        trained = flat_weights(course._at(iteration, blend=False))
        number = next(k for k in range(2) if torch.equal(trained, pairs["trained"][k]))
        between = flat_weights(course._at(iteration, blend=True))
        way = pairs["initial"][number] - trained
        share = float((between - trained) @ way / (way @ way))
        assert 0 < share < 1
        torch.testing.assert_close(between, trained + share * way, atol=1e-5, rtol=0)


def test_weights_come_back_in_their_order(toy_info):
    network = new_network("convnet_d3", toy_info, seed=5)
    weights = flat_weights(network)
    assert torch.equal(flat_weights(load_flat(new_network("convnet_d3", toy_info, seed=6), weights)), weights)


# --- the steps


def test_matching_and_calibration_take_turns_and_pixels_stay_in_range(toy_data, context, monkeypatch):
    course, order = course_of(toy_data, context), []
    zero = torch.zeros(()), torch.zeros_like(course.images)
    monkeypatch.setattr(course, "_match", lambda iteration: order.append(("match", iteration)) or zero)
    monkeypatch.setattr(course, "_calibrate", lambda iteration: order.append(("calibrate", iteration)) or zero)
    with torch.no_grad():
        course.images += 3 * torch.randn(course.images.shape, generator=torch.Generator().manual_seed(0))
    for step in range(4):
        course.objective(step)
    assert order == [("match", 0), ("calibrate", 0), ("match", 1), ("calibrate", 1)]
    assert course.images.detach().aminmax() == (0, 1)


def test_the_gradient_of_a_matching_step_is_that_of_its_loss(toy_data, context):
    """A small step along the gradient changes the loss by its length, where nothing is drawn anew."""
    course = course_of(toy_data, context)
    with torch.no_grad():
        course.images.clamp_(0.1, 0.9)
    loss, gradient = course._match(0)
    with torch.no_grad():
        course.images -= 1e-3 * gradient / gradient.norm()
    lower, _ = course._match(0)
    assert float(lower) == pytest.approx(float(loss) - 1e-3 * float(gradient.norm()), abs=2e-4 * float(gradient.norm()))


def test_calibration_goes_down_the_cross_entropy_of_the_trained_network(toy_data, context, pairs):
    course = course_of(toy_data, context)
    loss, gradient = course._calibrate(0)
    images, wanted = course.images.detach().requires_grad_(), []
    for trained in pairs["trained"]:
        network = load_flat(new_network("convnet_d3", toy_data.info, seed=0), trained).eval()
        total = torch.zeros(())
        for label, mosaic in enumerate(images.split(1)):
            cells = course.method.cells(course._chain(label, 0), normalize(mosaic, toy_data.info))
            total = total + F.cross_entropy(network(cells), torch.full((len(cells),), label))
        wanted.append((total, *torch.autograd.grad(total, [images])))
    exact, slope = min(wanted, key=lambda pair: abs(float(pair[0].detach() - loss)))
    assert float(loss) == pytest.approx(float(exact.detach()), rel=1e-5)
    torch.testing.assert_close(gradient, slope, atol=1e-5, rtol=1e-3)


def test_real_images_and_cells_share_colour_shift_and_cutout(toy_data, context):
    course = course_of(toy_data, context, batch_real=1)
    chain, own = course._chain(1, 3), normalize(course.images[1:2].detach(), toy_data.info)
    real = course.read(course.method.real_indices(toy_data, 1, 3, context))
    first, second = course.method.views(chain, real, own)
    assert first.shape == (1, 3, 32, 32) and second.shape == (4, 3, 32, 32)
    hidden = (first == 0).all(1)
    assert 0 < hidden.float().mean() < 0.6
    assert all(torch.equal((cell == 0).all(0), hidden[0]) for cell in second)


def test_a_step_of_psi_raises_the_loss_and_psi_gives_bounded_frequencies(toy_context):
    one, other, noise = numbers(6, 4).float(), numbers(3, 4, seed=1).float(), numbers(32, 4, seed=2).float()
    psi = Sampler(4, 0.05, toy_context)
    losses = []
    for _ in range(4):
        frequencies = psi(noise)
        assert float(frequencies.detach().abs().max()) <= 1
        leaf = frequencies.detach().requires_grad_()
        loss = NCFM().gap(one, other, leaf)
        losses.append(float(loss.detach()))
        (gradient,) = torch.autograd.grad(loss, [leaf])
        psi.ascend(frequencies, gradient)
    assert losses == sorted(losses) and losses[-1] > losses[0]


def test_each_iteration_has_its_own_frequencies(toy_data, context):
    first, second, again = (course_of(toy_data, context)._frequencies(iteration) for iteration in (0, 1, 0))
    assert first.shape == (CHEAP["frequencies"], 2048)
    assert torch.equal(first, again) and not torch.equal(first, second)


def test_learned_frequencies_move_while_images_descend(toy_data, context):
    course = course_of(toy_data, context, sampling="learned", ascent_rate=0.1)
    before = [weight.clone() for weight in course.sampler.network.parameters()]
    course._match(0)
    assert any(not torch.equal(a, b) for a, b in zip(before, course.sampler.network.parameters(), strict=True))
    assert course.state_dict()["psi"]["network"]


def test_psi_ascends_with_momentum(toy_context):
    psi, generator = Sampler(4, 0.05, toy_context), torch.Generator().manual_seed(0)
    parameters, steps, slopes = list(psi.network.parameters()), [], []
    for _ in range(2):
        before = [parameter.detach().clone() for parameter in parameters]
        psi.ascend(psi(torch.randn(8, 4, generator=generator)), torch.ones(8, 4))
        steps.append([parameter.detach() - old for parameter, old in zip(parameters, before, strict=True)])
        slopes.append([parameter.grad.clone() for parameter in parameters])
    for step, first, second in zip(steps[1], *slopes, strict=True):
        torch.testing.assert_close(step, -0.05 * (second + 0.5 * first), atol=1e-6, rtol=1e-4)


def test_a_course_goes_on_with_its_loss_and_its_patience(toy_data, context):
    course, other = (course_of(toy_data, context) for _ in range(2))
    course._match(0)
    course._plateau.step(course.loss + 1)
    other.load_state_dict(course.state_dict())
    assert other.loss == course.loss > 0
    assert other._plateau.num_bad_epochs == 1 and other._plateau.best == course._plateau.best


def test_the_rate_is_halved_where_the_loss_does_not_improve(toy_data, context):
    course = course_of(toy_data, context, patience=2)
    rates = []
    for _ in range(4):
        course._match(0)  # the images stay, and so does their loss
        rates.append(course.optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([1e-3, 1e-3, 1e-3, 5e-4])


@pytest.mark.parametrize("fields", [{}, {"sampling": "learned", "calibration": False, "iterations": 4}])
def test_an_interrupted_run_ends_with_the_same_bytes(fields, toy_data, context, monkeypatch):
    monkeypatch.setattr(descent, "SAVE_EVERY", 2)
    method = NCFM(**({"iterations": 2} | CHEAP | fields))
    (unit,) = method.units(toy_data.info, 1)
    whole = method.distill(toy_data, unit, fresh(context))
    resumed, _ = interrupted(lambda again: method.distill(toy_data, unit, again), context, at=3)
    assert torch.equal(resumed.images, whole.images)
    assert resumed.metadata == whole.metadata


def test_progress_shows_the_loss_of_matching(toy_data, context):
    course = course_of(toy_data, context)
    losses = [float(course.objective(step)[0]) for step in range(2)]
    assert losses == [pytest.approx(course.loss)] * 2


def test_networks_whose_statistics_are_not_kept_are_refused_in_words(toy_info):
    assert NCFM().supports(toy_info, 1) is None
    for method in (NCFM, DATM):
        assert "test_resnet has batch norms" in method(arch="test_resnet").supports(toy_info, 1)
    assert DATM(arch="test_vit").supports(toy_info, 1) is None


def test_without_iterations_the_set_is_its_start(toy_data, context):
    method = NCFM(iterations=0)
    (unit,) = method.units(toy_data.info, 2)
    assert torch.equal(method.distill(toy_data, unit, context).images, method.start(toy_data, unit, context))
