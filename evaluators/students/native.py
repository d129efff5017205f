"""Test accuracy under the training recipe of a paper, with its own loss and its own learning-rate schedule."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from benchmark.api import Column, Context, LabeledSet, LabelRegime, TestData
from benchmark.errors import BenchmarkError
from benchmark.vision.training import Batch, cosine
from evaluators.students.accuracy import Accuracy, teacher_logits, weights


class Native(Accuracy):
    """`Accuracy` with other losses and other courses of the learning rate.

    - ``divergence: mse``, as in G-VBSM: ``mean((z - z_teacher)^2) + gamma CE(z, y)``, y the class of the image itself
      where CutMix mixes two. The temperature is not used.
    - ``decay: cosine`` with zeta: ``(1 + cos(pi t / (zeta E))) / 2`` of the peak. It ends at 0 for zeta = 1, and at one
      half for zeta = 2, as in RDED.
    - ``decay: step``, as in the pixel-matching papers: a tenth of the peak in the second half.
    - ``decay: fifths``, as in CIM: a fifth of the peak after two thirds of the steps, a 25th after five sixths.
    - ``decay: halves``, as in NCFM: half of the rate after each fifth of the steps.
    - ``decay: late_halves``, as in EDC on CIFAR-10: half of the rate after 80, 90 and 95 % of the steps.
    """

    columns: ClassVar[tuple[Column, ...]] = (
        *Accuracy.columns,
        Column(
            "images_shown", "images of an epoch", better="", digits=0
        ),  # four for a mosaic whose cells are the images
    )

    divergence: Literal["kl", "mse"] = "kl"
    gamma: float = Field(0.0, ge=0)  # weight of the cross-entropy, for mse
    decay: Literal["cosine", "step", "fifths", "halves", "late_halves"] = "cosine"
    zeta: float = Field(1.0, ge=1)
    learned_rate: bool = False  # True: the peak is the step size in the metadata of the set (MTT)

    def evaluate(
        self, train: LabeledSet, test: TestData, student: nn.Module, context: Context
    ) -> dict[str, float | str | list[float]]:
        """Train and test as `Accuracy`; return the number of images that an epoch shows, too."""
        images_shown = float(self.schedule.shown(len(train.images)))
        return {**super().evaluate(train, test, student, context), "images_shown": images_shown}

    def peak_rate(self, train: LabeledSet) -> float:
        """Return the peak learning rate, from the metadata of the set where `learned_rate` is True.

        Raises:
            BenchmarkError: the metadata have no step size.
        """
        if not self.learned_rate:
            return self.learning_rate
        if "step_size" not in train.images.metadata:
            raise BenchmarkError(f"evaluator {self.name()}: learned_rate, but the set has no step_size in its metadata")
        return float(train.images.metadata["step_size"])

    def rate(self, step: int, total: int) -> float:
        """Return the learning rate of a step as a share of the peak."""
        if self.decay == "step":
            return 1.0 if 2 * step < total else 0.1
        if self.decay == "fifths":
            return 0.2 ** ((3 * step >= 2 * total) + (6 * step >= 5 * total))
        if self.decay == "halves":
            return 0.5 ** (5 * step // total)
        if self.decay == "late_halves":
            return 0.5 ** sum(20 * step >= part * total for part in (16, 18, 19))
        return cosine(step, round(self.zeta * total))

    def supports(self, labels: LabelRegime) -> str | None:
        """Return a reason as `Accuracy`, or where mse lacks logits for each view."""
        if self.divergence == "mse" and labels.labels_kind not in (None, "per_epoch"):
            return f"divergence mse needs labels of kind per_epoch, and {labels.name()} makes {labels.labels_kind}"
        return super().supports(labels)

    def loss(self, train: LabeledSet, classes: int, context: Context) -> Callable[[Tensor, Batch], Tensor]:
        """Return the loss function of a batch.

        Raises:
            BenchmarkError: mse without per-epoch labels.
        """
        if self.divergence == "kl":
            return super().loss(train, classes, context)
        if train.labels.kind != "per_epoch":
            raise BenchmarkError(f"evaluator {self.name()}: divergence mse needs per-epoch labels")
        weight = weights(train, context.device)
        teacher, set_classes = teacher_logits(train, classes, context), train.images.classes

        def loss(logits: Tensor, batch: Batch) -> Tensor:
            gap = (logits - teacher(batch)).square().mean(1)
            cross_entropy = F.cross_entropy(logits, set_classes[batch.view.indices].to(logits.device), reduction="none")
            return (weight(batch) * (gap + self.gamma * cross_entropy)).mean()

        return loss
