"""Expert trajectories in flat valleys of the loss, where errors of a student's weights add up more slowly (FTD)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from benchmark.api import Job, Work
from methods.parts.experts import Experts

EPSILON = 1e-12


class FlatExperts(Experts):
    """`Experts` whose steps go down FTD's direction, see `flat_direction`; every step costs two gradients."""

    version: ClassVar[int] = 1

    radius: float = Field(default=0.01, ge=0)  # rho
    flatness: float = Field(default=0.3, ge=0)  # alpha

    def work(self, job: Job) -> tuple[Work, ...]:
        """Return the training of all experts, with two gradients for a step."""
        return 2 * super().work(job)

    def slopes(self, weights: Sequence[Tensor], loss: Callable[[], Tensor]) -> Sequence[Tensor]:
        """Return the direction that a step of SGD goes down; the weights are as before afterwards."""
        return flat_direction(weights, loss, self.radius, self.flatness)


def flat_direction(
    weights: Sequence[Tensor], loss: Callable[[], Tensor], radius: float, flatness: float
) -> list[Tensor]:
    """Return ``g' - alpha g_perp``: g' lowers the highest loss near the weights.

    With the gradient g of the loss in all weights w, ``e = rho w^2 g / (| |w| g | + 1e-12)`` (element by element, as in
    adaptive SAM) leads to the highest loss around w. g' is the gradient at w + e, and
    ``g_perp = g - (<g, g'> / |g'|^2) g'`` is the part of g that is orthogonal to g' (GSAM). For rho = 0 the result is
    g.

    Args:
        weights: all weights, which require grad; they are changed and restored.
        loss: the loss of one batch at the weights as they are.
        radius: rho.
        flatness: alpha.
    """
    old_weights = [weight.detach().clone() for weight in weights]
    slopes = torch.autograd.grad(loss(), weights)
    scale = radius / (_norm([w.abs() * g for w, g in zip(old_weights, slopes, strict=True)]) + EPSILON)
    with torch.no_grad():
        for weight, old_weight, slope in zip(weights, old_weights, slopes, strict=True):
            weight.add_(scale * old_weight.square() * slope)
    ahead = torch.autograd.grad(loss(), weights)
    with torch.no_grad():
        for weight, old_weight in zip(weights, old_weights, strict=True):
            weight.copy_(old_weight)
    products = torch.stack([(g * a).sum() for g, a in zip(slopes, ahead, strict=True)])
    share = products.sum() / (_norm(ahead).square() + EPSILON**2)
    return [a - flatness * (g - share * a) for g, a in zip(slopes, ahead, strict=True)]


def _norm(tensors: Sequence[Tensor]) -> Tensor:
    """Return the norm of all numbers together, a scalar."""
    return torch.stack([tensor.square().sum() for tensor in tensors]).sum().sqrt()
