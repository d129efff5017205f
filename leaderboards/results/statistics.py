"""What a handful of cells allows one to say: how sure a mean is, where its noise comes from, and who beats whom.

A row of the leaderboard has one accuracy per *(draw, seed)*: the draw is the seed of the distilled set, the seed that
of labels and student. Usually seed i judges its own draw i; where every draw meets every seed the row is *crossed*,
and the two sources of noise can be told apart.
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
    """A mean, and how sure it is.

    Attributes:
        value: the mean.
        error: its standard error; None where a single unit tells nothing of it.
        freedom: degrees of freedom of the error.
    """

    value: float
    error: float | None = None
    freedom: float = 0.0

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval by Student's t, or None without an error."""
        if self.error is None:
            return None
        half = float(stdtrit(self.freedom, (1 + LEVEL) / 2)) * self.error
        return self.value - half, self.value + half

    @property
    def p_value(self) -> float | None:
        """Two-sided p value of the mean being 0, or None without an error."""
        if self.error is None:
            return None
        if self.error == 0:
            return float(self.value == 0)
        return 2 * float(stdtr(self.freedom, -abs(self.value) / self.error))

    @property
    def includes_zero(self) -> bool | None:
        """Whether the interval includes 0; None without one, unless the mean is exactly 0."""
        if self.interval is None:
            return True if self.value == 0 else None
        return self.interval[0] <= 0 <= self.interval[1]


@dataclass(frozen=True)
class Components:
    """Variances of a crossed row: of the distilled sets, of the evaluations, and what neither explains."""

    draw: float
    seed: float
    residual: float


def mean(cells: Cells) -> Mean:
    """Return the mean of a row with the error of everything that was varied.

    Crossed rows: the variance is ``draw / D + seed / S + residual / (D S)`` from the components, with ``min(D, S) - 1``
    degrees of freedom (as for two-way clusters: Cameron, Gelbach and Miller, 2011). Otherwise the units are draws,
    whose cells are averaged first, or, of a single draw, its seeds.
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
    """Return accuracies [draws, seeds] where several draws met the same several seeds, else None."""
    draws, seeds = sorted({draw for draw, _ in cells}), sorted({seed for _, seed in cells})
    if min(len(draws), len(seeds)) < 2 or len(cells) != len(draws) * len(seeds):
        return None
    return np.array([[cells[draw, seed] for seed in seeds] for draw in draws], dtype=np.float64)


def components(grid: Matrix) -> Components:
    """Return the variance components of accuracies [draws, seeds]: two-way random effects, by the method of moments.

    ``E[MS_draw] = S draw + residual``, ``E[MS_seed] = D seed + residual``, ``E[MS_residual] = residual``; a negative
    solution is set to 0.
    """
    draws, seeds = grid.shape
    rows, columns = grid.mean(1, keepdims=True), grid.mean(0, keepdims=True)
    rest = grid - rows - columns + grid.mean()
    residual = float((rest**2).sum()) / ((draws - 1) * (seeds - 1))
    draw = (seeds * float(rows.var(ddof=1)) - residual) / seeds
    seed = (draws * float(columns.var(ddof=1)) - residual) / draws
    return Components(max(draw, 0.0), max(seed, 0.0), residual)


def difference(ours: Cells, theirs: Cells) -> tuple[Mean, int]:
    """Return the difference of two rows, and the number of (draw, seed) pairs that it was taken over.

    Cells of one draw and seed share their random numbers, so they are compared pair by pair where two units or more are
    shared. Else the means are compared as if independent (Welch), and the number of pairs is 0.
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

    A parametric bootstrap: the means of all rows together are drawn again and again from the multivariate t
    distribution that the shared (draw, seed) pairs tell of, in which noise that rows have in common cancels. So the
    intervals of two rows overlap where their paired difference is a tie (crossed rows: a little more often, for the
    residual counts twice).

    Args:
        rows: at least two, their cells by (draw, seed).
        name: of what is ranked; decides the random numbers.
    """
    shared = set.intersection(*(set(row) for row in rows))
    if not shared:
        return None
    same = [{pair: row[pair] for pair in shared} for row in rows]
    parts = [_units(same)] if crossed(same[0]) is None else [_units(same, axis) for axis in (0, 1)]
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
    """Return the means [units, rows] of what was drawn independently of rows with the same pairs.

    Units are the draws (axis 0) or the seeds (axis 1); where there is but one of them, the single cells.
    """
    pairs = sorted(rows[0])
    values = np.array([[row[pair] for row in rows] for pair in pairs], dtype=np.float64)
    labels = np.array([pair[axis] for pair in pairs])
    found = np.unique(labels)
    return values if len(found) < 2 else np.stack([values[labels == label].mean(0) for label in found])
