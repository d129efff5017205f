r"""How far the accuracies of a block scatter: one variance model for all rows that compete.

A *block* is one dataset, IPC, protocol and student. Every rule and threshold of the model stands here.

**Units.** A row has one accuracy per cell: (draw, seed, teacher). Cells that share what varies most slowly are not
independent, so they are averaged first. A unit is a teacher where the block has several teachers, else a draw where it
has several draws, else a seed. Where draw i meets seed i and teacher i, units are cells. Intervals then cover teachers,
draws, seeds and labels together. A block with one teacher says nothing about other teachers.

**Crossed axes.** Where units share draws or seeds (every teacher meets seed 0), the mean of a row has errors that no
variance between units shows. Then every such axis has a model of its own, whose units are the values of that axis, and
the variances of the mean are added. Interactions are counted once per axis, so intervals are rather too long.

**Missing cells of crossed axes.** A unit with fewer cells scatters more. So where units have several cells, the error
of a difference is that of a block with the shared cells only; the error of a mean, with the cells of the row only. If
these are cells of one unit, or if axes are crossed and they hold one value of an axis more often than another, no error
and no verdict is given.

**Spread.** Row i, unit j: ``y_ij = mu_i + g_i (b_j + e_ij)``, with ``g_i = 1`` (the same spread in points) or
``g_i = 100 p_i (1 - p_i)``, ``p_i = mu_i / 100`` kept `EDGE` away from 0 and 1 (the same spread in log odds; Wedderburn
1974 gives it for percentages). The shape with the higher likelihood is taken: the one with the higher p value of
Bartlett's test of equal variances, for the two have equally many parameters. On our published blocks of three seeds,
log variance grows with ``log p(1 - p)`` at slope 1.7 (standard error 0.2; constant in points would be 0, in log odds
2): a row at 98 % scatters less than one at 60 %.

**Pool.** The variance of ``b + e`` is the mean square of all pool rows within rows, with ``sum (n_i - 1)`` degrees of
freedom. Out of the pool stay

* rows with the role floor or bound (noise, full): chance and the ceiling bound their spread. They use the larger of
  their own variance and the pool's, in log odds whatever the pool's shape, so their intervals are not too short;
* rows with one unit, which tell nothing, and rows whose units are all equal, which scatter less than the test set can
  resolve. The latter use the pool's variance. Without a pool there is no verdict, and means have the error of the test
  images alone;
* copies: rows with the same number in every unit count once.

Rows with the same of `TELL_APART` or more test images right in every cell are the same (`same`): they differ by 0.

**When spreads differ.** If Bartlett's test rejects equal spreads at `SPREADS_DIFFER`, no variance is pooled: every row
has its own, but not below the median of the rows' (a small variance of three numbers is luck more often than truth),
and keeps its own degrees of freedom; a difference has Satterthwaite's, as in Welch's test. Such a block says little at
three seeds. The test misses many differences of spread: docs/numbers.md has the rates of wrong verdicts.

**Blocks.** What units have in common, b, cancels in a difference of rows with the same g. It is taken out where an F
test of unit effects (two-way layout, least squares) rejects at `variance_pool.UNITS_DIFFER`. Else it stays in the
residual, which makes intervals of differences longer, never shorter. The level is low because the test looks at the
same numbers as the verdicts. The interval of a mean holds b always. The error of test images: `images.image_variance`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import fmean
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from leaderboards.inference.images import image_variance
from leaderboards.inference.intervals import Gap, Mean
from leaderboards.inference.variance_pool import NO_SPREAD, Estimate, Pool, combined, pool, scatter

Cell = tuple[int, ...]  # (draw, seed, teacher)
Cells = Mapping[Cell, float]  # -> top-1 accuracy in percent
Bits = NDArray[np.bool_]  # [N]: which test images were right
Correct = Mapping[str, Mapping[Cell, Bits]]
T = TypeVar("T")

SPREADS_DIFFER = 0.05  # level of Bartlett's test, below which no variance is pooled
EDGE = 0.005  # a mean closer to 0 or 1 scatters as one here
TELL_APART = 100  # test images, with which two sets do not agree in every cell by chance
NOT_POOLED = ("floor", "bound")  # roles
TEACHER, DRAW, SEED = 2, 0, 1  # axes of a cell
SLOWEST_FIRST = (TEACHER, DRAW, SEED)
SHAPES = ("log odds", "points")


@dataclass(frozen=True)
class VarianceModel:
    """The variance model of a block; the text at the head of this file has its rules.

    Attributes:
        rows: method -> its cells, in percent; at least one cell each.
        roles: method -> method, control, floor or bound; a method that is not named is a method.
        correct: method -> cell -> bits [N]: which test images were right, for some rows or all.
        share: whether rows may share a variance.
        unit_axis: the axis of a cell whose values are the units; None stands for the slowest that varies.
    """

    rows: Mapping[str, Cells]
    roles: Mapping[str, str]
    correct: Correct
    share: bool = True
    unit_axis: int | None = None

    @cached_property
    def axis(self) -> int:
        """The axis of a cell whose values are the units."""
        if self.unit_axis is not None:
            return self.unit_axis
        cells = {cell for row in self.rows.values() for cell in row}
        varied = (axis for axis in SLOWEST_FIRST if len({cell[axis] for cell in cells}) > 1)
        return next(varied, SEED)

    @cached_property
    def units(self) -> dict[str, dict[int, float]]:
        """Method -> unit -> mean of its cells."""
        return {name: self._by_unit(cells) for name, cells in self.rows.items()}

    @cached_property
    def means(self) -> dict[str, Mean]:
        """Method -> its mean; without an error where the row has fewer than two units, or no variance is known."""
        return {name: self._mean(name) for name in self.rows}

    @cached_property
    def pools(self) -> dict[str, Pool]:
        """Shape -> the mean squares of the pool; {} without a row to pool."""
        tell = [name for name in self.rows if (estimate := self._own[name]) and estimate.variance]
        copies = {tuple(self.units[name].items()): name for name in tell if self.roles.get(name) not in NOT_POOLED}
        names = list(copies.values())
        if not names:
            return {}
        rows = [self.units[name] for name in names]
        return {shape: pool(rows, [self._scale(name, shape) for name in names], shape) for shape in SHAPES}

    @cached_property
    def pool(self) -> Pool | None:
        """The mean squares in the shape that the block's own spreads make more likely."""
        return max(self.pools.values(), key=lambda pool: pool.equal, default=None)

    @cached_property
    def pooled(self) -> bool:
        """Whether rows share a variance."""
        return self.share and self.pool is not None and self.pool.equal >= SPREADS_DIFFER

    @cached_property
    def spreads(self) -> dict[str, Estimate | None]:
        """Method -> variance of one unit; None with fewer than two units, or with equal ones where no row scatters."""
        return {name: self._spread(name) for name in self.rows}

    def source(self, name: str) -> str:
        """Return where the variance of a row comes from: ``pool``, ``own``, or "" where it is not known."""
        spread = self.spreads[name]
        uses_pool = self.pool is not None and (self.pooled or self.roles.get(name) in NOT_POOLED)
        return "" if spread is None else "pool" if uses_pool and spread is not self._own[name] else "own"

    def difference(self, one: str, other: str) -> Gap:
        """Return how far one row is ahead of another, over the cells that both have."""
        cells = sorted(self.rows[one].keys() & self.rows[other].keys())
        units = self._gaps(one, other, cells)
        value = fmean(units.values()) if units else math.nan
        if len(units) < 2:
            return Gap(value, len(units))
        if (model := self._only(cells)) is not self:
            return model.difference(one, other)
        if self.same(one, other):
            return Gap(0.0, len(units), 0.0, freedom=math.inf)
        spread = self._error_of_difference(one, other, cells)
        if spread is None or self.is_uneven(cells):
            return Gap(value, len(units))
        errors = (each._error_of_difference(one, other, cells) for each in self.crossed(cells))
        spread = combined(spread, *filter(None, errors))
        bits = self.correct.get(one, {}), self.correct.get(other, {})
        signed = {cell: bits[0][cell].astype(float) - bits[1][cell] for cell in cells if all(cell in b for b in bits)}
        images = image_variance(self._grouped(signed), len(units))
        total = combined(spread, Estimate(images, math.inf))
        return Gap(value, len(units), spread.variance * len(units), images, total.freedom)

    def same(self, one: str, other: str) -> bool:
        """Return whether two rows are the same images: in every cell they have the same test images right."""
        return self.originals[one] == self.originals[other]

    @cached_property
    def originals(self) -> dict[str, str]:
        """Method -> the first of the methods that are the same images; the control comes first."""
        control = [name for name in self.rows if self.roles.get(name) == "control"]
        names: dict[object, str] = {}
        return {name: names.setdefault(self._fingerprint(name), name) for name in dict.fromkeys([*control, *self.rows])}

    def _fingerprint(self, name: str) -> object:
        """Return which images are right in every cell; where that is the same in all, only the row's name tells."""
        bits = self.correct.get(name, {})
        right = {cell: bits[cell].tobytes() for cell in self.rows[name] if len(bits.get(cell, ())) >= TELL_APART}
        tells = len(right) == len(self.rows[name]) and len(set(right.values())) > 1
        return frozenset(right.items()) if tells else name

    def crossed(self, cells: Iterable[Cell]) -> list[VarianceModel]:
        """Return the models of the other axes of which some cells have several values, shared by several units."""
        pairs = {axis: {(cell[axis], cell[self.axis]) for cell in cells} for axis in self._models}
        return [self._models[axis] for axis, own in pairs.items() if 1 < len({value for value, _ in own}) < len(own)]

    def is_uneven(self, cells: Iterable[Cell]) -> bool:
        """Return whether axes are crossed, and some cells hold one value of an axis more often than another."""
        counts = [set(Counter(values).values()) for values in zip(*cells, strict=True)]
        return any(len(each) > 1 for each in counts) and bool(self.crossed(cells))

    @cached_property
    def _models(self) -> dict[int, VarianceModel]:
        """Axis -> the model whose units are its values, for the axes that are not the own one."""
        other_axes = SLOWEST_FIRST if self.unit_axis is None else ()
        return {axis: replace(self, unit_axis=axis) for axis in other_axes if axis != self.axis}

    @cached_property
    def _own(self) -> dict[str, Estimate | None]:
        return {name: scatter(list(units.values())) for name, units in self.units.items()}

    def _spread(self, name: str) -> Estimate | None:
        estimate = self._own[name]
        if estimate is None or self.pool is None or not self.share:
            return estimate if estimate and (estimate.variance or self.pool) else None
        is_limited = self.roles.get(name) in NOT_POOLED
        row_pool = self.pools["log odds"] if is_limited else self.pool
        square = self._scale(name, row_pool.shape) ** 2
        if is_limited and estimate.variance > square * row_pool.within.variance:
            return estimate
        if is_limited or self.pooled:
            return Estimate(square * row_pool.within.variance, row_pool.within.freedom)
        return Estimate(max(estimate.variance, square * row_pool.median), estimate.freedom)

    def _error_of_difference(self, one: str, other: str, cells: Iterable[Cell]) -> Estimate | None:
        """Return the variance of a mean difference without test images; None where it is not known."""
        gaps = self._gaps(one, other, cells)
        spread, units = self._spread_of_difference(one, other), len(gaps)
        if spread is None or units < 2:
            return None
        if not self.share and self.pool is not None and self.pool.blocked:  # the pairs of the two rows alone
            estimate = scatter(list(gaps.values()))
            spread = estimate if estimate and estimate.variance else spread
        return Estimate(spread.variance / units, spread.freedom) if spread.variance > NO_SPREAD else None

    def _spread_of_difference(self, one: str, other: str) -> Estimate | None:
        first, second = self.spreads[one], self.spreads[other]
        if first is None or second is None:
            return None
        if self.pool is None or "own" in (self.source(one), self.source(other)):
            return combined(first, second)
        if self.pool.blocked and self._from_pool(one) and self._from_pool(other):
            scales = self._scale(one, self.pool.shape), self._scale(other, self.pool.shape)
            return self.pool.estimate(scales[0] ** 2 + scales[1] ** 2, (scales[0] - scales[1]) ** 2)
        return Estimate(first.variance + second.variance, self.pool.within.freedom)  # one estimate, not two

    def _mean(self, name: str) -> Mean:
        cells, value, units = self.rows[name].keys(), fmean(self.rows[name].values()), len(self.units[name])
        if units > 1 and (model := self._only(cells)) is not self:
            return model.means[name]
        if units < 2 or self.is_uneven(cells):
            return Mean(value)
        errors = [model._error_of_mean(name) for model in (self, *self.crossed(cells))]
        bits = {cell: bits.astype(float) for cell, bits in self.correct.get(name, {}).items()}
        total = combined(*filter(None, errors), Estimate(image_variance(self._grouped(bits), units), math.inf))
        return Mean(value, math.sqrt(total.variance), total.freedom) if total.variance > NO_SPREAD else Mean(value)

    def _error_of_mean(self, name: str) -> Estimate | None:
        """Return the variance of the mean of a row without test images; None where it is not known."""
        units, spread = len(self.units[name]), self.spreads[name]
        if spread is not None and self.pool is not None and self._from_pool(name):
            square = self._scale(name, self.pool.shape) ** 2
            spread = self.pool.estimate(square, square)
        return None if spread is None else Estimate(spread.variance / units, spread.freedom)

    def _gaps(self, one: str, other: str, cells: Iterable[Cell]) -> dict[int, float]:
        """Return unit -> the mean difference of two rows over the cells that they share."""
        return self._by_unit({cell: self.rows[one][cell] - self.rows[other][cell] for cell in cells})

    def _by_unit(self, cells: Cells) -> dict[int, float]:
        return {unit: fmean(values) for unit, values in sorted(self._grouped(cells).items())}

    def _grouped(self, cells: Mapping[Cell, T]) -> dict[int, list[T]]:
        """Return the values of some cells by unit."""
        grouped: dict[int, list[T]] = {}
        for cell, value in cells.items():
            grouped.setdefault(cell[self.axis], []).append(value)
        return grouped

    def _only(self, cells: Collection[Cell]) -> VarianceModel:
        """Return the model of a block that has some of the cells only; this model, where no unit has several cells."""
        several = any(len(self.rows[name]) > len(units) for name, units in self.units.items())
        if not several or not any(row.keys() - cells for row in self.rows.values()):
            return self
        rows = {name: {cell: row[cell] for cell in row if cell in cells} for name, row in self.rows.items()}
        return replace(self, rows={name: row for name, row in rows.items() if row})

    def _from_pool(self, name: str) -> bool:
        return self.pooled and self.roles.get(name) not in NOT_POOLED

    def _scale(self, name: str, shape: str) -> float:
        """Return g of a row."""
        if shape == "points":
            return 1.0
        p = min(max(fmean(self.units[name].values()) / 100, EDGE), 1 - EDGE)
        return 100 * p * (1 - p)
