"""CDA: SRe2L with crops that begin large and shrink, so that an image is laid out before its details are filled in."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

from pydantic import Field

from methods.sre2l import SRe2L


class CDA(SRe2L):
    """SRe2L's loss; the least area of a crop at iteration i of I is ``s(i) = s_0 + (s_1 - s_0) h(i / (m I))``.

    ``[s_0, s_1]`` is `crop_scale` and m the milestone, after which ``s = s_0``. ``h(t)`` falls from 1 to 0:
    ``(1 + cos(pi t)) / 2`` (cosine), ``1 - t`` (linear), or it is 1 until the milestone (step).

    Difference from the authors' code: there the milestone is 0 unless told otherwise, which is SRe2L; here it is 1.
    """

    paper: ClassVar[str] = (
        "Yin and Shen: Dataset Distillation via Curriculum Data Synthesis in Large Data Era, TMLR 2024, "
        "https://arxiv.org/abs/2311.18838"
    )

    curriculum: Literal["cosine", "linear", "step"] = "cosine"
    milestone: float = Field(default=1.0, ge=0, le=1)  # the part of the iterations that the curriculum takes

    def crop_range(self, iteration: int) -> tuple[float, float]:
        """Return the least and greatest area of the crop of an iteration."""
        least, greatest = self.crop_scale
        end = self.milestone * self.iterations
        if iteration >= end:
            return self.crop_scale
        time = iteration / end
        height = {"cosine": (1 + math.cos(math.pi * time)) / 2, "linear": 1 - time, "step": 1.0}[self.curriculum]
        return least + (greatest - least) * height, greatest
