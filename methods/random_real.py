"""Random real images: the control that every method must beat under the same labels."""

from __future__ import annotations

from typing import ClassVar

from benchmark.api import Context, Role, SyntheticSet, TrainData, Unit
from methods.parts.real import RealImages, random_indices


class RandomReal(RealImages):
    """IPC real images of every class, uniformly without replacement: ``S_c = {x_i : i in first IPC of pi_c}``.

    ``pi_c`` is a random order of the images of class c. A larger IPC extends a smaller one, so that curves over IPC are
    paired. There is no authors' code.
    """

    paper: ClassVar[str] = "a uniform subset, the baseline of the field"
    role: ClassVar[Role] = "control"

    def distill(self, data: TrainData, unit: Unit, context: Context) -> SyntheticSet:
        """Choose the images of the unit."""
        return SyntheticSet(data.read(random_indices(data, unit.classes, unit.slots, context)), unit.labels)
