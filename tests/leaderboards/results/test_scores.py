"""Scores: what their docs claim, and that every one stands beside its components."""

from __future__ import annotations

import math

import pandas as pd
import pytest
from fake_store import FakeStore
from hypothesis import given
from hypothesis import strategies as st

from benchmark.errors import BenchmarkError
from leaderboards.report import summarise
from leaderboards.results import score_table, scores
from leaderboards.results.scores import ars, hlr, ior, lrs, normalised

fractions = st.floats(0, 1)
differences = st.floats(-1, 1)
steps = st.floats(0.01, 1)


@given(fractions, fractions, fractions, fractions, fractions)
def test_scores_lie_in_the_unit_interval(full, hard, soft, random, weight):
    assert -1e-12 <= lrs(hlr(full, hard), ior(soft, random), weight) <= 1 + 1e-12
    assert -1e-12 <= ars(ior(soft, random), ior(hard, random), weight) <= 1 + 1e-12


def test_the_ends_of_the_interval_are_reached():
    assert lrs(hlr=1, ior=-1) == pytest.approx(0)
    assert lrs(hlr=-1, ior=1) == pytest.approx(1)
    assert ars(-1, -1) == pytest.approx(0)
    assert ars(1, 1) == pytest.approx(1)


@given(differences, steps)
def test_normalisation_keeps_the_order(advantage, step):
    if advantage + step <= 1:
        assert normalised(advantage + step) > normalised(advantage)


@given(fractions, fractions, fractions, steps, st.floats(0.05, 0.95))
def test_lrs_rises_with_either_accuracy_of_the_synthetic_images_and_falls_with_the_controls(a, b, c, step, w):
    if b + step <= 1:
        better, worse = hlr(a, b + step), hlr(a, b)
        assert better < worse  # of HLR, lower is better
        assert lrs(better, 0, w) > lrs(worse, 0, w)
        assert lrs(0, ior(b + step, c), w) > lrs(0, ior(b, c), w)
        assert lrs(0, ior(c, b + step), w) < lrs(0, ior(c, b), w)


@given(fractions, fractions)
def test_no_advantage_at_all_scores_0_269(full, random):
    assert lrs(hlr(full, full), ior(random, random)) == pytest.approx(0.2689, abs=1e-4)
    assert ars(0, 0) == pytest.approx(0.2689, abs=1e-4)


@given(differences, differences)
def test_weights_decide_between_the_parts(one, other):
    assert lrs(-one, other, w=0) == ars(other, one, gamma=0) == normalised(one)
    assert lrs(-one, other, w=1) == ars(other, one, gamma=1) == normalised(other)
    assert lrs(-one, other) == pytest.approx(normalised((one + other) / 2))


def test_a_known_value():
    """DM on CIFAR-10 at IPC 10: HLR 39.4 and IOR 16.1 points, as DD-Ranking's leaderboard has them."""
    alpha = 0.5 * 0.161 - 0.5 * 0.394
    assert lrs(0.394, 0.161) == pytest.approx((math.exp(alpha) - math.exp(-1)) / (math.e - math.exp(-1)))
    assert lrs(0.394, 0.161) == pytest.approx(0.222, abs=5e-4)


@pytest.mark.parametrize("call", [lambda: hlr(99.0, 50.0), lambda: ior(0.5, -0.1), lambda: lrs(0, 0, w=2)])
def test_percent_and_wild_weights_are_refused(call):
    with pytest.raises(BenchmarkError, match=r"fractions|weights"):
        call()


@pytest.mark.parametrize("value", [-11.6, 4.1])
def test_what_percent_would_give_is_refused(value):
    with pytest.raises(BenchmarkError, match="as fractions"):
        normalised(value)


# The table


@pytest.fixture
def board(tmp_path) -> pd.DataFrame:
    store = FakeStore(str(tmp_path))
    accuracies = {
        ("full", "hard"): 90.0,
        ("wmdd", "hard"): 40.0,
        ("wmdd", "standard"): 70.0,
        ("random_real", "standard"): 60.0,
        ("random_real", "soft"): 50.0,
        ("wmdd", "soft"): 58.0,
        ("random_real", "soft_plain"): 45.0,
        ("wmdd", "soft_plain"): 47.0,
        ("mmd", "standard"): 66.0,
    }
    for (method, protocol), top1 in accuracies.items():
        store.done(store.cell("digits", 0 if method == "full" else 10, method, protocol=protocol), top1=top1)
    return store.summarise().leaderboard


def test_every_score_stands_beside_its_components(board):
    row = scores.table(board).set_index("method").loc["wmdd"]
    assert row["hlr"] == pytest.approx(row["full_hard"] - row["syn_hard"]) == pytest.approx(0.5)
    assert row["ior"] == pytest.approx(row["syn_any"] - row["random_any"]) == pytest.approx(0.1)
    for w in (0.25, 0.5, 0.75):
        assert row[f"lrs_w{w}"] == pytest.approx(lrs(0.5, 0.1, w))
        assert row[f"ars_g{w}"] == pytest.approx(ars(0.08, 0.02, w))
    assert row["missing"] == ""


def test_a_score_without_all_its_components_is_empty_and_says_which_are_missing(board):
    row = scores.table(board).set_index("method").loc["mmd"]
    assert row["ior"] == pytest.approx(0.06)
    assert row[["hlr", "lrs_w0.5", "ars_g0.5"]].isna().all()
    assert row["missing"] == "syn_hard syn_augmented syn_plain"


def test_random_images_improve_on_random_images_by_nothing(board):
    assert scores.table(board).set_index("method").loc["random_real", "ior"] == 0


def test_scores_have_intervals_where_all_their_components_have_several_seeds(tmp_path):
    store = FakeStore(str(tmp_path))
    levels = {("full", "hard"): 90, ("wmdd", "hard"): 40, ("wmdd", "standard"): 70, ("random_real", "standard"): 60}
    for (method, protocol), top1 in levels.items():
        for seed in range(3):
            cell = store.cell("digits", 0 if method == "full" else 10, method, protocol=protocol, seed=seed)
            store.done(cell, top1=top1 + seed)
    store.done(store.cell("digits", 10, "mmd", protocol="standard"), top1=66)
    store.write_manifest()
    report = summarise(store.root, "main")
    found = score_table.table(report.leaderboard, report.blocks).set_index("method")
    row = found.loc["wmdd"]
    for name in ("hlr", "ior", "lrs_w0.5"):
        assert row[f"{name}_low"] < row[name] < row[f"{name}_high"]
    assert found.loc["random_real", ["ior_low", "ior_high"]].tolist() == [0, 0]
    assert found.loc["mmd", ["ior_low", "ior_high"]].isna().all()
    assert pd.isna(row["ars_g0.5_low"])
