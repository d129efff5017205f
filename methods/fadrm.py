"""FADRM: recovery in stages, between which the images are mixed with their real start."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from pydantic import Field
from torch import Tensor

from benchmark.api import DatasetInfo, Job, TeacherSpec, Work
from methods.parts.crops import resized
from methods.parts.recover import NO_CLASS_STATISTICS, TWO_NAMES
from methods.sre2l_pp import SRe2LPP


class FADRM(SRe2LPP):
    """SRe2L++ in S stages; stage k begins with ``x <- alpha resize(x, s_k) + (1 - alpha) resize(P, s_k)``.

    s_k is the side of the images in stage k. P is the start, mosaics of real patches at full resolution, which never
    changes; before the first stage x = P. All stages mix, also those of equal size. They have equally many iterations
    and a new Adam each, while the learning rate falls along one cosine over all of them. The loss is SRe2L's.

    FADRM+ is the variant with several networks in `archs`: iteration t has the cross-entropy and the regulariser of
    network t mod K; a network without batch norms has cross-entropy only. Its labels are the mean of the K logits.

    Differences from the authors' code: as in `sre2l_pp`; the first stage shrinks P like the later ones (the code lets
    OpenCV do it); float32 instead of mixed precision (``precision: auto``).
    """

    paper: ClassVar[str] = (
        "Cui et al.: FADRM: Fast and Accurate Data Residual Matching for Dataset Distillation, NeurIPS 2025, "
        "https://arxiv.org/abs/2506.24125"
    )

    archs: tuple[str, ...] = ()  # the networks that take turns; (): only `teacher`
    iterations: int = Field(default=2000, ge=0)  # the iterations of all stages together
    sizes: tuple[int | None, ...] = Field(default=(None,) * 4, min_length=1)  # s_k in pixels; None: the full resolution
    alpha: float = Field(default=0.5, ge=0, le=1)  # share of the recovered images; 1: no mixing, 0: only the start

    def teachers(self) -> tuple[TeacherSpec, ...]:
        """Return the networks that take turns, each trained by the teacher recipe of the dataset."""
        return tuple(TeacherSpec(arch=arch) for arch in self.archs) or super().teachers()

    def supports(self, info: DatasetInfo, ipc: int) -> str | None:
        """Return a reason where the stages do not end at the full resolution, or there are too few real images."""
        if self.sizes[-1] not in (None, info.resolution):
            return f"the last stage has {self.sizes[-1]} px, and images of {info.name} have {info.resolution}"
        if self.archs and self.teacher:
            return TWO_NAMES
        if self.archs and self.needs_class_statistics:
            return NO_CLASS_STATISTICS
        return super().supports(info, ipc)

    def work(self, job: Job) -> tuple[Work, ...]:
        """Return the iterations of all stages; the networks have about equal shares of each."""
        stages, specs = len(self.sizes), self.teachers()
        ends = [k * self.iterations // stages for k in range(stages + 1)]
        return tuple(
            replace(
                spec.work("recover", len(range(first + (turn - first) % len(specs), last, len(specs))) * job.images),
                side=side or 0,
            )
            for first, last, side in zip(ends, ends[1:], self.sizes, strict=False)
            for turn, spec in enumerate(specs)
        )

    def begin_stage(self, images: Tensor, start: Tensor, iteration: int) -> Tensor | None:
        """Return the mixed images of a stage that begins at an iteration, [N, C, s_k, s_k]; None where none begins."""
        stages = len(self.sizes)
        begun = [size for k, size in enumerate(self.sizes) if k * self.iterations // stages == iteration]
        for size in begun:  # one, unless there are fewer iterations than stages
            side = size or start.shape[-1]
            images = resized(start, side).lerp(resized(images, side), self.alpha)
        return images if begun else None
