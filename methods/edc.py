"""EDC: G-VBSM from real images, where half of each distance is to the statistics of the images' own classes."""

from __future__ import annotations

import dataclasses
from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor

from benchmark.api import Context, DatasetInfo, Job, Preparation, TrainData, Unit, Work
from benchmark.vision.augment import CropScale, normalize
from methods.gvbsm import GVBSM
from methods.parts.conditional import ConditionalStatistics, Spread, general, of_labels
from methods.parts.generalized import GeneralPenalty
from methods.parts.objective import Goal, Penalty
from methods.parts.recover import Start
from methods.rded import RDED


class EDC(GVBSM):
    """``L = CE(f_k(T(x)), y) + lambda sum_h a_h sum_s ((1 - b) |s*_h - s~_h| + b |s^c_h - s~_h|)``, b = 1/2.

    Layers h, statistics s, moving averages s~ and the turns of the teachers k are those of `gvbsm`. s* are statistics
    of all real images, s^c those of the classes of the unit's images: ``mu^c = mean_i mu_{y_i}``, and v^c by the law of
    total variance, ``mean_i (v_{y_i} + (mu_{y_i} - mu^c)^2)``, since v~ holds the variance between classes as well.

    The images start from random real ones (``start``) or from RDED's mosaics of F x F crops (``start_factor``), so that
    few iterations are enough. There are no shifts, no convolution is left out, and the spectrum of the images is free.

    Labels are those of the protocol. Protocol ``native`` has the labels of the method (the mean of the teachers'
    logits), the loss of its student (MSE + 0.025 CE), its slow learning rate, and the moving average of its weights.

    Differences from the authors' code: the variance of a class there has no variance between images, and that of a
    batch none between classes, while v~ has both (``class_spread: within``). Moving averages begin with their first
    value, in the code at 0 (``averages_start: zero``): 75 iterations with 8 teachers are too few to reach the real
    values from 0. They begin again in each unit. Class means and variances of patches are not swapped. The mosaics are
    RDED's, of random images of the pool, while the code takes the 300 images that its networks know best. The flatness
    term, which all scripts switch off, is left out. We lack its networks WRN-16-2, ShuffleNetV2-0.5 and AlexNet. Pixels
    have 8 bits.
    """

    version: ClassVar[int] = 1
    paper: ClassVar[str] = (
        "Shao et al.: Elucidating the Design Space of Dataset Condensation, NeurIPS 2024, "
        "https://arxiv.org/abs/2404.13733"
    )

    archs: tuple[str, ...] = Field(
        default=("resnet18", "mobilenetv2", "efficientnet_b0", "shufflenet_v2"), min_length=1
    )
    iterations: int = Field(default=1000, ge=0)
    learning_rate: float = Field(default=0.05, gt=0)
    start: Start = "random_real"
    start_factor: int | None = Field(default=None, ge=1)  # F; None: the images of `start`, without mosaics
    crop_scale: CropScale = (0.5, 1.0)  # area of the crops
    jitter: int = Field(default=0, ge=0)
    averages_start: Literal["zero", "first"] = "first"
    drop_rate: float = Field(default=0.0, ge=0, le=1)
    spectrum_weight: float = Field(default=0.0, ge=0)
    class_share: float = Field(default=0.5, ge=0, le=1)  # b; 0: gvbsm
    class_spread: Spread = "total"  # within: variances without those between images and between classes

    def supports(self, info: DatasetInfo, ipc: int) -> str | None:
        """Return a reason where there are too few real images, or a hyperparameter does not fit."""
        if self.start_factor is not None and (reason := self._mosaics().supports(info, ipc)):
            return reason
        return super().supports(info, ipc)

    def preparation(self, info: DatasetInfo) -> Preparation | None:
        """Return the statistics of the convolutions, and of all layers by class."""
        if self.regulariser == "none" or self.class_share == 0:
            return super().preparation(info)
        return ConditionalStatistics(
            archs=self.archs, patch=self.patch, crop_scale=self.crop_scale, spread=self.class_spread
        )

    def work(self, job: Job) -> tuple[Work, ...]:
        """Return the iterations, and the crops of the mosaics, which every teacher scores."""
        scored = self._mosaics().work(job) if self.start_factor is not None else ()
        crops = [dataclasses.replace(part, arch=arch) for part in scored for arch in self.archs]
        return (*crops, *super().work(job))

    def penalty(self, goal: Goal, unit: Unit, memory: dict[str, Tensor], context: Context) -> Penalty | None:
        """Return R, with the statistics of the classes of the unit."""
        general_context = dataclasses.replace(context, prepared=general(context.prepared))
        penalty = super().penalty(goal, unit, memory, general_context)
        if isinstance(penalty, GeneralPenalty) and self.class_share:
            target = of_labels(context.prepared, unit.labels, self.class_spread)
            penalty.class_target = {name: value.to(context.device) for name, value in target.items()}
            penalty.class_share = self.class_share
        return penalty

    def _start(self, data: TrainData, goal: Goal, unit: Unit, context: Context) -> Tensor:
        """Return the images before the first iteration, normalised, [N, C, S, S]."""
        if self.start_factor is None:
            return super()._start(data, goal, unit, context)
        return normalize(self._mosaics().distill(data, unit, context).images, data.info)

    def _mosaics(self) -> RDED:
        """Return how the start is made: of four crops of each image the one that all teachers together know best."""
        return RDED(factor=self.start_factor or 1, crops=4)
