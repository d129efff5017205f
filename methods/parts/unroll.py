"""Gradients through many steps of gradient descent: with one graph of all steps, or with the graph of one step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

# (step 0, 1, ...; weights [P]; learned tensors) -> the next weights [P], differentiable with respect to its arguments
Step: TypeAlias = Callable[[int, Tensor, Sequence[Tensor]], Tensor]


def trajectory_loss(end: Tensor, start: Tensor, target: Tensor) -> Tensor:
    """Return ``|| end - target ||^2 / || start - target ||^2`` of weights [P], a scalar."""
    return (end - target).square().sum() / (start - target).square().sum()


def unrolled(
    step: Step, start: Tensor, target: Tensor, learned: Sequence[Tensor], steps: int
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Return the trajectory loss after ``steps`` steps from ``start``, and its gradients, with one graph of all steps.

    Args:
        step: one step of gradient descent.
        start: weights [P] before the first step.
        target: weights [P] that the last step should reach.
        learned: the tensors of which the gradients are returned.
        steps: number of steps.
    """
    weights = start.detach().requires_grad_()
    for index in range(steps):
        weights = step(index, weights, learned)
    loss = trajectory_loss(weights, start, target)
    return loss.detach(), torch.autograd.grad(loss, learned)


def recomputed(
    step: Step, start: Tensor, target: Tensor, learned: Sequence[Tensor], steps: int
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Return the same as `unrolled`, but keep the graph of only one step: the backward pass computes each step again.

    With ``u_N = dL/dw_N``, the chain rule for step i is ``u_i = u_{i+1} . dw_{i+1}/dw_i``, and the gradient of a
    learned tensor is the sum of ``u_{i+1} . dw_{i+1}/dlearned``. A further step needs memory for its weights (P floats)
    but not for its activations; every step is computed twice.
    """
    frozen = [tensor.detach() for tensor in learned]
    path = [start.detach()]
    for index in range(steps):
        path.append(step(index, path[-1].requires_grad_(), frozen).detach())
    end = path.pop().requires_grad_()
    loss = trajectory_loss(end, start, target)
    (upstream,) = torch.autograd.grad(loss, [end])
    totals = [torch.zeros_like(tensor) for tensor in learned]
    for index in reversed(range(steps)):
        weights = path.pop()
        following = step(index, weights, learned)
        upstream, *parts = torch.autograd.grad(following, [weights, *learned], upstream)
        totals = [total + part for total, part in zip(totals, parts, strict=True)]
    return loss.detach(), tuple(totals)
