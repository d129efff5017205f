"""Statistics of each class at the convolutions and batch norms of several networks, beside G-VBSM's of all classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmark.api import Context, TrainData
from benchmark.vision.moments import Moments, pooled
from methods.parts.generalized import GeneralStatistics, LayerInputs, in_patches

Spread = Literal["total", "within"]
CLASS = "class."  # before the names of the statistics of classes


class ImageMoments(LayerInputs):
    """Records the statistics of each image by the names of `LayerInputs.seen`: [N, C], and [N, P] of patches."""

    def record(self, key: str, layer: nn.Module, x: Tensor) -> None:
        """Keep the statistics of every image of the input x of a layer."""
        self.seen[f"{key}.mean"], self.seen[f"{key}.var"] = Moments.apply(x)
        if isinstance(layer, nn.Conv2d):
            wide = in_patches(x, self.patch)
            maps = torch.stack([wide.mean(1), wide.square().mean(1)])  # [2, N, H, W]
            first, second = F.avg_pool2d(maps, self.patch).flatten(2)
            self.seen[f"{key}.patch_mean"], self.seen[f"{key}.patch_var"] = first, second - first.square()


class ConditionalStatistics(GeneralStatistics):
    """`GeneralStatistics`, and for each class ``class.NAME`` [classes, channels or patches], batch norms included.

    The variance of a class is that of all its values (``total``), or the mean of the variances of its images
    (``within``), without the variance of their means.
    """

    spread: Spread = "total"

    @torch.no_grad()
    def prepare(self, data: TrainData, context: Context) -> Mapping[str, Tensor]:
        """Return means and variances by name."""
        inputs, sums = ImageMoments(context.teachers, self.patch), dict[str, Tensor]()
        for batch, moments in self._passed(inputs, data, context):
            labels = data.labels[batch.view.indices].to(context.device)
            for stem, mean, variance in moments:
                values = torch.stack([mean, mean.square(), variance])  # [3, N, channels]
                if stem not in sums:
                    sums[stem] = values.new_zeros(3, data.info.classes, values.shape[2])
                sums[stem].index_add_(1, labels, values)
        counts = torch.bincount(data.labels, minlength=data.info.classes).to(context.device, torch.float64)
        return self._results(inputs, sums, counts.view(-1, 1))

    def _results(self, inputs: LayerInputs, sums: Mapping[str, Tensor], counts: Tensor) -> dict[str, Tensor]:
        """Return the statistics from sums of means, of their squares and of variances, [3, classes, channels] each."""
        results: dict[str, Tensor] = {}
        layers = {key: layer for layers in inputs.layers for key, layer in layers.items()}
        for name, total in sums.items():
            mean, square, within = total / counts
            variance = within + (square - mean.square() if self.spread == "total" else 0)
            results |= {f"{CLASS}{name}mean": mean.float(), f"{CLASS}{name}var": variance.float()}
            if isinstance(layers[name.removesuffix("patch_").removesuffix(".")], nn.Conv2d):
                row = total.sum(1) / counts.sum()
                results |= {f"{name}mean": row[0].float(), f"{name}var": (row[1] - row[0] ** 2 + row[2]).float()}
        return results


def general(prepared: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the statistics of all classes together."""
    return {name: prepared[name] for name in prepared if not name.startswith(CLASS)}


def of_labels(prepared: Mapping[str, Tensor], labels: Tensor, spread: Spread) -> dict[str, Tensor]:
    """Return the statistics of images with these labels, as their classes have them.

    Means are averaged over the labels. Variances are too (``within``), or by the law of total variance (``total``), as
    the statistics of a batch of these classes would be.
    """
    classes, counts = labels.unique(return_counts=True)
    weights = (counts / len(labels)).unsqueeze(0)  # [1, classes of the labels]
    results: dict[str, Tensor] = {}
    for name in prepared:
        if name.startswith(CLASS) and name.endswith("mean"):
            stem = name.removesuffix("mean")
            mean, variance = (prepared[f"{stem}{kind}"][classes] for kind in ("mean", "var"))
            centre, total = pooled(mean.unsqueeze(0), variance.unsqueeze(0), weights)
            layer_name = stem.removeprefix(CLASS)
            results[f"{layer_name}mean"] = centre[0]
            results[f"{layer_name}var"] = total[0] if spread == "total" else (weights @ variance)[0]
    return results
