"""CDA's curriculum: the smallest area of a crop over the iterations."""

from __future__ import annotations

import itertools
import math

import pytest

from methods.cda import CDA
from methods.parts import recover
from methods.sre2l import SRe2L


def least(method, iteration):
    return method.crop_range(iteration)[0]


def test_the_cosine_takes_the_values_of_the_formula():
    method = CDA(iterations=400)
    for iteration, height in ((0, 1.0), (100, (2 + math.sqrt(2)) / 4), (200, 0.5), (300, (2 - math.sqrt(2)) / 4)):
        assert least(method, iteration) == pytest.approx(0.08 + 0.92 * height)
    assert least(method, 399) == pytest.approx(0.08, abs=1e-4)


@pytest.mark.parametrize("curriculum", ["cosine", "linear", "step"])
def test_crops_begin_whole_never_grow_and_end_as_those_of_sre2l(curriculum):
    method = CDA(iterations=100, milestone=0.5, curriculum=curriculum)
    scales = [least(method, iteration) for iteration in range(100)]
    assert scales[0] == 1
    assert all(a >= b for a, b in itertools.pairwise(scales))
    assert scales[50:] == [0.08] * 50
    assert {method.crop_range(iteration)[1] for iteration in range(100)} == {1.0}


def test_the_modes_differ_at_a_quarter_of_the_way():
    scales = [least(CDA(iterations=100, curriculum=mode), 25) for mode in ("step", "cosine", "linear")]
    assert scales[0] == 1
    assert scales[1] == pytest.approx(0.08 + 0.92 * (2 + math.sqrt(2)) / 4)
    assert scales[2] == pytest.approx(0.08 + 0.92 * 0.75)


def test_the_curriculum_stays_within_the_crops_of_the_recipe():
    method = CDA(iterations=10, crop_scale=(0.5, 0.8), curriculum="linear")
    assert method.crop_range(0) == pytest.approx((0.8, 0.8))
    assert method.crop_range(5) == pytest.approx((0.65, 0.8))


def test_a_milestone_of_zero_is_sre2l():
    assert {CDA(iterations=9, milestone=0).crop_range(i) for i in range(9)} == {SRe2L().crop_scale}
    assert CDA().milestone == 1


def test_the_loop_asks_for_the_crop_of_its_iteration(toy_data, toy_context, monkeypatch):
    asked = []
    draw = recover.sample_boxes
    monkeypatch.setattr(recover, "sample_boxes", lambda n, g, *, scale: asked.append(scale) or draw(n, g, scale=scale))
    method = CDA(iterations=4)
    method.distill(toy_data, method.units(toy_data.info, 1)[0], toy_context)
    assert asked == [method.crop_range(iteration) for iteration in range(4)]
