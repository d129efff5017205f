"""Per-epoch soft labels of several teachers: the mean of their logits for every view.

Paper: the labels of Shao et al., Generalized Large-Scale Data Condensation via Various Backbone and Statistical
Matching, CVPR 2024, https://arxiv.org/abs/2311.17950 (G-VBSM).
"""

from __future__ import annotations

from benchmark.api import TeacherSpec
from evaluators.labels.per_epoch import PerEpoch


class Ensemble(PerEpoch):
    """``z = (1 / K) sum_k z_k``, z_k the logits of teacher k; all are trained by the teacher recipe of the dataset."""

    archs: tuple[str, ...] = ()  # (): the dataset's teacher and its neutral network

    def teachers(self) -> tuple[TeacherSpec, ...]:
        """Return the K networks."""
        return tuple(TeacherSpec(arch=arch) for arch in self.archs) or (TeacherSpec(), TeacherSpec(neutral=True))
