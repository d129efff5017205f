"""A mean and a difference of means, each with its error."""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy.special import stdtrit

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
class Gap:
    """A difference of two means over the cells that both rows have.

    Attributes:
        value: the difference in points; NaN without a shared cell.
        units: how many units the shared cells make.
        unit_variance: the variance of the difference of one unit, in squared points; None with fewer than two units.
            Where axes are crossed, it stands for all of them.
        image_variance: what the choice of test images adds to the mean, in squared points.
        freedom: degrees of freedom of the error.
    """

    value: float
    units: int
    unit_variance: float | None = None
    image_variance: float = 0.0
    freedom: float = 0.0

    @property
    def error(self) -> float | None:
        """Standard error; None where fewer than two units are shared."""
        return None if self.unit_variance is None else math.sqrt(self.unit_variance / self.units + self.image_variance)
