"""Coresets: methods that choose IPC real images of each class by what a training run says about them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from benchmark.api import Context, DatasetInfo, Preparation, SyntheticSet, TrainData, Unit
from benchmark.vision.augment import CropScale
from methods.parts.real import RealImages
from methods.parts.scoring import RECORDS, ScoringRun


class Coreset(RealImages):
    """IPC real images of each class, chosen by the records of a `ScoringRun`, which all coresets share."""

    scoring_arch: str | None = None  # network of the scoring run; None: the dataset's teacher, with new random weights
    scoring_epochs: int = Field(default=200, ge=1)
    scoring_batch: int = Field(default=256, ge=1)
    scoring_rate: float = Field(default=0.1, gt=0)  # learning rate
    scoring_decay: float = Field(default=5e-4, ge=0)  # weight decay
    scoring_crops: CropScale = (0.77, 1.0)  # area of a crop, as a part of the image

    def preparation(self, info: DatasetInfo) -> Preparation:
        """Return the scoring run."""
        return ScoringRun(
            arch=self.scoring_arch,
            epochs=self.scoring_epochs,
            batch_size=self.scoring_batch,
            learning_rate=self.scoring_rate,
            weight_decay=self.scoring_decay,
            crop_scale=self.scoring_crops,
        )

    def distill(self, data: TrainData, unit: Unit, context: Context) -> SyntheticSet:
        """Choose the unit's images."""
        indices = []
        for label in unit.classes:
            members = data.indices_of(label)
            records = {name: context.prepared[name][:, members] for name in RECORDS}
            order = self.choose(records, unit.ipc, context.generator("choice", label))
            indices.append(members[order[list(unit.slots)]])
        return SyntheticSet(data.read(torch.cat(indices)), unit.labels)

    @abstractmethod
    def choose(self, records: Mapping[str, Tensor], ipc: int, generator: torch.Generator) -> Tensor:
        """Return the indices [IPC] of the chosen images among the n of a class, whose records are [epochs, n] each."""


class Ranked(Coreset):
    """The IPC images of each class with the smallest or the largest score; equal scores come in random order.

    With the easiest first, a larger IPC extends a smaller one, and so with the hardest first.
    """

    order: Literal["easy_first", "hard_first"] = "easy_first"  # the papers keep the hardest, of far larger budgets

    @abstractmethod
    def difficulty(self, records: Mapping[str, Tensor]) -> Tensor:
        """Return the score [n] of each image, the hardest image the largest, from records [epochs, n]."""

    def choose(self, records: Mapping[str, Tensor], ipc: int, generator: torch.Generator) -> Tensor:
        """Return the indices [IPC] in the chosen order."""
        return ranked(self.difficulty(records), generator, largest=self.order == "hard_first")[:ipc]


def ranked(scores: Tensor, generator: torch.Generator, *, largest: bool) -> Tensor:
    """Return the indices [n] of scores [n], the smallest first or the largest; equal scores in random order."""
    shuffled = torch.randperm(len(scores), generator=generator)
    return shuffled[scores[shuffled].argsort(stable=True, descending=largest)]
