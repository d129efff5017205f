"""Test accuracy of a student that is trained on the labelled synthetic set from scratch, last step only."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from benchmark.api import Context, Evaluator, LabeledSet, Labels, TestData
from benchmark.errors import BenchmarkError
from benchmark.vision.augment import Schedule
from benchmark.vision.training import (
    Batch,
    OptimizerName,
    Stream,
    accuracy,
    fit,
    from_pixels,
    make_optimizer,
    predict,
)

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
        images = train.images
        stream = Stream(
            self.schedule, train.labels.seed, len(images), from_pixels(images.images, test.info, context.device)
        )
        optimizer = make_optimizer(
            student,
            self.optimizer,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            momentum=self.momentum,
        )
        losses = fit(student, stream, self._loss(train, test.info.classes, context), optimizer, context)
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
                f"evaluator accuracy: the labels were made for the views {dict(labels.views)}, not for {mine}; "
                "give label regime and evaluator the same schedule"
            )
        if self.schedule.epochs < 1:
            raise BenchmarkError("evaluator accuracy: schedule.epochs must be 1 or more")

    def _loss(self, train: LabeledSet, classes: int, context: Context) -> Callable[[Tensor, Batch], Tensor]:
        """Return the weighted divergence of the student's answers from the labels."""
        soft = train.labels.kind != "hard"
        temperature = self.temperature if soft else 1.0
        factor = temperature**2 if self.t_squared else 1.0
        weights = _weights(train, context.device)
        targets = _targets(train, temperature, classes, context)

        def loss(logits: Tensor, batch: Batch) -> Tensor:
            divergence = F.kl_div(F.log_softmax(logits / temperature, dim=1), targets(batch), reduction="none").sum(1)
            weight = batch.view.mix(weights[batch.view.indices.to(weights.device)])
            return factor * (weight * divergence).mean()

        return loss


def _weights(train: LabeledSet, device: torch.device) -> Tensor:
    """Return the images' weights [N], scaled to mean 1 over the set."""
    given = train.images.weights
    weights = torch.ones(len(train.images)) if given is None else given.float() / given.float().mean()
    return weights.to(device)


def _targets(train: LabeledSet, temperature: float, classes: int, context: Context) -> Callable[[Batch], Tensor]:
    """Return what gives the label of every view of a batch, probabilities [b, classes] on the device."""
    stored = train.labels.logits

    def hard(batch: Batch) -> Tensor:
        own = train.images.targets[batch.view.indices].to(context.device)
        return batch.view.mix(F.one_hot(own, classes).float() if own.dim() == 1 else own)

    def softened(logits: Tensor) -> Tensor:
        return F.softmax(logits.to(context.device, torch.float32) / temperature, dim=1)

    if train.labels.kind == "hard":
        return hard
    if stored is None:
        return lambda batch: softened(predict(context.teachers[0], batch.images, context))
    if train.labels.kind == "soft":
        return lambda batch: batch.view.mix(softened(torch.from_numpy(stored[batch.view.indices.numpy()])))
    return lambda batch: softened(torch.tensor(stored[batch.epoch, batch.rows]))
