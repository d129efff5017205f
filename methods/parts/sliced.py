"""The sliced 2-Wasserstein distance from the synthetic features of each class to its real features.

Paper: Bonneel et al.: Sliced and Radon Wasserstein Barycenters of Measures, Journal of Mathematical Imaging and Vision
2015. On a line the optimal plan keeps the order: the j-th smallest of n points takes the j-th n-th of the real mass.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class SlicedGaps:
    """The gaps between sorted projections of n features a class and the means of the real mass that each takes.

    The sum of their squares is ``D mean_theta sum_c n W_2^2(theta . F_c, theta . Y_c)`` less a constant: the
    variance of the real mass that one point takes.
    """

    def __init__(self, real: Sequence[Tensor], n: int, directions: Tensor) -> None:
        """Take the real features [m_c, D] of each class, the number n, and unit directions [D, P]."""
        self.directions = directions
        self.targets = torch.stack([quantile_means(features @ directions, n) for features in real])  # [classes, n, P]
        self.scale = (directions.shape[0] / directions.shape[1]) ** 0.5

    def __call__(self, features: Tensor) -> Tensor:
        """Return the gaps [classes, n, P] for features [classes * n, D], class by class."""
        projected = (features @ self.directions).view(self.targets.shape)
        return self.scale * (projected.sort(dim=1).values - self.targets)


def quantile_means(values: Tensor, n: int) -> Tensor:
    """Return the mean of each n-th of the mass of m equal masses at values [m, P], ascending, [n, P]."""
    rows = values.double().sort(dim=0).values
    mass = torch.cat([rows.new_zeros(1, rows.shape[1]), rows.cumsum(0)])  # [m + 1, P], linear in between
    edges = torch.arange(n + 1, device=values.device, dtype=torch.float64) * (len(values) / n)
    below = edges.floor().long().clamp(max=len(values) - 1)
    at_edges = mass[below] + (edges - below).unsqueeze(1) * (mass[below + 1] - mass[below])
    return (at_edges.diff(dim=0) * (n / len(values))).to(values.dtype)
