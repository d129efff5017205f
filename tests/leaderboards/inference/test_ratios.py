"""The part recovered and the scores carry the errors of all means that enter."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from leaderboards.inference.intervals import Gap, Mean
from leaderboards.inference.ratios import fieller, weighted_sum
from leaderboards.inference.verdicts import Block
from leaderboards.results import scores
from leaderboards.results.scores import score_intervals


def block(full, seed: int = 0, seeds: int = 4) -> Block:
    """Six rows at 60 % but one at 65, in which the control stands first; all of deviation 1."""
    values = np.random.default_rng(seed).normal(size=(6, seeds)) + np.array([60, 65, 60, 60, 60, 60])[:, None]
    rows = {
        name: dict(zip(((i, i, 0) for i in range(seeds)), row, strict=True))
        for name, row in zip("cabdef", values, strict=True)
    }
    rows["full"] = {(i, i, 0): float(value) for i, value in enumerate(full)}
    return Block(rows, {"c": "control", "full": "bound"}, {})


def gap(value: float, variance: float, freedom: float = 30) -> Gap:
    return Gap(value, 2, 2 * variance, 0.0, freedom)


def test_fieller_is_the_delta_method_where_the_way_is_long():
    # independent means: row 5 +- 1, control 0 +- 1, bound 1000 +- 1
    t = stats.t.ppf(0.975, 30)
    found = fieller(gap(5, 2), gap(1000, 2), gap(-995, 2), t)
    error = math.sqrt(2 + 2 * 0.005**2 - 2 * 0.005) / 1000  # var(part) + r^2 var(way) - 2 r cov, cov = var(control) = 1
    assert found.value == pytest.approx(0.005)
    assert found.low == pytest.approx(0.005 - t * error, abs=1e-5)
    assert found.high == pytest.approx(0.005 + t * error, abs=1e-5)


def test_fieller_says_nothing_where_the_way_may_be_none():
    found = fieller(gap(1, 2), gap(2, 2), gap(-1, 2), 2.0)
    assert (found.low, found.high) == (-math.inf, math.inf)


@pytest.mark.parametrize("unknown", range(3))
def test_fieller_needs_every_error(unknown):
    gaps = [gap(1, 2), gap(30, 2), gap(-29, 2)]
    gaps[unknown] = Gap(gaps[unknown].value, 1)
    assert fieller(*gaps, 2.0) is None


@pytest.mark.parametrize(
    ("rest", "low", "high"),
    [
        (16, 1 / 18, 7 / 46),  # errors 1 and 2 against each other: |5 - 50 r| <= 2 (1 + 2 r)
        (9, 1 / 18, 7 / 46),
        (0.2, 3 / 46, 7 / 54),  # errors 1 and 2 together: |5 - 50 r| <= 2 |1 - 2 r|
        (1, 3 / 46, 7 / 54),
    ],
)
def test_fieller_takes_no_covariance_that_two_errors_cannot_have(rest, low, high):
    found = fieller(gap(5, 1), gap(50, 4), gap(-45, rest), 2.0)
    assert (found.low, found.high) == pytest.approx((low, high))


def test_fieller_covers():
    generator, hits = np.random.default_rng(0), []
    for _ in range(4000):
        control, row, full = np.array([60.0, 65.0, 70.0]) + generator.normal(size=3)
        scale = generator.chisquare(20) / 20
        sides = [gap(value, 2 * scale, 20) for value in (row - control, full - control, row - full)]
        found = fieller(*sides, stats.t.ppf(0.975, 20))
        hits.append(found.low <= 0.5 <= found.high)
    assert 0.94 <= np.mean(hits) <= 0.97  # a little more: the set of all ratios always holds the true one


def test_the_part_recovered_has_the_error_of_the_control_and_of_full():
    sure, unsure = block([90.0, 90.1, 89.9, 90.0]), block([90.0, 96.0, 84.0, 90.0])
    assert not sure.refused
    assert sure.recovered("a").value == pytest.approx(5 / 30, abs=0.05)
    widths = [found.high - found.low for found in (sure.recovered("a"), unsure.recovered("a"))]
    assert widths[0] < widths[1]
    assert sure.recovered("c").value == sure.recovered("c").high == 0.0
    assert sure.recovered("full") is None
    part, way, rest = (unsure.model.difference(*pair) for pair in (("a", "c"), ("full", "c"), ("a", "full")))
    assert way.freedom < part.freedom
    fewest = unsure._critical("a", "c", min(way.freedom, rest.freedom))
    assert unsure.recovered("a") == fieller(part, way, rest, fewest)


@pytest.mark.parametrize(
    ("full", "reason"),
    [
        ([60.0, 61.0, 60.5, 59.0], "full against c: not known"),
        ([40.0, 41.0, 40.5, 39.0], "full against c: behind"),
        ([90.0], "full has one seed"),
    ],
)
def test_the_part_recovered_is_refused_unless_full_is_ahead(full, reason):
    found = block(full)
    assert found.refused == reason
    assert found.recovered("a") is None


def test_without_a_control_or_a_bound_nothing_is_recovered():
    rows = {"a": {(0, 0, 0): 1.0, (1, 1, 0): 2.0}, "b": {(0, 0, 0): 1.0, (1, 1, 0): 3.0}}
    assert Block(rows, {}, {}).refused == "no control"
    assert Block(rows, {"a": "control"}, {}).refused == "no bound"
    assert Block(rows, {}, {}).recovered("a") is None


def test_errors_of_one_method_add_and_those_of_several_add_in_squares():
    means = {"syn_any": Mean(0.5, 0.03, 9), "syn_hard": Mean(0.3, 0.01, 4), "random_any": Mean(0.4, 0.03, 9)}
    total = weighted_sum({"syn_any": 1, "syn_hard": 1, "random_any": -1}, means)
    assert total.value == pytest.approx(0.4)
    assert total.error == pytest.approx(0.05)
    assert total.freedom == 4
    assert weighted_sum({"syn_any": 1, "syn_hard": -1}, means).error == pytest.approx(0.04)  # whatever they share
    assert weighted_sum({"syn_any": 1}, {"syn_any": Mean(0.5)}).error is None


MEANS = {name: Mean(0.2 + 0.05 * i, 0.01, 20) for i, name in enumerate(scores.COMPONENTS)}


def test_intervals_hold_the_scores():
    expected = scores.scores_of({name: mean.value for name, mean in MEANS.items()})
    found = score_intervals(MEANS)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name][0] < value < found[name][1]
    t = stats.t.ppf(0.975, 20)
    assert found["ior"][1] - found["ior"][0] == pytest.approx(2 * t * 0.01 * math.sqrt(2))


def test_score_intervals_cover_whatever_the_correlation_of_one_methods_protocols():
    generator, freedom = np.random.default_rng(0), 20
    truth = {name: 0.2 + 0.05 * i for i, name in enumerate(scores.COMPONENTS)}
    hits = []
    for _ in range(2000):
        common = {method: generator.normal() for method in ("syn", "random", "full")}
        means = {
            name: Mean(
                value + 0.01 * common[name.partition("_")[0]],
                0.01 * math.sqrt(generator.chisquare(freedom) / freedom),
                freedom,
            )
            for name, value in truth.items()
        }
        low, high = score_intervals(means)["lrs_w0.5"]
        hits.append(low <= scores.scores_of(truth)["lrs_w0.5"] <= high)
    assert 0.93 <= np.mean(hits) <= 0.97


def test_random_images_are_not_compared_with_their_own_error():
    means = MEANS | {f"syn_{kind}": MEANS[f"random_{kind}"] for kind in ("any", "augmented", "plain")}
    found = score_intervals(means, row="random")
    assert found["ior"] == (0.0, 0.0)
    assert found["ars_g0.5"] == pytest.approx((scores.normalised(0), scores.normalised(0)))
    assert found["hlr"][0] < found["hlr"][1]


def test_scores_without_all_errors_have_no_interval():
    found = score_intervals({**MEANS, "full_hard": Mean(0.8)})
    assert {name for name in found if name.startswith(("hlr", "lrs"))} == set()
    assert "ior" in found
    assert score_intervals({}) == {}
