"""Gradients through many steps of gradient descent: with one graph of all steps, of one step, or approximately."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
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
    path = [start.detach(), *_walk(step, start, learned, steps)]
    loss, upstream = _at_the_end(path.pop(), start, target)
    totals = [torch.zeros_like(tensor) for tensor in learned]
    for index in reversed(range(steps)):
        weights = path.pop().requires_grad_()
        following = step(index, weights, learned)
        upstream, *parts = torch.autograd.grad(following, [weights, *learned], upstream)
        totals = [total + part for total, part in zip(totals, parts, strict=True)]
    return loss, tuple(totals)


def detached(
    step: Step, start: Tensor, target: Tensor, learned: Sequence[Tensor], steps: int
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Return the loss of `unrolled`, and TESLA's gradients: those through every step, but not through the later ones.

    The weights w_i before step i count as constants, so that ``w_N = w_0 - alpha sum_i g_i(learned; w_i)``. With
    ``u = dL/dw_N``, the gradient of a learned tensor is the sum over all steps of ``u . dw_{i+1}/dlearned``. It is that
    of `unrolled` for one step, and not for more. No step adds to the memory, not even its weights.
    """
    (end,) = deque(_walk(step, start, learned, steps), maxlen=1)
    loss, upstream = _at_the_end(end, start, target)
    totals = [torch.zeros_like(tensor) for tensor in learned]
    weights = start.detach()
    for index in range(steps):
        following = step(index, weights.requires_grad_(), learned)
        parts = torch.autograd.grad(following, learned, upstream)
        totals = [total + part for total, part in zip(totals, parts, strict=True)]
        weights = following.detach()
    return loss, tuple(totals)


def _walk(step: Step, start: Tensor, learned: Sequence[Tensor], steps: int) -> Iterator[Tensor]:
    """Yield the weights [P] after every step, without a graph."""
    frozen, weights = [tensor.detach() for tensor in learned], start.detach()
    for index in range(steps):
        weights = step(index, weights.requires_grad_(), frozen).detach()
        yield weights


def _at_the_end(end: Tensor, start: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return the trajectory loss of the last weights, and its gradient in them, [P]."""
    end = end.detach().requires_grad_()
    loss = trajectory_loss(end, start, target)
    (upstream,) = torch.autograd.grad(loss, [end])
    return loss.detach(), upstream
