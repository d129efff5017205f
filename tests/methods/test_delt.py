"""DELT: who joins when, that images which wait do not change, and the loss of those that take part, in float64."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from float64 import TIGHT, apart, cross_entropy, first_iteration, forward, length, smooth
from fresh import fresh, interrupted
from torch import nn

from benchmark.api import Unit
from benchmark.vision.augment import normalize
from methods.delt import DELT
from methods.parts.real import class_losses, medium_indices, middle_out
from methods.parts.recover_state import RecoveryState
from methods.parts.statistics import ClassStatistics

SHORT = {"iterations": 8, "round_iterations": 2, "jitter": 1}  # four rounds


@pytest.mark.parametrize(
    ("ipc", "sizes", "share"),
    [(50, [7, 7, 6, 6, 6, 6, 6, 6], 0.5775), (10, [2, 2, 1, 1, 1, 1, 1, 1], 0.6375), (1, None, 1)],
)
def test_groups_of_the_code(ipc, sizes, share):
    method = DELT()
    assert method.group_sizes(ipc) == (sizes or [1, 0, 0, 0, 0, 0, 0, 0])
    joined = [method.joined(ipc, iteration) for iteration in range(4000)]
    assert [joined[i] - joined[i - 1] for i in range(500, 4000, 500)] == method.group_sizes(ipc)[1:]
    assert all(joined[i] == joined[i - i % 500] for i in range(4000)), "nobody joins within a round"
    assert joined[-1] == ipc
    assert sum(joined) / (4000 * ipc) == pytest.approx(share, rel=1e-12)


def test_the_smallest_crop_falls_along_a_cosine():
    for iteration, smallest in ((0, 1.0), (2000, 0.54), (4000, 0.08)):
        assert DELT().crop_range(iteration) == pytest.approx((smallest, 1.0))


def test_the_order_goes_from_the_middle_outwards():
    assert middle_out(10).tolist() == [5, 6, 4, 7, 3, 8, 2, 9, 1, 0]
    assert middle_out(5).tolist() == [3, 4, 2, 1, 0]
    assert middle_out(1).tolist() == [0]


class Redness(nn.Module):
    """A teacher whose logits are the mean colours: it is the surer of red the redder an image is."""

    def forward(self, images):
        return images.mean((2, 3))


def test_medium_images_are_those_of_median_probability(toy_data, toy_context):
    context = dataclasses.replace(toy_context, teachers=(Redness(),))
    members = toy_data.indices_of(0)  # 12 images
    sure = normalize(toy_data.images[members], toy_data.info).mean((2, 3)).softmax(1)[:, 0]
    ascending = members[sure.argsort()]
    assert medium_indices(toy_data, (0,), (0, 1, 2, 3), context).tolist() == ascending[[6, 7, 5, 8]].tolist()
    torch.testing.assert_close(class_losses(toy_data, members, 0, context), -sure.log(), atol=1e-6, rtol=1e-5)


def test_who_waits_does_not_change_and_who_has_joined_does(toy_data, toy_context, monkeypatch):
    seen = []

    def step(self, *arguments):
        original(self, *arguments)
        seen.append(self.images.detach().clone())

    original = RecoveryState.step
    monkeypatch.setattr(RecoveryState, "step", step)
    method = DELT(**SHORT)
    (unit,) = method.units(toy_data.info, 6)  # groups of 2, 2, 1, 1
    start = normalize(toy_data.read(medium_indices(toy_data, unit.classes, unit.slots, toy_context)), toy_data.info)
    method.distill(toy_data, unit, toy_context)
    for iteration, images in enumerate(seen):
        for number, image in enumerate(images):
            waits = number % 6 >= (2, 4, 5, 6)[iteration // 2]
            assert torch.equal(image, start[number]) == waits


def test_the_first_step_of_late_images_has_no_correction_of_its_own(toy_data, toy_context, monkeypatch):
    steps = []

    def step(self, loss, rate, low, high):
        before = self.images.detach().clone()
        original(self, loss, rate, low - 100, high + 100)  # unclamped
        steps.append((self.images.detach() - before).abs().flatten(1).max(1).values / rate)

    original = RecoveryState.step
    monkeypatch.setattr(RecoveryState, "step", step)
    method = DELT(iterations=9, round_iterations=3, learning_rate=0.01)
    (unit,) = method.units(toy_data.info, 3)
    method.distill(toy_data, unit, toy_context)
    assert steps[0][::3] == pytest.approx([1.0] * 3, abs=1e-3)
    first = (0.5 / (1 - 0.5**4)) / (0.1 / (1 - 0.9**4)) ** 0.5  # averages of g, divided by the corrections of step 4
    assert steps[3][1::3] == pytest.approx([first] * 3, abs=1e-3)
    assert not steps[0][1::3].any()


@pytest.mark.parametrize("regulariser", ["bn", "pcbn", "none"])
def test_the_loss_is_that_of_sre2l_on_those_that_take_part(regulariser, toy_data, toy_context):
    """``CE + 0.01 sum_l a_l (|mu_l - mu*_l| + |v_l - v*_l|)`` of 2 of 6 images per class, a_0 = 10."""
    smooth(toy_context.teachers[0])
    context = dataclasses.replace(toy_context, prepared=ClassStatistics(batch_size=5).prepare(toy_data, toy_context))
    toy_data.info = toy_data.info.model_copy(update={"flip": False})
    method = DELT(**SHORT | {"jitter": 0}, regulariser=regulariser)
    pixels, loss, gradient, unit = first_iteration(method, toy_data, context, 6)
    active = [0, 1, 6, 7, 12, 13]
    assert method.active(unit, 0) == active
    inside = forward(context.teachers[0], pixels[active])
    exact, first = cross_entropy(inside.logits, unit.labels[active]), 0
    for layer, (module, x) in enumerate(inside.norms if regulariser != "none" else ()):
        columns = slice(first, first + x.shape[1])
        first = columns.stop
        groups = [x] if regulariser == "bn" else list(x.split(2))
        for label, own in enumerate(groups):
            mean = own.mean((0, 2, 3))
            spread = ((own - mean.view(-1, 1, 1)) ** 2).mean((0, 2, 3))
            targets = module.running_mean, module.running_var
            if regulariser == "pcbn":
                targets = context.prepared["mean"][label, columns], context.prepared["var"][label, columns]
            gap = length(mean - targets[0]) + length(spread - targets[1])
            exact = exact + 0.01 * (10 if layer == 0 else 1) * gap / len(groups)
    (slope,) = torch.autograd.grad(exact, [pixels])
    assert apart(loss, exact.detach()) < TIGHT
    assert apart(gradient, slope) < TIGHT
    waiting = [number for number in range(18) if number not in active]
    assert not gradient[waiting].any()


def test_without_iterations_the_set_is_its_start(toy_data, toy_context):
    method = DELT(iterations=0)
    (unit,) = method.units(toy_data.info, 4)
    result = method.distill(toy_data, unit, toy_context)
    chosen = medium_indices(toy_data, unit.classes, unit.slots, toy_context)
    assert torch.equal(result.images, toy_data.images[chosen])
    assert torch.equal(toy_data.labels[chosen], unit.labels)


def test_an_interrupted_run_ends_with_the_same_bytes(toy_data, toy_context, monkeypatch):
    monkeypatch.setattr("methods.parts.recover.SAVE_EVERY", 3)
    method = DELT(**SHORT)
    unit = Unit(index=0, ipc=5, classes=(0, 1, 2), slots=tuple(range(5)))
    whole = method.distill(toy_data, unit, fresh(toy_context))
    resumed, _ = interrupted(lambda again: method.distill(toy_data, unit, again), toy_context, at=5)
    assert torch.equal(resumed.images, whole.images)
