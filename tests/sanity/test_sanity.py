"""The checks of ``make sanity`` can fail, and its page says what holds, what does not, and what is open."""

import pytest
import sanity

from leaderboards.results import references


@pytest.fixture(scope="module")
def published() -> list[sanity.Check]:
    return list(sanity.published())


def test_two_threads_are_compared_with_the_spread_of_rounding():
    starts = [72.0, 74.0, 73.0, 71.0, 75.0]  # standard deviation 1.58; 4.604 of t, times sqrt(1.2)
    assert sanity.rounding(80.9, starts).holds
    assert not sanity.rounding(81.1, starts).holds
    assert not sanity.rounding(64.9, starts).holds


@pytest.mark.parametrize(
    ("losses", "holds"),
    [([2.0, 1.5, 1.0, 0.5, 0.4], True), ([2.0, 2.1, 2.2, 2.3, 2.4], False), ([2.0, 9.0, 1.0, 1.0, 1.0], False)],
)
def test_a_curve_falls_and_does_not_explode(losses, holds):
    assert sanity.training(losses).holds is holds


def test_every_published_control_is_compared_or_open(published):
    wanted = [row for row in references.load() if row.method in ("random_real", "full")]
    assert len({check.name for check in published}) == len({(*row[:5], row.source) for row in wanted})
    assert all((check.holds is None) == (check.measured == "not run") for check in published)


def test_the_page_says_how_checks_ended():
    text = sanity.page(
        [sanity.Check("a", "1", True), sanity.Check("b", "2", False), sanity.Check("c", "not run", None)]
    )
    assert text.splitlines()[-3:] == ["| a | 1 | holds |", "| b | 2 | **does not hold** |", "| c | not run | open |"]


def test_a_teacher_stands_beside_the_published_one(published):
    (teacher,) = (check for check in published if check.name.startswith("full, imagenette, IPC all, resnet18"))
    assert "teacher" in teacher.measured
    assert teacher.holds is (abs(float(teacher.measured.split(",")[0]) - 89.9) <= sanity.CLOSE)
