"""Contrasts: by hand where spreads are equal, and over simulated blocks."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from leaderboards.inference.contrasts import contrasts, factorial
from leaderboards.inference.variance_model import VarianceModel

FACTORS = "ce", ("pcbn", "bn", "none")
NAMES = [f"{a}+{b}" for a in ("ce", "mmd") for b in FACTORS[1]]


def block(means: dict[str, float], units: int, seed: int, deviation: float = 1.0) -> VarianceModel:
    """Return rows with normal accuracies around 50 %, where log odds and points scatter alike."""
    generator = np.random.default_rng(seed)
    rows = {
        name: {(unit, unit, unit): mean + deviation * generator.standard_normal() for unit in range(units)}
        for name, mean in means.items()
    }
    return VarianceModel(rows, {}, {})


def test_the_effects_of_a_factorial():
    effects = factorial([*NAMES, "random_real", "sliced+pcbn"], *FACTORS)
    assert list(effects) == [
        "pcbn against bn",
        "bn against none",
        "mmd against ce, with pcbn or bn",
        "(mmd against ce) x (pcbn against bn)",
        "(mmd against ce) x (bn against none)",
    ]
    assert effects["pcbn against bn"] == {"ce+pcbn": 0.5, "ce+bn": -0.5, "mmd+pcbn": 0.5, "mmd+bn": -0.5}
    assert effects["(mmd against ce) x (bn against none)"] == {"mmd+bn": 1, "mmd+none": -1, "ce+bn": -1, "ce+none": 1}
    assert factorial(["wmdd", "random_real", "mmd+pcbn"], *FACTORS) == {}


def test_an_interval_is_that_of_the_linear_model():
    model = block(dict.fromkeys(NAMES, 50.0), units=4, seed=2)
    weights = factorial(NAMES, *FACTORS)["pcbn against bn"]
    (one,) = contrasts(model, [weights])
    values = {name: np.array(list(model.rows[name].values())) for name in NAMES}
    assert one.value == pytest.approx(sum(weight * values[name].mean() for name, weight in weights.items()))
    assert model.pooled
    scales = {name: model._scale(name, model.pool.shape) for name in NAMES}
    square = np.mean([np.var(values[name], ddof=1) / scales[name] ** 2 for name in NAMES])
    error = np.sqrt(sum(weight**2 * square * scales[name] ** 2 / 4 for name, weight in weights.items()))
    half = stats.t.ppf(0.975, 18) * error
    assert one.interval == pytest.approx((one.value - half, one.value + half))
    two = contrasts(model, [weights, weights])[0]
    assert two.interval[1] - two.value == pytest.approx(stats.t.ppf(1 - 0.0125, 18) * error)


@pytest.mark.parametrize("deviations", [(1.0, 1.0), (1.0, 4.0)])
def test_all_intervals_of_a_family_cover_together(deviations):
    truth = {"ce+pcbn": 55.0, "ce+bn": 50.0, "ce+none": 45.0, "mmd+pcbn": 55.0, "mmd+bn": 53.0, "mmd+none": 50.0}
    family = list(factorial(NAMES, *FACTORS).values())
    exact = [sum(weight * truth[name] for name, weight in weights.items()) for weights in family]
    missed, runs = 0, 400
    for run in range(runs):
        calm = block(truth, 3, 2 * run, deviations[0]).rows
        wild = block(truth, 3, 2 * run + 1, deviations[1]).rows
        rows = {name: (wild if name.endswith("none") else calm)[name] for name in NAMES}
        found = contrasts(VarianceModel(rows, {}, {}), family)
        missed += any(not c.interval[0] <= value <= c.interval[1] for c, value in zip(found, exact, strict=True))
    assert missed / runs < (0.07 if deviations[0] == deviations[1] else 0.09)


def test_crossed_axes_make_the_interval_of_an_effect_longer():
    generator, covered = np.random.default_rng(0), []
    for _ in range(200):
        rows = {}
        for name in ("a", "b"):
            draws, rest = generator.standard_normal(3), 0.3 * generator.standard_normal((3, 3, 3))
            rows[name] = {cell: 50 + draws[cell[0]] + float(value) for cell, value in np.ndenumerate(rest)}
        (found,) = contrasts(VarianceModel(rows, {}, {}), [{"a": 1.0, "b": -1.0}])
        covered.append(found.interval[0] <= 0 <= found.interval[1])
    assert np.mean(covered) >= 0.93


@pytest.mark.parametrize("lacking", [{(0, 0, 0): 50.0}, {(0, 0, 0): 50.0, (1, 1, 0): 50.0}])
def test_where_no_spread_is_known_there_is_no_interval(lacking):
    found = contrasts(VarianceModel({"a": lacking, "b": dict.fromkeys(lacking, 49.0)}, {}, {}), [{"a": 1.0, "b": -1.0}])
    assert [(one.value, one.interval) for one in found] == [(1.0, None)]
