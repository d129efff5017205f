"""SRe2L++: SRe2L that starts from real images instead of noise."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from methods.parts.recover import Start
from methods.sre2l import SRe2L


class SRe2LPP(SRe2L):
    """SRe2L's loss ``CE(f(T(x)), y) + lambda R(T(x))``, from x = mosaics of patches of real images.

    The start of image j of class c is a mosaic of F x F crops of real images of c that are of medium difficulty for the
    teacher (`Patches`); F is 1 below 128 px and 2 from there on. A variant with ``iterations: 0`` is this start: the
    control that the recovery must beat under the same labels. Protocol ``native`` has the labels of the method, whose
    teacher runs in train mode on halves of a batch.

    Differences from the authors' code: it downloads one start image per class and slot, and how they were made is not
    published, so `Patches` is ours. At IPC 1 and 10 it takes the first images of the set of IPC 50. Images have 8-bit
    pixels instead of JPEG (``jpeg: 75``).
    """

    paper: ClassVar[str] = (
        "Cui et al.: Dataset Distillation via Committee Voting, 2025, https://arxiv.org/abs/2501.07575 (SRe2L++ is its "
        "baseline)"
    )

    iterations: int = Field(default=4000, ge=0)
    start: Start = "patches"
    one_slot_per_unit: bool = True
