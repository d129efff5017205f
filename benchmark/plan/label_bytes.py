"""The bytes that labels take: as stored, as a formula says before a run, for 1,000 classes, and of other ways to store.

On ten classes the labels are smaller than the images; on ImageNet-1K they are thirty times as large. Every record
therefore gives the bytes of both.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import nn

from benchmark.api import LabelRegime, Labels
from benchmark.plan.discovery import load_method
from benchmark.vision.augment import Schedule

if TYPE_CHECKING:
    from benchmark.plan.graph import Plan, PlannedCell, Planner

MANY = 1000  # classes
# The bytes of a `View`. For each image: its index (8), the crop (16), the flip (1), its partner in the mix (8), the
# swaps of halves (2), or the random numbers of DSA (12). For each batch: the rectangle and share of CutMix (40), or the
# name of the group of DSA (1). With cells: the index, the box of the cell (16), the numbers of one group (12), of three
# (36) or of four (48), and the partner; a rectangle in half of the batches, which count as if all had one.
PER_IMAGE = {
    "none": 25,
    "cutmix": 33,
    "swap_cutmix": 35,
    "dsa": 20,
    "cells": 72,
    "dsa_of_cells": 36,
    "cutmix_of_cells": 68,
}
PER_BATCH = {"none": 0, "cutmix": 40, "swap_cutmix": 40, "dsa": 1, "cells": 1, "dsa_of_cells": 1, "cutmix_of_cells": 41}


def augmentation_state(schedule: Schedule, images: int, epochs: int) -> int:
    """Return the bytes of the crops, flips and mixes of some epochs. They are not stored: a seed gives them again."""
    views = schedule.shown(images)
    return epochs * (views * PER_IMAGE[schedule.mix] + schedule.batches(images) * PER_BATCH[schedule.mix])


def label_bytes(
    regime: LabelRegime, labels: Labels, images: int, classes: int, teachers: Sequence[nn.Module], soft: int
) -> dict[str, int]:
    """Return the bytes of the labels of a set, for its record.

    Args:
        regime: the label regime that gave the labels.
        labels: the labels.
        images: number of images of the set.
        classes: number of classes of the dataset.
        teachers: the networks that gave the labels.
        soft: bytes of the soft targets of the set, which are its labels under hard labels.

    Returns:
        ``labels``: on disk. ``labels_formula``: by formula. ``labels_at_1000_classes``: by formula, for 1,000 classes
        with the same number of images per class. ``augmentation_state``: of the views that the labels belong to; 0 for
        labels that fit any view. ``teacher_if_online``: of the teachers, which could be stored in place of the labels.
    """
    target_bytes = soft if labels.kind == "hard" else 0
    return {
        "labels": labels.nbytes + target_bytes,
        "labels_formula": regime.bytes_of(images, classes) + target_bytes,
        "labels_at_1000_classes": regime.bytes_of(round(images * MANY / classes), MANY)
        + round(target_bytes * (MANY / classes) ** 2),
        "augmentation_state": _stored_state(labels, images),
        "teacher_if_online": sum(value.nbytes for teacher in teachers for value in teacher.state_dict().values()),
    }


def _stored_state(labels: Labels, images: int) -> int:
    """Return the bytes of the views that stored labels of a set of images belong to."""
    schedule = Schedule.model_validate(labels.views)
    if labels.logits is None or labels.kind not in ("per_epoch", "pool"):
        return 0
    if labels.kind == "per_epoch":
        return augmentation_state(schedule, images, len(labels.logits))
    batches: int = labels.draws["pool"]
    return len(labels.logits) * PER_IMAGE[schedule.mix] + batches * PER_BATCH[schedule.mix]


@dataclass(frozen=True)
class LabelSize:
    """The bytes that the labels of one distilled set will take."""

    dataset: str
    protocol: str
    ipc: int  # 0: the full training set
    bytes: int


def planned_label_sizes(plan: Plan, planner: Planner) -> list[LabelSize]:
    """Return, by formula, the bytes of the labels of every set of a plan, also for datasets that are not on disk.

    Args:
        plan: the plan. Cells that are excluded or not supported are left out, and so are full training sets that are
            not on disk.
        planner: has made the plan.
    """
    sizes: dict[tuple[object, ...], LabelSize] = {}
    for planned in _cells_with_labels(plan):
        cell = planned.cell
        config, full = planner.dataset(cell.dataset)[0], not load_method(cell.base).uses_ipc
        components = planner.components(cell, config, full_data=full)
        if components is None or (full and not planned.nodes):
            continue
        images = sum(plan.infos[cell.dataset].train_counts) if full else cell.ipc * config.classes
        axes = (cell.dataset, cell.protocol, cell.ipc, cell.method, cell.teacher, cell.draw, cell.seed)
        sizes[axes] = LabelSize(*axes[:3], components[0].bytes_of(images, config.classes))
    return list(sizes.values())


def _cells_with_labels(plan: Plan) -> Iterator[PlannedCell]:
    """Yield the cells that have nodes, and the cells that could have nodes if their dataset were on disk."""
    for planned in plan.cells:
        is_missing = planned.cell.dataset not in plan.infos and not plan.suite.why_excluded(planned.cell)
        if planned.nodes or is_missing:
            yield planned
