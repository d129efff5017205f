"""A mean and its interval."""

from __future__ import annotations

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
