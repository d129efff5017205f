"""Labels of teachers in train mode: batch norms see one group of a batch, and nothing else."""

from __future__ import annotations

import copy
import dataclasses
import itertools

import pytest
import torch
from float64 import TIGHT, apart
from torch import nn
from toy_student import CUTMIX, INFO, PLAIN, N, context, network, toy_set

from benchmark.api import LabeledSet
from benchmark.vision.models import batch_norms
from benchmark.vision.training import Stream, from_pixels
from evaluators.labels.per_epoch import PerEpoch
from evaluators.labels.train_mode import TrainMode
from evaluators.parts.groups import split, with_batch_statistics
from evaluators.students.accuracy import teacher_logits

__all__ = ["context"]


class ByHand(nn.Module):
    """A batch norm written out: biased variance over the images and pixels that it gets."""

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x):
        values = x.transpose(0, 1).flatten(1)  # [C, all pixels of all images]
        mean = values.mean(1)
        variance = ((values - mean.unsqueeze(1)) ** 2).mean(1)
        scale = self.norm.weight / (variance + self.norm.eps) ** 0.5
        return (x - mean.view(-1, 1, 1)) * scale.view(-1, 1, 1) + self.norm.bias.view(-1, 1, 1)


def by_hand(teacher: nn.Module) -> nn.Module:
    """Return a teacher in float64 whose batch norms are written out."""
    exact = copy.deepcopy(teacher).double().eval()
    for parent in list(exact.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.BatchNorm2d):
                setattr(parent, name, ByHand(child))
    return exact


def batches(schedule, context):
    return list(Stream(schedule, context.seed, N, from_pixels(toy_set().images, INFO, context.device)))


def made(regime, context):
    return list(regime._logits(toy_set(), INFO, context))


@pytest.mark.parametrize("groups", [1, 2, 3])
def test_labels_are_those_of_batch_norms_written_out(groups, context):
    exact = by_hand(context.teachers[0])
    found = made(TrainMode(schedule=CUTMIX, groups=groups), context)
    assert [len(logits) for logits in found[:3]] == [8, 8, 8]
    size = {1: 8, 2: 4, 3: 3}[groups]
    for batch, logits in zip(batches(CUTMIX, context), found, strict=True):
        cuts = [0, 2, 5, 8] if groups == 3 else list(range(0, 9, size))
        parts = [exact(batch.images[a:b].double()) for a, b in itertools.pairwise(cuts)]
        assert apart(logits, torch.cat(parts)) < TIGHT


def test_labels_of_several_teachers_are_their_mean(context):
    teachers = (context.teachers[0], network(4, "batch").eval().requires_grad_(False))
    found = made(TrainMode(schedule=PLAIN), dataclasses.replace(context, teachers=teachers))
    for batch, logits in zip(batches(PLAIN, context), found, strict=True):
        a, b = (torch.cat([by_hand(t)(half.double()) for half in batch.images.split(4)]) for t in teachers)
        assert apart(logits, (a + b) / 2) < TIGHT


def test_running_statistics_are_neither_read_nor_changed(context):
    regime, teacher = TrainMode(schedule=CUTMIX), context.teachers[0]
    before = made(regime, context)
    for norm in batch_norms(teacher):
        norm.running_mean.normal_(3, 2)
        norm.running_var.uniform_(5, 9)
    state = {name: value.clone() for name, value in teacher.state_dict().items()}
    assert all(map(torch.equal, before, made(regime, context)))
    assert all(torch.equal(value, state[name]) for name, value in teacher.state_dict().items())
    assert not any(module.training for module in teacher.modules())


def test_a_view_shares_statistics_with_its_half_only(context):
    teacher = with_batch_statistics(context.teachers[0])
    images = batches(CUTMIX, context)[0].images
    other = torch.cat([images[:4], images[4:].flip(2) + 1])
    same, changed = (torch.cat([teacher(half) for half in split(given, 2)]) for given in (images, other))
    assert torch.equal(same[:4], changed[:4])
    assert not torch.allclose(same[4:], changed[4:], atol=0.1)


def test_only_batch_norms_are_in_train_mode():
    changed = with_batch_statistics(nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Dropout(0.9)).eval())
    assert [module.training for module in changed] == [False, True, False]


def test_without_batch_norms_the_labels_are_those_per_epoch(context, tmp_path):
    context = dataclasses.replace(context, teachers=(network(3),))
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    ours = TrainMode(schedule=PLAIN).label(toy_set(), INFO, context, tmp_path / "a").logits
    theirs = PerEpoch(schedule=PLAIN).label(toy_set(), INFO, context, tmp_path / "b").logits
    torch.testing.assert_close(torch.tensor(ours), torch.tensor(theirs), atol=1e-3, rtol=1e-3)


def test_a_student_finds_its_labels_by_view(context, tmp_path):
    labels = TrainMode(schedule=CUTMIX).label(toy_set(), INFO, context, tmp_path)
    answers = teacher_logits(LabeledSet(toy_set(), labels), INFO.classes, context)
    for batch, logits in zip(batches(CUTMIX, context), made(TrainMode(schedule=CUTMIX), context), strict=True):
        torch.testing.assert_close(answers(batch), logits, atol=5e-3, rtol=2e-3)


@pytest.mark.parametrize(
    ("n", "groups", "sizes"),
    [(8, 2, [4, 4]), (5, 2, [2, 3]), (4, 2, [2, 2]), (3, 2, [3]), (1, 2, [1]), (9, 4, [2, 2, 2, 3]), (5, 4, [2, 3])],
)
def test_groups_differ_by_one_and_have_two_images_at_least(n, groups, sizes):
    parts = split(torch.arange(n), groups)
    assert [len(part) for part in parts] == sizes
    assert torch.equal(torch.cat(parts), torch.arange(n))
