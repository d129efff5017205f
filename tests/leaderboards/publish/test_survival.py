"""Which verdicts of a published run another run of the same cells gives again."""

from __future__ import annotations

import itertools

from fake_store import FakeStore

from leaderboards.publish import survival
from leaderboards.results import records
from leaderboards.results.axes import CELL, axis_values

SPREAD = (-0.5, 0.0, 0.5)  # of three seeds around the mean of a row


def stored(folder, **means: float) -> records.Stored:
    """Return a run of some methods with three seeds each, of which the means are given."""
    made = FakeStore(str(folder))
    for (row, (method, mean)), seed in itertools.product(enumerate(means.items()), range(3)):
        made.done(made.cell(method=method, seed=seed), mean + SPREAD[(row + seed) % 3])
    made.write_manifest(title="Methods")
    return records.read(made.root, "main")


def cells(run: records.Stored) -> set[tuple[object, ...]]:
    return {axis_values(cell, CELL) for cell in run.cells}


def verdicts(tmp_path, theirs: dict[str, float], ours: dict[str, float]) -> dict[tuple[str, str], tuple[str, str]]:
    published, again = stored(tmp_path / "theirs", **theirs), stored(tmp_path / "ours", **ours)
    table = survival.verdicts(published, again, cells(published) & cells(again))
    pairs = zip(table["method"], table["other"], strict=True)
    return dict(zip(pairs, zip(table["verdict"], table["verdict_again"], strict=True), strict=True))


def test_a_verdict_survives_turns_round_or_is_lost(tmp_path):
    found = verdicts(
        tmp_path,
        {"random_real": 50.0, "wmdd": 70.0, "mmd": 40.0, "sre2l": 30.0},
        {"random_real": 50.0, "wmdd": 69.0, "mmd": 60.0, "sre2l": 50.2},
    )
    assert found["wmdd", "random_real"] == ("ahead", "ahead")
    assert found["random_real", "mmd"] == ("ahead", "behind")
    assert found["random_real", "sre2l"] == ("ahead", "not known")
    assert len(found) == 6, "each pair once, whatever its order in the other run"


def test_numbers_of_the_other_run_are_of_the_same_difference(tmp_path):
    ours = {"random_real": 50.0, "mmd": 60.0}  # the other way round
    published, again = stored(tmp_path / "theirs", random_real=50.0, mmd=40.0), stored(tmp_path / "ours", **ours)
    (row,) = survival.verdicts(published, again, cells(published)).to_dict("records")
    assert (row["method"], row["other"]) == ("random_real", "mmd")
    assert (row["difference"], row["difference_again"]) == (10.0, -10.0)
    assert row["ci_low_again"] < -10 < row["ci_high_again"] < 0


def test_only_shared_cells_count(tmp_path):
    found = verdicts(tmp_path, {"random_real": 50.0, "wmdd": 70.0, "mmd": 40.0}, {"random_real": 50.0, "wmdd": 70.0})
    assert found == {("wmdd", "random_real"): ("ahead", "ahead")}


def test_the_summary_counts_what_survives(tmp_path):
    published = stored(tmp_path / "theirs", random_real=50.0, wmdd=70.0, mmd=40.0, sre2l=30.0, cda=50.0)
    again = stored(tmp_path / "ours", random_real=50.0, wmdd=69.0, mmd=60.0, sre2l=50.2, cda=50.0)
    first, second = survival.summary(survival.verdicts(published, again, cells(published)))
    assert first == (
        "Pairs of rows: 10; the published cells decide 9. Of these, 5 have the same verdict here, 2 the opposite one, "
        "and 2 are not decided here."
    )
    assert second == "Decided here only: 0."
    assert survival.summary(survival.verdicts(published, published, set())) == []
