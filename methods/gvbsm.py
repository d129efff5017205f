"""G-VBSM: images recovered from several teachers in turn, by the statistics of their batch norms and convolutions."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from benchmark.api import Context, DatasetInfo, Preparation, TeacherSpec, TrainData, Unit
from methods.parts.generalized import GeneralPenalty, GeneralStatistics
from methods.parts.objective import Goal, Penalty
from methods.parts.recover import NO_CLASS_STATISTICS, TWO_NAMES, Recovery

SIDE = 32  # pixels of the images from which the Gram matrix is computed


class GVBSM(Recovery):
    """``L = CE(f_k(T(x)), y) + lambda R_k(T(x)) + mu D(T(x))``, k = iteration mod K: the K teachers take turns.

    ``R_k = sum_h a_h sum_s |s*_h - s~_h|`` over the batch norms and convolutions h of teacher k. The statistics s of a
    batch norm are mean and variance of each input channel. A convolution adds mean and variance of each patch of p x p
    pixels, over images, channels and pixels. s~ is a moving average with the gradient of its last value; a_0 = 10.
    Each convolution is left out of an iteration with probability `drop_rate`.

    ``D = sum_c KL(sg softmax(e_c / tau) | softmax(e_c))``, where e_c are the eigenvalues of the Gram matrix of class
    c's images at 32 px. D flattens the spectrum of a class, so that its images differ more.

    Labels are those of the protocol. Protocol ``native`` has the labels of the method (the mean of the teachers'
    logits) and the loss of its student (MSE + gamma CE).

    Differences from the authors' code: moving averages start again in each unit (at 0, as in the code, or with
    ``averages_start: first`` at their first value, which biases them less); the statistics of convolutions are exact
    (`GeneralStatistics`); a unit holds whole classes on every dataset; pixels have 8 bits. The teachers are `archs`:
    WRN-16-2 and ShuffleNetV2-0.5 are not among our networks; MobileNetV2 has width 1.0 (0.5 for small images there).
    """

    version: ClassVar[int] = 2
    paper: ClassVar[str] = (
        "Shao et al.: Generalized Large-Scale Data Condensation via Various Backbone and Statistical Matching, CVPR "
        "2024, https://arxiv.org/abs/2311.17950"
    )

    archs: tuple[str, ...] = Field(default=("resnet18", "mobilenetv2", "efficientnet_b0"), min_length=1)
    iterations: int = Field(default=4000, ge=0)
    learning_rate: float = Field(default=0.1, gt=0)
    first_layer_weight: float = Field(default=10.0, ge=0)
    momentum: float = Field(default=0.8, ge=0, lt=1)  # alpha, of the moving averages
    averages_start: Literal["zero", "first"] = "zero"
    drop_rate: float = Field(default=0.4, ge=0, le=1)
    patch: int = Field(default=4, ge=1)  # p; 4 up to 64 px, 16 at 224 px
    spectrum_weight: float = Field(default=1.0, ge=0)  # mu
    temperature: float = Field(default=4.0, gt=0)  # tau

    def teachers(self) -> tuple[TeacherSpec, ...]:
        """Return the K networks, each trained by the teacher recipe of the dataset."""
        return tuple(TeacherSpec(arch=arch) for arch in self.archs)

    def supports(self, info: DatasetInfo, ipc: int) -> str | None:
        """Return a reason where another teacher is named, or a hyperparameter needs per-class statistics."""
        if self.teacher:
            return TWO_NAMES
        if self.needs_class_statistics:
            return NO_CLASS_STATISTICS
        return super().supports(info, ipc)

    def preparation(self, info: DatasetInfo) -> Preparation | None:
        """Return the statistics of the convolutions; without a regulariser, what the start needs."""
        if self.regulariser == "none":
            return super().preparation(info)
        return GeneralStatistics(archs=self.archs, patch=self.patch, crop_scale=self.crop_scale)

    def goal(self, data: TrainData, unit: Unit, context: Context) -> Goal:
        """Return D, summed over the classes of the unit, as the loss of the images."""
        if not self.spectrum_weight:
            return Goal()
        classes = len(unit.classes)
        return Goal(view_loss=lambda view: self.spectrum_weight * spectrum_gap(view, classes, self.temperature))

    def penalty(self, goal: Goal, unit: Unit, memory: dict[str, Tensor], context: Context) -> Penalty | None:
        """Return R, the gap between the statistics of the unit and of the real images in the current teacher."""
        if self.regulariser == "none":
            return None

        def drop(iteration: int, n: int) -> Tensor:
            return torch.rand(n, generator=context.generator("drop", unit.index, iteration)) < self.drop_rate

        penalty = GeneralPenalty(
            context.teachers,
            {name: value.to(context.device) for name, value in context.prepared.items()},
            memory,
            patch=self.patch,
            momentum=self.momentum,
            first_layer_weight=self.first_layer_weight,
            drop=drop,
        )
        if self.averages_start == "zero":
            for name, value in penalty.target.items():
                memory.setdefault(name, torch.zeros_like(value))
        return penalty


def spectrum_gap(images: Tensor, classes: int, temperature: float) -> Tensor:
    """Return D for images [classes * n, C, H, W], class by class; 0 where all eigenvalues of a class are equal."""
    flat = F.adaptive_avg_pool2d(images, SIDE).flatten(1).unflatten(0, (classes, -1)).double()  # [classes, n, C SIDE^2]
    values = torch.linalg.eigvalsh(flat @ flat.mT)  # [classes, n]; their gaps are small, so float64
    target = (values.detach() / temperature).softmax(1)
    return F.kl_div(values.log_softmax(1), target, reduction="sum").float()
