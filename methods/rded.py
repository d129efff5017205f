"""RDED: mosaics of those crops of real images that the teacher classifies best; nothing is optimised."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from benchmark.api import Context, DatasetInfo, Distiller, Job, SyntheticSet, TeacherSpec, TrainData, Unit, Work
from benchmark.synthetic import to_uint8
from benchmark.vision.augment import CropScale
from benchmark.vision.jpeg import compressed
from methods.parts.patches import Patches, mosaic
from methods.parts.real import random_members, too_few


class RDED(Distiller):
    """The crop r of each real image with the smallest ``CE(f(pad(r)), y)``, and the best IPC F^2 of these per class.

    F is `factor`, f the teacher. `crops` random square crops are taken from each of `pool` random images of a class and
    resized to S / F pixels, bilinearly with antialiasing. For the score, they are padded with zeros (grey, since pixels
    are normalised) to the S pixels that the teacher expects. Image i of IPC is the F x F mosaic of the crops with ranks
    i, i + IPC, i + 2 IPC, ..., row by row.

    Differences from the authors' code: crops are those of the whole image at 256 px (`whole` of the dataset), not at
    the size of the file; 8-bit pixels instead of JPEG (``jpeg: 75``); where F does not divide S, the mosaic is resized
    (nearest pixel), not each crop; the pool grows where IPC F^2 exceeds it.
    """

    version: ClassVar[int] = 2
    paper: ClassVar[str] = (
        "Sun et al.: On the Diversity and Realism of Distilled Dataset: An Efficient Dataset Distillation Paradigm, "
        "CVPR 2024, https://arxiv.org/abs/2312.03526"
    )

    factor: int = Field(default=2, ge=1)  # F; 1 below 128 px
    pool: int = Field(default=300, ge=1)  # images per class from which crops are taken, at most
    crops: int = Field(default=5, ge=1)  # per image
    crop_scale: CropScale = (0.08, 1.0)  # area of the crops
    batch_size: int = Field(default=500, ge=1)  # crops that are scored together
    jpeg: int = Field(default=0, ge=0, le=100)  # quality of the images' JPEG compression, 75 in the code; 0: none

    def teachers(self) -> tuple[TeacherSpec, ...]:
        """Return the dataset's teacher."""
        return (TeacherSpec(),)

    def supports(self, info: DatasetInfo, ipc: int) -> str | None:
        """Return a reason where a class has too few images: each gives one crop."""
        return too_few(info, ipc, self.factor)

    def work(self, job: Job) -> tuple[Work, ...]:
        """Return the crops that are scored."""
        return (Work("forward", self.crops * job.members(max(self.pool, job.ipc * self.factor**2))),)

    def distill(self, data: TrainData, unit: Unit, context: Context) -> SyntheticSet:
        """Return the mosaics of the unit."""
        images, losses = [], []
        for done, label in enumerate(unit.classes, start=1):
            crops, scores = self._best_crops(data, label, unit.ipc, context)
            order = torch.argsort(scores, stable=True)[: unit.ipc * self.factor**2]
            mosaics = mosaic(crops[order], unit.ipc, self.factor, data.info.resolution)
            images.append(compressed(to_uint8(mosaics[list(unit.slots)]).cpu(), self.jpeg))
            losses.append(float(scores[order].mean()))
            context.progress(done, len(unit.classes), ce=losses[-1])
        return SyntheticSet(torch.cat(images), unit.labels, metadata={"ce": sum(losses) / len(losses)})

    def _best_crops(self, data: TrainData, label: int, ipc: int, context: Context) -> tuple[Tensor, Tensor]:
        """Return the best crop of every image of the pool, [n, C, S/F, S/F], and their cross-entropies [n]."""
        generator = context.generator("crops", label)
        pool = max(self.pool, ipc * self.factor**2)
        candidates = random_members(data, label, pool, generator)
        patches = Patches(factor=self.factor, crops=self.crops, crop_scale=self.crop_scale, batch_size=self.batch_size)
        batches = patches.best_crops(data, candidates, label, generator, context)
        crops, scores = zip(*((crops, scores) for crops, _, scores in batches), strict=True)
        return torch.cat(crops), torch.cat(scores)
