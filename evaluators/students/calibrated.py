"""Accuracy of a student whose temperature is fitted to its labels, which get sharper while it trains (LPQLD)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from benchmark.api import Context, LabeledSet
from benchmark.vision.training import Batch
from evaluators.students.accuracy import Accuracy, is_hard, targets_of, weights

GRID = tuple(step / 100 for step in range(1, 101))  # the temperatures that are tried


class Calibrated(Accuracy):
    """`Accuracy` with ``KL(softmax(z_teacher / T_e) || softmax(z / (tau_e T_e)))`` in epoch e, from 1.

    ``T_e = max(lowest, T d^floor(stages e / E))``, d = `decay`. ``tau_1 = 1``; each later tau is the one of 0.01, 0.02,
    ..., 1 with the least divergence on the last batch of the soft epoch before, as the student saw it. Hard labels have
    temperature 1, and so has their student.

    Paper: Soft Label Pruning and Quantization for Large-Scale Dataset Distillation, TPAMI 2026,
    https://arxiv.org/abs/2604.18135. Its README calls tau a ratio to T_e, as here; in its code tau is the temperature
    of the student (``relative: false``). A stage has 30 epochs in its code, which trains for 300.
    """

    decay: float = Field(0.7, gt=0, le=1)
    stages: int = Field(10, ge=1)  # the stages of the teacher's temperature
    lowest: float = Field(2.0, ge=0.01, le=1000)  # temperature of the teacher
    relative: bool = True  # False: the student's temperature is tau_e, as in the code

    def teacher_temperature(self, epoch: int) -> float:
        """Return T of an epoch, from 0."""
        stage = self.stages * (epoch + 1) // self.schedule.epochs
        return max(self.lowest, self.temperature * self.decay**stage)

    def loss(self, train: LabeledSet, classes: int, context: Context) -> Callable[[Tensor, Batch], Tensor]:
        """Return the loss function of a batch; it keeps the last batch, to fit the temperature of the next epoch."""
        weight, targets = weights(train, context.device), targets_of(train, classes, context)
        ratio, epoch, last_batch = 1.0, 0, list[Tensor]()

        def loss(logits: Tensor, batch: Batch) -> Tensor:
            nonlocal ratio, epoch, last_batch
            hard = is_hard(train.labels, batch)
            sharp = 1.0 if hard else self.teacher_temperature(batch.epoch)
            if batch.epoch != epoch and last_batch:
                ratio = fitted(*last_batch)
            epoch, target = batch.epoch, targets(batch, sharp)
            scaled_logits = logits / sharp if self.relative else logits
            last_batch = [] if hard else [scaled_logits.detach(), target]
            tau = 1.0 if hard else ratio
            divergence = F.kl_div(F.log_softmax(scaled_logits / tau, dim=1), target, reduction="none").sum(1)
            return (sharp**2 if self.t_squared else 1.0) * (weight(batch) * divergence).mean()

        return loss


def fitted(logits: Tensor, target: Tensor) -> float:
    """Return the tau of `GRID` with the least ``KL(target || softmax(logits / tau))``, for [b, classes] each."""
    losses = [F.kl_div(F.log_softmax(logits / tau, dim=1), target, reduction="batchmean") for tau in GRID]
    return GRID[int(torch.stack(losses).argmin())]
