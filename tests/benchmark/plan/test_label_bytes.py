"""Bytes of labels: the formula equals the files on disk, and memory never holds all labels at once."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from engine import campaign, finish, plan
from torch import nn
from toy_student import CLASSES, CUTMIX, INFO, PLAIN, N, context, network, toy_set
from typer.testing import CliRunner

from benchmark.api import LabelRegime
from benchmark.cli.main import app
from benchmark.plan.graph import Planner, PlanOptions
from benchmark.plan.label_bytes import LabelSize, augmentation_state, label_bytes, planned_label_sizes
from benchmark.vision.augment import Schedule, View
from evaluators.labels.ensemble import Ensemble
from evaluators.labels.hard import Hard
from evaluators.labels.per_epoch import PerEpoch
from evaluators.labels.phases import Phases
from evaluators.labels.pool import Pool
from evaluators.labels.pruned import Pruned
from evaluators.labels.soft import Soft
from evaluators.labels.train_mode import TrainMode

__all__ = ["context"]
LONG = CUTMIX.model_copy(update={"epochs": 20})
REGIMES: dict[str, tuple[LabelRegime, int]] = {  # and the bytes of one image's labels, counted by hand
    "hard": (Hard(schedule=PLAIN), 0),
    "soft": (Soft(schedule=CUTMIX), 2 * 4),
    "per epoch": (PerEpoch(schedule=CUTMIX), 4 * 2 * 4),
    "online": (PerEpoch(schedule=CUTMIX, storage="online"), 0),
    "ensemble": (Ensemble(schedule=CUTMIX), 4 * 2 * 4),
    "train mode": (TrainMode(schedule=CUTMIX), 4 * 2 * 4),
    "pruned": (Pruned(schedule=CUTMIX, epochs=3), 3 * 2 * 4),
    "quantised": (Pruned(schedule=CUTMIX, top=3), 4 * (3 * 2 + 2 + 3 * 2)),
    "pruned and quantised": (Pruned(schedule=CUTMIX, epochs=1, top=1), 1 * (2 + 2 + 2)),
    "pool": (Pool(schedule=LONG, share=0.5), 10 * 2 * 4),
    "phases": (Phases(schedule=LONG, stored=3), 3 * 2 * 4),
    "more than all": (Pruned(schedule=CUTMIX, epochs=99, top=99), 4 * (4 * 2 + 2 + 4 * 2)),
}


@pytest.mark.parametrize("name", REGIMES)
def test_the_formula_is_what_lies_on_disk(name, context, tmp_path):
    regime, by_hand = REGIMES[name]
    labels = regime.label(toy_set(), INFO, context, tmp_path)
    labels.save(tmp_path)
    sizes = label_bytes(regime, labels, N, CLASSES, context.teachers, 0)
    assert sizes["labels"] == sizes["labels_formula"] == N * by_hand
    path = tmp_path / "logits.npy"
    assert path.exists() == (by_hand > 0)
    if by_hand:
        header = np.load(path, mmap_mode="r").offset
        assert path.stat().st_size - header == N * by_hand


def test_soft_targets_are_the_labels_under_hard_labels_only(context, tmp_path):
    images = toy_set()
    soft = dataclasses.replace(images, targets=torch.full((N, CLASSES), 1 / CLASSES))
    assert (images.soft_bytes, soft.soft_bytes) == (0, N * CLASSES * 4)
    for name, own in (("hard", True), ("soft", False)):
        regime, by_hand = REGIMES[name]
        labels = regime.label(soft, INFO, context, tmp_path)
        sizes = label_bytes(regime, labels, N, CLASSES, (), soft.soft_bytes)
        assert sizes["labels"] == sizes["labels_formula"] == N * (by_hand + own * CLASSES * 4)
        many = (N // CLASSES) * 1000 * (regime.bytes_per_image(1000) + own * 1000 * 4)
        assert sizes["labels_at_1000_classes"] == many


def test_a_thousand_classes_are_counted_with_as_many_images_each(context, tmp_path):
    regime, _ = REGIMES["pruned"]
    sizes = label_bytes(regime, regime.label(toy_set(), INFO, context, tmp_path), N, CLASSES, (), 0)
    assert sizes["labels_at_1000_classes"] == (N // CLASSES) * 1000 * 3 * 1000 * 2
    assert sizes["teacher_if_online"] == 0


def test_teachers_weigh_their_parameters_and_statistics(context, tmp_path):
    teachers = (network(norm="batch"), nn.Linear(2, 3))
    regime, _ = REGIMES["hard"]
    sizes = label_bytes(regime, regime.label(toy_set(), INFO, context, tmp_path), N, CLASSES, teachers, 0)
    floats = [value for value in teachers[0].state_dict().values() if value.is_floating_point()]
    counters = len(teachers[0].state_dict()) - len(floats)
    assert sizes["teacher_if_online"] == 4 * sum(value.numel() for value in floats) + 8 * counters + 4 * (6 + 3)


def held(view: View) -> int:
    """Return the bytes of the random numbers of a view."""
    if view.cells is not None:
        samples = sum(part.samples.nbytes for part in getattr(view.siamese, "parts", [view.siamese]))
        mixed = 0 if view.box is None else view.partner.nbytes + 8 * (len(view.box) + 1)
        return view.indices.nbytes + view.cells.nbytes + samples + mixed + 1  # which of some groups
    if view.siamese is not None:
        return view.indices.nbytes + view.siamese.samples.nbytes + 1  # which of six groups
    mixed = 0 if view.box is None else view.partner.nbytes + 8 * (len(view.box) + 1)
    swapped = 0 if view.swaps is None else view.swaps.nbytes
    return view.indices.nbytes + view.boxes.nbytes + view.flips.nbytes + mixed + swapped


def test_rectangles_of_cells_count_in_every_batch():
    schedule = Schedule(epochs=9, batch_size=10, mix="cutmix_of_cells")
    views = [view for epoch in range(3) for view in schedule.views(0, epoch, N)]
    unmixed = [view for view in views if view.box is None]
    partners = sum(8 * len(view.indices) + 40 for view in unmixed)
    assert unmixed and len(unmixed) < len(views)
    assert augmentation_state(schedule, N, 3) == sum(held(view) for view in views) + partners


@pytest.mark.parametrize("mix", ["none", "cutmix", "swap_cutmix", "dsa", "cells", "dsa_of_cells"])
def test_the_state_of_augmentation_is_what_views_hold(mix):
    schedule = Schedule(epochs=9, batch_size=10, mix=mix)
    views = [view for epoch in range(3) for view in schedule.views(0, epoch, N)]
    assert augmentation_state(schedule, N, 3) == sum(held(view) for view in views)


def test_only_labels_of_certain_views_need_them(context, tmp_path):
    for number, (regime, _) in enumerate(REGIMES.values()):
        folder = tmp_path / str(number)
        folder.mkdir()
        labels = regime.label(toy_set(), INFO, context, folder)
        state = label_bytes(regime, labels, N, CLASSES, (), 0)["augmentation_state"]
        replayed = labels.kind in ("per_epoch", "pool") and labels.logits is not None
        assert (state > 0) == replayed
        if replayed:
            epochs = len(labels.logits) if labels.kind == "per_epoch" else len(labels.logits) // N
            assert state == augmentation_state(CUTMIX, N, epochs)


@pytest.mark.parametrize(("classes", "each"), [(4, 2 * 4), (1000, 4 * 100)])
def test_a_pool_can_end_within_an_epoch(classes, each, context, tmp_path):
    """17 of 60 batches over 25 images: five epochs, and 9 + 8 images of the sixth."""
    regime = Pool(schedule=LONG, share=0.29, top_share=0.1)
    assert regime.bytes_of(25, classes) == (5 * 25 + 9 + 8) * each
    if classes == CLASSES:
        labels = regime.label(toy_set(25), INFO, context, tmp_path)
        sizes = label_bytes(regime, labels, 25, CLASSES, (), 0)
        assert sizes["labels"] == sizes["labels_formula"] == regime.bytes_of(25, classes)
        views = [view for epoch in range(6) for view in LONG.views(labels.seed, epoch, 25)][:17]
        assert sizes["augmentation_state"] == sum(held(view) for view in views)


def test_records_hold_them(tmp_path):
    opened = campaign(tmp_path, {"protocols": ["hard"]})
    finish(opened)
    (record,) = (record for record in opened.store.records() if record["stage"] == "relabel")
    names = ("labels", "labels_formula", "labels_at_1000_classes", "augmentation_state", "teacher_if_online")
    assert record["cost"]["bytes"] == dict.fromkeys(names, 0)


# --- before anything runs


def sizes_of(planned):
    return planned_label_sizes(planned, Planner(PlanOptions(Path("nowhere"), "cpu")))


def test_a_plan_foresees_labels_of_data_that_are_not_here():
    block = {
        "datasets": ["imagenet1k"],
        "ipc": [50],
        "methods": ["wmdd", "full"],
        "protocols": ["standard"],
        "seeds": 2,
    }
    sets = sizes_of(plan(block))
    assert sets == [LabelSize("imagenet1k", "standard", 50, 300 * 50_000 * 1000 * 2)] * 2
    assert sets[0].bytes / 2**30 == pytest.approx(27.94, abs=0.01)


def test_a_plan_counts_every_set_once():
    block = {"ipc": [1, 2], "methods": ["random_real", "full"], "protocols": ["standard", "native"], "seeds": 2}
    planned = plan({**block, "students": ["test_resnet", "test_vit"]}, exclude=[{"ipc": [2], "why": "enough"}])
    sets = sizes_of(planned)
    assert sorted(each.bytes for each in sets) == [150 * 10 * 10 * 2] * 2 + [30 * 1442 * 10 * 2] * 2


def test_a_plan_counts_the_labels_of_every_teacher():
    axes = {"ipc": [1], "methods": ["random_real"], "protocols": ["standard"], "students": ["test_resnet"]}
    planned = plan({**axes, "draws": 1, "seeds": 1, "teachers": 3})
    relabelled = sum(node.stage == "relabel" for node in planned.nodes.values())
    assert len(sizes_of(planned)) == relabelled == 3


def test_the_command_plan_shows_them(tmp_path):
    done = CliRunner().invoke(
        app, ["plan", "--suite", "main", "--methods", "wmdd", "--runs", str(tmp_path), "--data", str(tmp_path)]
    )
    assert done.exit_code == 0
    (line,) = (line for line in done.output.splitlines() if line.split()[:2] == ["imagenet1k", "standard"])
    assert "30.0 GB" in line


# --- bounded memory

SCRIPT = """
import re, sys
from pathlib import Path
import torch
from torch import nn
from benchmark.api import Context, DatasetInfo, LabeledSet, Labels, SyntheticSet, TestData
from benchmark.vision.augment import Schedule
from benchmark.vision.models import create_model
from evaluators.students.accuracy import Accuracy
from evaluators.labels.per_epoch import PerEpoch

folder, classes, ipc, size, epochs, arch = Path(sys.argv[1]), *map(int, sys.argv[2:6]), sys.argv[6]
torch.set_num_threads(2)
info = DatasetInfo(name="many", class_names=tuple(map(str, range(classes))), train_counts=(ipc,) * classes,
                   resolution=size, mean=(0.5,) * 3, std=(0.25,) * 3, fingerprint="0")

class Test(TestData):
    def __init__(self):
        self.info, self.labels = info, torch.arange(classes)
    def read(self, indices):
        return torch.zeros(len(indices), 3, size, size, dtype=torch.uint8)

def network(seed):
    if arch == "linear":
        torch.manual_seed(seed)
        return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, classes))
    return create_model(arch, classes=classes, resolution=size, seed=seed)

def peak():  # of this process alone: ru_maxrss has the peak of its parent too
    return 1024 * int(re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1])

def run(epochs, folder):
    folder.mkdir(parents=True)
    schedule = Schedule(epochs=epochs, batch_size=100)
    teacher = network(1).eval().requires_grad_(False)
    context = Context(torch.device("cpu"), torch.float32, 0, folder, (teacher,))
    PerEpoch(schedule=schedule).label(images, info, context, folder).save(folder)
    labels = Labels.load(folder)
    Accuracy(schedule=schedule).evaluate(LabeledSet(images, labels), Test(), network(2), context)
    return labels.nbytes

pixels = torch.randint(256, (classes * ipc, 3, size, size), dtype=torch.uint8)
images = SyntheticSet(pixels, torch.arange(classes).repeat_interleave(ipc))
if arch == "linear":  # what one epoch takes
    run(1, folder / "first")
before = peak()
stored = run(epochs, folder / "second")
print(stored, before, peak())
"""


def measured(tmp_path: Path, *arguments: object) -> list[int]:
    """Return the bytes of labels written and read in a process of its own, and its peak of memory before and after."""
    command = [sys.executable, "-c", SCRIPT, str(tmp_path), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [int(word) for word in done.stdout.split()]


def test_labels_are_never_in_memory_as_a_whole(tmp_path):
    stored, before, after = measured(tmp_path, 1000, 1, 8, 50, "linear")
    assert stored == 50 * 1000 * 1000 * 2
    assert after - before < stored / 4


@pytest.mark.slow
def test_a_slice_of_imagenet_takes_less_than_one_and_a_half_gib(tmp_path):
    stored, _, peak = measured(tmp_path, 1000, 10, 32, 1, "test_resnet")
    assert stored == 10_000 * 1000 * 2
    assert peak < 3 << 29, f"{peak / 2**30:.2f} GiB"
