r"""Variance components of rows whose draws, seeds and teachers are crossed, and how many of each a verdict needs.

A cell is ``y = mu + sum_A u_A``, with a random effect u_A for every subset A of {draw, seed, teacher}. The method of
moments solves ``E[MS_A] = sum_{B >= A} n_B var_B`` from the largest subset to the smallest, n_B the product of the
numbers of levels outside of B. The largest subset is the residual. A negative solution is replaced by 0 at the end.

Where the grid is not complete, complete slices of it are used: a third teacher that has met one draw only tells the
variance of teachers at that draw. Such a variance includes the interaction with what is held fixed.

**What a verdict needs.** The mean over D draws, S seeds and T teachers, all crossed, has the variance ``v = sum_A var_A
/ prod_{a in A} n_a``; where draw i meets seed i and teacher i, it is ``sum_A var_A / n``. A gap of `GAP` points to a
row of equal variance is found with probability `power.POWER` if ``(c + z) sqrt(2 v + w) <= GAP``, with Dunnett's
critical value c for the methods of the block (error `verdicts.CONTROL_ERROR`, many degrees of freedom), the quantile z
of the power, and the variance w that the choice of test images adds to the difference from the control. No repetition
makes w smaller. So the numbers are given twice: without w, and (``paired_needed_images``) with it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from statistics import fmean
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtri

from leaderboards.inference import verdicts
from leaderboards.inference.power import POWER
from leaderboards.inference.simultaneous import control_critical
from leaderboards.results.axes import BLOCK, EVERY_IPC
from leaderboards.results.roles import BOUND

AXES = ("draw", "seed", "teacher")  # the axes of a cell, in the order of its tuple
GAP = 1.0  # percent points that a verdict is to find
MOST = 50  # levels of an axis that are tried
RESIDUAL = "residual"
EFFECTS = ("draw", "seed", "teacher", "draw_seed", "draw_teacher", "seed_teacher", RESIDUAL)
COUNTS = [f"{axis}s" for axis in AXES]
NEEDED = ["paired_needed", "paired_needed_images", *(f"{name}_needed" for name in COUNTS)]
COLUMNS = ["suite", *BLOCK, "method", *COUNTS, *(f"{effect}_variance" for effect in EFFECTS), *NEEDED, "reason"]
NOT_CROSSED = "draws have to meet the same seeds and teachers: set draws: 2, seeds: 2 and teachers: 1, or more of each"
Cells = Mapping[tuple[int, ...], float]  # (draw, seed, teacher) -> top-1 accuracy in percent
Grid = NDArray[np.float64]


class Components(NamedTuple):
    """Variances in squared percent points.

    Attributes:
        by_effect: name of `EFFECTS` -> variance; effects that the cells do not separate are absent.
        residual: the axes whose interaction the residual holds.
    """

    by_effect: dict[str, float]
    residual: tuple[str, ...]

    def of_mean(self, levels: Mapping[str, int]) -> float:
        """Return the variance of a mean over crossed axes.

        Args:
            levels: axis -> number of levels.
        """
        return sum(
            variance / math.prod(levels[axis] for axis in (self.residual if name == RESIDUAL else name.split("_")))
            for name, variance in self.by_effect.items()
        )

    @property
    def axes(self) -> list[str]:
        """The axes whose variance is known."""
        return [axis for axis in AXES if axis in self.by_effect]


def components(cells: Cells) -> Components | None:
    """Return the variance components of a row, or None where no two of its axes are crossed."""
    grids = list(_grids(cells))
    if not grids:
        return None
    variances: dict[str, float] = {}
    for grid in grids:
        variances = {**of_grid(*grid), **variances}
    return Components({name: max(variances[name], 0.0) for name in EFFECTS if name in variances}, grids[0][0])


def table(suite: str, blocks: Mapping[tuple[object, ...], verdicts.Block]) -> pd.DataFrame:
    """Return `COLUMNS`: the components of every row, what a verdict needs, or why components cannot be separated."""
    rows = []
    for key, block in blocks.items():
        for name, cells in block.rows.items():
            if block.roles.get(name) == BOUND and key[BLOCK.index("ipc")] != EVERY_IPC:
                continue  # it joins the block of every IPC
            counts = {f"{axis}s": len({cell[i] for cell in cells}) for i, axis in enumerate(AXES)}
            parts = components(cells)
            values = {f"{effect}_variance": value for effect, value in parts.by_effect.items()} if parts else {}
            counts_needed = _needed(parts, len(block.rows) - 1, _image_variance(name, block)) if parts else {}
            reason = "" if parts else NOT_CROSSED
            axes = dict(zip(BLOCK, key, strict=True))
            rows.append({"suite": suite, **axes, "method": name, **counts, **values, **counts_needed, "reason": reason})
    frame = pd.DataFrame(rows, columns=COLUMNS)
    types = {**{f"{effect}_variance": "float64" for effect in EFFECTS}, **dict.fromkeys(NEEDED, "Int64")}
    return frame.astype(types)


def _image_variance(name: str, block: verdicts.Block) -> float | None:
    """Return what the test images add to the variance of a difference from the control (of the control: on average)."""
    rows = [other for other in block.competing if other != block.control] if name == block.control else [name]
    if block.control is None or not rows or not all(block.correct.get(row) for row in (*rows, block.control)):
        return None
    return fmean(block.model.difference(other, block.control).image_variance for other in rows)


def _needed(parts: Components, comparisons: int, images: float | None) -> dict[str, int | None]:
    """Return how many draws, seeds and teachers find a gap of `GAP` points: paired, and crossed with fewest cells.

    Args:
        parts: the components of the row.
        comparisons: the number of comparisons with the control.
        images: variance that test images add to a difference, in squared points; None where it is not known.
    """
    critical = control_critical(max(comparisons, 1), 0.5, math.inf, verdicts.CONTROL_ERROR)
    of_difference = (GAP / (critical + float(ndtri(POWER)))) ** 2  # the largest variance
    largest = of_difference / 2  # the largest variance of a mean
    total = sum(parts.by_effect.values())
    counts: dict[str, int | None] = {"paired_needed": max(2, math.ceil(total / largest))}
    if images is not None and images < of_difference:
        counts["paired_needed_images"] = max(2, math.ceil(2 * total / (of_difference - images)))
    best: tuple[int, ...] | None = None
    for levels in itertools.product(range(1, MOST + 1), repeat=len(parts.axes) - 1):
        numbers = dict(zip(parts.axes[1:], levels, strict=True))
        cells = math.prod(levels)
        if best is not None and cells >= math.prod(best):
            continue
        fixed, variable = _by_first_axis(parts, numbers)
        if fixed >= largest:
            continue
        first_count = max(1, math.ceil(variable / (largest - fixed) - 1e-9))
        if first_count <= MOST and (best is None or first_count * cells < math.prod(best)):
            best = (first_count, *levels)
    if best is not None:
        counts |= {f"{axis}s_needed": count for axis, count in zip(parts.axes, best, strict=True)}
    return counts


def _by_first_axis(parts: Components, levels: Mapping[str, int]) -> tuple[float, float]:
    """Return a and b of ``v = a + b / levels of the first axis``."""
    one = parts.of_mean({**dict.fromkeys(AXES, 1), **levels, parts.axes[0]: 1})
    two = parts.of_mean({**dict.fromkeys(AXES, 1), **levels, parts.axes[0]: 2})
    return 2 * two - one, 2 * (one - two)


def _grids(cells: Cells) -> Iterator[tuple[tuple[str, ...], Grid]]:
    """Yield the whole grid where it is complete, else its complete slices at the first value of one axis."""
    if grid := _complete(cells):
        yield grid
        return
    for position in reversed(range(len(AXES))):
        lowest = min(cell[position] for cell in cells)
        if slice_ := _complete({cell: value for cell, value in cells.items() if cell[position] == lowest}):
            yield slice_


def _complete(cells: Cells) -> tuple[tuple[str, ...], Grid] | None:
    """Return the axes with several values and the accuracies [levels of each], None where cells or axes are missing."""
    levels = [sorted({cell[position] for cell in cells}) for position in range(len(AXES))]
    varied = tuple(axis for axis, values in zip(AXES, levels, strict=True) if len(values) > 1)
    if len(varied) < 2 or len(cells) != math.prod(map(len, levels)):
        return None
    grid = np.array([cells[cell] for cell in itertools.product(*levels)], dtype=np.float64)
    return varied, grid.reshape([len(values) for values in levels if len(values) > 1])


def of_grid(axes: tuple[str, ...], grid: Grid) -> dict[str, float]:
    """Return the solution of the method of moments, by name of `EFFECTS`; variances can be negative.

    Args:
        axes: the axes of the grid, two of `AXES` at least.
        grid: accuracies in percent [levels of each axis].
    """
    variances: dict[tuple[int, ...], float] = {}
    positions = range(grid.ndim)
    for size in reversed(range(1, grid.ndim + 1)):
        for subset in itertools.combinations(positions, size):
            larger = [other for other in variances if set(subset) < set(other)]
            part = sum(_outside(grid, other) * variances[other] for other in larger)
            variances[subset] = (_mean_square(grid, subset) - part) / _outside(grid, subset)
    names = {subset: "_".join(axes[i] for i in subset) if len(subset) < grid.ndim else RESIDUAL for subset in variances}
    return {names[subset]: value for subset, value in variances.items()}


def _outside(grid: Grid, subset: tuple[int, ...]) -> int:
    return math.prod(n for i, n in enumerate(grid.shape) if i not in subset)


def _mean_square(grid: Grid, subset: tuple[int, ...]) -> float:
    effect = np.zeros_like(grid)
    for size in range(len(subset) + 1):
        for inner in itertools.combinations(subset, size):
            outer = tuple(i for i in range(grid.ndim) if i not in inner)
            effect = effect + (-1) ** (len(subset) - size) * grid.mean(axis=outer, keepdims=True)
    return float((effect**2).sum()) / math.prod(grid.shape[i] - 1 for i in subset)
