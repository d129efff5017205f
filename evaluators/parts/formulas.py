"""Distances between two sets of feature vectors, [n, D] real and [k, D] synthetic, all vectors of equal mass.

All are lengths in the units of the features, except ``mmd_rbf`` (an unbiased square, which can be negative), ``energy``
(a square), and ``density`` and ``coverage`` (shares). A number that too few vectors do not define is NaN.
"""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

NEIGHBOURS = 5  # k of density and coverage
BLUR = 0.05  # the blur of the Sinkhorn divergence, as a share of the median distance between real features


class Real:
    """Real features, and their distances to several synthetic sets; terms of the real features are computed once.

    Args:
        features: [n, D], n >= 2, float64.
        scale: the median distance between real features, which is the bandwidth of the kernel.
        projections: [D, P], unit vectors of the sliced distance, P >= 500.
    """

    def __init__(self, features: Tensor, scale: float, projections: Tensor) -> None:
        self.features, self.scale, self.projections = features, scale, projections

    @cached_property
    def within(self) -> Tensor:
        """Distances [n, n] between the real features."""
        return torch.cdist(self.features, self.features)

    @cached_property
    def mean_kernel(self) -> float:
        """The mean of the kernel over all pairs of different real features."""
        return _mean_of_pairs(_kernel(self.within, self.scale))

    @cached_property
    def covariance(self) -> Tensor:
        """The shrunk covariance [D, D] of the real features."""
        return shrunk_covariance(self.features)

    def distances(self, features: Tensor) -> dict[str, float]:
        """Return the distances to synthetic features [k, D] that are computed both per class and overall, by name."""
        across = torch.cdist(self.features, features)  # [n, k]
        among = torch.cdist(features, features)
        return {
            "mean_gap": float(torch.linalg.vector_norm(self.features.mean(0) - features.mean(0))),
            "mmd_rbf": self.mmd_rbf(across, among),
            "energy": float(2 * across.mean() - self.within.mean() - among.mean()),
            "w2": w2(across),
            "sinkhorn": self.sinkhorn(features),
            "sliced_w2": self.sliced_w2(features),
            **self.density_and_coverage(across),
        }

    def mmd_rbf(self, across: Tensor, among: Tensor) -> float:
        """Return the unbiased MMD^2 under ``exp(-d^2 / (2 scale^2))`` (Gretton et al. 2012, equation 3)."""
        return (
            self.mean_kernel
            + _mean_of_pairs(_kernel(among, self.scale))
            - 2 * float(_kernel(across, self.scale).mean())
        )

    def sinkhorn(self, features: Tensor) -> float:
        """Return the square root of twice the debiased Sinkhorn divergence; it tends to W2 as the blur tends to 0."""
        from geomloss import SamplesLoss  # imported here, as the libraries below: each takes seconds

        blur = BLUR * self.scale
        loss = SamplesLoss("sinkhorn", p=2, blur=blur, scaling=0.8, debias=True, backend="tensorized")
        return math.sqrt(2 * max(float(loss(self.features, features)), 0.0))

    def sliced_w2(self, features: Tensor) -> float:
        """Return the square root of the mean of W2^2 over the projections; it is at most W2."""
        import ot

        return float(ot.sliced_wasserstein_distance(self.features, features, projections=self.projections))

    def density_and_coverage(self, across: Tensor) -> dict[str, float]:
        """Return density and coverage (Naeem et al. 2020) for equal numbers of real and synthetic features.

        The ball of a real feature ends at its `NEIGHBOURS`-th nearest real feature. Density is the mean number of balls
        that contain a synthetic feature, divided by `NEIGHBOURS`; it is 1 on average for real images. Coverage is the
        share of balls that contain a synthetic feature.
        """
        size = min(across.shape)
        if size <= NEIGHBOURS:
            return {"density": math.nan, "coverage": math.nan}
        radii = self.within[:size, :size].kthvalue(NEIGHBOURS + 1, dim=1).values  # the nearest is the feature itself
        inside = across[:size, :size] < radii.unsqueeze(1)
        return {
            "density": float(inside.sum(0).double().mean() / NEIGHBOURS),
            "coverage": float(inside.any(1).double().mean()),
        }

    def gaussian_w2(self, features: Tensor) -> float:
        """Return W2 between Gaussians with the means and diagonal covariances of both sets; it is at most W2."""
        gap = (self.features.mean(0) - features.mean(0)).square().sum()
        spread = (self.features.std(0, correction=0) - features.std(0, correction=0)).square().sum()
        return float((gap + spread).sqrt())

    def frechet(self, features: Tensor) -> float:
        """Return W2 between Gaussians with the means and shrunk covariances of both sets (Dowson and Landau 1982)."""
        import ot

        means = self.features.mean(0), features.mean(0)
        return float(ot.gaussian.bures_wasserstein_distance(*means, self.covariance, shrunk_covariance(features)))

    def variance_ratio(self, features: Tensor) -> float:
        """Return the total variance of the synthetic features divided by that of the real ones; NaN for one feature."""
        if len(features) < 2:
            return math.nan
        return float(features.var(0).sum() / self.features.var(0).sum())


def w2(across: Tensor) -> float:
    """Return the exact 2-Wasserstein distance between n and k vectors of equal mass, from their distances [n, k]."""
    import ot

    n, k = across.shape
    cost = across.square().cpu().numpy()
    return math.sqrt(max(float(ot.emd2(np.full(n, 1 / n), np.full(k, 1 / k), cost, numItermax=1_000_000)), 0.0))


def cosine(features: Tensor) -> float:
    """Return the mean cosine of all pairs of different vectors [k, D]; NaN for one vector."""
    directions = torch.nn.functional.normalize(features, dim=1)
    return _mean_of_pairs(directions @ directions.T)


def shrunk_covariance(features: Tensor) -> Tensor:
    """Return the covariance [D, D] of features [n, D] as Ledoit and Wolf (2004) shrink it."""
    from sklearn.covariance import LedoitWolf

    return torch.from_numpy(LedoitWolf().fit(features.cpu().numpy()).covariance_).to(features.device)


def _kernel(distances: Tensor, scale: float) -> Tensor:
    return torch.exp(-(distances / scale).square() / 2)


def _mean_of_pairs(values: Tensor) -> float:
    """Return the mean of a square matrix [k, k] without its diagonal; NaN for k = 1."""
    k = len(values)
    return float((values.sum() - values.trace()) / (k * (k - 1))) if k > 1 else math.nan
