"""SRe2L: squeeze a teacher, recover images from its logits and its batch-norm statistics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field

from benchmark.api import DatasetInfo, Unit
from methods.parts.recover import Recovery


class SRe2L(Recovery):
    """``L = CE(f(T(x)), y) + lambda sum_l a_l (|mu_l(T(x)) - mu*_l| + |v_l(T(x)) - v*_l|)``, a_0 = 10, others 1.

    The starred statistics are the running ones of the teacher's batch norms, so every unit as a whole is made to look
    like the whole training set to them.

    Differences from the authors' code: images are kept as 8-bit pixels, not as JPEG. A unit holds one image of each of
    up to 100 consecutive classes as there; where a dataset has fewer classes it is filled with further images of the
    same classes (`one_slot_per_unit` brings the authors' small batches back). With per-class statistics
    (``regulariser: pcbn``) a unit holds whole classes.
    """

    paper: ClassVar[str] = (
        "Yin, Xing and Shen: Squeeze, Recover and Relabel, NeurIPS 2023, https://arxiv.org/abs/2306.13092"
    )
    title: ClassVar[str] = "SRe2L"

    first_layer_weight: float = Field(default=10.0, ge=0)
    one_slot_per_unit: bool = False

    def units(self, info: DatasetInfo, ipc: int) -> Sequence[Unit]:
        """Return units that hold images of as many classes as fit, in the order of the slots."""
        if self.regulariser == "pcbn":
            return super().units(info, ipc)
        groups = [
            tuple(range(info.classes))[first : first + self.batch_images]
            for first in range(0, info.classes, self.batch_images)
        ]
        parts = []
        for group in groups:
            size = 1 if self.one_slot_per_unit else max(1, self.batch_images // len(group))
            parts += [(group, tuple(range(ipc))[first : first + size]) for first in range(0, ipc, size)]
        return [Unit(index=index, ipc=ipc, classes=group, slots=slots) for index, (group, slots) in enumerate(parts)]
