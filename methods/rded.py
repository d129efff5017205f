"""RDED: mosaics of the crops of real images that the teacher is surest about; nothing is optimised."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from benchmark.api import Context, DatasetInfo, Distiller, SyntheticSet, TeacherSpec, TrainData, Unit
from benchmark.synthetic import to_uint8
from benchmark.vision.augment import crop_resize, normalize, sample_boxes
from benchmark.vision.training import predict


class RDED(Distiller):
    """Of every real image the crop with the least ``CE(f(pad(r)), y)``, of every class the best IPC f^2 such crops.

    `crops` square crops of S / f pixels are drawn from each of `pool` random images of a class, padded with zeros
    (grey, as they are normalised) to the S pixels that the teacher knows, and scored. Image i of IPC is the f x f
    mosaic of the crops ranked i, i + IPC, i + 2 IPC, ..., row by row.

    Differences from the authors' code: 8-bit pixels instead of JPEG; where f does not divide S the mosaic, not each
    crop, is resized (nearest pixel); the pool grows where IPC f^2 exceeds it.
    """

    paper: ClassVar[str] = (
        "Sun et al.: On the Diversity and Realism of Distilled Dataset: An Efficient Dataset Distillation Paradigm, "
        "CVPR 2024, https://arxiv.org/abs/2312.03526"
    )

    factor: int = Field(default=2, ge=1)  # f; 1 below 128 px
    pool: int = Field(default=300, ge=1)  # images per class that crops are drawn from, at most
    crops: int = Field(default=5, ge=1)  # of each image
    crop_scale: tuple[float, float] = (0.08, 1.0)  # area of the crops
    batch_size: int = Field(default=500, ge=1)  # crops that are scored at once

    def teachers(self) -> tuple[TeacherSpec, ...]:
        """Return the dataset's own teacher."""
        return (TeacherSpec(),)

    def supports(self, info: DatasetInfo, ipc: int) -> str | None:
        """Return a reason where a class has too few images, each of which gives one crop."""
        least, wanted = min(info.train_counts), ipc * self.factor**2
        if wanted <= least:
            return None
        return (
            f"IPC {ipc} takes {wanted} crops of different images, the smallest class of {info.name} has {least}: "
            f"choose a factor below {self.factor}"
            if self.factor > 1
            else f"the smallest class of {info.name} has {least} training images, fewer than IPC {ipc}"
        )

    def distill(self, data: TrainData, unit: Unit, context: Context) -> SyntheticSet:
        """Return the unit's mosaics."""
        images, losses = [], []
        for done, label in enumerate(unit.classes, start=1):
            crops, scores = self._best_crops(data, label, unit.ipc, context)
            ranked = torch.argsort(scores, stable=True)[: unit.ipc * self.factor**2]
            mosaics = mosaic(crops[ranked], unit.ipc, self.factor, data.info.resolution)
            images.append(to_uint8(mosaics[list(unit.slots)]).cpu())
            losses.append(float(scores[ranked].mean()))
            context.progress(done, len(unit.classes), ce=losses[-1])
        return SyntheticSet(torch.cat(images), unit.labels, metadata={"ce": sum(losses) / len(losses)})

    def _best_crops(self, data: TrainData, label: int, ipc: int, context: Context) -> tuple[Tensor, Tensor]:
        """Return the best crop of every image of the pool, pixels [n, C, S/f, S/f], and their cross-entropies [n]."""
        generator = context.generator("crops", label)
        members = data.indices_of(label)
        pool = max(self.pool, ipc * self.factor**2)
        drawn = members[torch.randperm(len(members), generator=generator)[:pool]]
        found = [
            self._best_of(data.read(part).to(context.device), label, data.info, generator, context)
            for part in drawn.split(max(1, self.batch_size // self.crops))
        ]
        crops, scores = zip(*found, strict=True)
        return torch.cat(crops), torch.cat(scores)

    def _best_of(
        self, images: Tensor, label: int, info: DatasetInfo, generator: torch.Generator, context: Context
    ) -> tuple[Tensor, Tensor]:
        n, size = len(images), info.resolution // self.factor
        boxes = sample_boxes(n * self.crops, generator, scale=self.crop_scale, ratio=(1.0, 1.0))
        upright = torch.zeros(1, dtype=torch.bool)
        crops = crop_resize(images.float().repeat_interleave(self.crops, 0) / 255, boxes, upright, size)
        logits = predict(context.teachers[0], pad(normalize(crops, info), info.resolution), context)
        wanted = torch.full((len(logits),), label, device=logits.device)
        scores = F.cross_entropy(logits, wanted, reduction="none").view(n, self.crops)
        least, place = scores.min(1)
        return crops.view(n, self.crops, *crops.shape[1:])[torch.arange(n, device=place.device), place], least


def pad(images: Tensor, size: int) -> Tensor:
    """Return images [n, C, s, s] in the middle of zeros [n, C, size, size]."""
    before = (size - images.shape[-1]) // 2
    after = size - images.shape[-1] - before
    return F.pad(images, (before, after, before, after))


def mosaic(crops: Tensor, n: int, factor: int, size: int) -> Tensor:
    """Return n mosaics [n, C, size, size] of crops [n f^2, C, s, s]: the i-th of crops i, i + n, ..., row by row."""
    cells = crops.view(factor, factor, n, *crops.shape[1:])  # [row, column, n, C, s, s]
    whole = cells.permute(2, 3, 0, 4, 1, 5).reshape(n, crops.shape[1], factor * crops.shape[2], -1)
    return F.interpolate(whole, size=(size, size), mode="nearest")
