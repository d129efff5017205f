"""CDA: SRe2L whose crops start large and shrink, so that an image gets its layout before its details."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

from pydantic import Field

from methods.sre2l import SRe2L


class CDA(SRe2L):
    """SRe2L's loss. At iteration i of I the smallest area of a crop is ``s(i) = s_0 + (s_1 - s_0) h(i / (m I))``.

    ``[s_0, s_1]`` is `crop_scale`. m is the milestone: after m I iterations ``s = s_0``. ``h(t)`` falls from 1 to 0:
    ``(1 + cos(pi t)) / 2`` (cosine) or ``1 - t`` (linear); with ``step`` it is 1 until the milestone.

    Difference from the authors' code: the milestone is 1 by default; in the code it is 0, which is SRe2L.
    """

    paper: ClassVar[str] = (
        "Yin and Shen: Dataset Distillation via Curriculum Data Synthesis in Large Data Era, TMLR 2024, "
        "https://arxiv.org/abs/2311.18838"
    )

    curriculum: Literal["cosine", "linear", "step"] = "cosine"
    milestone: float = Field(default=1.0, ge=0, le=1)  # m, the share of the iterations that the curriculum takes

    def crop_range(self, iteration: int) -> tuple[float, float]:
        """Return the smallest and the largest area of the crop of an iteration."""
        smallest, largest = self.crop_scale
        end = self.milestone * self.iterations
        if iteration >= end:
            return self.crop_scale
        time = iteration / end
        height = {"cosine": (1 + math.cos(math.pi * time)) / 2, "linear": 1 - time, "step": 1.0}[self.curriculum]
        return smallest + (largest - smallest) * height, largest
