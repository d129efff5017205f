"""Sets from Python: which images and labels are taken, and what is said of the others."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmark.api import SyntheticSet
from benchmark.errors import BenchmarkError
from benchmark.formats.arrays import as_set

BYTES = torch.arange(2 * 3 * 4 * 4).reshape(2, 3, 4, 4).to(torch.uint8) * 2
LABELS = [0, 1]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.int64])
def test_whole_numbers_up_to_255_are_bytes(dtype):
    one = as_set(BYTES.to(dtype), LABELS)
    assert one.images.dtype == torch.uint8
    assert torch.equal(one.images, BYTES)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_from_0_to_1_stay_floats(dtype):
    one = as_set(np.full((2, 3, 4, 4), 0.5, dtype), np.array(LABELS))
    assert one.images.dtype == torch.float32
    assert one.targets.tolist() == LABELS


@pytest.mark.parametrize(
    ("images", "labels", "said"),
    [
        (BYTES.long() + 200, LABELS, "whole numbers must lie from 0 to 255"),
        (BYTES.long() - 1, LABELS, "whole numbers must lie from 0 to 255"),
        (BYTES.bool(), LABELS, "images are torch.bool"),
        (BYTES.float(), LABELS, r"images: floats must lie in \[0, 1\]"),
        (BYTES, [True, False], "labels are torch.bool"),
        (BYTES, [[True, False], [False, True]], "labels are torch.bool"),
        (BYTES, [0.5, 1.0], "a label is 0.5, which is no class"),
        (BYTES, None, "labels: needed beside images"),
        (BYTES[0], LABELS, r"images, labels: not images \[N, C, H, W\] with labels \[N\] or \[N, classes\] \("),
        ("images", LABELS, "images, labels: not images"),
        (SyntheticSet(BYTES, torch.tensor(LABELS)), LABELS, "labels: the set has its own"),
    ],
)
def test_what_cannot_be_meant_is_refused(images, labels, said):
    with pytest.raises(BenchmarkError, match=said):
        as_set(images, labels)


def test_a_set_keeps_what_an_evaluation_uses():
    made_for = {"classes": torch.tensor([1, 0])}
    images = (BYTES / 255).requires_grad_()
    one = as_set(SyntheticSet(images, torch.eye(2), torch.ones(2), made_for, {"notes": "any"}), None)
    assert not one.images.requires_grad
    assert one.classes.tolist() == [1, 0]
    assert one.weights.tolist() == [1, 1]
    assert one.metadata == {}


def test_a_set_of_a_method_may_leave_the_range():
    images = torch.tensor([-0.6, 0.5, 1.9]).expand(2, 3, 8, 3)
    assert torch.equal(as_set(SyntheticSet(images, torch.tensor([0, 1])), None).images, images)
