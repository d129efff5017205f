"""Labels of a pool of batches: what is stored, what the student draws, and what it learns from it."""

from __future__ import annotations

import math
from itertools import chain, pairwise

import numpy as np
import pytest
import torch
from float64 import apart
from hypothesis import given
from hypothesis import strategies as st
from toy_student import CLASSES, CUTMIX, INFO, N, context, furthest, network, toy_set, trained

from benchmark.api import LabeledSet, Labels
from benchmark.vision.augment import Schedule
from benchmark.vision.training import Stream, fit, from_pixels, make_optimizer
from evaluators.labels.per_epoch import PerEpoch
from evaluators.labels.phases import Phases, hard_epochs
from evaluators.labels.pool import Pool
from evaluators.parts.pool import Drawn, PooledLabels
from evaluators.parts.top import pack, unpack
from evaluators.students.accuracy import Accuracy, is_hard, stored_views, targets_of, teacher_logits

__all__ = ["context"]
LONG = CUTMIX.model_copy(update={"epochs": 20})  # 60 batches of 8
SGD = {"optimizer": "sgd", "learning_rate": 0.1, "temperature": 2.0}


def made(regime, context, folder, images=None) -> Labels:
    """Return labels as an evaluator meets them: written, and mapped from their file."""
    folder.mkdir()
    regime.label(images or toy_set(), INFO, context, folder).save(folder)
    return Labels.load(folder)


def batches(labels, schedule, context, images=None):
    images = images or toy_set()
    read = from_pixels(images.images, INFO, context.device)
    return list(Stream(stored_views(schedule, labels), labels.seed, len(images), read))


# --- what is stored and drawn


@pytest.mark.parametrize(("share", "batch", "size"), [(0.1, 2, 24), (0.29, 2, 69), (0.025, 2, 10), (1.0, 2, 240)])
def test_the_size_of_a_pool_is_the_share_of_all_steps(share, batch, size):
    schedule = Schedule(epochs=20, batch_size=batch)
    assert Pool(schedule=schedule, share=share).drawn(24).pool == size
    assert size in (math.floor(round(share * 240, 6)), 10)


def test_a_short_training_stores_all_that_it_has():
    assert Pool(schedule=Schedule(epochs=4, batch_size=24), share=0.1).drawn(24).pool == 4


def test_a_pool_of_all_batches_is_labels_per_epoch(context, tmp_path):
    whole = made(PerEpoch(schedule=CUTMIX), context, tmp_path / "whole")
    for reuse in ("replacement", "epoch", "cycle"):
        pool = made(Pool(schedule=CUTMIX, share=1.0, reuse=reuse), context, tmp_path / reuse)
        assert np.array_equal(pool.logits, whole.logits.reshape(-1, CLASSES))
        students = [trained(toy_set(), labels, context, CUTMIX, **SGD) for labels in (whole, pool)]
        assert furthest(*students) == 0


def drawn(reuse, pool=17, seed=3, n=24, **fields) -> list[list[int]]:
    schedule = Drawn(**dict(LONG), pool=pool, reuse=reuse, **fields)
    return [schedule.drawn(seed, epoch, n) for epoch in range(LONG.epochs)]


def test_draws_depend_on_the_seed_alone():
    for reuse in ("replacement", "epoch", "cycle"):
        assert drawn(reuse) == drawn(reuse)
        assert drawn(reuse) != drawn(reuse, seed=4)
        assert all(len(epoch) == 3 and set(epoch) <= set(range(17)) for epoch in drawn(reuse))


def test_with_replacement_a_batch_can_come_twice_in_an_epoch():
    assert any(len(set(epoch)) < 3 for epoch in drawn("replacement"))
    counts = np.bincount(np.ravel([drawn("replacement", seed=seed) for seed in range(40)]), minlength=17)
    assert counts.max() < 2 * counts.min(), "all batches are as likely"


def test_without_replacement_the_batches_of_an_epoch_differ():
    assert all(len(set(epoch)) == 3 for epoch in drawn("epoch"))
    firsts = [batch for epoch in drawn("epoch")[:6] for batch in epoch][:17]
    assert len(set(firsts)) < 17, "an epoch does not know the one before"
    assert all(sorted(epoch[:2]) == [0, 1] for epoch in drawn("epoch", pool=2)), "fewer than an epoch: all, then again"


def test_in_a_cycle_every_batch_comes_once():
    order = list(chain.from_iterable(drawn("cycle")))
    cycles = [order[start : start + 17] for start in range(0, 60 - 17, 17)]
    assert all(sorted(cycle) == list(range(17)) for cycle in cycles)
    assert cycles[0] != cycles[1]


@given(st.integers(1, 80), st.integers(0, 90))
def test_phases_sum_to_all_epochs(epochs, soft):
    start, end = hard_epochs(epochs, soft)
    first, hard, last = start, end - start, epochs - end
    assert first + hard + last == epochs
    assert min(first, hard, last) >= 0
    assert first + last == min(soft, epochs)
    assert first == min(soft, epochs) // 2, "the odd one is at the end"


@pytest.mark.parametrize("share", [0.5, 0.35, 1.0])
def test_each_phase_begins_a_cycle(share):
    regime = Phases(schedule=LONG, stored=2, soft_share=share)
    schedule = regime.drawn(24)
    start, end = schedule.hard
    assert schedule.pool == 6
    for phase in (range(start), range(end, 20)):
        order = list(chain.from_iterable(schedule.drawn(5, epoch, 24) for epoch in phase))
        for first in range(0, len(order) - 5, 6):
            assert sorted(order[first : first + 6]) == list(range(6))
    hard = [view.stored for epoch in range(start, end) for view in schedule.views(5, epoch, 24)]
    assert hard == [None] * (20 - math.floor(share * 20)) * 3


def test_a_share_of_the_epochs_loses_none_to_rounding():
    schedule = Schedule(epochs=100, batch_size=24)
    assert Phases(schedule=schedule, soft_share=0.29).drawn(24).hard == (14, 85), "29 soft epochs"


def test_hard_epochs_have_views_that_no_other_epoch_has():
    schedule = Phases(schedule=LONG, stored=10).drawn(24)
    views = [(epoch, view) for epoch in range(20) for view in schedule.views(5, epoch, 24)]
    fresh = {tuple(view.boxes.flatten().tolist()) for _, view in views if view.stored is None}
    stored = {tuple(view.boxes.flatten().tolist()) for _, view in views if view.stored is not None}
    assert len(fresh) == 30 and not fresh & stored
    for epoch in range(*schedule.hard):
        indices = torch.cat([view.indices for number, view in views if number == epoch])
        assert sorted(indices.tolist()) == list(range(24))


# --- what the student learns


@pytest.mark.parametrize(
    "regime",
    [
        Pool(schedule=LONG, share=0.29),
        Pool(schedule=LONG, share=0.29, reuse="cycle"),
        Phases(schedule=LONG, stored=2),
    ],
    ids=["replacement", "cycle", "phases"],
)
@pytest.mark.parametrize("n", [24, 25])
def test_the_student_learns_what_the_teacher_says_of_what_it_sees(regime, n, context, tmp_path):
    images = toy_set(n)
    labels = made(regime, context, tmp_path / "labels", images)
    answers, soft = teacher_logits(LabeledSet(images, labels), CLASSES, context), 0
    for batch in batches(labels, LONG, context, images):
        if not is_hard(labels, batch):
            soft += 1
            torch.testing.assert_close(answers(batch), context.teachers[0](batch.images), atol=5e-3, rtol=2e-3)
    assert soft == (30 if isinstance(regime, Phases) else 60)


def test_only_the_pool_is_labelled(context, tmp_path):
    asked = []
    teacher = context.teachers[0]
    counted = lambda images: asked.append(len(images)) or teacher(images)  # noqa: E731
    object.__setattr__(context, "teachers", (counted,))
    made(Pool(schedule=LONG, share=0.29), context, tmp_path / "labels")
    assert sum(asked[:17]) == 17 * 8 and len(asked) <= 18, "one batch is read ahead"


def loss_by_hand(logits, targets, temperature):
    """Return the mean of KL(targets || softmax(logits / temperature)), in float64."""
    scaled = logits.double() / temperature
    log_q = scaled - torch.log(torch.exp(scaled).sum(1, keepdim=True))
    inner = torch.where(targets > 0, targets * (targets.clamp_min(1e-300).log() - log_q), 0)
    return inner.sum(1).mean()


def test_losses_of_all_phases_are_those_of_the_formulas(context, tmp_path):
    """Soft: teacher and student at T = 20; hard: cross-entropy at T = 1 with (1 - a) y + a / C, mixed."""
    images = toy_set()
    train = LabeledSet(images, made(Phases(schedule=LONG, stored=2, smoothing=0.8), context, tmp_path / "labels"))
    loss, targets = (
        Accuracy(schedule=LONG).loss(train, CLASSES, context),
        targets_of(train, CLASSES, context),
    )
    generator, seen = torch.Generator().manual_seed(0), set()
    for batch in batches(train.labels, LONG, context)[::4]:
        hard = is_hard(train.labels, batch)
        logits = torch.randn(len(batch.images), CLASSES, generator=generator).mul_(5).requires_grad_()
        if hard:
            own = torch.eye(CLASSES, dtype=torch.float64)[images.targets[batch.view.indices]]
            mixed = batch.view.share * own + (1 - batch.view.share) * own[batch.view.partner]
            target, temperature = 0.2 * mixed + 0.8 / CLASSES, 1.0
        else:
            answer = teacher_logits(train, CLASSES, context)(batch).double()
            target, temperature = torch.softmax(answer / 20, 1), 20.0
        assert torch.allclose(targets(batch, temperature).sum(1), torch.ones(len(target)), atol=1e-6)
        got, exact = loss(logits, batch), loss_by_hand(logits, target, temperature)
        assert apart(got.detach(), exact.detach()) < 1e-5
        (mine,), (reference,) = torch.autograd.grad(got, logits), torch.autograd.grad(exact, logits)
        assert apart(mine, reference.double()) < 1e-5
        seen.add(hard)
    assert seen == {True, False}


def test_the_loss_of_an_epoch_is_the_mean_over_what_it_shows(context):
    schedule = Drawn(**dict(CUTMIX), pool=5, reuse="replacement")  # 25 images in batches of different sizes
    stream, model = Stream(schedule, 3, 25, from_pixels(toy_set(25).images, INFO, context.device)), network()
    shown = {sum(len(view.indices) for view in schedule.views(3, epoch, 25)) for epoch in range(schedule.epochs)}
    assert shown != {25}
    optimizer = make_optimizer(model, "sgd", learning_rate=0.1, weight_decay=0)
    losses = fit(model, stream, lambda logits, batch: 0 * logits.mean() + 1, optimizer, context)
    assert losses == pytest.approx([1.0] * schedule.epochs)


def test_soft_in_all_epochs_is_a_pool(context, tmp_path):
    phases = made(Phases(schedule=CUTMIX, stored=20, soft_share=1.0), context, tmp_path / "phases")
    pool = made(Pool(schedule=CUTMIX, share=1.0), context, tmp_path / "pool")
    assert np.array_equal(phases.logits, pool.logits)
    students = [trained(toy_set(), labels, context, CUTMIX, **SGD) for labels in (phases, pool)]
    assert furthest(*students) == 0


# --- the largest logits alone

LOGITS = st.integers(0, 2**32 - 1).map(
    lambda seed: 5 * torch.randn(7, 30, generator=torch.Generator().manual_seed(seed))
)


@given(LOGITS, st.integers(1, 30))
def test_the_largest_have_all_the_probability(logits, top):
    again = unpack(pack(logits, top, rest=False), 30)
    kept = logits.argsort(1, descending=True)[:, :top]
    expected = torch.zeros(7, 30, dtype=torch.float64)
    rounded = logits.half().double().gather(1, kept)
    expected.scatter_(1, kept, torch.exp(rounded) / torch.exp(rounded).sum(1, keepdim=True))
    probabilities = torch.softmax(again, 1)
    torch.testing.assert_close(probabilities.double(), expected, atol=1e-6, rtol=1e-5)
    assert torch.allclose(probabilities.sum(1), torch.ones(7))
    assert ((probabilities > 0).sum(1) <= top).all()


def test_the_loss_of_the_largest_is_that_of_the_formula(context, tmp_path, monkeypatch):
    monkeypatch.setattr(Pool, "top", lambda self, classes: 2)
    train = LabeledSet(toy_set(), made(Pool(schedule=LONG, share=0.29), context, tmp_path / "labels"))
    assert train.labels.logits.dtype.itemsize == 2 * (2 + 2)
    loss, batch = Accuracy(schedule=LONG).loss(train, CLASSES, context), batches(train.labels, LONG, context)[0]
    logits = torch.randn(len(batch.images), CLASSES, generator=torch.Generator().manual_seed(1)).requires_grad_()
    answer = context.teachers[0](batch.images).half().double()
    least = answer.sort(1, descending=True).values[:, 1:2]
    weights = torch.where(answer >= least, torch.exp(answer / 20), 0)
    exact = loss_by_hand(logits, weights / weights.sum(1, keepdim=True), 20.0)
    got = loss(logits, batch)
    (mine,), (reference,) = torch.autograd.grad(got, logits), torch.autograd.grad(exact, logits)
    assert torch.isfinite(mine).all()
    torch.testing.assert_close(got.double(), exact, atol=2e-4, rtol=1e-3)  # of the half floats of another batch size
    assert apart(mine, reference.double()) < 1e-2


@pytest.mark.parametrize(("classes", "top"), [(4, None), (10, None), (100, 10), (200, 20), (1000, 100)])
def test_a_tenth_of_the_classes_is_kept(classes, top):
    assert Pool(schedule=LONG, top_share=0.1).top(classes) == top


def test_all_logits_are_plain_labels(context, tmp_path):
    plain = made(Pool(schedule=LONG), context, tmp_path / "plain")
    whole = made(Pool(schedule=LONG, top_share=1.0), context, tmp_path / "top")
    assert np.array_equal(plain.logits, whole.logits)
    packed = unpack(pack(torch.tensor(plain.logits[:]), CLASSES, rest=False), CLASSES)
    assert torch.equal(packed, torch.tensor(plain.logits[:]).float())


def test_labels_are_abstract_without_a_pool():
    with pytest.raises(TypeError, match="drawn"):
        PooledLabels(schedule=LONG)


def test_positions_of_batches_are_those_of_the_stream():
    schedule = Drawn(**dict(LONG), pool=17, reuse="cycle")
    for n in (N, 25, 26):
        rows = [schedule.rows(number, n) for number in range(17)]
        sizes = [len(view.indices) for epoch in range(6) for view in LONG.views(0, epoch, n)][:17]
        assert [row.stop - row.start for row in rows] == sizes
        assert rows[0].start == 0 and all(a.stop == b.start for a, b in pairwise(rows))
        assert schedule.stored_views(n) == sum(sizes)
