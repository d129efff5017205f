"""Test accuracy of a student that is trained on the labelled synthetic set from scratch, last step only."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from benchmark.api import Context, Evaluator, LabeledSet, Labels, TestData
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
from evaluators.parts.stored import mean_logits
from evaluators.parts.top import unpack

CURVE_POINTS = 100


class Accuracy(Evaluator):
    """Top-1 and top-5 accuracy in percent, after training by the schedule that the labels belong to.

    The loss of image i is ``w_i KL(p_i || softmax(z_i / T))``, averaged over the batch: p_i is what the labels say of
    the view, z_i the student's logits, w_i the image's weight (1 on average over the set). Teacher labels are
    ``p = softmax(z_teacher / T)``; for hard labels T is 1, and the gradient is that of cross-entropy. Targets of an
    image are mixed by CutMix as its pixels are, unless the teacher has seen the mixed view itself; weights always are.
    """

    schedule: Schedule
    optimizer: OptimizerName = "adamw"
    learning_rate: float = Field(1e-3, gt=0)
    weight_decay: float = Field(0.01, ge=0)  # of weights with two or more dimensions
    momentum: float = 0.9
    temperature: float = Field(20.0, gt=0)
    t_squared: bool = False  # multiply the loss of teacher labels by T^2, as Hinton et al. do and FKD does not

    def evaluate(
        self, train: LabeledSet, test: TestData, student: nn.Module, context: Context
    ) -> dict[str, float | list[float]]:
        """Train the student on the labelled set, then read the test split once."""
        self._check(train.labels)
        read = from_pixels(train.images.images, test.info, context.device)
        stream = Stream(_visited(self.schedule, train.labels), train.labels.seed, len(train.images), read)
        optimizer = make_optimizer(
            student,
            self.optimizer,
            learning_rate=self.peak_rate(train),
            weight_decay=self.weight_decay,
            momentum=self.momentum,
        )
        loss = self.loss(train, test.info.classes, context)
        losses = fit(student, stream, loss, optimizer, context, rate=self.rate)
        curve = np.linspace(0, len(losses) - 1, min(len(losses), CURVE_POINTS)).round().astype(int)
        return {
            **accuracy(student, test, context),
            "train_loss": losses[-1],
            "curve_loss": [losses[epoch] for epoch in curve],
        }

    def _check(self, labels: Labels) -> None:
        """Refuse labels of other views than those that the student would see."""
        mine = self.schedule.model_dump(mode="json")
        if dict(labels.views) != mine:
            raise BenchmarkError(
                f"evaluator {self.name()}: the labels were made for the views {dict(labels.views)}, not for {mine}; "
                "give label regime and evaluator the same schedule"
            )
        if self.schedule.epochs < 1:
            raise BenchmarkError(f"evaluator {self.name()}: schedule.epochs must be 1 or more")

    def peak_rate(self, train: LabeledSet) -> float:
        """Return the learning rate of which `rate` gives the parts."""
        return self.learning_rate

    def rate(self, step: int, total: int) -> float:
        """Return the learning rate of a step as a part of the peak."""
        return cosine(step, total)

    def loss(self, train: LabeledSet, classes: int, context: Context) -> Callable[[Tensor, Batch], Tensor]:
        """Return the weighted divergence of the student's answers from the labels."""
        soft = train.labels.kind != "hard"
        temperature = self.temperature if soft else 1.0
        factor = temperature**2 if self.t_squared else 1.0
        weight = weights(train, context.device)
        targets = _targets(train, temperature, classes, context)

        def loss(logits: Tensor, batch: Batch) -> Tensor:
            divergence = F.kl_div(F.log_softmax(logits / temperature, dim=1), targets(batch), reduction="none").sum(1)
            return factor * (weight(batch) * divergence).mean()

        return loss


class _Replayed(Schedule):
    """A schedule whose views come again after `stored` epochs."""

    stored: int

    def views(self, seed: int, epoch: int, n: int) -> Iterator[View]:
        """Yield the views of the stored epoch that takes this one's place."""
        return super().views(seed, epoch % self.stored, n)


def _visited(schedule: Schedule, labels: Labels) -> Schedule:
    """Return the views that a student sees: where labels of fewer epochs are stored, these again and again."""
    if labels.kind != "per_epoch" or labels.logits is None:
        return schedule
    return _Replayed(**dict(schedule), stored=len(labels.logits))


def weights(train: LabeledSet, device: torch.device) -> Callable[[Batch], Tensor]:
    """Return what gives the weight of every view of a batch [b], 1 on average over the set, mixed as its pixels are."""
    given = train.images.weights
    scaled = (torch.ones(len(train.images)) if given is None else given.float() / given.float().mean()).to(device)
    return lambda batch: batch.view.mix(scaled[batch.view.indices.to(device)])


def teacher_logits(train: LabeledSet, classes: int, context: Context) -> Callable[[Batch], Tensor]:
    """Return what gives the per-epoch labels of a batch, stored or asked for now: logits [b, classes] float32."""
    labels = train.labels
    if labels.logits is None:
        return lambda batch: mean_logits(context.teachers, batch.images, context)
    epochs = len(labels.logits)

    def stored(batch: Batch) -> Tensor:
        entries = labels.read((batch.epoch % epochs, batch.rows))
        logits = unpack(entries, classes) if entries.dtype.names else torch.from_numpy(entries)
        return logits.to(context.device, torch.float32)

    return stored


def _targets(train: LabeledSet, temperature: float, classes: int, context: Context) -> Callable[[Batch], Tensor]:
    """Return what gives the label of every view of a batch, probabilities [b, classes] on the device."""

    def hard(batch: Batch) -> Tensor:
        own = train.images.targets[batch.view.indices].to(context.device)
        return batch.view.mix(F.one_hot(own, classes).float() if own.dim() == 1 else own)

    def soft(batch: Batch) -> Tensor:
        own = torch.from_numpy(train.labels.read(batch.view.indices.numpy())).to(context.device, torch.float32)
        return batch.view.mix(F.softmax(own / temperature, dim=1))

    if train.labels.kind == "hard":
        return hard
    if train.labels.kind == "soft":
        return soft
    answers = teacher_logits(train, classes, context)
    return lambda batch: F.softmax(answers(batch) / temperature, dim=1)
