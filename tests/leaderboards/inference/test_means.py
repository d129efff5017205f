"""What the cells of a row alone allow one to say: intervals that cover."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from leaderboards.inference.intervals import Mean
from leaderboards.inference.variance_model import Cells, VarianceModel

accuracies = st.lists(st.floats(0, 100).map(lambda value: round(value, 2)), min_size=2, max_size=6)


def mean(cells: Cells) -> Mean:
    return VarianceModel({"row": cells}, {}, {}).means["row"]


def paired(values) -> Cells:
    """Seed i judges draw i."""
    return {(i, i, 0): float(value) for i, value in enumerate(values)}


def grid(values) -> Cells:
    return {(i, j, 0): float(value) for (i, j), value in np.ndenumerate(np.asarray(values))}


# Means


@given(accuracies)
def test_the_interval_is_students(values):
    found = mean(paired(values))
    assert found.value == pytest.approx(np.mean(values))
    if len(set(values)) > 1:
        expected = stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))
        assert found.interval == pytest.approx(expected)
    else:
        assert found.interval is None


@pytest.mark.parametrize("values", [[50.0], [50.0, 50.0, 50.0]], ids=["one cell", "equal cells"])
def test_cells_without_a_spread_have_no_interval(values):
    assert mean(paired(values)).interval is None


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (Mean(0.0), True),
        (Mean(0.1), None),
        (Mean(0.0, 0.0, 2), True),  # the interval is the point 0
        (Mean(1.0, 0.5, 2), True),
        (Mean(1.0, 0.2, 2), False),
        (Mean(-1.0, 0.2, 2), False),
    ],
)
def test_an_interval_includes_zero_or_not(found, expected):
    assert found.includes_zero is expected


def test_seeds_of_a_single_draw_are_the_units_and_so_are_draws_of_a_single_seed():
    values = [50.0, 52.0, 57.0]
    assert mean({(0, i, 0): v for i, v in enumerate(values)}) == mean({(i, 0, 0): v for i, v in enumerate(values)})
    assert mean({(0, i, 0): v for i, v in enumerate(values)}).error == pytest.approx(stats.sem(values))


def test_cells_of_one_draw_are_averaged_before_draws_are_compared():
    cells = {(0, 0, 0): 50.0, (0, 1, 0): 52.0, (1, 2, 0): 60.0}
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
