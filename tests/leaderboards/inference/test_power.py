"""How many seeds would tell: the calculation agrees with counting."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from leaderboards.inference import power as power_module
from leaderboards.inference.intervals import Gap
from leaderboards.inference.power import MOST, POWER, Needed, needed, power
from leaderboards.inference.simultaneous import control_critical, range_critical


def family(freedom: float) -> float:
    return control_critical(9, 0.5, freedom, 0.048)


def chance(gap: float, seeds: int, margin: float | None) -> float:
    return power(observed(gap), seeds, family(10 * (seeds - 1)), margin)


def counted(gap: float, seeds: int, margin: float | None, blocks: int = 40000) -> float:
    """Return how often ten rows of deviation 1 show a gap, or equivalence."""
    generator, freedom = np.random.default_rng(0), 10 * (seeds - 1)
    error = math.sqrt(2 / seeds)
    means = gap + error * generator.standard_normal(blocks)
    half = family(freedom) * error * np.sqrt(generator.chisquare(freedom, blocks) / freedom)
    return float((np.abs(means) > half if margin is None else np.abs(means) + half < margin).mean())


def observed(value: float) -> Gap:
    return Gap(value, units=3, unit_variance=2.0, freedom=20)


@pytest.mark.parametrize(
    ("gap", "seeds", "margin"), [(2.0, 3, None), (2.0, 5, None), (0.2, 60, 1.0), (0.0, 25, 1.0), (0.0, 5, 1.0)]
)
def test_power_agrees_with_counting(gap, seeds, margin):
    assert chance(gap, seeds, margin) == pytest.approx(counted(gap, seeds, margin), abs=0.01)


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_without_a_gap_power_is_the_error_of_an_interval_on_both_sides(seeds):
    freedom = 10 * (seeds - 1)
    assert chance(0.0, seeds, None) == pytest.approx(2 * stats.t.sf(family(freedom), freedom), rel=0.01)


@pytest.mark.parametrize(("gap", "verdict"), [(2.0, "ahead"), (-2.0, "ahead"), (0.1, "tied"), (0.9, "ahead")])
def test_the_seeds_that_are_named_suffice_and_one_less_does_not(gap, verdict):
    found = needed(observed(gap), family, 1.0)
    assert found.verdict == verdict
    margin = 1.0 if verdict == "tied" else None
    assert counted(gap, found.units, margin) > POWER - 0.01
    assert chance(gap, found.units - 1, margin) < POWER


def test_what_no_number_of_seeds_shows_is_none():
    assert needed(observed(1e-6), family, 1e-4) == Needed(None, "ahead")
    images = Gap(1.5, units=3, unit_variance=2.0, image_variance=1.0, freedom=20)
    assert needed(images, family, 1.0).units is None  # more test images are needed


@pytest.mark.parametrize("gap", [0.4, 0.9, 2.0, 5.0])
@pytest.mark.parametrize("margin", [None, 1.0])
def test_the_search_needs_few_critical_values_and_finds_what_all_of_them_give(gap, margin):
    asked = []
    found = power_module._fewest(observed(gap), lambda freedom: (asked.append(freedom), family(freedom))[1], margin)
    enough = (units for units in range(4, MOST + 1) if chance(gap, units, margin) >= POWER)
    assert found == next(enough, None)
    assert len(asked) <= 6


def test_more_comparisons_need_more_seeds():
    few, many = (needed(observed(2.0), lambda f, rows=rows: range_critical(rows, f, 0.012), 1.0) for rows in (3, 12))
    assert few.units < many.units
