"""A student whose batch norms see a batch in groups: its gradient is that of accumulated micro-batches."""

from __future__ import annotations

import copy

import pytest
import torch
from float64 import smooth
from torch.nn import functional as F
from toy_student import CUTMIX, INFO, N, context, furthest, network, toy_set

from benchmark.api import LabeledSet
from benchmark.vision.models import batch_norms
from benchmark.vision.training import Stream, from_pixels
from evaluators.labels.train_mode import TrainMode
from evaluators.parts.groups import InGroups
from evaluators.students.grouped import Grouped
from evaluators.students.native import Native

__all__ = ["context"]
ONCE = CUTMIX.model_copy(update={"epochs": 1, "batch_size": N})


@pytest.fixture
def train(context, tmp_path):
    (tmp_path / "labels").mkdir()
    return LabeledSet(toy_set(), TrainMode(schedule=ONCE).label(toy_set(), INFO, context, tmp_path / "labels"))


def test_the_gradient_is_that_of_two_micro_batches(train, context):
    """``(KL(half 1) + KL(half 2)) / 2``, each the mean over its half at T = 20, in one step."""
    evaluator, student = Grouped(schedule=ONCE), smooth(network(1, "batch")).train()
    other = copy.deepcopy(student).double()
    (batch,) = Stream(ONCE, train.labels.seed, N, from_pixels(train.images.images, INFO, context.device))
    loss = evaluator.loss(train, INFO.classes, context)
    loss(evaluator.trained(student)(batch.images), batch).backward()
    teacher = torch.tensor(train.labels.logits[0]).double() / 20
    for rows in (slice(0, N // 2), slice(N // 2, N)):
        target = teacher[rows].softmax(1)
        logits = F.log_softmax(other(batch.images[rows].double()) / 20, dim=1)
        ((target * (target.log() - logits)).sum(1).mean() / 2).backward()
    for mine, exact in zip(student.parameters(), other.parameters(), strict=True):
        assert torch.linalg.vector_norm(mine.grad - exact.grad) <= 1e-4 * torch.linalg.vector_norm(exact.grad) + 1e-7
    for mine, exact in zip(batch_norms(student), batch_norms(other), strict=True):
        assert int(mine.num_batches_tracked) == 2
        torch.testing.assert_close(mine.running_var.double(), exact.running_var, rtol=1e-4, atol=1e-6)


def trained(evaluator, train, student, context):
    student = copy.deepcopy(student)
    optimizer = torch.optim.SGD(student.parameters(), lr=0.1)
    (batch,) = Stream(ONCE, train.labels.seed, N, from_pixels(train.images.images, INFO, context.device))
    loss = evaluator.loss(train, INFO.classes, context)
    loss(evaluator.trained(student.train())(batch.images), batch).backward()
    optimizer.step()
    return student.state_dict()


def test_groups_matter_to_batch_norms_only(train, context):
    for norm, differs in (("instance", False), ("batch", True)):
        student = network(1, norm)
        two, one, native = (
            trained(evaluator, train, student, context)
            for evaluator in (Grouped(schedule=ONCE), Grouped(schedule=ONCE, groups=1), Native(schedule=ONCE))
        )
        assert furthest(one, native) == 0
        assert (furthest(two, one) > 1e-4) == differs


def test_a_batch_passes_as_a_whole_in_eval_mode():
    student, images = network(1, "batch"), torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(InGroups(student, 2).eval()(images), student.eval()(images))
