"""A student whose temperature follows that of its labels."""

from __future__ import annotations

import pytest
import torch
from float64 import apart
from toy_student import CLASSES, CUTMIX, INFO, N, context, furthest, hard_labels, toy_set, trained

from benchmark.api import LabeledSet
from benchmark.vision.augment import Schedule
from benchmark.vision.training import Stream, from_pixels
from evaluators.labels.per_epoch import PerEpoch
from evaluators.students.calibrated import GRID, Calibrated, fitted

__all__ = ["context"]
TWO = Schedule(epochs=4, batch_size=12)


def test_the_teachers_temperature_is_that_of_the_code():
    """``max(2, 20 0.7^floor(e / 30))`` for 300 epochs, e from 1."""
    evaluator = Calibrated(schedule=CUTMIX.model_copy(update={"epochs": 300}))
    temperatures = [evaluator.teacher_temperature(epoch) for epoch in range(300)]
    assert temperatures == pytest.approx([max(2, 20 * 0.7 ** ((epoch + 1) // 30)) for epoch in range(300)])
    assert temperatures[0] == 20 and temperatures[-1] == 2


def divergence(logits, target, tau):
    q = torch.softmax(logits.double() / tau, 1)
    return (target * (target.log() - q.log())).sum(1).mean()


@pytest.mark.parametrize("relative", [False, True])
def test_the_loss_is_that_of_the_formula_and_tau_that_of_the_last_batch(relative, context, tmp_path):
    context.teachers[0].classifier.weight.mul_(20)  # labels that differ, also at T = 20
    train = LabeledSet(toy_set(), PerEpoch(schedule=TWO).label(toy_set(), INFO, context, tmp_path))
    evaluator = Calibrated(schedule=TWO, stages=4, relative=relative)
    loss, generator = evaluator.loss(train, CLASSES, context), torch.Generator().manual_seed(0)
    stream = Stream(TWO, train.labels.seed, N, from_pixels(train.images.images, INFO, context.device))
    tau, taus, last = 1.0, [], None
    for batch in stream:
        if batch.rows.start == 0 and last is not None:
            tau = min(GRID, key=lambda value: float(divergence(*last, value)))
        sharp = max(2.0, 20 * 0.7 ** (batch.epoch + 1))
        target = torch.softmax(torch.tensor(train.labels.logits[batch.epoch][batch.rows]).double() / sharp, 1)
        scale = (0.3 + 0.1 * batch.epoch) / sharp
        logits = scale * torch.tensor(train.labels.logits[batch.epoch][batch.rows]).float()
        logits = (logits * (sharp if relative else 1.0)).clone()
        logits = (logits + 0.05 * torch.randn(logits.shape, generator=generator)).requires_grad_()
        got = loss(logits, batch)
        exact = divergence(logits, target, tau * sharp if relative else tau)
        assert apart(got.detach(), exact.detach()) < 1e-4
        (mine,), (reference,) = torch.autograd.grad(got, logits), torch.autograd.grad(exact, logits)
        assert apart(mine, reference.double()) < 1e-4
        last = (logits.detach() / (sharp if relative else 1.0), target)
        taus.append(tau)
    assert taus[:2] == [1.0, 1.0] and len(set(taus[2:])) > 1


def test_the_loss_is_multiplied_by_the_square_of_the_teachers_temperature(context, tmp_path):
    train = LabeledSet(toy_set(), PerEpoch(schedule=TWO).label(toy_set(), INFO, context, tmp_path))
    batch = next(iter(Stream(TWO, train.labels.seed, N, from_pixels(train.images.images, INFO, context.device))))
    logits = torch.randn(len(batch.images), CLASSES, generator=torch.Generator().manual_seed(0))
    plain, squared = (Calibrated(schedule=TWO, t_squared=flag) for flag in (False, True))
    small, large = (float(evaluator.loss(train, CLASSES, context)(logits, batch)) for evaluator in (plain, squared))
    assert large == pytest.approx(plain.teacher_temperature(0) ** 2 * small, rel=1e-5)


@pytest.mark.parametrize("tau", [0.01, 0.37, 1.0])
def test_a_student_that_is_right_up_to_its_scale_is_fitted_exactly(tau):
    logits = torch.randn(9, 5, generator=torch.Generator().manual_seed(2))
    assert fitted(tau * logits, torch.softmax(logits, 1)) == pytest.approx(tau)


def test_hard_labels_have_temperature_one(context):
    schedule = CUTMIX
    plain = trained(toy_set(), hard_labels(schedule, context), context, schedule)
    assert furthest(plain, trained(toy_set(), hard_labels(schedule, context), context, schedule, Calibrated)) == 0
