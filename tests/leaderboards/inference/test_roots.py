"""The search for a root takes the steps of SciPy, which imports for long."""

from __future__ import annotations

import math

import pytest
from scipy import optimize

from leaderboards.inference.roots import brent

FUNCTIONS = {
    "line": lambda x: x - 0.3,
    "cubic": lambda x: (x - 0.7) ** 3 + 0.01 * (x - 0.7),
    "falls": lambda x: 1 - math.exp(4 * (x + 0.2)),
    "step": lambda x: math.tanh(50 * (x - 0.9)),
    "root at the lower end": lambda x: x + 2,
    "root at the upper end": lambda x: x - 1.5,
}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("tolerance", [1e-2, 1e-6, 1e-12])
def test_the_root_is_that_of_scipy_to_the_last_bit(name, tolerance):
    found = brent(FUNCTIONS[name], -2.0, 1.5, tolerance)
    assert found == optimize.brentq(FUNCTIONS[name], -2.0, 1.5, xtol=tolerance)


def test_ends_of_one_sign_are_refused():
    with pytest.raises(ValueError, match="same sign"):
        brent(math.exp, 0.0, 1.0, 1e-6)
