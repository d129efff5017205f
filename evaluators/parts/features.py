"""What two networks make of a sample of the real images: the side of every distance that no distilled set changes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from benchmark.api import Context, DatasetInfo, Preparation, TeacherSpec, TrainData
from benchmark.vision.augment import normalize
from benchmark.vision.models import features_and_logits
from benchmark.vision.moments import BatchNormInputs, pooled
from benchmark.vision.training import read_ahead

EXTRACTORS = {"teacher": TeacherSpec(), "neutral": TeacherSpec(neutral=True)}
BATCH = 100
WHOLE = 2000  # images of all classes together that distances of whole sets are computed from, at most
PROJECTIONS = 500


@dataclass(frozen=True)
class Seen:
    """Images of one class as a network sees them.

    Attributes:
        features: [n, D] float32 on the CPU, pooled, of the last layer but one.
        mean: [channels of all batch norms] float64, of their inputs, over images and pixels.
        var: likewise, the biased variance, by the law of total variance.
    """

    features: Tensor
    mean: Tensor
    var: Tensor


class RealFeatures(Preparation):
    """Features and statistics of at most `images_per_class` real images of every class, through each of `EXTRACTORS`.

    - ``chosen`` [M]: the images, class by class, in random order within a class; ``counts`` [classes];
    - ``EXTRACTOR.features`` [M, D], ``.mean`` and ``.var`` [classes, channels] as in `Seen`;
    - ``.scale`` [classes + 1]: median distance between the features of a class, and between those of all classes;
    - ``.channels`` [layers]: how the columns of ``mean`` and ``var`` belong to batch norms;
    - ``.projections`` [D, `PROJECTIONS`]: random unit vectors.
    """

    version: ClassVar[int] = 1

    images_per_class: int = Field(default=500, ge=2)

    def teachers(self) -> tuple[TeacherSpec, ...]:
        """Return the networks that look at the images."""
        return tuple(EXTRACTORS.values())

    @torch.no_grad()
    def prepare(self, data: TrainData, context: Context) -> Mapping[str, Tensor]:
        """Return the tensors named above."""
        chosen = [draw(data, label, self.images_per_class, context, "sample") for label in range(data.info.classes)]
        rows: dict[str, list[Seen]] = {name: [] for name in EXTRACTORS}
        for label, picks in enumerate(chosen):
            batches = list(read_ahead(data.read, picks.split(BATCH)))
            for name, network in zip(EXTRACTORS, context.teachers, strict=True):
                rows[name].append(see(network, batches, data.info, context))
            context.progress(label + 1, data.info.classes)
        found = {"chosen": torch.cat(chosen), "counts": torch.tensor([len(picks) for picks in chosen])}
        for name, network in zip(EXTRACTORS, context.teachers, strict=True):
            channels = torch.tensor(BatchNormInputs(network).channels, dtype=torch.int64)
            whole = {"channels": channels, **_whole(rows[name], context.generator("projections", name))}
            found |= {f"{name}.{key}": value for key, value in whole.items()}
        return found


def draw(data: TrainData, label: int, count: int, context: Context, *axes: object) -> Tensor:
    """Return the indices of at most `count` random images of a class."""
    members = data.indices_of(label)
    return members[torch.randperm(len(members), generator=context.generator(*axes, label))[:count]]


def share(classes: int) -> int:
    """Return how many images of each class stand for it in distances of whole sets."""
    return max(1, WHOLE // classes)


def see(network: nn.Module, batches: Iterable[Tensor], info: DatasetInfo, context: Context) -> Seen:
    """Return what a network makes of images of one class, given as batches [n, C, H, W] in pixel space."""
    parts: list[tuple[Tensor, ...]] = []
    for images in batches:
        view = normalize(images.to(context.device), info).contiguous(memory_format=torch.channels_last)
        with BatchNormInputs(network) as inputs:
            features = features_and_logits(network, view)[0].float()
            mean, var = inputs.moments() if inputs.layers else (features[:, :0], features[:, :0])
        parts.append((features.cpu(), mean.double().cpu(), var.double().cpu()))
    features, mean, var = (torch.cat(part) for part in zip(*parts, strict=True))
    equal = torch.full((1, len(mean)), 1 / len(mean), dtype=torch.float64)
    centre, spread = pooled(mean.unsqueeze(0), var.unsqueeze(0), equal)
    return Seen(features, centre[0], spread[0])


def _whole(rows: Sequence[Seen], generator: torch.Generator) -> dict[str, Tensor]:
    """Return the tensors of an extractor from what it saw of every class."""
    features = torch.cat([row.features for row in rows])
    few = torch.cat([row.features[: share(len(rows))] for row in rows])
    directions = torch.randn(features.shape[1], PROJECTIONS, generator=generator, dtype=torch.float64)
    return {
        "features": features,
        "mean": torch.stack([row.mean for row in rows]),
        "var": torch.stack([row.var for row in rows]),
        "scale": torch.stack([_median_distance(part) for part in (*(row.features for row in rows), few)]),
        "projections": torch.nn.functional.normalize(directions, dim=0),
    }


def _median_distance(features: Tensor) -> Tensor:
    return torch.nn.functional.pdist(features.double()).median().clamp_min(1e-6)
