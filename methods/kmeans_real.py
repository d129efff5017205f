"""K-means real: the real images nearest to the atoms of their class's Wasserstein barycenter, WMDD without recovery."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field

from benchmark.api import Context, DatasetInfo, Preparation, SyntheticSet, TrainData, Unit
from methods.parts.real import RealImages, nearest_indices
from methods.parts.statistics import ClassStatistics
from methods.parts.transport import Weights, barycenter, start_positions


class KMeansReal(RealImages):
    """``S_c = {x_i(j)}`` with ``i = argmin over one-to-one i of sum_j |f_i(j) - b_j|^2``, f the teacher's features.

    b are the IPC atoms of the barycenter of class c. With uniform weights they are the centres of k-means with clusters
    of equal size, with learned weights those of k-means. Learned weights, scaled to mean 1, enter the student's loss.
    The accuracy that WMDD has beyond these images comes from its recovery. There is no authors' code: this control of
    WMDD is ours.
    """

    paper: ClassVar[str] = (
        "real images nearest to cluster centres, a control for Liu et al.: Dataset Distillation via the Wasserstein "
        "Metric, ICCV 2025, https://arxiv.org/abs/2311.18531"
    )

    weights: Weights = "uniform"  # the weights of the atoms
    atoms_rounds: int = Field(default=100, ge=1)  # how often the atoms move, at most

    def preparation(self, info: DatasetInfo) -> Preparation:
        """Return the class statistics, which hold the features."""
        return ClassStatistics()

    def distill(self, data: TrainData, unit: Unit, context: Context) -> SyntheticSet:
        """Choose the unit's images."""
        slots = list(unit.slots)
        indices, shares = [], []
        for done, label in enumerate(unit.classes, start=1):
            members = data.indices_of(label)
            features = context.prepared["features"][members]
            start = start_positions(features, unit.ipc, "kmeans++", context.generator("atoms", label))
            atoms = barycenter(features, start, weights=self.weights, rounds=self.atoms_rounds)
            indices.append(members[nearest_indices(features, atoms.positions)[slots]])
            shares.append(atoms.weights[slots].float() * unit.ipc)
            context.progress(done, len(unit.classes))
        weights = torch.cat(shares) if self.weights == "learned" else None
        return SyntheticSet(data.read(torch.cat(indices)), unit.labels, weights)
