"""DATM: trajectory matching at the part of training that suits the size of the set, with learned soft labels."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import ClassVar

import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn import functional as F

from benchmark.api import Context, DatasetInfo, SyntheticSet, TrainData, Unit
from benchmark.errors import BenchmarkError
from benchmark.synthetic import CLASSES
from benchmark.vision.augment import normalize
from methods.ftd import FTD
from methods.mtt import Learner
from methods.parts.descent import Leaf
from methods.parts.experts import batch_norm_reason

CHUNK = 100  # real images that an expert sees together
SURE = 0.9  # probability of the class in the first label of an image that no expert gets right


class DATM(FTD):
    """MTT's loss with labels ``softmax(y)``, where t ~ U{T-..U - 1} and ``U = min(T+, T0 + floor((T+ - T0) i / E))``.

    i is the iteration: the set matches early epochs of the experts first, which teach easy patterns, then later ones
    too. y are logits, learned with the images and alpha; the set holds softmax(y). Where the loss exceeds a threshold,
    an iteration changes nothing. The experts are FTD's.

    The images of class c start as random ones of those that the last weights of expert 0 classify right; where these
    are too few, as those that expert 1 does, and so on. y starts as the mean logits of the experts that are right.

    Protocols that use the labels of the set (`hard`, `native`) give the student softmax(y), which comes from networks
    that saw the real images. A variant with ``iterations: 0`` is the start with its labels: the control for such a row.

    Differences from the authors' code: those of MTT; no moving average, as in the code (its settings have one); images
    that no expert gets right come last, with 0.9 for their class (the code divides 0 by 0); if no iteration changes
    anything, the run fails.
    """

    version: ClassVar[int] = 1
    paper: ClassVar[str] = (
        "Guo et al.: Towards Lossless Dataset Distillation via Difficulty-Aligned Trajectory Matching, ICLR 2024, "
        "https://arxiv.org/abs/2310.05773"
    )

    iterations: int = Field(default=10_000, ge=0)
    learning_rate: float = Field(default=100.0, gt=0)  # the learning rate of the pixels
    inner_steps: int = Field(default=80, ge=1)  # N
    first_start: int = Field(default=0, ge=0)  # T-, epochs
    start_epochs: int = Field(default=20, ge=1)  # T+
    early_epochs: int | None = Field(default=None, ge=1)  # T0; None: T+ from the first iteration
    growth: int = Field(default=1000, ge=1)  # E, iterations
    label_rate: float = Field(default=2.0, ge=0)  # learning rate of y
    label_momentum: float = Field(default=0.9, ge=0, lt=1)
    threshold: float = Field(default=1.0, gt=0)
    expert_epochs: int = Field(default=100, ge=1)
    ema: float = Field(default=0.0, ge=0, lt=1)

    @model_validator(mode="after")
    def _check_window(self) -> DATM:
        first, early, last = self.first_start, self.early_epochs or self.start_epochs, self.start_epochs
        if not first < early <= last:
            raise ValueError(
                f"first_start < early_epochs <= start_epochs does not hold: {first}, {early}, {last}; "
                "epochs where stretches start are first_start .. start_epochs - 1"
            )
        return self

    def starts(self, iteration: int) -> tuple[int, int]:
        """Return between which epochs of an expert a stretch starts: T-, and U."""
        last, early = self.start_epochs, self.early_epochs or self.start_epochs
        return self.first_start, min(last, early + (last - early) * iteration // self.growth)

    def supports(self, info: DatasetInfo, ipc: int) -> str | None:
        """Return a reason where the network has batch norms, or where trajectory matching does not fit."""
        return super().supports(info, ipc) or batch_norm_reason(self.arch, info)

    def start(self, data: TrainData, unit: Unit, learner: Learner, context: Context) -> tuple[Tensor, ...]:
        """Return the first images, normalised, and the first logits of their labels."""
        indices = torch.cat([self._right(data, label, unit.slots, learner, context) for label in unit.classes])
        images = normalize(data.read(indices).to(context.device), data.info)
        return images, first_labels(_last(context), images, learner)

    def leaves(self, learned: Sequence[Tensor]) -> list[Leaf]:
        """Return what descends: images, rho, labels, the number of steps, the average."""
        images, rho, average = super().leaves(learned)
        steps = torch.zeros((), device=learned[0].device)
        return [images, rho, Leaf(learned[2], self.label_rate, self.label_momentum), Leaf(steps, 1.0, 0), average]

    def directions(self, loss: Tensor, slopes: Sequence[Tensor], leaves: Sequence[Leaf]) -> Sequence[Tensor] | None:
        """Return the direction of each leaf; None where the loss exceeds the threshold."""
        all_slopes = [*slopes, -torch.ones_like(leaves[3].tensor)]
        return None if loss > self.threshold else super().directions(loss, all_slopes, leaves)

    def finished(self, leaves: Sequence[Leaf], unit: Unit, info: DatasetInfo) -> SyntheticSet:
        """Return the images with their soft labels.

        Raises:
            BenchmarkError: no iteration changed anything.
        """
        steps = int(leaves[3].tensor)
        if self.iterations and not steps:
            raise BenchmarkError(
                f"{self.name()}-{unit.index}: the loss never fell to the threshold, so that nothing was learned; raise "
                f"threshold (now {self.threshold:g}) or match easier stretches"
            )
        pixels = super().finished(leaves, unit, info).images
        labels = leaves[2].tensor.detach().softmax(1).cpu().contiguous()
        return SyntheticSet(pixels, labels, extras={CLASSES: unit.labels}, metadata={"steps": steps})

    def _right(self, data: TrainData, label: int, slots: tuple[int, ...], learner: Learner, context: Context) -> Tensor:
        """Return an image index of a class for each slot: first what expert 0 gets right, then expert 1, and so on."""
        members, count = data.indices_of(label), max(slots) + 1
        pool = members[torch.randperm(len(members), generator=context.generator("choice", label))]
        indices = pool[:0]
        for weights in _last(context):
            if len(indices) >= count:
                break
            misses = []
            for chunk in pool.split(CHUNK):
                right = torch.zeros(len(chunk), dtype=torch.bool)
                if len(indices) < count:
                    images = normalize(data.read(chunk).to(context.device), data.info)
                    right = learner.logits(weights.to(context.device), images).argmax(1).cpu() == label
                indices = torch.cat([indices, chunk[right]])
                misses.append(chunk[~right])
            pool = torch.cat([*misses, pool[:0]])
        return torch.cat([indices, pool])[list(slots)]


def first_labels(experts: Iterator[Tensor], images: Tensor, learner: Learner) -> Tensor:
    """Return the mean logits [N, classes] of the experts that classify an image right; for none, 0.9 for its class.

    Args:
        experts: the weights [P] of each expert.
        images: [N, C, S, S], normalised.
        learner: the network, and the classes of the images.
    """
    total, count = torch.zeros((), device=images.device), torch.zeros(len(images), 1, device=images.device)
    for weights in experts:
        with torch.no_grad():
            parts = [learner.logits(weights.to(images.device), part) for part in images.split(CHUNK)]
        logits = torch.cat(parts)
        right = (logits.argmax(1) == learner.labels).unsqueeze(1)
        total, count = total + logits * right, count + right
    classes = total.shape[1]
    sure = F.one_hot(learner.labels, classes) * math.log(SURE / (1 - SURE) * (classes - 1))
    return torch.where(count > 0, total / count.clamp(min=1), sure)


def _last(context: Context) -> Iterator[Tensor]:
    """Yield the last weights [P] of each expert."""
    trajectories = context.prepared["trajectories"]
    return (trajectories[expert, -1] for expert in range(len(trajectories)))
