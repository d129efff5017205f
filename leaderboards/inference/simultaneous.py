"""Critical values for many comparisons at once, by quadrature.

Both are for differences of independent normal means over their standard errors, which share one variance estimate s
with ``s^2 / sigma^2 ~ chi2(freedom) / freedom``. `scipy.stats.dunnett` and `scipy.stats.studentized_range` give the
same numbers for samples of equal spread (the tests compare them); the former takes samples only and draws random
numbers, the latter needs a third of a second for a value.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaincinv, ndtr, ndtri, stdtrit

Matrix = NDArray[np.float64]
NODES = 96
LEGENDRE = np.polynomial.legendre.leggauss(NODES)  # nodes from -1 to 1, and their weights
UNIFORM, WEIGHTS = (LEGENDRE[0] + 1) / 2, LEGENDRE[1] / 2  # from 0 to 1
NORMAL = np.linspace(-8, 8, 201)  # [nodes of a normal variable]
DENSITY = np.exp(-(NORMAL**2) / 2) / math.sqrt(2 * math.pi) * (NORMAL[1] - NORMAL[0])
HALF = len(NORMAL) // 2 + 1  # the nodes up to 0
FOLDED = np.append(2 * DENSITY[: HALF - 1], DENSITY[HALF - 1])  # for a function that is the same at z and -z


@cache
def scale_nodes(freedom: float) -> tuple[Matrix, Matrix]:
    """Return nodes of ``s / sigma`` and their weights [NODES], which add up to 1."""
    if math.isinf(freedom):
        return np.ones(1), np.ones(1)
    return np.sqrt(2 * gammaincinv(freedom / 2, UNIFORM) / freedom), WEIGHTS  # quantiles of chi2


def control_critical(comparisons: int, correlation: float, freedom: float, error: float) -> float:
    """Return Dunnett's two-sided critical value (Dunnett 1955): for comparisons of several means with one.

    Args:
        comparisons: how many.
        correlation: the correlation of two differences, which have the control in common; 0.5 where all means are
            equally sure. Unequal ones are replaced by their mean, rounded down (Hochberg and Tamhane 1987: slightly
            conservative).
        freedom: degrees of freedom of the variance.
        error: probability that any of the intervals misses.
    """
    return _control(comparisons, min(math.floor(50 * correlation + 1e-6) / 50, 0.98), _down(freedom), error)


def range_critical(rows: int, freedom: float, error: float) -> float:
    """Return the Tukey-Kramer critical value: for all pairs of rows; the studentised range's quantile over sqrt(2).

    Conservative where means are not equally sure (Hayter 1984).
    """
    return _range(rows, _down(freedom), error)


@cache
def _control(comparisons: int, correlation: float, freedom: float, error: float) -> float:
    shared, own = math.sqrt(correlation), math.sqrt(1 - correlation)
    scale, weights = scale_nodes(freedom)

    def covered(critical: float) -> float:
        below = ndtr((critical * scale[:, None] + shared * NORMAL) / own)
        inside = (below + below[:, ::-1] - 1)[:, :HALF]  # the upper end for -z is the lower end for z, mirrored
        return float(weights @ (_power(inside, comparisons) @ FOLDED))

    return _root(covered, error, comparisons, freedom)


@cache
def _range(rows: int, freedom: float, error: float) -> float:
    scale, weights = scale_nodes(freedom)

    def covered(critical: float) -> float:
        width = math.sqrt(2) * critical * scale[:, None]
        inside = ndtr(NORMAL + width) - ndtr(NORMAL)
        return float(weights @ (_power(inside, rows - 1) @ (rows * DENSITY)))

    return _root(covered, error, rows * (rows - 1) // 2, freedom)


def _root(covered: Callable[[float], float], error: float, count: int, freedom: float) -> float:
    """Search between the value of a single comparison and Bonferroni's for all of them."""
    levels = (1 - error / 2, 1 - error / 2 / count)
    low, high = (float(ndtri(p) if math.isinf(freedom) else stdtrit(freedom, p)) for p in levels)
    from scipy import optimize  # takes a third of a second

    return float(optimize.brentq(lambda critical: covered(critical) - (1 - error), 0.99 * low, 1.01 * high, xtol=1e-6))


def _power(base: Matrix, exponent: int) -> Matrix:
    """Return ``base ** exponent`` for an exponent of 1 or more, by squaring: ten times as fast as NumPy's power."""
    if exponent == 1:
        return base
    half = _power(base, exponent // 2)
    return half * half * base if exponent % 2 else half * half


def _down(freedom: float) -> float:
    """Round degrees of freedom down, so that few values are computed anew, to two digits above 10."""
    if freedom > 1000:
        return math.inf if math.isinf(freedom) else 1000.0
    step = 0.1 if freedom < 10 else 1 if freedom < 100 else 10
    return max(math.floor(freedom / step + 1e-9) * step, 0.5)
