"""Statistics of a few cells: intervals of means and differences, variance components, intervals of ranks.

A row of the leaderboard has one accuracy per *(draw, seed)*: the draw is the seed of the distilled set, the seed is
that of labels and student. Usually seed i goes with draw i. A row where every draw meets every seed is *crossed*; it
allows to separate the noise of draws from that of seeds.

Student's and Welch's formulas are written out, because scipy's tests know no crossed rows and no draws with several
seeds, and give NaN where all differences are equal; where both apply, they agree (tests).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

Cells = Mapping[tuple[int, int], float]  # (draw, seed) -> top-1 accuracy in percent
Matrix = NDArray[np.float64]
LEVEL = 0.95
REPLICATES = 2000  # of the bootstrap


@dataclass(frozen=True)
class Mean:
    """A mean and its error.

    Attributes:
        value: the mean.
        error: its standard error; None for a single unit.
        freedom: degrees of freedom of the error.
    """

    value: float
    error: float | None = None
    freedom: float = 0.0

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval by Student's t; None without an error."""
        if self.error is None:
            return None
        half = float(stdtrit(self.freedom, (1 + LEVEL) / 2)) * self.error
        return self.value - half, self.value + half

    @property
    def p_value(self) -> float | None:
        """The two-sided p value of a mean of 0; None without an error."""
        if self.error is None:
            return None
        if self.error == 0:
            return float(self.value == 0)
        return 2 * float(stdtr(self.freedom, -abs(self.value) / self.error))

    @property
    def includes_zero(self) -> bool | None:
        """Whether the interval includes 0; without an interval True for a mean of exactly 0, else None."""
        if self.interval is None:
            return True if self.value == 0 else None
        return self.interval[0] <= 0 <= self.interval[1]


@dataclass(frozen=True)
class Components:
    """Variances of a crossed row: between draws, between seeds, and the rest."""

    draw: float
    seed: float
    residual: float


def mean(cells: Cells) -> Mean:
    """Return the mean of a row; its error covers draws and seeds.

    The variance of a crossed row is ``draw / D + seed / S + residual / (D S)`` from its components, with
    ``min(D, S) - 1`` degrees of freedom (as for two-way clusters: Cameron, Gelbach and Miller, 2011). In other rows the
    units are draws, whose cells are averaged first, or the seeds of a single draw.
    """
    grid = crossed(cells)
    if grid is None:
        units = _units([cells])[:, 0]
        error = float(units.std(ddof=1)) / math.sqrt(len(units)) if len(units) > 1 else None
        return Mean(fmean(cells.values()), error, len(units) - 1)
    (draws, seeds), parts = grid.shape, components(grid)
    variance = parts.draw / draws + parts.seed / seeds + parts.residual / (draws * seeds)
    return Mean(float(grid.mean()), math.sqrt(variance), min(draws, seeds) - 1)


def crossed(cells: Cells) -> Matrix | None:
    """Return the accuracies [draws, seeds] of a crossed row (two draws and two seeds, at least), else None."""
    draws, seeds = sorted({draw for draw, _ in cells}), sorted({seed for _, seed in cells})
    if min(len(draws), len(seeds)) < 2 or len(cells) != len(draws) * len(seeds):
        return None
    return np.array([[cells[draw, seed] for seed in seeds] for draw in draws], dtype=np.float64)


def components(grid: Matrix) -> Components:
    """Return the variance components of accuracies [draws, seeds]: two-way random effects, by the method of moments.

    ``E[MS_draw] = S draw + residual``, ``E[MS_seed] = D seed + residual``, ``E[MS_residual] = residual``. A negative
    solution is replaced by 0.
    """
    draws, seeds = grid.shape
    rows, columns = grid.mean(1, keepdims=True), grid.mean(0, keepdims=True)
    rest = grid - rows - columns + grid.mean()
    residual = float((rest**2).sum()) / ((draws - 1) * (seeds - 1))
    draw = (seeds * float(rows.var(ddof=1)) - residual) / seeds
    seed = (draws * float(columns.var(ddof=1)) - residual) / draws
    return Components(max(draw, 0.0), max(seed, 0.0), residual)


def difference(ours: Cells, theirs: Cells) -> tuple[Mean, int]:
    """Return the difference of two rows, and the number of (draw, seed) pairs that it is the mean of.

    Cells with the same draw and seed share their random numbers. So the difference is paired where the rows share two
    units or more. Otherwise it is that of two independent means (Welch), and the number of pairs is 0.
    """
    shared = sorted(ours.keys() & theirs.keys())
    paired = mean({pair: ours[pair] - theirs[pair] for pair in shared}) if shared else Mean(0.0)
    if paired.error is not None:
        return paired, len(shared)
    one, two = mean(ours), mean(theirs)
    if one.error is None or two.error is None:
        return Mean(one.value - two.value), 0
    parts = [(side.error or 0.0) ** 2 for side in (one, two)]
    spread = sum(part**2 / side.freedom for part, side in zip(parts, (one, two), strict=True))
    freedom = sum(parts) ** 2 / spread if spread else one.freedom + two.freedom
    return Mean(one.value - two.value, math.sqrt(sum(parts)), freedom), 0


def rank_intervals(rows: Sequence[Cells], name: str) -> list[tuple[int, int]] | None:
    """Return the 95 % interval of the rank of every row among the rows, or None where they share too few cells.

    A parametric bootstrap: the means of all rows are sampled together from a multivariate t distribution, which is
    estimated from the (draw, seed) pairs that all rows share, so that common noise cancels. Then the intervals of two
    rows overlap where their paired difference is a tie (of crossed rows a little more often, because the residual
    counts twice).

    Args:
        rows: two rows or more, their cells by (draw, seed).
        name: of what is ranked; decides the random numbers.
    """
    shared = set.intersection(*(set(row) for row in rows))
    if not shared:
        return None
    paired = [{pair: row[pair] for pair in shared} for row in rows]
    parts = [_units(paired)] if crossed(paired[0]) is None else [_units(paired, axis) for axis in (0, 1)]
    freedom = min(len(part) for part in parts) - 1
    if freedom < 1:
        return None
    scaled = [(part - part.mean(0)) / math.sqrt(len(part) * (len(part) - 1)) for part in parts]
    noise = np.concatenate(scaled)  # [units, rows]; its columns' sums of squares are the variances of the means
    generator = np.random.default_rng(int(hashlib.sha256(name.encode()).hexdigest(), 16))
    stretch = np.sqrt(freedom / generator.chisquare(freedom, (REPLICATES, 1)))
    centre = np.array([fmean(row.values()) for row in rows])
    means = centre + stretch * (generator.standard_normal((REPLICATES, len(noise))) @ noise)
    ranks = 1 + (means[:, None, :] > means[:, :, None]).sum(2)  # [replicates, rows]
    tails = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)
    low, high = np.quantile(ranks, tails, axis=0, method="inverted_cdf")
    return [(int(first), int(last)) for first, last in zip(low, high, strict=True)]


def _units(rows: Sequence[Cells], axis: int = 0) -> Matrix:
    """Return the means [units, rows] of the independent units of rows with the same (draw, seed) pairs.

    Units are the draws (axis 0) or the seeds (axis 1); where all cells have the same one, every cell is a unit.
    """
    pairs = sorted(rows[0])
    values = np.array([[row[pair] for row in rows] for pair in pairs], dtype=np.float64)
    labels = np.array([pair[axis] for pair in pairs])
    units = np.unique(labels)
    return values if len(units) < 2 else np.stack([values[labels == unit].mean(0) for unit in units])
