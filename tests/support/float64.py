"""References in float64: a forward pass with its inner values, and the distance that float32 may have from it."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmark.api import Context, Distiller, TrainData, Unit
from methods.parts.recover_state import RecoveryState

TIGHT = 1e-5  # relative: float32 comes this near to float64 in all losses, and in the norm of all gradients


class Smooth(nn.ReLU):
    """A ReLU without its corner, where one changed sign between float32 and float64 would change a gradient by 1 %."""

    def forward(self, x: Tensor) -> Tensor:
        """Return ``log(1 + exp x)``."""
        return F.softplus(x)


def smooth(network: nn.Module) -> nn.Module:
    """Return a network with all its ReLUs made smooth, in place."""
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.ReLU):
                setattr(parent, name, Smooth())
    return network


@dataclass
class Pass:
    """A forward pass of a frozen network in float64.

    Attributes:
        logits: [n, classes].
        features: [n, D], the input of the classifier.
        norms: the batch norms, in the order of the network, each with its input [n, C, H, W].
    """

    logits: Tensor
    features: Tensor
    norms: list[tuple[nn.Module, Tensor]]


def forward(network: nn.Module, images: Tensor) -> Pass:
    """Pass images [n, C, H, W] through a copy of a network in float64."""
    exact, norms, features = copy.deepcopy(network).double().eval(), [], []
    for module in exact.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.register_forward_pre_hook(lambda module, inputs: norms.append((module, inputs[0])))
    last = [module for module in exact.modules() if isinstance(module, nn.Linear)][-1]
    last.register_forward_pre_hook(lambda module, inputs: features.append(inputs[0]))
    logits = exact(images.double())
    return Pass(logits, features[0], norms)


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean of ``-log(exp z_y / sum exp z)``."""
    rows = [torch.log(torch.exp(z - z.max()).sum()) - (z[y] - z.max()) for z, y in zip(logits, labels, strict=True)]
    return sum(rows) / len(rows)


def length(values: Tensor) -> Tensor:
    """Return the Euclidean norm."""
    return (values**2).sum() ** 0.5


def apart(value: Tensor, exact: Tensor) -> float:
    """Return the relative distance of a value from its exact value, in norm."""
    assert torch.isfinite(value).all()
    assert float(length(exact)) > 0
    return float(length(value.double() - exact) / length(exact))


class Captured(Exception):
    """Raised with what the first iteration of a loop has computed, in place of its step."""


def first_iteration(
    method: Distiller, data: TrainData, context: Context, ipc: int
) -> tuple[Tensor, Tensor, Tensor, Unit]:
    """Return pixels (float64, a leaf), loss and gradient of the first iteration of a recovery, and its unit."""

    def capture(self: RecoveryState, loss: Tensor, *rest: object) -> None:
        (gradient,) = torch.autograd.grad(loss, [self.images])
        raise Captured(self.images.detach().double().requires_grad_(), loss.detach(), gradient)

    (unit,) = method.units(data.info, ipc)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Captured) as caught:
        patch.setattr(RecoveryState, "step", capture)
        method.distill(data, unit, context)
    pixels, loss, gradient = caught.value.args
    return pixels, loss, gradient, unit
