"""Test accuracy under the training recipe of a paper: losses and learning rates that not every method shares."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from benchmark.api import Context, LabeledSet
from benchmark.errors import BenchmarkError
from benchmark.vision.training import Batch, cosine
from evaluators.students.accuracy import Accuracy, teacher_logits, weights


class Native(Accuracy):
    """`Accuracy` with another loss, and another course of the learning rate.

    - ``divergence: mse``: ``mean((z - z_teacher)^2) + gamma CE(z, y)``, y the image's own class whatever it is mixed
      with, as G-VBSM trains; the temperature has no part in it.
    - ``decay: cosine`` with zeta: ``(1 + cos(pi t / (zeta E))) / 2`` of the peak, which ends at 0 for zeta = 1 and at a
      half for zeta = 2, as in RDED.
    - ``decay: step``: a tenth of the peak in the second half, as in the pixel-matching papers.
    """

    divergence: Literal["kl", "mse"] = "kl"
    gamma: float = Field(0.0, ge=0)  # of the cross-entropy with the image's class, beside mse
    decay: Literal["cosine", "step"] = "cosine"
    zeta: float = Field(1.0, ge=1)
    learned_rate: bool = False  # the peak is the step size that the method has learned with its images (MTT)

    def peak_rate(self, train: LabeledSet) -> float:
        """Return the learning rate, the set's own where it is learned.

        Raises:
            BenchmarkError: the set holds none.
        """
        if not self.learned_rate:
            return self.learning_rate
        if "step_size" not in train.images.metadata:
            raise BenchmarkError(f"evaluator {self.name()}: learned_rate, but the set has no step_size in its metadata")
        return float(train.images.metadata["step_size"])

    def rate(self, step: int, total: int) -> float:
        """Return the learning rate of a step as a part of the peak."""
        if self.decay == "step":
            return 1.0 if 2 * step < total else 0.1
        return cosine(step, round(self.zeta * total))

    def loss(self, train: LabeledSet, classes: int, context: Context) -> Callable[[Tensor, Batch], Tensor]:
        """Return the loss of a batch.

        Raises:
            BenchmarkError: mse without per-epoch labels.
        """
        if self.divergence == "kl":
            return super().loss(train, classes, context)
        if train.labels.kind != "per_epoch":
            raise BenchmarkError(f"evaluator {self.name()}: divergence mse needs per-epoch labels")
        weight = weights(train, context.device)
        answers, own = teacher_logits(train, classes, context), train.images.classes

        def loss(logits: Tensor, batch: Batch) -> Tensor:
            gap = (logits - answers(batch)).square().mean(1)
            surprise = F.cross_entropy(logits, own[batch.view.indices].to(logits.device), reduction="none")
            return (weight(batch) * (gap + self.gamma * surprise)).mean()

        return loss
