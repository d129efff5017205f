"""Random real images: the control that every method must beat under the same labels."""

from __future__ import annotations

from typing import ClassVar

from benchmark.api import Context, DatasetInfo, Distiller, Job, Role, SyntheticSet, TrainData, Unit, Work
from methods.parts.real import random_indices, too_few


class RandomReal(Distiller):
    """IPC real images of every class, uniformly without replacement: ``S_c = {x_i : i in first IPC of pi_c}``.

    ``pi_c`` is a random order of the images of class c. A larger IPC extends a smaller one, so that curves over IPC are
    paired. There is no authors' code.
    """

    paper: ClassVar[str] = "a uniform subset, the baseline of the field"
    role: ClassVar[Role] = "control"

    def supports(self, info: DatasetInfo, ipc: int) -> str | None:
        """Return a reason where a class has fewer than IPC images."""
        return too_few(info, ipc)

    def work(self, job: Job) -> tuple[Work, ...]:
        """Return nothing: no image passes a network."""
        return ()

    def distill(self, data: TrainData, unit: Unit, context: Context) -> SyntheticSet:
        """Choose the images of the unit."""
        return SyntheticSet(data.read(random_indices(data, unit.classes, unit.slots, context)), unit.labels)
