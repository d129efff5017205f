"""How many seeds a verdict needs: the power of a comparison as a function of the number of units of every row."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from scipy.special import ndtr

from leaderboards.inference.intervals import Gap
from leaderboards.inference.simultaneous import scale_nodes

POWER = 0.8
MOST = 1000  # units that are tried
Critical = Callable[[float], float]  # degrees of freedom -> critical value


@dataclass(frozen=True)
class Needed:
    """How many units per row would tell, and what they would show.

    Attributes:
        units: per row, all rows of the block having as many; None where `MOST` do not suffice.
        verdict: ``ahead`` (or behind: the gap is shown) or ``tied`` (equivalence is shown).
    """

    units: int | None
    verdict: str


def needed(gap: Gap, critical: Critical, margin: float) -> Needed:
    """Return how many units per row give a verdict with probability `POWER` if the gap is as large as observed.

    Both are tried: that the gap is shown, and, where it is below the margin, that the rows are equivalent; the one that
    takes fewer units is returned. An observed gap is uncertain, and one that was chosen because it is large is too
    large, so the number is a guide, not a promise. The error of the test images does not shrink with seeds; it can make
    the number None.
    """
    options = [Needed(_fewest(gap, critical, None), "ahead")]
    if abs(gap.value) < margin:
        options.append(Needed(_fewest(gap, critical, margin), "tied"))
    return min(options, key=lambda option: option.units or math.inf)


def _fewest(gap: Gap, critical: Critical, margin: float | None) -> int | None:
    """Return the fewest units, more than there are, with enough power; power grows with units.

    A critical value takes long. It falls with units, and the smaller it is, the greater is the power. So where the
    value of fewer units gives enough power, or that of more units does not, the own value is not computed.
    """
    low, high = gap.units, MOST
    largest, smallest = critical(gap.freedom), critical(_freedom(gap, high))
    if power(gap, high, smallest, margin) < POWER:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        enough = power(gap, middle, largest, margin) >= POWER
        if not enough and power(gap, middle, smallest, margin) >= POWER:
            value = critical(_freedom(gap, middle))
            enough = power(gap, middle, value, margin) >= POWER
            largest, smallest = (largest, value) if enough else (value, smallest)
        low, high = (low, middle) if enough else (middle, high)
    return high


def power(gap: Gap, units: int, critical: float, margin: float | None = None) -> float:
    """Return the probability of a verdict with another number of units, the true gap being the observed one.

    With the standard error ``e(units)``, its estimate ``s e`` and ``s^2 ~ chi2(freedom) / freedom``: ahead or behind
    when ``|gap + e Z| > critical s e``, tied when ``|gap + e Z| + critical s e < margin``. Degrees of freedom grow in
    proportion to ``units - 1``.

    Args:
        gap: what was observed, with its variances.
        units: per row.
        critical: value of the family of comparisons, with these degrees of freedom.
        margin: the margin of equivalence; None asks for ahead or behind.
    """
    assert gap.unit_variance is not None
    error = math.sqrt(gap.unit_variance / units + gap.image_variance)
    if error == 0:
        return 1.0
    scale, weights = scale_nodes(_freedom(gap, units))
    reach, shift = critical * scale, gap.value / error
    if margin is None:
        return float(weights @ (ndtr(shift - reach) + ndtr(-shift - reach)))
    room = margin / error - reach
    return float(weights @ (ndtr(room - shift) - ndtr(-room - shift)).clip(0))


def _freedom(gap: Gap, units: int) -> float:
    """Return the degrees of freedom with another number of units."""
    return gap.freedom * (units - 1) / (gap.units - 1)
