"""Label regimes: the stored labels are the teachers' logits for the views of the student, or a part of them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F
from toy_student import CLASSES, CUTMIX, INFO, PLAIN, N, context, furthest, hard_labels, network, toy_set, trained

from benchmark.api import LabeledSet, LabelRegime, Labels, TeacherSpec
from benchmark.errors import BenchmarkError
from benchmark.plan.discovery import load_labels
from benchmark.vision.augment import Schedule
from benchmark.vision.training import Stream, from_pixels
from evaluators.labels.ensemble import Ensemble
from evaluators.labels.per_epoch import PerEpoch
from evaluators.labels.pruned import Pruned
from evaluators.labels.soft import Soft
from evaluators.parts.stored import view_logits
from evaluators.parts.top import pack, unpack
from evaluators.students.accuracy import stored_views, teacher_logits

__all__ = ["context"]
SGD = {"optimizer": "sgd", "learning_rate": 0.1, "temperature": 2.0}
SWAPPED = Schedule(epochs=3, batch_size=10, crop_scale=(0.5, 1.0), mix="swap_cutmix")
SIAMESE = Schedule(epochs=3, batch_size=10, mix="dsa")


def made(regime: LabelRegime, context, folder: Path) -> Labels:
    """Return labels as an evaluator meets them: written, and mapped from their file."""
    folder.mkdir()
    regime.label(toy_set(), INFO, context, folder).save(folder)
    return Labels.load(folder)


def both(context, other=None):
    """Return the context with two teachers, one of them twice unless another is given."""
    return replace(context, teachers=(context.teachers[0], other or context.teachers[0]))


# --- per epoch


@pytest.mark.parametrize(
    "regime",
    [
        PerEpoch(schedule=CUTMIX),
        PerEpoch(schedule=CUTMIX, storage="online"),
        PerEpoch(schedule=SWAPPED),
        PerEpoch(schedule=SIAMESE),
        Pruned(schedule=CUTMIX, epochs=3),
        Pruned(schedule=CUTMIX, epochs=1, top=CLASSES),
    ],
    ids=["disk", "online", "swapped", "siamese", "pruned", "quantised"],
)
def test_the_student_learns_what_the_teacher_says_of_what_it_sees(regime, context, tmp_path):
    labels, images = made(regime, context, tmp_path / "labels"), toy_set()
    answers = teacher_logits(LabeledSet(images, labels), CLASSES, context)
    read = from_pixels(images.images, INFO, context.device)
    stream = Stream(stored_views(regime.schedule, labels), labels.seed, N, read)
    batches = list(stream)
    assert len(batches) == regime.schedule.epochs * 3
    for batch in batches:
        torch.testing.assert_close(answers(batch), context.teachers[0](batch.images), atol=5e-3, rtol=2e-3)


def test_views_of_cells_are_never_stored(context):
    with pytest.raises(ValueError, match="labels of cells cannot be stored"):
        next(view_logits(toy_set(), PLAIN.model_copy(update={"mix": "dsa_of_cells"}), INFO, context))


def test_pruned_views_come_again(context, tmp_path):
    labels = made(Pruned(schedule=CUTMIX, epochs=3), context, tmp_path / "labels")
    seen = [next(stored_views(CUTMIX, labels).views(labels.seed, epoch, N)).indices.tolist() for epoch in range(4)]
    assert seen[3] == seen[0]
    assert seen[0] != seen[1] != seen[2]


@pytest.mark.parametrize("epochs", [4, 400, None])
def test_labels_pruned_to_all_epochs_are_labels_per_epoch(epochs, context, tmp_path):
    whole = made(PerEpoch(schedule=CUTMIX), context, tmp_path / "whole")
    pruned = made(Pruned(schedule=CUTMIX, epochs=epochs), context, tmp_path / "pruned")
    assert (tmp_path / "whole/logits.npy").read_bytes() == (tmp_path / "pruned/logits.npy").read_bytes()
    students = [trained(toy_set(), labels, context, CUTMIX, **SGD) for labels in (whole, pruned)]
    assert furthest(*students) == 0


def test_pruned_labels_are_those_of_the_first_epochs(context, tmp_path):
    whole = made(PerEpoch(schedule=CUTMIX), context, tmp_path / "whole")
    pruned = made(Pruned(schedule=CUTMIX, epochs=2), context, tmp_path / "pruned")
    assert np.array_equal(pruned.logits, whole.logits[:2])
    students = [trained(toy_set(), labels, context, CUTMIX, **SGD) for labels in (whole, pruned)]
    assert furthest(*students) > 1e-5


# --- the largest logits

LOGITS = st.integers(0, 2**32 - 1).map(
    lambda seed: 5 * torch.randn(7, 30, generator=torch.Generator().manual_seed(seed))
)


@given(LOGITS)
def test_all_logits_are_kept_up_to_their_rounding(logits):
    assert torch.equal(unpack(pack(logits, 30), 30), logits.half().float())


@given(LOGITS, st.integers(1, 29))
def test_the_largest_are_kept_and_the_others_share_their_mean(logits, top):
    again = unpack(pack(logits, top), 30)
    order = logits.argsort(1, descending=True)
    assert torch.equal(again.gather(1, order[:, :top]), logits.half().float().gather(1, order[:, :top]))
    others = again.gather(1, order[:, top:])
    assert (others == others[:, :1]).all()
    torch.testing.assert_close(again.sum(1), logits.sum(1), atol=0.1, rtol=0)


def test_the_others_lose_probability_of_second_order_in_the_temperature():
    logits = 5 * torch.randn(50, 200, generator=torch.Generator().manual_seed(0), dtype=torch.float64).float()
    again, top = unpack(pack(logits, 10), 200), logits.topk(10, dim=1).indices
    lost = []
    for temperature in (40.0, 80.0):
        others = [1 - F.softmax(z / temperature, 1).gather(1, top).sum(1) for z in (logits, again)]
        lost.append((others[0] - others[1]).mean().item())
    assert 0 < lost[0] < 1e-3
    assert 3.3 < lost[0] / lost[1] < 4.7


def test_quantised_to_all_classes_trains_the_same_student(context, tmp_path):
    whole = made(PerEpoch(schedule=CUTMIX), context, tmp_path / "whole")
    students = []
    for top in (CLASSES, 1000):
        kept = made(Pruned(schedule=CUTMIX, top=top), context, tmp_path / f"top{top}")
        students.append(trained(toy_set(), kept, context, CUTMIX, **SGD))
    expected = trained(toy_set(), whole, context, CUTMIX, **SGD)
    assert furthest(students[0], expected) == furthest(students[1], expected) == 0
    fewer = made(Pruned(schedule=CUTMIX, top=1), context, tmp_path / "top1")
    moved = furthest(expected, network().state_dict())
    assert furthest(trained(toy_set(), fewer, context, CUTMIX, **SGD), expected) > 0.05 * moved


# --- one label per image


def test_a_soft_label_is_the_teachers_answer_to_the_whole_image(context, tmp_path):
    labels = made(Soft(schedule=CUTMIX), context, tmp_path / "labels")
    answers = context.teachers[0]((toy_set().images / 255 - 0.5) / 0.25)
    assert labels.kind == "soft" and labels.logits.dtype == np.float16
    torch.testing.assert_close(torch.tensor(labels.logits).float(), answers, atol=5e-3, rtol=2e-3)
    plain = made(Soft(schedule=PLAIN), context, tmp_path / "plain")
    assert np.array_equal(plain.logits, labels.logits), "views are the student's, not the teacher's"


@pytest.mark.parametrize("schedule", [PLAIN, CUTMIX])
def test_soft_labels_of_a_teacher_that_is_sure_train_as_hard_ones_do(schedule, context, tmp_path):
    images = toy_set()
    told = iter(F.one_hot(images.targets, CLASSES).float().split(schedule.batch_size))
    sure = replace(context, teachers=(lambda _: 1000 * next(told),))
    labels = made(Soft(schedule=schedule), sure, tmp_path / "labels")
    expected = trained(images, hard_labels(schedule, context), context, schedule)
    assert furthest(trained(images, labels, context, schedule, temperature=1.0), expected) < 1e-6


# --- several teachers


@pytest.mark.parametrize("storage", ["disk", "online"])
def test_two_equal_teachers_are_one(storage, context, tmp_path):
    one = made(PerEpoch(schedule=CUTMIX, storage=storage), context, tmp_path / "one")
    two = made(Ensemble(schedule=CUTMIX, storage=storage), both(context), tmp_path / "two")
    if storage == "disk":
        assert np.array_equal(one.logits, two.logits)
    students = [trained(toy_set(), one, context, CUTMIX, **SGD), trained(toy_set(), two, both(context), CUTMIX, **SGD)]
    assert furthest(*students) == 0


def test_teachers_are_averaged(context, tmp_path):
    other = network(5, "batch").eval().requires_grad_(False)
    apart = []
    for teacher in (context.teachers[0], other):
        single = replace(context, teachers=(teacher,))
        apart.append(made(PerEpoch(schedule=CUTMIX), single, tmp_path / str(len(apart))).logits.astype(np.float32))
    mean = made(Ensemble(schedule=CUTMIX), both(context, other), tmp_path / "mean").logits
    np.testing.assert_allclose(mean.astype(np.float32), (apart[0] + apart[1]) / 2, atol=5e-3, rtol=2e-3)


def test_an_ensemble_is_two_opinions_of_the_dataset_or_the_networks_named():
    assert Ensemble(schedule=CUTMIX).teachers() == (TeacherSpec(), TeacherSpec(neutral=True))
    named = Ensemble(schedule=CUTMIX, archs=("a", "b")).teachers()
    assert named == (TeacherSpec(arch="a"), TeacherSpec(arch="b"))


# --- reading


def test_what_is_read_of_a_slice_is_of_the_slice(tmp_path):
    np.save(tmp_path / "logits.npy", np.arange(12, dtype=np.float16).reshape(3, 4))
    mapped = np.load(tmp_path / "logits.npy", mmap_mode="r")
    for logits in (mapped, mapped[::-1], mapped[1:], np.array(mapped)):
        read = Labels("soft", logits).logits_at(0)
        assert np.array_equal(read, logits[0])
        assert not isinstance(read, np.memmap)


def test_an_unknown_regime_lists_regimes_only():
    with pytest.raises(BenchmarkError, match="unknown label regime 'sofd'") as error:
        load_labels("sofd")
    listed = str(error.value).partition("Available: ")[2].split(", ")
    assert {"hard", "per_epoch", "pruned"} <= set(listed)
    assert not {"accuracy", "native"} & set(listed)
