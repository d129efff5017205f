"""How far a distilled set lies from the real images, in the features of two networks, and what it looks like there."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from benchmark.api import Context, DatasetInfo, Measure, Preparation, SyntheticSet, TeacherSpec, TrainData
from evaluators.parts.features import BATCH, EXTRACTORS, RealFeatures, Seen, draw, see, share
from evaluators.parts.formulas import Real, cosine
from evaluators.parts.neighbours import feature_map, nearest_real, write

Scores = dict[str, float]


class Distances(Measure):
    """Distances of a set from at most `images_per_class` real training images of every class.

    A number is called ``EXTRACTOR.NAME``, the mean over classes, or ``EXTRACTOR.overall.NAME`` for all classes together
    (2,000 images at most, as many of each, which pulls the unbiased ``mmd_rbf`` below 0). Extractors are the dataset's
    teacher and a ``neutral`` network that no method matches by default. Names are those of `Real.distances`, and

    - ``gaussian_w2``: W2 between Gaussians; with diagonal covariances per class, where a full one of a few images says
      nothing, and with covariances as Ledoit and Wolf shrink them overall (the Frechet distance);
    - ``cosine``: mean cosine of pairs of a class, ``variance_ratio``: total variance, synthetic over real;
    - ``statistics_error``: of a class's batch-norm statistics, means m and variances v: ``|m - m_r|^2 / sum(v_r)``, by
      itself ``statistics_mean``, plus ``|v - v_r|^2 / |v_r|^2``, ``statistics_variance``, averaged over the layers.

    ``..._floor`` is the mean of the same number over `draws` random sets of as many real training images: what chance
    reaches. They may hold images of the sample, as a selected set may; a set below its floor represents the training
    images better than chance does. All images count alike, whatever their weight in the student's loss. A number that
    so few images do not define is None. ``per_class.npz`` holds every number class by class.
    """

    version: ClassVar[int] = 1

    images_per_class: int = Field(default=500, ge=2)
    draws: int = Field(default=3, ge=1)

    def teachers(self) -> tuple[TeacherSpec, ...]:
        """Return the networks whose features are compared."""
        return tuple(EXTRACTORS.values())

    def preparation(self, info: DatasetInfo) -> Preparation:
        """Return the features of the real sample."""
        return RealFeatures(images_per_class=self.images_per_class)

    @torch.no_grad()
    def measure(self, images: SyntheticSet, data: TrainData, context: Context, folder: Path) -> dict[str, Any]:
        """Return the numbers; write them by class, and what pictures of neighbours and of a map are made of."""
        views = [View(name, net, context) for name, net in zip(EXTRACTORS, context.teachers, strict=True)]
        classes, found, arrays = data.info.classes, Scores(), dict[str, NDArray[np.float64]]()
        for label in range(classes):
            for pixels in self._sets(images, data, label, context):
                for view in views:
                    view.look(label, pixels, data.info, context)
            context.progress(label + 1, classes + 1)
        for view in views:
            table = view.by_class()
            arrays |= {f"{view.name}.{name}": values for name, values in table.items()}
            found |= {f"{view.name}.{name}": float(values.mean()) for name, values in table.items()}
            found |= {f"{view.name}.overall.{name}": value for name, value in view.overall().items()}
        write(folder / "per_class.npz", arrays)
        synthetic = {view.name: [seen[0].features for seen in view.seen] for view in views}
        write(folder / "neighbours.npz", nearest_real(images, synthetic, data, context))
        write(folder / "map.npz", feature_map(images, synthetic["teacher"], context))
        return {name: value if math.isfinite(value) else None for name, value in found.items()}

    def _sets(self, images: SyntheticSet, data: TrainData, label: int, context: Context) -> list[Tensor]:
        """Return the images of a class: synthetic ones, then as many real ones for each draw."""
        synthetic = images.images[images.classes == label]
        picks = [draw(data, label, len(synthetic), context, "anchor", i) for i in range(self.draws)]
        return [synthetic, *(data.read(indices) for indices in picks)]


class View:
    """What one network makes of the real sample, of a synthetic set and of the anchors.

    Attributes:
        name: of the extractor.
        seen: per class the synthetic images, then each draw of real ones.
    """

    def __init__(self, name: str, network: nn.Module, context: Context) -> None:
        self.name, self.network, self.device = name, network, context.device
        self.real = {key: value for key, value in context.prepared.items() if key.startswith(f"{name}.")}
        self.classes = self._of("features").split(context.prepared["counts"].tolist())
        self.seen: list[list[Seen]] = [[] for _ in self.classes]

    def look(self, label: int, pixels: Tensor, info: DatasetInfo, context: Context) -> None:
        """Look at one more set of images [n, C, H, W] of a class."""
        self.seen[label].append(see(self.network, pixels.split(BATCH), info, context))

    def by_class(self) -> dict[str, NDArray[np.float64]]:
        """Return every number and its floor, [classes]."""
        rows = [self._class_scores(label) for label in range(len(self.classes))]
        return {name: np.array([row[name] for row in rows]) for name in rows[0]}

    def overall(self) -> Scores:
        """Return every number and its floor of all classes together."""
        real = self._against(mixed(self.classes), -1)
        scores = []
        for parts in zip(*self.seen, strict=True):
            features = self._wide(mixed([part.features for part in parts]))
            scores.append({**real.distances(features), "gaussian_w2": real.frechet(features)})
        return with_floor(scores)

    def _class_scores(self, label: int) -> Scores:
        real, scores = self._against(self.classes[label], label), []
        for seen in self.seen[label]:
            features = self._wide(seen.features)
            spread = {"cosine": cosine(features), "variance_ratio": real.variance_ratio(features)}
            errors = statistics_errors(seen, self._of("mean")[label], self._of("var")[label], self._of("channels"))
            scores.append({**real.distances(features), "gaussian_w2": real.gaussian_w2(features), **spread, **errors})
        return with_floor(scores)

    def _against(self, features: Tensor, place: int) -> Real:
        projections = self._of("projections").to(self.device)
        return Real(self._wide(features), float(self._of("scale")[place]), projections)

    def _wide(self, features: Tensor) -> Tensor:
        return features.to(self.device, torch.float64)

    def _of(self, key: str) -> Tensor:
        return self.real[f"{self.name}.{key}"]


def with_floor(scores: Sequence[Mapping[str, float]]) -> Scores:
    """Return the first of some scores, and the mean of the others as ``NAME_floor``."""
    first, *draws = scores
    floors = {f"{name}_floor": sum(each[name] for each in draws) / len(draws) for name in first}
    return {**first, **floors}


def mixed(classes: Sequence[Tensor]) -> Tensor:
    """Return the features that stand for whole classes [k, D], the first of every class before every second one."""
    few = [features[: share(len(classes))] for features in classes]
    order = torch.cat([torch.arange(len(features)) for features in few]).argsort(stable=True)
    return torch.cat(few)[order]


def statistics_errors(seen: Seen, mean: Tensor, var: Tensor, channels: Tensor) -> Scores:
    """Return the relative errors of a class's batch-norm statistics; {} for a network without batch norms.

    Args:
        seen: the images.
        mean: of the real class, [channels of all layers].
        var: likewise.
        channels: [layers], how these belong to layers.
    """
    if not len(channels):
        return {}
    sizes = channels.tolist()
    gaps, spreads = ((a - b).square().split(sizes) for a, b in ((seen.mean, mean), (seen.var, var)))
    layers = list(zip(gaps, spreads, var.split(sizes), strict=True))
    of_mean = sum(float(gap.sum() / real.sum()) for gap, _, real in layers) / len(layers)
    of_variance = sum(float(gap.sum() / real.square().sum()) for _, gap, real in layers) / len(layers)
    return {
        "statistics_error": of_mean + of_variance,
        "statistics_mean": of_mean,
        "statistics_variance": of_variance,
    }
