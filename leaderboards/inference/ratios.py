"""Intervals of numbers that are made from several means: ratios of differences, and weighted sums.

DD-Ranking's scores are monotone functions of weighted sums of means, so their intervals are those of the sums, mapped:
no delta method and no simulation is needed. The part recovered is a ratio, for which Fieller (1954) gives an exact
interval. The delta method's interval is too short if the difference between full data and random images is not much
larger than its error.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from leaderboards.inference.intervals import Gap, Mean


@dataclass(frozen=True)
class Ratio:
    """A ratio of two differences and its interval; infinite where the denominator may be 0."""

    value: float
    low: float
    high: float


def fieller(part: Gap, way: Gap, rest: Gap, critical: float) -> Ratio | None:
    """Return ``part / way`` with Fieller's interval, or None where an error is not known.

    All ratios r with ``(part - r way)^2 <= t^2 var(part - r way)``; ``cov(part, way)`` follows from
    ``var(part - way) = var(part) + var(way) - 2 cov(part, way)``.

    Args:
        part: row - control.
        way: bound - control.
        rest: row - bound, which is part - way.
        critical: t, half an interval of a difference over its error.
    """
    if part.error is None or way.error is None or rest.error is None:
        return None
    variances = part.error**2, way.error**2
    limit = part.error * way.error
    covariance = min(max((sum(variances) - rest.error**2) / 2, -limit), limit)
    square = way.value**2 - critical**2 * variances[1]
    ratio = part.value / way.value if way.value else math.nan
    if square <= 0:
        return Ratio(ratio, -math.inf, math.inf)
    middle = part.value * way.value - critical**2 * covariance
    root = math.sqrt(max(middle**2 - square * (part.value**2 - critical**2 * variances[0]), 0.0))
    return Ratio(ratio, (middle - root) / square, (middle + root) / square)


def weighted_sum(weights: Mapping[str, float], means: Mapping[str, Mean]) -> Mean:
    """Return a weighted sum of means with its error; without an error where one of them has none.

    Means are named ``method_protocol``. Means of different methods count as independent. Those of one method are not:
    they share distilled sets. Their errors are added. This bounds the error of their sum for every correlation
    (``var(x + y) <= (sd(x) + sd(y))^2``), so intervals are never too short for it. The test images, which all means
    have in common, cancel in differences, so they make intervals longer, not shorter. Degrees of freedom are the
    fewest.
    """
    value = sum(weight * means[name].value for name, weight in weights.items())
    errors: dict[str, float] = {}
    for name, weight in weights.items():
        error = means[name].error
        if weight and error is None:
            return Mean(value)
        method = name.partition("_")[0]
        errors[method] = errors.get(method, 0.0) + abs(weight) * (error or 0.0)
    freedom = min((means[name].freedom for name, weight in weights.items() if weight), default=math.inf)
    return Mean(value, math.sqrt(sum(error**2 for error in errors.values())), freedom)
