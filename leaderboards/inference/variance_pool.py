"""The mean squares of rows that share one variance: one-way and two-way layout, unequal numbers of units."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import chdtrc, fdtrc

ROUNDING = 1e-9  # the share of a variance that rounding leaves
NO_SPREAD = 1e-9  # a variance that no test set resolves, in squared points
UNITS_DIFFER = 0.01  # level of the F test, below which units are blocks


@dataclass(frozen=True)
class Estimate:
    """A variance in squared points, and its degrees of freedom."""

    variance: float
    freedom: float


@dataclass(frozen=True)
class Pool:
    """Mean squares of the rows of a pool, each row divided by its scale g.

    Attributes:
        shape: the shape of g: how the spread depends on the mean.
        within: the mean square within rows, all units together.
        rest: the mean square of the two-way layout: without what units have in common.
        units: the mean square between units.
        rows: pool rows per unit, on average.
        equal: p value of Bartlett's test of equal spreads.
        median: the median of the variances of the rows.
        blocked: whether units are blocks.
    """

    shape: str
    within: Estimate
    rest: Estimate
    units: Estimate
    rows: float
    equal: float
    median: float
    blocked: bool

    def estimate(self, own: float, common: float) -> Estimate:
        """Return ``own var(e) + common var(b)`` with Satterthwaite's degrees of freedom.

        ``var(b) = (MS_units - MS_rest) / rows``, so this is a sum of both mean squares with weights that are not
        negative for ``common <= own``. For equal weights and no unit effect it is `within`, degrees of freedom
        included.
        """
        share = common / self.rows
        return combined(
            Estimate((own - share) * self.rest.variance, self.rest.freedom),
            Estimate(share * self.units.variance, self.units.freedom),
        )


def scatter(values: Sequence[float]) -> Estimate | None:
    """Return the variance of numbers, 0 where they differ by rounding only; None for fewer than two."""
    if len(values) < 2:
        return None
    variance = float(np.var(values, ddof=1))
    return Estimate(variance if variance > NO_SPREAD else 0.0, len(values) - 1)


def combined(*parts: Estimate) -> Estimate:
    """Return the sum of independent estimates with Satterthwaite's degrees of freedom."""
    total = sum(part.variance for part in parts)
    spread = sum(part.variance**2 / part.freedom for part in parts)
    return Estimate(total, total**2 / spread if spread else max(part.freedom for part in parts))


def equal_spreads(variances: Sequence[float], freedoms: Sequence[int]) -> float:
    """Return the p value of Bartlett's test (1937); `scipy.stats.bartlett` from variances, thirty times as fast.

    Args:
        variances: the variance of every row, above 0.
        freedoms: their degrees of freedom.
    """
    if len(variances) < 2:
        return 1.0
    values, freedom = np.array(variances), np.array(freedoms)
    total = freedom.sum()
    ratio = total * math.log((freedom * values).sum() / total) - (freedom * np.log(values)).sum()
    correction = 1 + ((1 / freedom).sum() - 1 / total) / (3 * (len(values) - 1))
    return float(chdtrc(len(values) - 1, max(ratio / correction, 0.0)))


def pool(rows: Sequence[Mapping[int, float]], scales: Sequence[float], shape: str) -> Pool:
    """Fit both layouts by least squares.

    Args:
        rows: unit -> accuracy, at least two units each, not all equal.
        scales: g of every row.
        shape: the shape of g.
    """
    scaled_rows = [np.array(list(row.values())) / scale for row, scale in zip(rows, scales, strict=True)]
    variances = [float(row.var(ddof=1)) for row in scaled_rows]
    equal, median = equal_spreads(variances, [len(row) - 1 for row in scaled_rows]), float(np.median(variances))
    labels = np.concatenate([list(row) for row in rows])
    values = np.concatenate([row - row.mean() for row in scaled_rows])
    numbers = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
    within = Estimate(float((values**2).sum()) / (len(values) - len(rows)), len(values) - len(rows))
    unit_names = np.unique(labels)
    design = np.hstack([np.eye(len(rows))[numbers], (labels[:, None] == unit_names).astype(float)])
    fit, _, rank, _ = np.linalg.lstsq(design, values, rcond=None)
    freedom, explained = len(values) - int(rank), int(rank) - len(rows)
    if freedom < 1 or explained < 1:
        return Pool(shape, within, within, within, 1.0, equal, median, blocked=False)
    residual = float(((values - design @ fit) ** 2).sum())
    rest = Estimate(residual / freedom, freedom)
    units = Estimate((within.variance * within.freedom - residual) / explained, explained)
    resolved = rest.variance > ROUNDING * within.variance  # rows that rise and fall alike are no proof of no error
    blocked = resolved and float(fdtrc(explained, freedom, units.variance / rest.variance)) < UNITS_DIFFER
    return Pool(shape, within, rest, units, len(values) / len(unit_names), equal, median, blocked)
