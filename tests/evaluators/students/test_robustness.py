"""Robustness: an attack of size 0 changes nothing, a stronger one never helps, and all methods get the same."""

from __future__ import annotations

import dataclasses
import importlib.util
import re
from pathlib import Path

import pytest
import torch
from engine import campaign, plan
from torch import nn
from toy_student import CLASSES, CPU, Toy, toy_set

from benchmark.api import Context, LabeledSet, Labels, SyntheticSet
from benchmark.vision.augment import Schedule
from benchmark.vision.datasets import load_dataset, open_test, open_train
from benchmark.vision.models import create_model
from evaluators.students.accuracy import Accuracy
from evaluators.students.robustness import CORRUPTIONS, Robustness

TEST = Toy(120, seed=1)
VIEWS = Schedule(epochs=20, batch_size=10, crop_scale=(1.0, 1.0), mix="none", flip=False)


def quarters() -> nn.Module:
    """A linear student of the brightness of the four quarters, from which the toy images tell their class."""
    student = nn.Sequential(nn.AvgPool2d(4), nn.Flatten(), nn.utils.skip_init(nn.Linear, 12, CLASSES))
    nn.init.zeros_(student[2].weight)
    nn.init.zeros_(student[2].bias)
    return student


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return Context(CPU, torch.bfloat16, seed=1, scratch=tmp_path)


def judge(context: Context, kind: type[Accuracy] = Robustness, **fields) -> dict[str, float]:
    labels = Labels("hard", views=VIEWS.model_dump(mode="json"), seed=1)
    evaluator = kind(**{"schedule": VIEWS, "learning_rate": 0.1, **fields})
    return evaluator.evaluate(LabeledSet(toy_set(), labels), TEST, quarters(), context)


def test_an_attack_of_no_size_leaves_the_accuracy(context):
    numbers = judge(context, eps=0)
    assert numbers["fgsm_top1"] == numbers["pgd_top1"] == numbers["subset_top1"]


def test_attacks_hurt_and_pgd_hurts_more(context):
    numbers = judge(context, eps=80 / 255, images=120)
    assert numbers["subset_top1"] > 90
    assert numbers["pgd_top1"] <= numbers["fgsm_top1"] < numbers["subset_top1"]


def test_a_larger_attack_never_helps(context):
    scores = [judge(context, eps=eps)["pgd_top1"] for eps in (0, 75 / 255, 100 / 255)]
    assert scores == sorted(scores, reverse=True)
    assert scores[-1] < scores[0]


def test_accuracy_is_that_of_the_plain_evaluator(context):
    accuracy, numbers = judge(context, Accuracy), judge(context)
    assert {name: numbers[name] for name in accuracy} == accuracy


def test_all_that_is_random_is_the_same_again(context):
    before = torch.get_rng_state()
    first, second = judge(context, eps=75 / 255), judge(context, eps=75 / 255)
    assert first == second
    assert torch.equal(torch.get_rng_state(), before), "torch's global generator was used"


def test_only_the_chosen_images_are_attacked(context):
    reads = TEST.reads.clone()
    numbers = judge(context, images=50)
    assert sorted((TEST.reads - reads).unique().tolist()) == [1, 2]
    assert ((TEST.reads - reads) == 2).sum() == 50
    assert (numbers["pgd_top1"] * 50 / 100) == pytest.approx(round(numbers["pgd_top1"] * 50 / 100))


def test_students_of_all_seeds_meet_the_same_images(context, monkeypatch):
    monkeypatch.setattr(Accuracy, "evaluate", lambda *given: {})
    chosen = []
    for seed in (1, 2):
        before = TEST.reads.clone()
        judge(dataclasses.replace(context, seed=seed), images=50)
        chosen.append(TEST.reads - before)
    assert torch.equal(*chosen)


def test_the_mean_of_the_corruptions(context):
    numbers = judge(context)
    assert numbers["corruption_top1"] == pytest.approx(sum(numbers[f"{name}_top1"] for name in CORRUPTIONS) / 6)


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize(("channels", "size"), [(3, 32), (3, 63), (1, 32)])
def test_a_corruption_changes_pixels_and_keeps_their_form(name, channels, size):
    pixels = torch.randint(0, 256, (3, channels, size, size), generator=torch.Generator().manual_seed(0)).byte()
    corrupted = CORRUPTIONS[name](pixels, torch.Generator().manual_seed(0))
    assert (corrupted.shape, corrupted.dtype) == (pixels.shape, torch.uint8)
    assert not torch.equal(corrupted, pixels)


def test_corruptions_have_the_strength_that_they_state():
    def corrupted(name: str, pixels: torch.Tensor) -> torch.Tensor:
        return CORRUPTIONS[name](pixels, torch.Generator().manual_seed(0)).double()

    grey, line = torch.full((1, 3, 128, 128), 128).byte(), torch.zeros(1, 1, 128, 128).byte()
    steps = torch.arange(0, 256, 4).byte().view(1, 1, 8, 8).expand(1, 3, 8, 8)
    line[..., 64] = 255
    assert float(corrupted("gaussian_noise", grey).std()) == pytest.approx(0.1 * 255, rel=0.02)
    assert torch.equal(corrupted("brightness", steps), (steps.double() + 0.2 * 255).clamp(max=255))
    assert float(corrupted("contrast", steps).std() / steps.double().std()) == pytest.approx(0.4, rel=0.02)
    halved = torch.nn.functional.avg_pool2d(steps.double(), 2)
    assert torch.equal(corrupted("pixelate", steps)[..., ::2, 1::2], halved.round())
    profile = corrupted("gaussian_blur", line)[0, 0, 64]
    offsets = torch.arange(128.0, dtype=torch.float64) - 64
    assert float((profile @ offsets.square() / profile.sum()).sqrt()) == pytest.approx(128 / 64, rel=0.02)


def test_a_missing_library_is_said_when_a_run_is_planned(tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "foolbox" else find(name, *rest)
    )
    tiny = campaign(tmp_path, {"protocols": ["robust", "standard"]})
    skipped = {planned.cell.protocol: planned.skipped for planned in tiny.plan.cells}
    assert skipped["standard"] is None
    assert re.match(r"foolbox is not installed: pip install 'foolbox", skipped["robust"])


def test_it_shares_the_labels_of_the_standard_protocol():
    graph = plan({"protocols": ["robust", "standard"]})
    assert [node.stage for node in graph.nodes.values()].count("relabel") == 1


def test_on_digits(tmp_path, context):
    """A student of real digits is fooled by what people do not see."""
    config = load_dataset("digits")
    train, test = open_train(config, tmp_path, tmp_path), open_test(config, tmp_path, tmp_path)
    few = torch.cat([train.indices_of(label)[:20] for label in range(10)])
    schedule = Schedule(epochs=20, batch_size=50, crop_scale=(0.5, 1.0), flip=False, mix="none")
    labels = Labels("hard", views=schedule.model_dump(mode="json"), seed=1)
    images = LabeledSet(SyntheticSet(train.read(few), train.labels[few]), labels)
    student = create_model("test_resnet", classes=10, resolution=32, stem=config.stem, seed=0)
    numbers = Robustness(schedule=schedule, images=64, eps=8 / 255, pgd_steps=3).evaluate(
        images,
        test,
        student,
        dataclasses.replace(context, precision=torch.float32),  # a CPU is slow in bfloat16
    )
    assert numbers["subset_top1"] > 60
    assert numbers["pgd_top1"] <= numbers["fgsm_top1"] + 2 < numbers["subset_top1"]
    assert numbers["corruption_top1"] <= numbers["subset_top1"]
