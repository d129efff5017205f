"""DWA: every unit is recovered from a teacher whose weights took a few steps away from the unit's start."""

from __future__ import annotations

import copy
import dataclasses
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from benchmark.api import Context, Job, SyntheticSet, TrainData, Unit, Work
from benchmark.vision.moments import BatchNormInputs
from methods.parts.objective import Goal, Regulariser
from methods.parts.recover import Start
from methods.sre2l import SRe2L


class DWA(SRe2L):
    """``L = CE(f~(T(x)), y) + lambda sum_l a_l (|mu_l(T(x)) - mu*_l| + r |v_l(T(x)) - v*_l|)``, f~ a perturbed teacher.

    The weights of f~ come from K steps of ascent (directed weight adjustment), once per unit, on the view of its first
    iteration: ``theta <- theta + (rho / K) g / (|g| + 1e-12)``, ``g = grad_theta CE(f_theta(T_0(x_0)), y)``, one norm
    over all weights. So units, which start from different real images, are recovered from different teachers. Running
    statistics stay those of the teacher, and batch norms are in eval mode. a_0 = 10, the other a_l are 1.

    Each unit draws its own images. So with one image per class in a unit, a class may start from the same image twice.

    Differences from the authors' code: each unit starts from the teacher. In the code the teacher is loaded once per
    image index, so on ImageNet-1K the perturbations of ten units pile up, and gradients of a finished unit enter the
    first step of the next one; this needs units one after another and is not offered here. The K gradients also add to
    the image gradient of the first iteration there, and not here. Images have 8-bit pixels instead of JPEG
    (``jpeg: 75``).
    """

    paper: ClassVar[str] = (
        "Du et al.: Diversity-Driven Synthesis: Enhancing Dataset Distillation through Directed Weight Adjustment, "
        "NeurIPS 2024, https://arxiv.org/abs/2409.17612"
    )

    start: Start = "random_real"
    variance_weight: float = Field(default=11.0, ge=0)  # r
    ascent_steps: int = Field(default=12, ge=0)  # K; 0: the teacher as it is
    ascent_radius: float = Field(default=0.015, ge=0)  # rho, the length of all steps together

    def work(self, job: Job) -> tuple[Work, ...]:
        """Return the steps of ascent and the iterations."""
        return Work("train", self.ascent_steps * job.images, self.teacher or ""), *super().work(job)

    def distill(self, data: TrainData, unit: Unit, context: Context) -> SyntheticSet:
        """Return the recovered images of the unit; an interrupted run resumes from its last save."""
        start = self._start(data, self.goal(data, unit, context), unit, context).to(context.device)
        view = self._view(start, 0, unit, data.info, context)
        perturbed = ascended(
            context.teachers[0],
            view,
            unit.labels.to(context.device),
            steps=self.ascent_steps,
            radius=self.ascent_radius,
        )
        return super().distill(data, unit, dataclasses.replace(context, teachers=(perturbed,)))

    def batch_norm_penalty(self, inputs: BatchNormInputs, goal: Goal, unit: Unit, context: Context) -> Regulariser:
        """Return R with the terms of the variances weighted."""
        penalty = super().batch_norm_penalty(inputs, goal, unit, context)
        penalty.variance_weight = self.variance_weight
        return penalty


def ascended(network: nn.Module, images: Tensor, labels: Tensor, *, steps: int, radius: float) -> nn.Module:
    """Return a frozen copy of a network whose weights took steps that raise the cross-entropy of some images.

    Args:
        network: frozen, in eval mode; it does not change.
        images: [N, C, S, S], normalised.
        labels: [N] int64.
        steps: number of steps.
        radius: length of all steps together, as a norm over all weights.
    """
    copied = copy.deepcopy(network).requires_grad_()
    weights = list(copied.parameters())
    for _ in range(steps):
        gradients = torch.autograd.grad(F.cross_entropy(copied(images), labels), weights)
        norm = torch.stack([gradient.square().sum() for gradient in gradients]).sum().sqrt()
        with torch.no_grad():
            for weight, gradient in zip(weights, gradients, strict=True):
                weight.add_(gradient * (radius / steps / (norm + 1e-12)))
    return copied.requires_grad_(False)
