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
from leaderboards.results import scores
from leaderboards.results.scores import normalised, scores_of

components = st.fixed_dictionaries({name: st.floats(0, 1) for name in scores.COMPONENTS})
NORMALISED = [f"{score}{weight}" for score in ("lrs_w", "ars_g") for weight in scores.WEIGHTS]


@given(components)
def test_normalised_scores_lie_in_the_unit_interval(accuracies):
    found = scores_of(accuracies)
    assert all(-1e-12 <= found[name] <= 1 + 1e-12 for name in NORMALISED)


@pytest.mark.parametrize(("images", "others", "end"), [(0, 1, 0), (1, 0, 1), (0.4, 0.4, 0.2689)])
def test_the_ends_of_the_interval_are_reached_and_no_advantage_scores_0_269(images, others, end):
    found = scores_of({name: images if name.startswith("syn") else others for name in scores.COMPONENTS})
    assert [found[name] for name in NORMALISED] == pytest.approx([end] * 6, abs=1e-4)


@given(components, st.sampled_from(sorted(scores.COMPONENTS)), st.floats(0.01, 1))
def test_scores_rise_with_the_accuracies_of_the_synthetic_images_and_fall_with_the_others(accuracies, name, step):
    """Of HLR, lower is better."""
    if accuracies[name] + step <= 1:
        before, after = scores_of(accuracies), scores_of(accuracies | {name: accuracies[name] + step})
        changed = {score for score in before if before[score] != after[score]}
        assert changed
        better = {score for score in changed if (after[score] > before[score]) != (score == "hlr")}
        assert better == (changed if name.startswith("syn") else set())


@given(components)
def test_weights_mix_the_parts(accuracies):
    found = scores_of(accuracies)
    gains = [accuracies[f"syn_{kind}"] - accuracies[f"random_{kind}"] for kind in ("augmented", "plain")]
    for weight in scores.WEIGHTS:
        lrs = normalised(weight * found["ior"] - (1 - weight) * found["hlr"])
        assert found[f"lrs_w{weight}"] == pytest.approx(lrs)
        assert found[f"ars_g{weight}"] == pytest.approx(normalised(weight * gains[0] + (1 - weight) * gains[1]))


def test_a_known_value():
    """DM on CIFAR-10 at IPC 10: HLR 39.4 and IOR 16.1 points, as DD-Ranking's leaderboard has them."""
    found = scores_of({"full_hard": 0.394, "syn_hard": 0, "syn_any": 0.161, "random_any": 0})
    alpha = 0.5 * 0.161 - 0.5 * 0.394
    assert found["lrs_w0.5"] == pytest.approx((math.exp(alpha) - math.exp(-1)) / (math.e - math.exp(-1)))
    assert found["lrs_w0.5"] == pytest.approx(0.222, abs=5e-4)


@pytest.mark.parametrize("value", [-11.6, 4.1])
def test_what_percent_would_give_is_refused(value):
    with pytest.raises(BenchmarkError, match="as fractions"):
        normalised(value)


# The table


@pytest.fixture
def table(tmp_path) -> pd.DataFrame:
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
    report = store.summarise()
    return scores.table(report.leaderboard, report.blocks).set_index("method")


def test_every_score_stands_beside_its_components(table):
    row = table.loc["wmdd"]
    assert row["hlr"] == pytest.approx(row["full_hard"] - row["syn_hard"]) == pytest.approx(0.5)
    assert row["ior"] == pytest.approx(row["syn_any"] - row["random_any"]) == pytest.approx(0.1)
    for w in (0.25, 0.5, 0.75):
        assert row[f"lrs_w{w}"] == pytest.approx(normalised(w * 0.1 - (1 - w) * 0.5))
        assert row[f"ars_g{w}"] == pytest.approx(normalised(w * 0.08 + (1 - w) * 0.02))
    assert row["missing"] == ""


def test_a_score_without_all_its_components_is_empty_and_says_which_are_missing(table):
    row = table.loc["mmd"]
    assert row["ior"] == pytest.approx(0.06)
    assert row[["hlr", "lrs_w0.5", "ars_g0.5"]].isna().all()
    assert row["missing"] == "syn_hard syn_augmented syn_plain"


def test_random_images_improve_on_random_images_by_nothing(table):
    assert table.loc["random_real", "ior"] == 0


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
    found = scores.table(report.leaderboard, report.blocks).set_index("method")
    row = found.loc["wmdd"]
    for name in ("hlr", "ior", "lrs_w0.5"):
        assert row[f"{name}_low"] < row[name] < row[f"{name}_high"]
    assert found.loc["random_real", ["ior_low", "ior_high"]].tolist() == [0, 0]
    assert found.loc["mmd", ["ior_low", "ior_high"]].isna().all()
    assert pd.isna(row["ars_g0.5_low"])
