"""The loop of the pixel-matching methods: gradient descent on images, which is saved every few hundred iterations."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor
from torch.optim import SGD

from benchmark.api import Context
from benchmark.errors import BenchmarkError
from benchmark.vision import scratch

# iteration -> loss, and its gradients; None: this iteration changes nothing
Objective: TypeAlias = Callable[[int], tuple[Tensor, Sequence[Tensor] | None]]

REPORT_EVERY = 10  # iterations; reading a number from the device makes the device wait
SAVE_EVERY = 500  # iterations


class Leaf(NamedTuple):
    """A tensor that changes, its learning rate and its momentum; None: the momentum of all others."""

    tensor: Tensor
    rate: float
    momentum: float | None = None


def descend(
    objective: Objective,
    leaves: Sequence[Leaf | tuple[Tensor, float]],
    context: Context,
    *,
    iterations: int,
    momentum: float,
    name: str,
    save_every: int | None = None,
) -> float:
    """Change tensors in place by SGD at constant learning rates; an interrupted run resumes from its last save.

    Args:
        objective: returns, for iteration 0, 1, ..., the loss and its gradient with respect to every leaf. Without
            gradients, leaves and momenta stay as they are in this iteration.
        leaves: the tensors, each with its learning rate.
        context: gives the scratch folder and takes the progress.
        iterations: number of iterations.
        momentum: of SGD.
        name: of the saved file and in error messages.
        save_every: number of iterations between two saves; None: `SAVE_EVERY`.

    Returns:
        The loss of the last iteration.

    Raises:
        BenchmarkError: the loss or a leaf is no longer finite.
    """
    groups = [Leaf(*leaf) for leaf in leaves]
    tensors = [leaf.tensor for leaf in groups]
    own = [momentum if leaf.momentum is None else leaf.momentum for leaf in groups]
    optimizer = SGD([{"params": [t], "lr": rate, "momentum": m} for (t, rate, _), m in zip(groups, own, strict=True)])
    path = context.scratch / f"{name}.pt"
    first, loss = _resume(path, tensors, optimizer)
    for iteration in range(first, iterations):
        loss, gradients = objective(iteration)
        if gradients is not None:
            for tensor, gradient in zip(tensors, gradients, strict=True):
                tensor.grad = gradient
            optimizer.step()
        done = iteration + 1
        reports = done % REPORT_EVERY == 0 or done == iterations
        if reports:
            _refuse_divergence(loss, tensors, name, done)
        if done % (save_every or SAVE_EVERY) == 0:
            _save(path, tensors, optimizer, done, loss.detach())
        context.progress(done, iterations, **({"loss": loss.item()} if reports else {}))
    return loss.item()


def _refuse_divergence(loss: Tensor, tensors: Sequence[Tensor], name: str, done: int) -> None:
    if not (math.isfinite(loss.item()) and all(bool(leaf.isfinite().all()) for leaf in tensors)):
        raise BenchmarkError(
            f"{name}: the images diverged within {done} iterations (loss {loss.item():g}); lower its learning rates"
        )


def _save(path: Path, tensors: Sequence[Tensor], optimizer: SGD, done: int, loss: Tensor) -> None:
    leaves = [leaf.detach() for leaf in tensors]
    scratch.save({"leaves": leaves, "optimizer": optimizer.state_dict(), "done": done, "loss": loss}, path)


def _resume(path: Path, tensors: Sequence[Tensor], optimizer: SGD) -> tuple[int, Tensor]:
    """Load the saved tensors and optimiser state; return the number of iterations done and the loss of the last."""
    saved = scratch.load(path, tensors[0].device)
    if saved is None:
        return 0, tensors[0].new_full((), math.nan)
    with torch.no_grad():
        for leaf, value in zip(tensors, saved["leaves"], strict=True):
            leaf.copy_(value)
    optimizer.load_state_dict(saved["optimizer"])
    return int(saved["done"]), saved["loss"]
