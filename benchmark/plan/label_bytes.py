"""What labels take in bytes: as stored, by formula, on 1,000 classes; and what might be stored in their place.

On ten classes labels are smaller than the images and nobody minds; at the scale of ImageNet-1K they are thirty times as
large. So every record gives the numbers of both.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from benchmark.api import LabelRegime, Labels
from benchmark.plan.discovery import load_method
from benchmark.plan.protocol import load_protocol
from benchmark.vision import datasets
from benchmark.vision.augment import Schedule

if TYPE_CHECKING:
    from benchmark.plan.graph import Plan, PlannedCell

MANY = 1000  # classes
# Of a `View`. For each image: its index (8), the crop (16), the flip (1), its partner in the mix (8), the swaps of
# halves (2), or DSA's draws (12). For each batch: CutMix's rectangle and share (40), or the name of DSA's group (1).
PER_IMAGE = {"none": 25, "cutmix": 33, "swap_cutmix": 35, "dsa": 20}
PER_BATCH = {"none": 0, "cutmix": 40, "swap_cutmix": 40, "dsa": 1}


def augmentation_state(schedule: Schedule, images: int, epochs: int) -> int:
    """Return the bytes of the crops, flips and mixes of some epochs, had they been stored; ours are drawn anew."""
    return epochs * (images * PER_IMAGE[schedule.mix] + schedule.batches(images) * PER_BATCH[schedule.mix])


def account(
    regime: LabelRegime, labels: Labels, images: int, classes: int, teachers: Sequence[nn.Module]
) -> dict[str, int]:
    """Return the bytes of a set's labels, for its record.

    Args:
        regime: that made the labels.
        labels: of the set.
        images: of the set.
        classes: of the dataset.
        teachers: that gave the labels.

    Returns:
        ``labels`` as stored; ``labels_formula``, the same by formula; ``labels_at_1000_classes``, by formula, as many
        images for each of 1,000 classes; ``augmentation_state``, of the views that labels are stored for, 0 where they
        fit any view; ``teacher_if_online``, weights and statistics of the teachers, needed in place of the labels.
    """
    stored_epochs = len(labels.logits) if labels.kind == "per_epoch" and labels.logits is not None else 0
    return {
        "labels": labels.nbytes,
        "labels_formula": images * regime.bytes_per_image(classes),
        "labels_at_1000_classes": round(images * MANY / classes) * regime.bytes_per_image(MANY),
        "augmentation_state": augmentation_state(Schedule.model_validate(labels.views), images, stored_epochs),
        "teacher_if_online": sum(value.nbytes for teacher in teachers for value in teacher.state_dict().values()),
    }


@dataclass(frozen=True)
class Foreseen:
    """The labels that one distilled set will get."""

    dataset: str
    protocol: str
    ipc: int  # 0: the whole training set
    bytes: int


def foreseen(plan: Plan, data: Path) -> list[Foreseen]:
    """Return what the labels of every set of a plan take by formula, also of datasets that are not on disk.

    Args:
        plan: cells that are excluded or unsupported are left out, and whole training sets that are not on disk.
        data: where datasets lie.
    """
    dataset, named = cache(datasets.load_dataset), cache(load_protocol)
    found: dict[tuple[object, ...], Foreseen] = {}
    for planned in _labelled(plan):
        cell = planned.cell
        config, method = dataset(cell.dataset), load_method(cell.base)
        protocol = named(cell.protocol).of(cell, cell.dataset)
        if protocol is None or not (method.uses_ipc or planned.nodes):
            continue
        regime, _ = protocol.judges(config, whole=not method.uses_ipc)
        images = cell.ipc * config.classes if method.uses_ipc else sum(datasets.info(config, data).train_counts)
        axes = (cell.dataset, cell.protocol, cell.ipc, cell.method, cell.draw, cell.seed)
        found[axes] = Foreseen(*axes[:3], images * regime.bytes_per_image(config.classes))
    return list(found.values())


def _labelled(plan: Plan) -> Iterator[PlannedCell]:
    """Yield the cells with nodes and, of datasets that are not on disk, all that might have some."""
    here = {planned.cell.dataset for planned in plan.cells if planned.nodes}
    for planned in plan.cells:
        missing = planned.cell.dataset not in here and not plan.suite.why_excluded(planned.cell)
        if planned.nodes or missing:
            yield planned
