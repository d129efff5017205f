"""Herding: real images chosen one by one, so that the mean of their features stays near the mean of the class."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from benchmark.api import Context, DatasetInfo, Preparation, SyntheticSet, TrainData, Unit
from methods.parts.real import RealImages
from methods.parts.statistics import ClassStatistics


class Herding(RealImages):
    """``i_k = argmin over i of |m - (f_i + sum_{j<k} f_{i_j}) / k|``, f the features of a class, m their mean.

    The choice is greedy, without replacement and without random numbers: a larger IPC extends a smaller one, and the
    seed changes nothing. Difference from the authors' code (iCaRL): features keep their length; iCaRL scales it to 1.
    """

    paper: ClassVar[str] = (
        "Welling: Herding Dynamical Weights to Learn, ICML 2009; as the exemplars of Rebuffi et al.: iCaRL, CVPR 2017, "
        "https://arxiv.org/abs/1611.07725"
    )

    def preparation(self, info: DatasetInfo) -> Preparation:
        """Return the class statistics, which hold the features."""
        return ClassStatistics()

    def distill(self, data: TrainData, unit: Unit, context: Context) -> SyntheticSet:
        """Choose the unit's images."""
        indices = []
        for label in unit.classes:
            members = data.indices_of(label)
            order = herd(context.prepared["features"][members], unit.ipc)
            indices.append(members[order[list(unit.slots)]])
        return SyntheticSet(data.read(torch.cat(indices)), unit.labels)


def herd(features: Tensor, k: int) -> Tensor:
    """Return the indices [k] of the chosen features among [n, D], k <= n, in the order of the choice."""
    points = features.double()
    mean, total = points.mean(0), torch.zeros_like(points[0])
    is_free = torch.ones(len(points), dtype=torch.bool)
    order = []
    for size in range(1, k + 1):
        gaps = torch.linalg.vector_norm(mean - (total + points) / size, dim=1)
        best = int(gaps.where(is_free, torch.inf).argmin())
        order.append(best)
        is_free[best] = False
        total = total + points[best]
    return torch.tensor(order)
