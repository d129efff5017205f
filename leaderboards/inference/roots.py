"""Roots of a function of one variable, without `scipy.optimize`, whose import takes a third of a second."""

from __future__ import annotations

import sys
from collections.abc import Callable

RELATIVE = 4 * sys.float_info.epsilon


def brent(function: Callable[[float], float], low: float, high: float, tolerance: float) -> float:
    """Return a root by Brent's method (1973, chapter 4), with the steps of `scipy.optimize.brentq`.

    Args:
        function: is continuous.
        low: one end of the interval.
        high: the other end, where the function has the other sign.
        tolerance: of the root.

    Raises:
        ValueError: the function has the same sign at both ends.
    """
    (last, f_last), (best, f_best) = (low, function(low)), (high, function(high))
    if f_last == 0:
        return last
    if f_best != 0 and (f_last > 0) == (f_best > 0):
        raise ValueError(f"the function has the same sign at {low} and at {high}")
    other, f_other, before, step = last, f_last, 0.0, 0.0  # the root lies between the best point and the other one
    while f_best != 0:
        if (f_last > 0) != (f_best > 0):
            other, f_other = last, f_last
            before = step = best - last
        if abs(f_other) < abs(f_best):
            last, best, other = best, other, best
            f_last, f_best, f_other = f_best, f_other, f_best
        least, half = (tolerance + RELATIVE * abs(best)) / 2, (other - best) / 2
        if f_best == 0 or abs(half) < least:
            break
        if abs(before) > least and abs(f_best) < abs(f_last):
            if last == other:  # a secant
                tried = -f_best * (best - last) / (f_best - f_last)
            else:  # inverse quadratic interpolation
                from_last, from_other = (f_last - f_best) / (last - best), (f_other - f_best) / (other - best)
                tried = -f_best * (f_other * from_other - f_last * from_last)
                tried /= from_other * from_last * (f_other - f_last)
            good = 2 * abs(tried) < min(abs(before), 3 * abs(half) - least)
            before, step = (step, tried) if good else (half, half)
        else:
            before = step = half
        last, f_last = best, f_best
        best += step if abs(step) > least else least if half > 0 else -least
        f_best = function(best)
    return best
