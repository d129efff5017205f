"""Exact statistics of the real training set in a teacher, computed in one pass and shared by the methods."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmark.api import Context, Job, Preparation, TeacherSpec, TrainData, Work
from benchmark.vision.augment import normalize
from benchmark.vision.models import batch_norms, features_and_logits
from benchmark.vision.moments import BatchNormInputs, pooled
from benchmark.vision.training import read_ahead


@dataclass(frozen=True)
class Accumulated:
    """Count, mean and biased variance [channels] of the values so far, in float64."""

    count: int
    mean: Tensor
    variance: Tensor

    def merge(self, other: Accumulated) -> Accumulated:
        """Return the statistics of both parts together (Chan, Golub and LeVeque 1979), exact and numerically stable."""
        count = self.count + other.count
        share, gap = other.count / count, other.mean - self.mean
        variance = (1 - share) * self.variance + share * other.variance + share * (1 - share) * gap.square()
        return Accumulated(count, self.mean + share * gap, variance)


class ClassStatistics(Preparation):
    """Per-class statistics of the inputs of all batch norms, and the pooled features of all training images.

    They come from one pass over the training images without augmentation, class by class, teacher in eval mode. It
    returns

    - ``mean``, ``var`` [classes, channels of all batch norms]: over images and pixels, by the law of total variance;
    - ``batch_var``, of the same shape: the mean of the variances within batches of `batch_size`, as WMDD's code has it,
      without the variance of the batch means;
    - ``channels`` [layers]: the number of channels of each batch norm; empty for a teacher without batch norms;
    - ``counts`` [classes]: images per class;
    - ``features`` [N, D]: pooled penultimate features, in the order of the data.
    """

    teacher: str | None = None  # architecture; None: the dataset's teacher
    batch_size: int = 100

    def teachers(self) -> tuple[TeacherSpec, ...]:
        """Return the network in which the statistics are computed."""
        return (TeacherSpec(arch=self.teacher),)

    def work(self, job: Job) -> tuple[Work, ...]:
        """Return one pass over the training images."""
        return (Work("forward", job.train_images, self.teacher or ""),)

    @torch.no_grad()
    def prepare(self, data: TrainData, context: Context) -> Mapping[str, Tensor]:
        """Return the tensors by the names above."""
        features = torch.empty(0)
        rows = []
        for label in range(data.info.classes):
            batches = []
            for indices, values, statistics in self._class_batches(data, label, context):
                if not len(features):
                    features = values.new_empty(len(data.labels), values.shape[1])
                features[indices] = values
                batches.append(statistics)
            rows.append(_class_row(batches))
            context.progress(label + 1, data.info.classes)
        layers = batch_norms(context.teachers[0])
        return {
            "features": features,
            "counts": torch.bincount(data.labels, minlength=data.info.classes),
            "channels": torch.tensor([layer.num_features for layer in layers], dtype=torch.int64),
            **{name: torch.stack([row[name] for row in rows]) for name in rows[0]},
        }

    def _class_batches(
        self, data: TrainData, label: int, context: Context
    ) -> Iterator[tuple[Tensor, Tensor, Accumulated]]:
        """Yield the indices [n], the features [n, D] and the statistics of each batch of a class."""
        teacher = context.teachers[0]
        batches = data.indices_of(label).split(self.batch_size)
        for indices, images in zip(batches, read_ahead(data.read, batches), strict=True):
            pixels = normalize(images.to(context.device), data.info).contiguous(memory_format=torch.channels_last)
            with BatchNormInputs(teacher) as inputs:
                features, _ = features_and_logits(teacher, pixels)
                mean, variance = inputs.moments() if inputs.layers else (features[:, :0], features[:, :0])
            equal = torch.full((1, len(images)), 1 / len(images), dtype=torch.float64, device=mean.device)
            centre, spread = pooled(mean.double().unsqueeze(0), variance.double().unsqueeze(0), equal)
            yield indices, features.float().cpu(), Accumulated(len(images), centre[0].cpu(), spread[0].cpu())


def _class_row(batches: list[Accumulated]) -> dict[str, Tensor]:
    """Return ``mean``, ``var`` and ``batch_var`` of a class, each [channels of all batch norms]."""
    total = batches[0]
    for batch in batches[1:]:
        total = total.merge(batch)
    within = sum((batch.variance * (batch.count / total.count) for batch in batches), torch.zeros_like(total.mean))
    return {"mean": total.mean.float(), "var": total.variance.float(), "batch_var": within.float()}
