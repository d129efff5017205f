"""The result in sentences: who is best, who is tied with it, who follows by how much, and what it costs."""

from __future__ import annotations

from pathlib import Path

import pytest
from fake_store import FakeStore

from leaderboards.page.verdicts import verdicts
from leaderboards.results.scores import main_protocol


@pytest.fixture
def store(tmp_path: Path) -> FakeStore:
    return FakeStore(str(tmp_path))


def fill(store: FakeStore, levels: dict[str, list[float]], **axes) -> None:
    for method, values in levels.items():
        for seed, top1 in enumerate(values):
            store.done(store.cell(method=method, seed=seed, **axes), top1=top1, seconds=50.0)


def test_a_verdict_names_the_best_what_may_be_as_good_the_next_and_the_controls(store):
    fill(store, {"wmdd": [70, 71, 72], "mmd": [69, 71, 71], "sre2l": [60, 61, 62], "random_real": [50, 51, 52]})
    fill(store, {"full": [95]}, ipc=0)
    (verdict,) = verdicts(store.summarise().leaderboard)
    assert verdict.block == "digits, IPC 10"
    assert verdict.sentence == (
        "wmdd has the highest mean, 71.0 ± 1.0 %. Too close to call with these seeds: mmd. "
        "Next and clearly behind: sre2l, by 10.0 points. "
        "A set of wmdd takes 1 min 40 s to distill, "
        "and networks and preparations that random real images do not need took 50 s. "
        "For comparison: random_real 51.0 % (wmdd is ahead of it), full 95.0 %."
    )


def test_a_control_and_a_variant_are_named_as_such(store):
    fill(store, {"random_real": [70, 71], "mmd": [60, 61]})
    fill(store, {"mmd+bn": [80, 81]}, ipc=1, base="mmd", overrides={"regulariser": "bn"})
    fill(store, {"mmd": [60, 61]}, ipc=1)
    small, large = verdicts(store.summarise().leaderboard)
    assert small.sentence.startswith("mmd+bn (a variant of mmd) is best")
    assert large.sentence.startswith("random_real (a control) is best")
    assert "to distill" not in large.sentence


def test_a_tie_is_named_as_one(store):
    fill(store, {"wmdd": [70, 70.1, 70.2], "mmd": [70, 70.1, 70.1], "sre2l": [60, 60.1, 60.2]})
    (verdict,) = verdicts(store.summarise().leaderboard)
    assert "Tied with it: mmd. Next and clearly behind: sre2l" in verdict.sentence


def test_without_a_tie_the_next_method_follows(store):
    fill(store, {"wmdd": [70, 71, 70.5], "mmd": [60, 61, 60.5]})
    (verdict,) = verdicts(store.summarise().leaderboard)
    assert "Next and clearly behind: mmd, by 10.0 points." in verdict.sentence
    assert "Tied" not in verdict.sentence


def test_many_rows_of_a_verdict_are_counted(store):
    fill(store, {name: [50, 60] for name in ("a", "b", "c", "d", "e", "f")})
    (verdict,) = verdicts(store.summarise().leaderboard)
    assert "Too close to call with these seeds: b, c, d and 2 more." in verdict.sentence


def test_a_lead_over_the_control_that_is_not_decided_is_no_lead(store):
    fill(store, {"wmdd": [70, 74, 73], "random_real": [73, 69, 71]})
    (verdict,) = verdicts(store.build().leaderboard)
    assert verdict.sentence.startswith("wmdd has the highest mean")
    assert "random_real 71.0 % (whether wmdd is ahead of it is not known)" in verdict.sentence


def test_a_single_method_wins_nothing(store):
    fill(store, {"wmdd": [70]})
    assert verdicts(store.summarise().leaderboard) == []


def test_verdicts_are_under_the_protocol_that_ranks(store):
    fill(store, {"wmdd": [90], "mmd": [91]}, protocol="hard")
    assert main_protocol(store.summarise().leaderboard) == "hard"
    fill(store, {"wmdd": [70], "mmd": [60]})
    board = store.summarise().leaderboard
    assert main_protocol(board) == "standard"
    (verdict,) = verdicts(board)
    assert verdict.sentence.startswith("wmdd has the highest mean, 70.0 %: one seed, no verdict.")
