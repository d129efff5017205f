"""G-VBSM: images recovered from several teachers in turns, by the statistics of their convolutions as well."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from benchmark.api import Context, DatasetInfo, Preparation, TeacherSpec, TrainData, Unit
from methods.parts.generalized import GeneralPenalty, GeneralStatistics
from methods.parts.objective import Goal, Penalty
from methods.parts.recover import Recovery

SIDE = 32  # of the images whose spectrum is taken


class GVBSM(Recovery):
    """``L = CE(f_k(T(x)), y) + lambda R_k(T(x)) + mu D(T(x))``, k = iteration mod K: the K teachers take turns.

    ``R_k = sum_h a_h sum_s |s*_h - s~_h|`` over batch norms (mean and variance of the channels of their input) and
    convolutions (these and the mean and variance of every patch of p x p pixels, over images, channels and pixels); s~
    is a moving average with the gradient of its last value; a_0 = 10. A convolution is dropped with chance `drop_rate`.
    ``D = sum_c KL(sg softmax(e_c / tau) | softmax(e_c))``, e_c the eigenvalues of the Gram matrix of class c's images
    at 32 px, flattens the spectrum of a class: images of a class come to differ.

    Labels are those of the protocol. The mean of the teachers' logits and the loss MSE + gamma CE of the student belong
    to the method's own protocol.

    Differences from the authors' code: moving averages start from their first value, not from 0, and anew for every
    unit; statistics of convolutions are exact (`GeneralStatistics`); a unit holds whole classes on every dataset;
    8-bit pixels. Teachers are those of `archs`: WRN-16-2 and ShuffleNetV2 are not among our networks.
    """

    paper: ClassVar[str] = (
        "Shao et al.: Generalized Large-Scale Data Condensation via Various Backbone and Statistical Matching, CVPR "
        "2024, https://arxiv.org/abs/2311.17950"
    )
    title: ClassVar[str] = "G-VBSM"

    archs: tuple[str, ...] = Field(default=("resnet18", "mobilenetv2", "efficientnet_b0"), min_length=1)
    iterations: int = Field(default=4000, ge=1)
    learning_rate: float = Field(default=0.1, gt=0)
    first_layer_weight: float = Field(default=10.0, ge=0)
    momentum: float = Field(default=0.8, ge=0, lt=1)  # alpha, of the moving averages
    drop_rate: float = Field(default=0.4, ge=0, le=1)
    patch: int = Field(default=4, ge=1)  # p; 4 up to 64 px, 16 at 224 px
    spectrum_weight: float = Field(default=1.0, ge=0)  # mu
    temperature: float = Field(default=4.0, gt=0)  # tau

    def teachers(self) -> tuple[TeacherSpec, ...]:
        """Return the networks, each trained by the dataset's recipe."""
        return tuple(TeacherSpec(arch=arch) for arch in self.archs)

    def supports(self, info: DatasetInfo, ipc: int) -> str | None:
        """Return a reason where per-class statistics are asked for."""
        if self.regulariser == "pcbn" or self.start == "nearest_real":
            return "several teachers share no per-class statistics: no regulariser pcbn and no start nearest_real"
        return super().supports(info, ipc)

    def preparation(self, info: DatasetInfo) -> Preparation | None:
        """Return the statistics of the convolutions."""
        if self.regulariser == "none":
            return None
        return GeneralStatistics(archs=self.archs, patch=self.patch, crop_scale=self.crop_scale)

    def goal(self, data: TrainData, unit: Unit, context: Context) -> Goal:
        """Return the flatness of the spectra of the unit's classes."""
        classes = len(unit.classes)
        return Goal(view_loss=lambda view: self.spectrum_weight * spectrum_gap(view, classes, self.temperature))

    def penalty(self, goal: Goal, unit: Unit, memory: dict[str, Tensor], context: Context) -> Penalty | None:
        """Return the gap between the statistics of the unit and those of the real images, in all teachers."""
        if self.regulariser == "none":
            return None

        def drop(iteration: int, n: int) -> Tensor:
            return torch.rand(n, generator=context.generator("drop", unit.index, iteration)) < self.drop_rate

        return GeneralPenalty(
            context.teachers,
            {name: value.to(context.device) for name, value in context.prepared.items()},
            memory,
            patch=self.patch,
            momentum=self.momentum,
            first_layer_weight=self.first_layer_weight,
            drop=drop,
        )


def spectrum_gap(images: Tensor, classes: int, temperature: float) -> Tensor:
    """Return D for images [classes * n, C, H, W], class by class: 0 where all eigenvalues of a class are equal."""
    flat = F.adaptive_avg_pool2d(images, SIDE).flatten(1).unflatten(0, (classes, -1)).double()  # [classes, n, C SIDE^2]
    values = torch.linalg.eigvalsh(flat @ flat.mT)  # [classes, n], in the thousands: softmax wants their small gaps
    wanted = (values.detach() / temperature).softmax(1)
    return F.kl_div(values.log_softmax(1), wanted, reduction="sum").float()
