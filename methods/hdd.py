"""HDD: IDM with the distance of centroids in hyperbolic space in place of that of means."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from methods.idm import IDM

LONGEST = 10.0  # the longest vector of the map exp: a longer vector keeps only its direction
NEAREST = 1e-15  # how much the argument of arcosh is above 1 at least; below, the gradient is 0


class HDD(IDM):
    """IDM with ``s sqrt(k) arcosh(-<c_r, c_s> / k)`` as the gap of a class: the distance of two centroids, times s.

    ``<u, v> = -u_0 v_0 + sum_i u_i v_i``. Points of the hyperboloid have ``<x, x> = -k``. An embedding f becomes one:

    - ``proj``: ``x = (sqrt(k + |f|^2), f)``;
    - ``exp``: ``x = sqrt(k) (cosh r, sinh r f / |f|), r = min(|f| / sqrt(k), 10)``, the exponential map.

    The centroid of points with mean m is ``sqrt(k) m / sqrt|<m, m>|``. The distance is not squared. All of it is
    computed in float64. For large k, proj gives s times the distance of the means.

    The default is proj: embeddings of random ConvNets have lengths of 22 to 32, above the limit of exp, where only
    their direction counts. The recipe for CIFAR-10 has exp, as the authors' script.

    Differences from the authors' code: those of IDM.
    """

    paper: ClassVar[str] = "Li et al.: Hyperbolic Dataset Distillation, NeurIPS 2025, https://arxiv.org/abs/2505.24623"

    map: Literal["proj", "exp"] = "proj"
    curvature: float = Field(default=1.0, gt=0)  # k; the curvature of the space is -1 / k
    scale: float = Field(default=100.0, gt=0)  # s

    def gap(self, real: Tensor, synthetic: Tensor) -> Tensor:
        """Return s times the distance between the centroids of features [n, D] and [m, D]."""
        means = (self._on_hyperboloid(features.double()).mean(0) for features in (real, synthetic))
        one, other = (centroid(mean, self.curvature) for mean in means)
        return (self.scale * distance(one, other, self.curvature)).float()

    def _on_hyperboloid(self, features: Tensor) -> Tensor:
        return (project if self.map == "proj" else exponential)(features, self.curvature)


def product(u: Tensor, v: Tensor) -> Tensor:
    """Return ``<u, v> = -u_0 v_0 + sum_i u_i v_i`` of [..., D + 1]."""
    return (u[..., 1:] * v[..., 1:]).sum(-1) - u[..., 0] * v[..., 0]


def project(features: Tensor, k: float) -> Tensor:
    """Return the points [n, D + 1] above features [n, D]."""
    return torch.cat([(k + features.square().sum(1, keepdim=True)).sqrt(), features], 1)


def exponential(features: Tensor, k: float) -> Tensor:
    """Return the points [n, D + 1] to which the exponential map at (sqrt(k), 0, ...) takes features [n, D]."""
    length = features.norm(dim=1, keepdim=True).clamp_min(NEAREST)
    r = (length / k**0.5).clamp_max(LONGEST)
    return k**0.5 * torch.cat([r.cosh(), r.sinh() * features / length], 1)


def centroid(mean: Tensor, k: float) -> Tensor:
    """Return the point of the hyperboloid in the direction of a mean of points, [D + 1]."""
    return k**0.5 * mean / product(mean, mean).abs().sqrt()


def distance(one: Tensor, other: Tensor, k: float) -> Tensor:
    """Return the distance of two points [D + 1], a scalar; where they coincide, its gradient is 0."""
    return k**0.5 * torch.acosh((-product(one, other) / k).clamp_min(1 + NEAREST))
