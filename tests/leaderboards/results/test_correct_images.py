"""The sampling of test images enters intervals once: not twice with the binomial noise, and not never."""

from __future__ import annotations

import base64

import numpy as np
import pytest

from benchmark.files import Folder
from leaderboards.inference.variance_model import VarianceModel
from leaderboards.inference.verdicts import Block
from leaderboards.results.correct_images import bits_by_key
from leaderboards.results.records import Nodes, Stored

UNITS, IMAGES = 4, 400


def bits(generator: np.random.Generator, rows: int, spread: float, common: float = 0.0) -> np.ndarray:
    """Return correctness [rows, units, images]; images are hard for one row (spread), and for all of them (common)."""
    hard = spread * generator.standard_normal((rows, 1, IMAGES)) + common * generator.standard_normal((1, 1, IMAGES))
    lift = 0.15 * generator.standard_normal((rows, UNITS, 1))
    return generator.random((rows, UNITS, IMAGES)) < 1 / (1 + np.exp(-hard - lift - 0.5))


def model(correct: np.ndarray, *, given: bool = True) -> VarianceModel:
    rows = {f"m{i}": {(j, j, 0): float(100 * row[j].mean()) for j in range(UNITS)} for i, row in enumerate(correct)}
    known = {f"m{i}": {(j, j, 0): row[j] for j in range(UNITS)} for i, row in enumerate(correct)}
    return VarianceModel(rows, {"m0": "control"}, known if given else {})


def test_independent_answers_add_nothing_for_the_units_hold_their_noise_already():
    generator = np.random.default_rng(0)
    parts = [model(bits(generator, 2, 0.0)).difference("m0", "m1").image_variance for _ in range(200)]
    binomial = 2 * 100**2 * 0.62 * 0.38 / (UNITS * IMAGES)
    assert np.mean(parts) < 0.1 * binomial


def test_images_that_both_rows_find_hard_cancel_in_the_difference_and_stay_in_the_mean():
    generator = np.random.default_rng(0)
    found = [model(bits(generator, 2, 0.0, common=3.0)) for _ in range(50)]
    plain = [VarianceModel(one.rows, one.roles, {}) for one in found]
    gaps = [one.difference("m0", "m1").image_variance for one in found]
    means = [one.means["m0"].error ** 2 - other.means["m0"].error ** 2 for one, other in zip(found, plain, strict=True)]
    assert np.mean(gaps) < 0.15 * np.mean(means)


@pytest.mark.parametrize("given", [True, False])
def test_intervals_cover_other_test_images_only_with_the_bits(given):
    generator, hits = np.random.default_rng(1), []
    for _ in range(600):
        found = model(bits(generator, 6, 3.0), given=given)  # both rows have the same accuracy on all possible images
        gap = found.difference("m0", "m1")
        hits.append(abs(gap.value) <= 2.07 * gap.error)  # Student's t with 18 to many degrees of freedom: 2.10 to 1.96
    assert (0.93 <= np.mean(hits) <= 0.98) if given else np.mean(hits) < 0.75


def test_the_part_of_the_images_is_unbiased():
    generator, values, parts = np.random.default_rng(2), [], []
    for _ in range(300):
        correct = bits(generator, 2, 2.0)
        gap = model(correct).difference("m0", "m1")
        values.append(100 * (correct[0].mean() - correct[1].mean()))
        parts.append(gap.image_variance + float(np.var(100 * (correct[0] - 1.0 * correct[1]).mean(1), ddof=1)) / UNITS)
    assert np.var(values, ddof=1) == pytest.approx(np.mean(parts), rel=0.2)


def test_without_the_bits_of_every_unit_the_part_is_left_out():
    correct = bits(np.random.default_rng(0), 2, 3.0)
    found = model(correct)
    partial = {"m0": found.correct["m0"], "m1": {(0, 0, 0): found.correct["m1"][0, 0, 0]}}
    assert VarianceModel(found.rows, {}, partial).difference("m0", "m1").image_variance == 0
    assert found.difference("m0", "m1").image_variance > 0


def test_verdicts_use_the_bits():
    correct = bits(np.random.default_rng(3), 6, 3.0)
    found = model(correct)
    wide, narrow = (Block(found.rows, found.roles, known).compare("m1", "m0") for known in (found.correct, {}))
    assert wide.interval[0] < narrow.interval[0] < narrow.interval[1] < wide.interval[1]


@pytest.mark.parametrize(
    ("right", "lengths"), [((0, 355, 1), [355, 355, 355]), ((0, 0), [360, 360])], ids=["one is 0 %", "all are 0 %"]
)
def test_bits_of_a_dataset_have_one_length_where_no_image_was_right_too(tmp_path, right, lengths):
    cells = [{"dataset": "digits", "nodes": {"evaluate": [str(i)]}} for i in range(len(right))]
    packed = [base64.b64encode(np.packbits(np.arange(355) < count)).decode() for count in right]
    metrics = [{"correct": bits, "top1": 100 * count / 355} for bits, count in zip(packed, right, strict=True)]
    nodes = Nodes({str(i): {"metrics": numbers} for i, numbers in enumerate(metrics)}, {})
    found = bits_by_key(Stored(Folder(str(tmp_path)), "main", 1, "", tuple(cells), nodes))
    assert [len(bits) for bits in found.values()] == lengths
    assert [bits.sum() for bits in found.values()] == list(right)
