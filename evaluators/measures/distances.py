"""Distances of a distilled set from the real images, in the features of two networks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from benchmark.api import (
    Column,
    Context,
    DatasetInfo,
    Job,
    Measure,
    Preparation,
    SyntheticSet,
    TeacherSpec,
    TrainData,
    Work,
)
from evaluators.parts.features import (
    BATCH,
    EXTRACTORS,
    RealFeatures,
    Responses,
    overall_per_class,
    respond,
    sample_of_class,
)
from evaluators.parts.formulas import Real, cosine
from evaluators.parts.neighbours import feature_map, nearest_real, write

Scores = dict[str, float]
Better = Literal["higher", "lower", ""]

PER_CLASS: dict[str, tuple[str, Better, int]] = {  # number -> heading, better direction, digits
    "w2": ("W2", "lower", 2),
    "statistics_error": ("statistics error", "lower", 3),
    "gaussian_w2": ("Gaussian W2", "lower", 2),
    "sinkhorn": ("Sinkhorn", "lower", 2),
    "sliced_w2": ("sliced W2", "lower", 3),
    "mean_gap": ("mean gap", "lower", 2),
    "energy": ("energy", "lower", 2),
    "mmd_rbf": ("MMD²", "lower", 4),
    "statistics_mean": ("statistics, means", "lower", 3),
    "statistics_variance": ("statistics, variances", "lower", 3),
    "coverage": ("coverage", "higher", 2),
    "density": ("density", "higher", 2),
    "variance_ratio": ("variance ratio", "", 2),  # 1 is best
    "cosine": ("cosine", "", 2),  # the cosine of real images is best
}
OVERALL = {name: PER_CLASS[name] for name in PER_CLASS if not name.startswith(("statistics", "variance", "cosine"))}
OVERALL["gaussian_w2"] = ("Fréchet distance", "lower", 2)


def _columns(numbers: dict[str, tuple[str, Better, int]], infix: str, suffix: str) -> Iterator[Column]:
    """Yield the columns of some numbers for both extractors; `infix` and `suffix` complete name and heading."""
    for number, (heading, better, digits) in numbers.items():
        for extractor in EXTRACTORS:
            name = f"{extractor}.{infix}{number}"
            yield Column(name, f"{heading}{suffix}, {extractor}", better=better, digits=digits, floor=f"{name}_floor")


class Distances(Measure):
    """Distances of a set from at most `images_per_class` real training images of every class.

    ``EXTRACTOR.NAME`` is the mean of a number over classes, ``EXTRACTOR.overall.NAME`` the number for all classes
    together (at most 2,000 images, equally many of each class, so that the unbiased ``mmd_rbf`` tends to be negative).
    The extractors are the dataset's ``teacher`` and its ``neutral`` network, which no method matches by default. The
    numbers are those of `Real.distances`, and

    - ``gaussian_w2``: W2 between Gaussians. Per class covariances are diagonal, since a few images do not determine a
      full one; overall they are full and shrunk (Ledoit and Wolf): the Fréchet distance;
    - ``cosine``: mean cosine of pairs within a class; ``variance_ratio``: total variance, synthetic over real;
    - ``statistics_mean``, ``|m - m_r|^2 / sum(v_r)``, and ``statistics_variance``, ``|v - v_r|^2 / |v_r|^2``, of the
      batch-norm means m and variances v of a class, averaged over layers; ``statistics_error`` is their sum. A network
      without batch norms has none of the three.

    ``NAME_floor`` is the mean of the same number over `draws` random sets of equally many real training images. These
    may hold images of the sample, as a set of chosen real images may. A set below its floor represents the training
    images better than random real images do. All images have equal weight. A number that too few images do not define
    is None. ``per_class.npz`` holds all numbers class by class.
    """

    columns: ClassVar[tuple[Column, ...]] = (*_columns(PER_CLASS, "", ""), *_columns(OVERALL, "overall.", " overall"))

    images_per_class: int = Field(default=500, ge=2)
    draws: int = Field(default=3, ge=1)  # random sets of the floor

    def teachers(self) -> tuple[TeacherSpec, ...]:
        """Return the two networks in whose features distances are computed."""
        return tuple(EXTRACTORS.values())

    def work(self, job: Job) -> tuple[Work, ...]:
        """Return the images of the set and of the random sets, in both networks."""
        return tuple(spec.work("forward", (1 + self.draws) * job.images) for spec in self.teachers())

    def preparation(self, info: DatasetInfo) -> Preparation:
        """Return the features of the real sample."""
        return RealFeatures(images_per_class=self.images_per_class)

    @torch.no_grad()
    def measure(self, images: SyntheticSet, data: TrainData, context: Context, folder: Path) -> dict[str, Any]:
        """Return the numbers; write them by class, and the arrays of the plots of neighbours and maps."""
        extractors = [Extractor(name, net, context) for name, net in zip(EXTRACTORS, context.teachers, strict=True)]
        classes, scores, arrays = data.info.classes, Scores(), dict[str, NDArray[np.float64]]()
        for label in range(classes):
            for pixels in self._sets(images, data, label, context):
                for extractor in extractors:
                    extractor.add(label, pixels, data.info, context)
            context.progress(label + 1, classes + 1)
        for extractor in extractors:
            by_class = extractor.by_class()
            arrays |= {f"{extractor.name}.{name}": values for name, values in by_class.items()}
            scores |= {f"{extractor.name}.{name}": float(values.mean()) for name, values in by_class.items()}
            scores |= {f"{extractor.name}.overall.{name}": value for name, value in extractor.overall().items()}
        write(folder / "per_class.npz", arrays)
        synthetic = {extractor.name: [sets[0].features for sets in extractor.sets] for extractor in extractors}
        write(folder / "neighbours.npz", nearest_real(images, synthetic, data, context))
        write(folder / "map.npz", feature_map(images, synthetic["teacher"], context))
        return {name: value if math.isfinite(value) else None for name, value in scores.items()}

    def _sets(self, images: SyntheticSet, data: TrainData, label: int, context: Context) -> list[Tensor]:
        """Return the synthetic images of a class, then `draws` random sets of equally many real ones."""
        synthetic = images.images[images.classes == label]
        index_sets = [sample_of_class(data, label, len(synthetic), context, "anchor", i) for i in range(self.draws)]
        return [synthetic, *(data.read(indices) for indices in index_sets)]


class Extractor:
    """The distances of a synthetic set, and of random real sets, from the real sample in the features of one network.

    Attributes:
        name: the name of the extractor.
        sets: per class the responses to the synthetic images, then to each random real set.
    """

    def __init__(self, name: str, network: nn.Module, context: Context) -> None:
        self.name, self.network, self.device = name, network, context.device
        self.real = {key: value for key, value in context.prepared.items() if key.startswith(f"{name}.")}
        self.classes = self._tensor("features").split(context.prepared["counts"].tolist())
        self.sets: list[list[Responses]] = [[] for _ in self.classes]

    def add(self, label: int, pixels: Tensor, info: DatasetInfo, context: Context) -> None:
        """Add one more set of images [n, C, H, W] of a class."""
        self.sets[label].append(respond(self.network, pixels.split(BATCH), info, context))

    def by_class(self) -> dict[str, NDArray[np.float64]]:
        """Return all numbers and their floors by name, [classes] each."""
        rows = [self._class_scores(label) for label in range(len(self.classes))]
        return {name: np.array([row[name] for row in rows]) for name in rows[0]}

    def overall(self) -> Scores:
        """Return all numbers and their floors for all classes together."""
        real = self._real(overall_features(self.classes), -1)
        scores = []
        for parts in zip(*self.sets, strict=True):
            features = self._double(overall_features([part.features for part in parts]))
            scores.append({**real.distances(features), "gaussian_w2": real.frechet(features)})
        return with_floor(scores)

    def _class_scores(self, label: int) -> Scores:
        """Return all numbers and their floors for one class."""
        real, scores = self._real(self.classes[label], label), []
        mean, var, channels = self._tensor("mean")[label], self._tensor("var")[label], self._tensor("channels")
        for responses in self.sets[label]:
            features = self._double(responses.features)
            spread = {"cosine": cosine(features), "variance_ratio": real.variance_ratio(features)}
            errors = statistics_errors(responses, mean, var, channels)
            scores.append({**real.distances(features), "gaussian_w2": real.gaussian_w2(features), **spread, **errors})
        return with_floor(scores)

    def _real(self, features: Tensor, group: int) -> Real:
        """Return the real features [n, D] of a class, or of all classes (group -1), for distances."""
        projections = self._tensor("projections").to(self.device)
        return Real(self._double(features), float(self._tensor("scale")[group]), projections)

    def _double(self, features: Tensor) -> Tensor:
        return features.to(self.device, torch.float64)

    def _tensor(self, key: str) -> Tensor:
        return self.real[f"{self.name}.{key}"]


def with_floor(scores: Sequence[Mapping[str, float]]) -> Scores:
    """Return the scores of the first set, and the mean of those of the other sets as ``NAME_floor``."""
    first, *random_sets = scores
    floors = {f"{name}_floor": sum(other[name] for other in random_sets) / len(random_sets) for name in first}
    return {**first, **floors}


def overall_features(classes: Sequence[Tensor]) -> Tensor:
    """Return the features of an overall distance [k, D]: the first of each class, the second of each class, ..."""
    groups = [features[: overall_per_class(len(classes))] for features in classes]
    order = torch.cat([torch.arange(len(features)) for features in groups]).argsort(stable=True)
    return torch.cat(groups)[order]


def statistics_errors(responses: Responses, mean: Tensor, var: Tensor, channels: Tensor) -> Scores:
    """Return the relative errors of the batch-norm statistics of a class; {} for a network without batch norms.

    Args:
        responses: the responses of the network to the images of the class.
        mean: the mean of the real images of the class, [channels of all layers].
        var: the variance of the real images of the class, [channels of all layers].
        channels: [layers], the number of channels of each layer.
    """
    if not len(channels):
        return {}
    sizes = channels.tolist()
    gaps, spreads = ((a - b).square().split(sizes) for a, b in ((responses.mean, mean), (responses.var, var)))
    layers = list(zip(gaps, spreads, var.split(sizes), strict=True))
    of_mean = sum(float(gap.sum() / real.sum()) for gap, _, real in layers) / len(layers)
    of_variance = sum(float(gap.sum() / real.square().sum()) for _, gap, real in layers) / len(layers)
    return {
        "statistics_error": of_mean + of_variance,
        "statistics_mean": of_mean,
        "statistics_variance": of_variance,
    }
