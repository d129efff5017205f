"""What a few cells allow one to say: intervals that cover, components that add up, ties that agree with ranks."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from leaderboards.results.statistics import components, crossed, difference, mean, rank_intervals

accuracies = st.lists(st.floats(0, 100).map(lambda value: round(value, 2)), min_size=2, max_size=6)


def paired(values) -> dict[tuple[int, int], float]:
    """Seed i judges draw i."""
    return {(i, i): float(value) for i, value in enumerate(values)}


def grid(values) -> dict[tuple[int, int], float]:
    return {(i, j): float(value) for (i, j), value in np.ndenumerate(np.asarray(values))}


# Means


@given(accuracies)
def test_the_interval_is_students(values):
    found = mean(paired(values))
    low, high = found.interval
    assert found.value == pytest.approx(np.mean(values))
    if np.std(values) > 1e-6:
        expected = stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))
        assert (low, high) == pytest.approx(expected)
        assert found.p_value == pytest.approx(stats.ttest_1samp(values, 0).pvalue)
    else:
        assert low == pytest.approx(high)


def test_a_single_cell_has_no_interval():
    assert mean({(0, 0): 50.0}).interval is None
    assert mean({(0, 0): 50.0}).p_value is None


def test_seeds_of_a_single_draw_are_the_units_and_so_are_draws_of_a_single_seed():
    values = [50.0, 52.0, 57.0]
    assert mean({(0, i): v for i, v in enumerate(values)}) == mean({(i, 0): v for i, v in enumerate(values)})
    assert mean({(0, i): v for i, v in enumerate(values)}).error == pytest.approx(stats.sem(values))


def test_cells_of_one_draw_are_averaged_before_draws_are_compared():
    cells = {(0, 0): 50.0, (0, 1): 52.0, (1, 0): 60.0}
    assert mean(cells).error == pytest.approx(stats.sem([51.0, 60.0]))
    assert mean(cells).freedom == 1


def test_intervals_of_crossed_rows_cover_the_truth_about_as_often_as_they_say():
    random = np.random.default_rng(0)
    hits = []
    for _ in range(600):
        noise = 2 * random.normal(size=(4, 1)) + random.normal(size=(1, 4)) + random.normal(size=(4, 4))
        low, high = mean(grid(50 + noise)).interval
        hits.append(low <= 50 <= high)
    assert 0.92 <= np.mean(hits) <= 1.0


# Variance components


def test_components_of_a_grid_without_residual_are_those_of_its_rows_and_columns():
    rows, columns = np.array([0.0, 3.0, 7.0]), np.array([0.0, 1.0])
    parts = components(50 + rows[:, None] + columns)
    assert parts.residual == pytest.approx(0)
    assert parts.draw == pytest.approx(rows.var(ddof=1))
    assert parts.seed == pytest.approx(columns.var(ddof=1))


def test_components_are_unbiased():
    random = np.random.default_rng(1)
    found = []
    for _ in range(2000):
        noise = 3 * random.normal(size=(5, 1)) + 2 * random.normal(size=(1, 4)) + random.normal(size=(5, 4))
        parts = components(noise)
        found.append((parts.draw, parts.seed, parts.residual))
    assert np.mean(found, 0) == pytest.approx([9, 4, 1], rel=0.1)


@given(st.lists(st.lists(st.floats(0, 100), min_size=3, max_size=3), min_size=2, max_size=5))
def test_no_component_is_negative(values):
    parts = components(np.array(values))
    assert min(parts.draw, parts.seed, parts.residual) >= 0


def test_only_complete_grids_are_crossed():
    assert crossed(grid([[1, 2], [3, 4]])).tolist() == [[1, 2], [3, 4]]
    assert crossed(paired([1, 2, 3])) is None
    assert crossed({(0, 0): 1.0, (0, 1): 2.0}) is None
    assert crossed({**grid([[1, 2], [3, 4]]), (2, 0): 5.0}) is None


# Differences


@given(accuracies, st.data())
def test_pairs_are_compared_as_pairs(values, data):
    others = data.draw(st.lists(st.floats(0, 100), min_size=len(values), max_size=len(values)))
    gaps = np.subtract(values, others)
    gap, pairs = difference(paired(values), paired(others))
    assert pairs == len(values)
    assert gap.value == pytest.approx(gaps.mean(), abs=1e-9)
    if gaps.std() > 1e-6:
        assert gap.p_value == pytest.approx(stats.ttest_rel(values, others).pvalue, rel=1e-6, abs=1e-12)
        assert gap.includes_zero == (gap.p_value >= 0.05)


def test_noise_that_both_have_in_common_cancels():
    shared = np.array([0.0, 20.0, -15.0, 7.0])
    gap, _ = difference(paired(50 + shared), paired(49 + shared + [0.1, -0.1, 0.05, 0.0]))
    assert gap.includes_zero is False
    assert stats.ttest_ind(50 + shared, 49 + shared).pvalue > 0.5


def test_rows_that_share_no_pairs_are_compared_as_welch_does():
    ours, theirs = [50.0, 52.0, 51.0], [47.0, 40.0, 44.5, 46.0]
    gap, pairs = difference(paired(ours), {(10 + i, 10 + i): value for i, value in enumerate(theirs)})
    expected = stats.ttest_ind(ours, theirs, equal_var=False)
    assert pairs == 0
    assert gap.p_value == pytest.approx(expected.pvalue)
    assert gap.interval == pytest.approx(tuple(expected.confidence_interval()))


def test_the_third_draw_of_one_row_does_not_hinder_the_pairs():
    gap, pairs = difference(paired([50, 52, 90]), paired([49, 51]))
    assert (gap.value, pairs) == (1.0, 2)


def test_a_single_cell_ties_with_nothing_but_an_equal_number():
    assert difference(paired([50]), paired([50]))[0].includes_zero is True
    assert difference(paired([50]), paired([49.9]))[0].includes_zero is None


def test_equal_differences_leave_no_doubt():
    gap, _ = difference(paired([50, 60]), paired([49, 59]))
    assert (gap.p_value, gap.includes_zero) == (0.0, False)


# Ranks


@given(st.lists(accuracies.filter(lambda values: len(values) >= 3).map(lambda v: v[:3]), min_size=2, max_size=5))
@settings(max_examples=30, deadline=None)
def test_intervals_of_ranks_are_places_in_order(rows):
    bounds = rank_intervals([paired(values) for values in rows], "block")
    assert all(1 <= low <= high <= len(rows) for low, high in bounds)
    assert bounds == rank_intervals([paired(values) for values in rows], "block")  # the same from equal records


def test_rows_far_apart_have_one_rank_each():
    base = np.array([0.0, 0.3, -0.2, 0.1])
    rows = [paired(level + base * (1 + level / 100)) for level in (30, 60, 90)]
    assert rank_intervals(rows, "block") == [(3, 3), (2, 2), (1, 1)]


@pytest.mark.parametrize("seed", range(20))
def test_two_rows_share_ranks_just_where_they_tie(seed):
    random = np.random.default_rng(seed)
    ours, theirs = (paired(50 + level + random.normal(size=4)) for level in (0, 2 * random.random()))
    gap, _ = difference(ours, theirs)
    if not 0.035 < gap.p_value < 0.07:  # what the bootstrap's own noise could decide
        bounds = rank_intervals([ours, theirs], "block")
        assert (bounds[0] == bounds[1] == (1, 2)) is gap.includes_zero


def test_ranks_of_crossed_rows_are_no_surer_than_their_difference():
    random = np.random.default_rng(3)
    ours, theirs = (grid(50 + random.normal(size=(3, 3))) for _ in range(2))
    assert difference(ours, theirs)[0].includes_zero
    assert rank_intervals([ours, theirs], "block") == [(1, 2), (1, 2)]


def test_rows_that_share_too_few_cells_have_ranks_without_intervals():
    assert rank_intervals([paired([1, 2]), {(5, 5): 1.0}], "block") is None
    assert rank_intervals([paired([1, 2]), {(0, 0): 1.0}], "block") is None


def test_p_values_reach_from_certain_to_impossible():
    assert mean(paired([0, 0])).p_value == 1.0
    assert math.isclose(mean(paired([-1, 1])).p_value, 1.0)
