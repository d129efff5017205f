"""Units of whole classes: how a set is cut for methods that match the features of one class at a time."""

from __future__ import annotations

from benchmark.api import DatasetInfo, Unit


def whole_class_units(info: DatasetInfo, ipc: int, batch_images: int) -> list[Unit]:
    """Return units of consecutive classes, each class with all its IPC images.

    A unit holds as many classes as fit into `batch_images` images, one at least.
    """
    size = max(1, batch_images // ipc)
    groups = [tuple(range(info.classes))[first : first + size] for first in range(0, info.classes, size)]
    return [Unit(index=i, ipc=ipc, classes=group, slots=tuple(range(ipc))) for i, group in enumerate(groups)]
