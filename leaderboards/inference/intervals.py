"""Statistics of the cells of one row: the interval of its mean, and variance components. `verdicts` compares rows.

A row of the leaderboard has one accuracy per *(draw, seed)*: the draw is the seed of the distilled set, the seed is
that of labels and student. Usually seed i goes with draw i. A row where every draw meets every seed is *crossed*; it
allows to separate the noise of draws from that of seeds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

Cells = Mapping[tuple[int, ...], float]  # (draw, seed) or (draw, seed, teacher) -> top-1 accuracy in percent
Matrix = NDArray[np.float64]
LEVEL = 0.95


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
    units are draws, whose cells are averaged first, or the seeds of a single draw. Of several teachers each is a unit.

    Args:
        cells: by (draw, seed) or (draw, seed, teacher).
    """
    if len({cell[2:] for cell in cells}) > 1:
        return _of_units(cells, _units(cells, 2))
    cells = {cell[:2]: value for cell, value in cells.items()}
    grid = crossed(cells)
    if grid is None:
        return _of_units(cells, _units(cells, 0))
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


def _of_units(cells: Cells, units: Matrix) -> Mean:
    error = float(units.std(ddof=1)) / math.sqrt(len(units)) if len(units) > 1 else None
    return Mean(fmean(cells.values()), error, len(units) - 1)


def _units(cells: Cells, axis: int) -> Matrix:
    """Return the means of the cells with one value of an axis; where all have the same, every cell is a unit."""
    values = sorted({cell[axis] for cell in cells})
    if len(values) < 2:
        return np.array([cells[cell] for cell in sorted(cells)], dtype=np.float64)
    return np.array([fmean(top1 for cell, top1 in cells.items() if cell[axis] == value) for value in values])
