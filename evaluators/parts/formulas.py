"""Distances between two sets of feature vectors, [n, D] real and [k, D] synthetic, every vector of the same mass.

All are lengths in the units of the features, but for ``mmd_rbf`` (an unbiased square, which may fall below 0),
``energy`` (a square) and the shares ``density`` and ``coverage``. NaN is what too few vectors do not define.
"""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np
import ot
import torch
from geomloss import SamplesLoss
from numpy.typing import NDArray
from sklearn.covariance import LedoitWolf
from torch import Tensor

NEIGHBOURS = 5  # k of density and coverage
BLUR = 0.05  # of the Sinkhorn divergence, as a share of the median distance between real features


class Real:
    """Real features that several sets are held against; what depends on them alone is computed once.

    Args:
        features: [n, D], n >= 2, float64.
        scale: the median distance between real features, the bandwidth of the kernel.
        projections: [D, P] unit vectors of the sliced distance, P >= 500.
    """

    def __init__(self, features: Tensor, scale: float, projections: Tensor) -> None:
        self.features, self.scale, self.projections = features, scale, projections

    @cached_property
    def within(self) -> Tensor:
        """Distances [n, n] between the real features."""
        return torch.cdist(self.features, self.features)

    @cached_property
    def likeness(self) -> float:
        """The mean of the kernel over all pairs of different real features."""
        return _mean_of_pairs(_kernel(self.within, self.scale))

    @cached_property
    def shrunk(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The covariance [D, D] as Ledoit and Wolf (2004) shrink it, and its square root."""
        covariance = _shrunk(self.features)
        return covariance, _root(covariance)

    def distances(self, features: Tensor) -> dict[str, float]:
        """Return every distance to synthetic features [k, D] that both a class and the whole set have."""
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
            self.likeness + _mean_of_pairs(_kernel(among, self.scale)) - 2 * float(_kernel(across, self.scale).mean())
        )

    def sinkhorn(self, features: Tensor) -> float:
        """Return the square root of twice the debiased Sinkhorn divergence, which tends to W2 as the blur vanishes."""
        blur = BLUR * self.scale
        loss = SamplesLoss("sinkhorn", p=2, blur=blur, scaling=0.8, debias=True, backend="tensorized")
        return math.sqrt(2 * max(float(loss(self.features, features)), 0.0))

    def sliced_w2(self, features: Tensor) -> float:
        """Return the square root of the mean of W2^2 over the projections; never above W2."""
        return float(ot.sliced_wasserstein_distance(self.features, features, projections=self.projections))

    def density_and_coverage(self, across: Tensor) -> dict[str, float]:
        """Return density and coverage (Naeem et al. 2020) at equal numbers of real and synthetic features.

        A real feature's ball reaches to its `NEIGHBOURS`-th nearest real one. Density is the number of balls around a
        synthetic feature over `NEIGHBOURS`, 1 on average for real ones; coverage the share of balls with one inside.
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
        """Return W2 between Gaussians with the sets' means and diagonal covariances; never above W2."""
        gap = (self.features.mean(0) - features.mean(0)).square().sum()
        spread = (self.features.std(0, correction=0) - features.std(0, correction=0)).square().sum()
        return float((gap + spread).sqrt())

    def frechet(self, features: Tensor) -> float:
        """Return W2 between Gaussians with the sets' means and shrunk covariances (Dowson and Landau 1982)."""
        (covariance, root), other = self.shrunk, _shrunk(features)
        gap = float((self.features.mean(0) - features.mean(0)).square().sum())
        shared = np.sqrt(np.linalg.eigvalsh(root @ other @ root).clip(0)).sum()
        return math.sqrt(max(gap + float(np.trace(covariance) + np.trace(other) - 2 * shared), 0.0))

    def variance_ratio(self, features: Tensor) -> float:
        """Return the total variance of synthetic features over that of real ones."""
        if len(features) < 2:
            return math.nan
        return float(features.var(0).sum() / self.features.var(0).sum())


def w2(across: Tensor) -> float:
    """Return the exact 2-Wasserstein distance for distances [n, k] between vectors of equal mass."""
    n, k = across.shape
    cost = across.square().cpu().numpy()
    return math.sqrt(max(float(ot.emd2(np.full(n, 1 / n), np.full(k, 1 / k), cost, numItermax=1_000_000)), 0.0))


def cosine(features: Tensor) -> float:
    """Return the mean cosine of all pairs of different vectors [k, D]: the higher, the more alike they are."""
    directions = torch.nn.functional.normalize(features, dim=1)
    return _mean_of_pairs(directions @ directions.T)


def _kernel(distances: Tensor, scale: float) -> Tensor:
    return torch.exp(-(distances / scale).square() / 2)


def _mean_of_pairs(values: Tensor) -> float:
    """Return the mean of a square matrix off its diagonal, NaN for a single element."""
    k = len(values)
    return float((values.sum() - values.trace()) / (k * (k - 1))) if k > 1 else math.nan


def _shrunk(features: Tensor) -> NDArray[np.float64]:
    return np.asarray(LedoitWolf().fit(features.cpu().numpy()).covariance_)


def _root(covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    values, vectors = np.linalg.eigh(covariance)
    return np.asarray((vectors * np.sqrt(values.clip(0))) @ vectors.T)
