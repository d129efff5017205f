"""Test accuracy, after its last step, of a student that is trained on a labelled set from random weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from benchmark.api import Column, Context, Evaluator, Job, LabeledSet, LabelRegime, Labels, Precision, TestData, Work
from benchmark.errors import BenchmarkError
from benchmark.vision.augment import Schedule, View
from benchmark.vision.training import (
    Batch,
    OptimizerName,
    Stream,
    accuracy,
    cosine,
    fit,
    from_pixels,
    make_optimizer,
)
from evaluators.parts.pool import Drawn, drawn_from
from evaluators.parts.stored import mean_logits
from evaluators.parts.top import unpack

CURVE_POINTS = 100  # the most points of the loss curve


class Accuracy(Evaluator):
    """Top-1 and top-5 accuracy in percent, after training by the schedule of the labels.

    The loss of view i is ``w_i KL(p_i || softmax(z_i / T))``, averaged over the batch. p_i is the label of the view,
    z_i the student's logits, w_i the weight of the image (1 on average over the set). Teacher labels are
    ``p = softmax(z_teacher / T)``; for hard labels T is 1, and the gradient is that of cross-entropy. Where CutMix
    mixes the pixels of two images, it also mixes their weights, and their labels unless the teacher labelled the view.
    """

    columns: ClassVar[tuple[Column, ...]] = (
        Column("top1", "top-1", "%", digits=1),
        Column("top5", "top-5", "%", digits=1),
    )

    version: ClassVar[int] = 2

    schedule: Schedule
    optimizer: OptimizerName = "adamw"
    learning_rate: float = Field(1e-3, gt=0, le=1000)
    weight_decay: float = Field(0.01, ge=0)  # the decay of weights with two or more dimensions
    momentum: float = Field(0.9, ge=0, lt=1)
    temperature: float = Field(20.0, ge=0.01, le=1000)
    precision: Precision = "float32"  # the precision of the student, and of a teacher that labels online
    t_squared: bool = False  # multiply the loss of teacher labels by T^2, as Hinton et al. but not as FKD

    def work(self, job: Job) -> tuple[Work, ...] | None:
        """Return the training of the student and its test."""
        images = self.schedule.epochs * self.schedule.shown(job.images)
        return Work("train", images, job.student), Work("forward", job.test_images, job.student)

    def supports(self, labels: LabelRegime) -> str | None:
        """Return a reason where nothing is trained, or where the labels belong to other views."""
        if self.schedule.epochs < 1:
            return "schedule.epochs must be 1 or more"
        same = getattr(labels, "schedule", self.schedule) == self.schedule
        return None if same else "schedule: it must be that of the labels"

    def evaluate(
        self, train: LabeledSet, test: TestData, student: nn.Module, context: Context
    ) -> dict[str, float | str | list[float]]:
        """Train the student on the labelled set, then read the test split once; return also losses and the steps.

        Raises:
            BenchmarkError: the labels belong to another schedule.
        """
        self._check(train.labels)
        read = from_pixels(train.images.images, test.info, context.device)
        stream = Stream(stored_views(self.schedule, train.labels), train.labels.seed, len(train.images), read)
        optimizer = make_optimizer(
            student,
            self.optimizer,
            learning_rate=self.peak_rate(train),
            weight_decay=self.weight_decay,
            momentum=self.momentum,
        )
        loss = self.loss(train, test.info.classes, context)
        tested = self.tested(student, optimizer)
        losses = fit(self.trained(student), stream, loss, optimizer, context, rate=self.rate)
        curve = np.linspace(0, len(losses) - 1, min(len(losses), CURVE_POINTS)).round().astype(int)
        return {
            **accuracy(tested, test, context),
            "student_steps": len(stream),  # the steps of the optimiser
            "train_loss": losses[-1],
            "curve_loss": [losses[epoch] for epoch in curve],
        }

    def _check(self, labels: Labels) -> None:
        """Refuse labels of another schedule."""
        schedule = self.schedule.model_dump(mode="json")
        if dict(labels.views) != schedule:
            raise BenchmarkError(
                f"evaluator {self.name()}: the labels belong to the schedule {dict(labels.views)}, not to {schedule}; "
                "give label regime and evaluator the same schedule"
            )

    def trained(self, student: nn.Module) -> nn.Module:
        """Return the student as training calls it."""
        return student

    def tested(self, student: nn.Module, optimizer: Optimizer) -> nn.Module:
        """Return the network that is tested at the end, before training begins."""
        return student

    def peak_rate(self, train: LabeledSet) -> float:
        """Return the peak learning rate."""
        return self.learning_rate

    def rate(self, step: int, total: int) -> float:
        """Return the learning rate of a step as a share of the peak."""
        return cosine(step, total)

    def loss(self, train: LabeledSet, classes: int, context: Context) -> Callable[[Tensor, Batch], Tensor]:
        """Return the loss function: the weighted divergence of the student's logits from the labels of a batch."""
        weight = weights(train, context.device)
        targets = targets_of(train, classes, context)

        def loss(logits: Tensor, batch: Batch) -> Tensor:
            temperature = 1.0 if is_hard(train.labels, batch) else self.temperature
            factor = temperature**2 if self.t_squared else 1.0
            target = targets(batch, temperature)
            divergence = F.kl_div(F.log_softmax(logits / temperature, dim=1), target, reduction="none").sum(1)
            return factor * (weight(batch) * divergence).mean()

        return loss


class _Replayed(Schedule):
    """A schedule that repeats the views of its first `stored` epochs."""

    stored: int

    def views(self, seed: int, epoch: int, n: int) -> Iterator[View]:
        """Yield the views of epoch ``epoch mod stored``."""
        return super().views(seed, epoch % self.stored, n)


def stored_views(schedule: Schedule, labels: Labels) -> Schedule:
    """Return the schedule of the student; it repeats the stored epochs where labels of fewer epochs are stored.

    Where labels are a pool, it draws from the pool.
    """
    if labels.kind == "pool":
        return Drawn(**dict(schedule), **labels.draws)
    if labels.kind != "per_epoch" or labels.logits is None:
        return schedule
    return _Replayed(**dict(schedule), stored=len(labels.logits))


def weights(train: LabeledSet, device: torch.device) -> Callable[[Batch], Tensor]:
    """Return a function that gives the weights [b] of a batch: 1 on average over the set, mixed as the pixels are."""
    raw = train.images.weights
    values = (torch.ones(len(train.images)) if raw is None else raw.float() / raw.float().mean()).to(device)
    return lambda batch: batch.view.mix(values[batch.view.indices.to(device)])


def teacher_logits(train: LabeledSet, classes: int, context: Context) -> Callable[[Batch], Tensor]:
    """Return a function that gives the teacher's logits for a batch, float32 [b, classes], stored or computed now."""
    labels = train.labels
    if labels.logits is None:
        return lambda batch: mean_logits(context.teachers, batch.images, context)
    epochs, n = len(labels.logits), len(train.images)
    drawn = drawn_from(labels) if labels.kind == "pool" else None

    def stored(batch: Batch) -> Tensor:
        if drawn is None or batch.view.stored is None:
            entries = labels.logits_at((batch.epoch % epochs, batch.rows))
        else:
            entries = labels.logits_at(drawn.rows(batch.view.stored, n))
        logits = unpack(entries, classes) if entries.dtype.names else torch.from_numpy(entries)
        return logits.to(context.device, torch.float32)

    return stored


def is_hard(labels: Labels, batch: Batch) -> bool:
    """Return whether the labels of a batch are the classes of its images, and no teacher's."""
    return labels.kind == "hard" or (labels.kind == "pool" and batch.view.stored is None)


def targets_of(train: LabeledSet, classes: int, context: Context) -> Callable[[Batch, float], Tensor]:
    """Return a function that gives the labels of a batch, probabilities [b, classes] on the device.

    It takes the batch and the temperature of the teacher's labels; hard labels have none.
    """
    labels = train.labels
    logits = teacher_logits(train, classes, context) if labels.kind in ("per_epoch", "pool") else None
    smoothing: float = labels.draws.get("smoothing", 0.0)

    def targets(batch: Batch, temperature: float) -> Tensor:
        if is_hard(labels, batch):
            rows = train.images.targets[batch.view.indices].to(context.device)
            mixed_targets = batch.view.mix(F.one_hot(rows, classes).float() if rows.dim() == 1 else rows)
            return (1 - smoothing) * mixed_targets + smoothing / classes if smoothing else mixed_targets
        if logits is not None:
            return F.softmax(logits(batch) / temperature, dim=1)
        batch_logits = torch.from_numpy(labels.logits_at(batch.view.indices.numpy())).to(context.device, torch.float32)
        return batch.view.mix(F.softmax(batch_logits / temperature, dim=1))

    return targets
