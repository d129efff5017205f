"""Units of whole classes: how a set is cut for methods that match the features of one class at a time."""

from __future__ import annotations

from collections.abc import Sequence

from benchmark.api import DatasetInfo, Job, TeacherSpec, Unit, Work


def whole_class_units(info: DatasetInfo, ipc: int, batch_images: int) -> list[Unit]:
    """Return units of consecutive classes, each class with all its IPC images.

    A unit holds as many classes as fit into `batch_images` images, one at least.
    """
    size = max(1, batch_images // ipc)
    groups = [tuple(range(info.classes))[first : first + size] for first in range(0, info.classes, size)]
    return [Unit(index=i, ipc=ipc, classes=group, slots=tuple(range(ipc))) for i, group in enumerate(groups)]


def work_in_turns(teachers: Sequence[TeacherSpec], iterations: int, job: Job, *, scored: bool) -> tuple[Work, ...]:
    """Return the work of a recovery whose teachers take turns.

    Args:
        teachers: iteration i has teacher i mod K.
        iterations: the number of iterations; all images of the unit take part in each.
        job: the unit.
        scored: whether the first teacher scores all training images of the unit's classes before it starts.
    """
    turns = [len(range(turn, iterations, len(teachers))) for turn in range(len(teachers))]
    loop = [spec.work("recover", turn * job.images) for spec, turn in zip(teachers, turns, strict=True)]
    return (*((teachers[0].work("forward", job.members()),) if scored else ()), *loop)
