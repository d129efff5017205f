"""Features and statistics of real and synthetic images in two networks, from which distances are computed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from pydantic import Field
from torch import Tensor, nn

from benchmark.api import Context, DatasetInfo, Job, Preparation, TeacherSpec, TrainData, Work
from benchmark.errors import BenchmarkError
from benchmark.vision.augment import normalize
from benchmark.vision.models import features_and_logits
from benchmark.vision.moments import BatchNormInputs, pooled
from benchmark.vision.training import read_ahead

EXTRACTORS = {"teacher": TeacherSpec(), "neutral": TeacherSpec(neutral=True)}
BATCH = 100  # images that pass through a network together
OVERALL_IMAGES = 2000  # images of all classes together in an overall distance, at most
PROJECTIONS = 500  # random directions of the sliced distance


@dataclass(frozen=True)
class Responses:
    """The responses of a network to images of one class.

    Attributes:
        features: [n, D] float32 on the CPU, the pooled output of the last layer but one.
        mean: [channels of all batch norms] float64, the mean of their inputs over images and pixels.
        var: the biased variance, of the same shape, by the law of total variance.
    """

    features: Tensor
    mean: Tensor
    var: Tensor


class RealFeatures(Preparation):
    """Features and statistics of at most `images_per_class` real images of every class in each of `EXTRACTORS`.

    - ``chosen`` [M]: indices of the images, class by class, in random order within a class; ``counts`` [classes];
    - ``EXTRACTOR.features`` [M, D], ``.mean`` and ``.var`` [classes, channels]: as in `Responses`;
    - ``.scale`` [classes + 1]: median distance between the features of each class, and last of all classes together;
    - ``.channels`` [layers]: the number of channels of each batch norm;
    - ``.projections`` [D, `PROJECTIONS`]: random unit vectors.
    """

    images_per_class: int = Field(default=500, ge=2)

    def teachers(self) -> tuple[TeacherSpec, ...]:
        """Return the networks in which features are computed."""
        return tuple(EXTRACTORS.values())

    def work(self, job: Job) -> tuple[Work, ...]:
        """Return the sample of real images, in both networks."""
        return tuple(spec.work("forward", job.members(self.images_per_class)) for spec in self.teachers())

    @torch.no_grad()
    def prepare(self, data: TrainData, context: Context) -> Mapping[str, Tensor]:
        """Return the tensors by the names above.

        Raises:
            BenchmarkError: a class has fewer than two training images.
        """
        classes = range(data.info.classes)
        if min(data.info.train_counts) < 2:
            name = data.info.class_names[data.info.train_counts.index(min(data.info.train_counts))]
            raise BenchmarkError(f"class '{name}' of {data.info.name} has one training image; distances need two")
        samples = [sample_of_class(data, label, self.images_per_class, context, "sample") for label in classes]
        rows: dict[str, list[Responses]] = {name: [] for name in EXTRACTORS}
        for label, indices in enumerate(samples):
            batches = list(read_ahead(data.read, indices.split(BATCH)))
            for name, network in zip(EXTRACTORS, context.teachers, strict=True):
                rows[name].append(respond(network, batches, data.info, context))
            context.progress(label + 1, data.info.classes)
        tensors = {"chosen": torch.cat(samples), "counts": torch.tensor([len(indices) for indices in samples])}
        for name, network in zip(EXTRACTORS, context.teachers, strict=True):
            channels = torch.tensor(BatchNormInputs(network).channels, dtype=torch.int64)
            entries = {"channels": channels, **_extractor_tensors(rows[name], context.generator("projections", name))}
            tensors |= {f"{name}.{key}": value for key, value in entries.items()}
        return tensors


def sample_of_class(data: TrainData, label: int, count: int, context: Context, *axes: object) -> Tensor:
    """Return the indices [n] of at most `count` random images of a class; `axes` name the random numbers."""
    members = data.indices_of(label)
    return members[torch.randperm(len(members), generator=context.generator(*axes, label))[:count]]


def overall_per_class(classes: int) -> int:
    """Return how many images of each class enter an overall distance, at most."""
    return max(1, OVERALL_IMAGES // classes)


def respond(network: nn.Module, batches: Iterable[Tensor], info: DatasetInfo, context: Context) -> Responses:
    """Return the responses of a network to images of one class, given as batches [n, C, H, W] in pixel space."""
    parts: list[tuple[Tensor, ...]] = []
    for images in batches:
        pixels = normalize(images.to(context.device), info).contiguous(memory_format=torch.channels_last)
        with BatchNormInputs(network) as inputs:
            features = features_and_logits(network, pixels)[0].float()
            mean, var = inputs.moments() if inputs.layers else (features[:, :0], features[:, :0])
        parts.append((features.cpu(), mean.double().cpu(), var.double().cpu()))
    features, mean, var = (torch.cat(part) for part in zip(*parts, strict=True))
    equal = torch.full((1, len(mean)), 1 / len(mean), dtype=torch.float64)
    centre, spread = pooled(mean.unsqueeze(0), var.unsqueeze(0), equal)
    return Responses(features, centre[0], spread[0])


def _extractor_tensors(rows: Sequence[Responses], generator: torch.Generator) -> dict[str, Tensor]:
    """Return the tensors of an extractor from its responses to every class."""
    features = torch.cat([row.features for row in rows])
    overall = torch.cat([row.features[: overall_per_class(len(rows))] for row in rows])
    directions = torch.randn(features.shape[1], PROJECTIONS, generator=generator, dtype=torch.float64)
    return {
        "features": features,
        "mean": torch.stack([row.mean for row in rows]),
        "var": torch.stack([row.var for row in rows]),
        "scale": torch.stack([_median_distance(part) for part in (*(row.features for row in rows), overall)]),
        "projections": torch.nn.functional.normalize(directions, dim=0),
    }


def _median_distance(features: Tensor) -> Tensor:
    return torch.nn.functional.pdist(features.double()).median().clamp_min(1e-6)
