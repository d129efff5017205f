"""SRe2L: train a teacher, then recover images from its logits and its batch-norm statistics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field

from benchmark.api import DatasetInfo, Unit
from methods.parts.recover import Recovery
from methods.parts.units import whole_class_units


class SRe2L(Recovery):
    """``L = CE(f(T(x)), y) + lambda sum_l a_l (|mu_l(T(x)) - mu*_l| + |v_l(T(x)) - v*_l|)``, a_0 = 10, others 1.

    mu*_l and v*_l are the running statistics of the teacher's batch norms, so that each unit as a whole matches the
    statistics of the whole training set.

    Differences from the authors' code: images have 8-bit pixels instead of JPEG (``jpeg: 75``). A unit holds one image
    of each of up to 100 consecutive classes, as in the code. Where a dataset has fewer classes, the unit also holds
    further images of these classes; `one_slot_per_unit` gives the small batches of the code, and our recipes set it.
    With per-class statistics (``regulariser: pcbn`` or ``start: nearest_real``) a unit holds whole classes. The start
    ``random_real`` of each unit is drawn on its own, so that units of one set may repeat an image.
    """

    paper: ClassVar[str] = (
        "Yin, Xing and Shen: Squeeze, Recover and Relabel, NeurIPS 2023, https://arxiv.org/abs/2306.13092"
    )

    first_layer_weight: float = Field(default=10.0, ge=0)
    one_slot_per_unit: bool = False

    def units(self, info: DatasetInfo, ipc: int) -> Sequence[Unit]:
        """Return units of one image of as many classes as fit, or of several images where classes are few."""
        if self.needs_class_statistics:
            return super().units(info, ipc)
        parts = []
        for group in (unit.classes for unit in whole_class_units(info, 1, self.batch_images)):
            size = 1 if self.one_slot_per_unit else max(1, self.batch_images // len(group))
            parts += [(group, tuple(range(ipc))[first : first + size]) for first in range(0, ipc, size)]
        return [Unit(index=index, ipc=ipc, classes=group, slots=slots) for index, (group, slots) in enumerate(parts)]
