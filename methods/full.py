"""The full training set: the bound that no distilled set is expected to reach."""

from __future__ import annotations

import math
from typing import ClassVar

import torch

from benchmark.api import Context, DatasetInfo, Distiller, Job, Role, SyntheticSet, TrainData, Unit, Work


class Full(Distiller):
    """All real training images: ``S = {(x_i, y_i) : i = 1..N}``, for every IPC and seed."""

    paper: ClassVar[str] = "the whole training set, the upper bound of the field"
    role: ClassVar[Role] = "bound"
    uses_ipc: ClassVar[bool] = False

    max_gigabytes: float = 4.0  # the most gigabytes of uint8 pixels, which are held in memory

    def supports(self, info: DatasetInfo, ipc: int) -> str | None:
        """Return a reason where the set is too large for memory."""
        gigabytes = sum(info.train_counts) * math.prod((info.channels, info.resolution, info.resolution)) / 1e9
        if gigabytes <= self.max_gigabytes:
            return None
        return (
            f"all training images of {info.name} take {gigabytes:.0f} GB, more than "
            f"max_gigabytes = {self.max_gigabytes:g}; take the accuracy of its teacher as the bound"
        )

    def work(self, job: Job) -> tuple[Work, ...]:
        """Return nothing: no image passes a network."""
        return ()

    def distill(self, data: TrainData, unit: Unit, context: Context) -> SyntheticSet:
        """Return all training images, class by class."""
        members = [data.indices_of(label) for label in unit.classes]
        counts = torch.tensor([len(indices) for indices in members])
        return SyntheticSet(data.read(torch.cat(members)), torch.tensor(unit.classes).repeat_interleave(counts))
