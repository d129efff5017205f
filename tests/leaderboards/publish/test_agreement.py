"""Records of two runs: honest ones agree, however many numbers they have; a wrong number is found."""

from __future__ import annotations

import math

import numpy as np
import pytest

from leaderboards.publish.agreement import Spread, disagreements

ROWS, SEEDS = 8, 3
AXES = {"dataset": "digits", "ipc": 10, "student": "resnet", "protocol": "hard", "teacher": 0}
CELLS = [
    {**AXES, "method": f"m{i // SEEDS}", "seed": i % SEEDS, "draw": i % SEEDS, "nodes": {"evaluate": [f"key{i}"]}}
    for i in range(ROWS * SEEDS)
]


def run(generator: np.random.Generator, **changes: float) -> dict:
    """Return the records of a run: accuracies of deviation 1, and losses that scatter more than their rows say."""
    top1, top5, loss = (generator.standard_normal(len(CELLS)) for _ in range(3))
    identity = {"component": {"name": "accuracy"}, "dataset": {"name": "digits"}}
    numbers = zip(60 + top1, 90 + top5, np.exp(3 * loss), strict=True)
    records = {
        f"key{i}": {"stage": "evaluate", "identity": identity, "metrics": {"top1": a, "top5": b, "train_loss": c}}
        for i, (a, b, c) in enumerate(numbers)
    }
    records["key0"]["metrics"] |= changes
    return records


@pytest.mark.parametrize(
    ("changes", "least", "most"), [({}, 0.0, 0.08), ({"train_loss": 1e6}, 0.0, 0.08), ({"top1": 69.0}, 0.95, 1.0)]
)
def test_one_honest_run_in_twenty_is_refused_and_nearly_every_wrong_accuracy(changes, least, most):
    generator = np.random.default_rng(0)
    refused = [bool([*disagreements(run(generator), run(generator, **changes), CELLS)]) for _ in range(200)]
    assert least <= np.mean(refused) <= most


def test_of_two_equal_runs_one_wrong_number_is_held_against_its_own_interval():
    earlier = run(np.random.default_rng(0))
    (line,) = disagreements(earlier, run(np.random.default_rng(0), top1=66.0), CELLS)
    assert line.startswith("evaluate accuracy (key0): top1 is published as")


@pytest.mark.parametrize(
    ("cells", "top1", "allowed"),
    [
        (CELLS, [60.0, 61.0, 62.0, 70.0, 70.0, 70.0], 2.77645 * math.sqrt(2 * 0.5)),  # two rows: 4 degrees of freedom
        ([], [62.0], 1.95996 * 100 * math.sqrt(2 * 0.62 * 0.38 / 50)),  # one seed: 31 of 50 test images
        ([], [100.0, 62.0], 2.0),  # no image of the row is wrong: one image
        (CELLS, [62.0, 62.0], 2.0),  # equal seeds: one image
    ],
)
def test_a_difference_has_the_variance_of_both_runs(cells, top1, allowed):
    record = {"stage": "evaluate", "identity": {"dataset": {"name": "digits"}}}
    records = {f"key{i}": {**record, "metrics": {"top1": value}} for i, value in enumerate(top1)}
    assert Spread(records, cells).allowed(records["key0"], "top1")[0] == pytest.approx(allowed, rel=1e-4)
