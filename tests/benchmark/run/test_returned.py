"""What a method returns is checked before it is stored: what does not fit its unit is a failed node with a reason."""

from __future__ import annotations

import copy
import dataclasses
import os
import sys
from pathlib import Path

import pytest
import torch
from engine import plan

from benchmark.api import SyntheticSet, Unit
from benchmark.errors import BenchmarkError
from benchmark.run import returned
from benchmark.run.execution import execute
from benchmark.run.options import NodeOptions
from benchmark.run.store import Store
from benchmark.vision.augment import normalize
from methods.full import Full
from methods.random_real import RandomReal

UNIT = Unit(index=0, ipc=2, classes=(0, 1, 2), slots=(0, 1))
PIXELS = torch.rand(6, 3, 32, 32, generator=torch.Generator().manual_seed(0))
SOUND = SyntheticSet(PIXELS, UNIT.labels)
ONE_HOT = torch.eye(3)[UNIT.labels]


class Unsayable(Exception):
    def __str__(self) -> str:
        return str(1 / 0)


def nan(value: float = torch.nan) -> torch.Tensor:
    images = PIXELS.clone()
    images[2, 0, 0, 0] = value
    return images


def refused(result: object, info, method=None) -> str:
    with pytest.raises(BenchmarkError) as caught:
        returned.check(result, method or RandomReal(), UNIT, info)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "sound",
    [
        SOUND,
        SyntheticSet((PIXELS * 255).byte(), UNIT.labels, torch.ones(6)),
        SyntheticSet(PIXELS * 3 - 1, ONE_HOT * 0.7 + 0.1, extras={"steps": torch.zeros(6, 2)}),  # unclipped
        SyntheticSet(PIXELS * 0, UNIT.labels),
        SyntheticSet((PIXELS * 0).byte(), UNIT.labels, metadata={"log": "x" * 900_000}),
        SyntheticSet(nan(99), UNIT.labels),
        SyntheticSet(4.0 * (PIXELS > 0.95), UNIT.labels),  # none is below 0, so they are not normalised
        SyntheticSet(PIXELS * 0.1 - 0.05, UNIT.labels),  # normalised pixels have a larger deviation
    ],
    ids=[
        *("floats", "bytes and weights", "pushed out of [0, 1], soft", "black", "black bytes", "one far pixel"),
        *("dark, a few unclipped", "dark, a little below 0"),
    ],
)
def test_a_sound_set_passes_unchanged(sound, toy_info):
    before = copy.deepcopy(sound)
    checked = returned.check(sound, RandomReal(), UNIT, toy_info)
    own, kept = (vars(images) | dict(images.extras) for images in (before, checked))
    for name in own.keys() - {"extras"}:
        assert torch.equal(own[name], kept[name]) if isinstance(own[name], torch.Tensor) else own[name] == kept[name]


@pytest.mark.filterwarnings("error")
def test_a_set_that_was_optimised_is_stored_without_its_graph(toy_info):
    tensors = PIXELS.clone(), ONE_HOT.clone(), torch.ones(6), torch.zeros(6, 2)
    images, targets, weights, steps = (tensor.requires_grad_() for tensor in tensors)
    checked = returned.check(SyntheticSet(images, targets, weights, {"steps": steps}), RandomReal(), UNIT, toy_info)
    for tensor in (checked.images, checked.targets, checked.weights, checked.extras["steps"]):
        assert not tensor.requires_grad


class Own(SyntheticSet):
    """A set that would save whatever it wants."""

    def save(self, path: Path) -> None:
        path.write_text("anything")


def test_a_plain_set_is_stored(toy_info):
    one, other = Own(PIXELS, UNIT.labels), SyntheticSet(PIXELS, UNIT.labels)
    object.__setattr__(other, "save", lambda path: path.write_text("anything"))
    for images in (one, other):
        checked = returned.check(images, RandomReal(), UNIT, toy_info)
        assert type(checked) is SyntheticSet and "save" not in vars(checked)


def test_a_method_that_changes_its_unit_is_refused(tmp_path, monkeypatch):
    def empty(self, data, unit, context):
        object.__setattr__(unit, "slots", ())
        return SyntheticSet(PIXELS[:0], UNIT.labels[:0])

    monkeypatch.setattr(RandomReal, "distill", empty)
    outcome, store, node = run(tmp_path)
    assert "0 images, but the unit has 10" in outcome.message
    assert store.state(node.key) == "absent"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"images": torch.cat([PIXELS, PIXELS]), "targets": torch.cat([UNIT.labels] * 2)},
            "12 images, but the unit has",
        ),
        ({"images": PIXELS[:5], "targets": UNIT.labels[:5]}, "5 images, but the unit has 6: 3 classes of 2 images"),
        ({"images": PIXELS[:0], "targets": UNIT.labels[:0]}, "0 images, but the unit has 6"),
        ({"images": PIXELS[:, :, ::2, ::2]}, "its images are [3, 16, 16], but those of toy are [3, 32, 32]"),
        ({"images": PIXELS[:, :1]}, "its images are [1, 32, 32], but those of toy are [3, 32, 32]"),
        ({"images": nan()}, "1 of 6 images have pixels that are NaN or infinite"),
        ({"images": nan(torch.inf)}, "1 of 6 images have pixels that are NaN or infinite"),
        ({"images": nan(1e30)}, "float images are in [0, 1], where 1 is white; divide by 255"),
        ({"images": PIXELS * 255}, "divide by 255"),
        ({"targets": UNIT.labels.flip(0)}, "4 of 6 labels differ from unit.labels"),
        ({"targets": UNIT.labels * 0}, "4 of 6 labels differ from unit.labels"),
        ({"targets": UNIT.labels + 7}, "6 of 6 labels differ from unit.labels"),
        ({"targets": -UNIT.labels}, "4 of 6 labels differ from unit.labels"),
        (
            {"targets": ONE_HOT.flip(0)},
            "4 of 6 labels differ from unit.labels: the class of an image is that of its largest soft label; "
            'where it was made for another one, add extras={"classes": unit.labels}',
        ),
        (
            {"targets": ONE_HOT, "extras": {"classes": UNIT.labels.flip(0)}},
            "4 of 6 labels differ from unit.labels: images come class by class, in this order",
        ),
        ({"targets": ONE_HOT[:, :2]}, "its soft labels are not 3 finite numbers per image"),
        ({"targets": ONE_HOT / 0}, "its soft labels are not 3 finite numbers per image"),
        ({"targets": ONE_HOT * 2}, "its soft labels are no probabilities that sum to 1"),
        ({"targets": ONE_HOT * 40 - 20}, "its soft labels are no probabilities that sum to 1"),
        ({"targets": ONE_HOT * 3 - 2 / 3}, "its soft labels are no probabilities that sum to 1"),
        ({"images": (PIXELS * 2).byte()}, "its bytes are only 0 and 1, but 255 is white"),
        ({"images": PIXELS * 99}, "98% of them lie beyond -1 and 2, but pixels are in [0, 1]"),
        ({"images": PIXELS * 6 - 2.5}, "lie beyond -1 and 2, but pixels are in [0, 1]"),
        ({"metadata": {"log": ["x" * 10**6]}}, "its metadata take 1,000,013 characters of JSON; at most 1,000,000"),
        ({"weights": -torch.ones(6)}, "its weights are not finite, not 0 or more, or all 0"),
        ({"weights": torch.zeros(6)}, "its weights are not finite, not 0 or more, or all 0"),
        ({"weights": torch.ones(6) / 0}, "its weights are not finite, not 0 or more, or all 0"),
        ({"extras": {"atoms": torch.zeros(2, 3)}}, "extras atoms: not one row per image"),
    ],
)
def test_what_does_not_fit_the_unit_is_refused(change, said, toy_info):
    message = refused(dataclasses.replace(SOUND, **change), toy_info)
    assert message.startswith("random_real returned a wrong set: ")
    assert said in message


def test_normalised_images_are_not_pixels(toy_data):
    labels = toy_data.labels.sort(stable=True)
    rows = torch.cat([(toy_data.labels == c).nonzero()[:2, 0] for c in range(3)])
    images = normalize(toy_data.images[rows], toy_data.info)
    assert labels.values[0] == 0
    assert "they look normalised; return pixels in [0, 1]" in refused(SyntheticSet(images, UNIT.labels), toy_data.info)


def test_all_faults_come_at_once(toy_info):
    message = refused(SyntheticSet(PIXELS[:4, :1], UNIT.labels[:4].flip(0)), toy_info)
    assert "[1, 32, 32]" in message
    assert "4 images" in message


@pytest.mark.parametrize("result", [None, PIXELS, (PIXELS, UNIT.labels), RandomReal, "images"])
def test_another_type_is_named(result, toy_info):
    assert refused(result, toy_info) == f"random_real returned {type(result).__name__}, not a SyntheticSet"


def test_a_method_that_does_not_use_ipc_returns_every_class_in_order(toy_info):
    labels = torch.tensor([0, 0, 0, 1, 2, 2])
    assert returned.check(SyntheticSet(PIXELS, labels), Full(), UNIT, toy_info)
    assert "labels differ" in refused(SyntheticSet(PIXELS, labels.flip(0)), toy_info, Full())
    assert "not the classes of the unit" in refused(SyntheticSet(PIXELS, labels * 0), toy_info, Full())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((PIXELS.double(), UNIT.labels), "images must be uint8 or float32"),
        ((PIXELS.half(), UNIT.labels), "images must be uint8 or float32"),
        ((PIXELS.to(torch.complex64), UNIT.labels), "images must be uint8 or float32"),
        ((PIXELS.numpy(), UNIT.labels), "images: must be tensors, not ndarray"),
        ((PIXELS, UNIT.labels.tolist()), "targets: must be tensors, not list"),
        ((PIXELS, UNIT.labels.int()), "class targets must be int64"),
        ((PIXELS, UNIT.labels.float()), "class targets must be int64"),
        ((PIXELS, torch.tensor(0)), "targets must be int64"),
        ((PIXELS, ONE_HOT.long()), "soft targets must be float32"),
        ((PIXELS, ONE_HOT.double()), "soft targets must be float32"),
        ((PIXELS, ONE_HOT.half()), "soft targets must be float32"),
        ((PIXELS, ONE_HOT[..., None]), "targets must be int64"),
        ((PIXELS, UNIT.labels, [1.0] * 6), "weights: must be tensors, not list"),
        ((PIXELS, UNIT.labels, torch.ones(5)), "weights must have the shape"),
        ((PIXELS, UNIT.labels, None, {"atoms": [1]}), "atoms: must be tensors, not list"),
    ],
)
def test_a_set_of_other_types_cannot_be_made(arguments, said):
    with pytest.raises(ValueError, match=said):
        SyntheticSet(*arguments)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (SystemExit(0), "sys.exit(0) was called, which does not end a run"),
        (SystemExit("enough"), "sys.exit('enough') was called"),
        (GeneratorExit(), "GeneratorExit"),
        (BaseException("stop"), "BaseException: stop"),
        (Unsayable(), "Unsayable, whose text cannot be written (ZeroDivisionError)"),
        (ValueError("\x1b[2J\x07red\udc80"), "ValueError: ?[2J?red?"),
    ],
)
def test_a_method_that_ends_the_program_fails_with_a_reason(tmp_path, monkeypatch, error, said):
    def leave(*_arguments):
        raise error

    monkeypatch.setattr(RandomReal, "distill", leave)
    outcome, store, node = run(tmp_path)
    assert outcome.status == "failed"
    assert said in outcome.message
    assert store.state(node.key) == "absent"


@pytest.mark.parametrize(
    ("change", "status"),
    [
        (lambda: torch.set_default_dtype(torch.float64), "failed"),
        (lambda: torch.set_grad_enabled(False), "failed"),
        (lambda: os.chdir("/"), "done"),
        (lambda: sys.stdout.close(), "done"),
    ],
    ids=["type", "gradients", "folder", "output"],
)
def test_a_method_that_changes_its_process_changes_no_later_node(tmp_path, monkeypatch, change, status):
    whole = RandomReal.distill
    monkeypatch.setattr(RandomReal, "distill", lambda *arguments: (change(), whole(*arguments))[1])
    monkeypatch.chdir(tmp_path)
    outcome, store, node = run(Path())
    assert outcome.status == status
    assert store.state(node.key) == ("done" if status == "done" else "absent")
    assert (torch.get_default_dtype(), torch.is_grad_enabled()) == (torch.float32, True)
    assert Path.cwd() == tmp_path
    assert not sys.stdout.closed


def test_an_interruption_of_the_user_still_ends_the_run(tmp_path, monkeypatch):
    def interrupt(*_arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(RandomReal, "distill", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path)


def test_a_wrong_set_is_a_failed_node_and_not_a_result(tmp_path, monkeypatch):
    whole = RandomReal.distill
    monkeypatch.setattr(
        RandomReal, "distill", lambda *arguments: dataclasses.replace(r := whole(*arguments), targets=r.targets.flip(0))
    )
    outcome, store, node = run(tmp_path)
    assert outcome.status == "failed"
    assert "10 of 10 labels differ from unit.labels" in outcome.message
    assert store.state(node.key) == "absent"
    assert store.read_json(f"{node.key}/error.json")["message"] == outcome.message


def run(folder):
    """Run the node that distils, and return its outcome, its store and the node."""
    node = next(node for node in plan().nodes.values() if node.stage == "distill")
    options = NodeOptions(str(folder / "runs"), str(folder / "data"))
    return execute(node.key, node.identity, options), Store(options.runs), node
