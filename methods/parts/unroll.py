"""Gradients through many steps of gradient descent: with one graph of all steps, or with one graph at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

# (step 0, 1, ...; weights [P]; what is learned) -> the next weights, differentiable wherever its arguments are
Step: TypeAlias = Callable[[int, Tensor, Sequence[Tensor]], Tensor]


def trajectory_loss(end: Tensor, start: Tensor, target: Tensor) -> Tensor:
    """Return ``|| end - target ||^2 / || start - target ||^2`` of weights [P]."""
    return (end - target).square().sum() / (start - target).square().sum()


def unrolled(
    step: Step, start: Tensor, target: Tensor, learned: Sequence[Tensor], steps: int
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Return the trajectory loss after ``steps`` steps from ``start``, and its gradients, by one graph of all steps.

    Args:
        step: one step of gradient descent.
        start: weights [P].
        target: weights [P] that should be reached.
        learned: what the gradients are wanted of.
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
    """Return the same as `unrolled`, holding the graph of one step at a time: it is rebuilt on the way back.

    With ``u_N = dL/dw_N``, the chain rule for step i is ``u_i = u_{i+1} . dw_{i+1}/dw_i``, and what is learned collects
    ``u_{i+1} . dw_{i+1}/dlearned``. A further step takes its weights (P floats) in memory and not its activations;
    every step is computed twice.
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
