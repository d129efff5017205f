"""The loop of the pixel-matching methods: gradient descent on images, which is saved every few hundred iterations."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeAlias

import torch
from torch import Tensor
from torch.optim import SGD, Optimizer

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


class Companion(Protocol):
    """What changes along with the images and is saved with them, such as networks."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state."""

    def load_state_dict(self, state: dict[str, Any]) -> Any:
        """Go back to a state."""


def sgd(leaves: Sequence[Leaf], momentum: float) -> SGD:
    """Return SGD over leaves, a group for each."""
    momenta = [momentum if leaf.momentum is None else leaf.momentum for leaf in leaves]
    return SGD([{"params": [t], "lr": rate, "momentum": m} for (t, rate, _), m in zip(leaves, momenta, strict=True)])


def descend(
    objective: Objective,
    optimizer: Optimizer,
    context: Context,
    *,
    iterations: int,
    name: str,
    save_every: int | None = None,
    companions: Sequence[Companion] = (),
) -> float:
    """Change the tensors of an optimiser in place; an interrupted run resumes from its last save.

    Args:
        objective: returns, for iteration 0, 1, ..., the loss and its gradient with respect to every tensor. Without
            gradients, tensors and momenta stay as they are in this iteration.
        optimizer: the optimiser of the tensors.
        context: gives the scratch folder and takes the progress.
        iterations: number of iterations.
        name: the name of the saved file, and what error messages call it.
        save_every: number of iterations between two saves; None: `SAVE_EVERY`.
        companions: what the objective changes beside the tensors.

    Returns:
        The loss of the last iteration; NaN without iterations.

    Raises:
        BenchmarkError: the loss or a tensor is no longer finite.
    """
    tensors = [leaf for group in optimizer.param_groups for leaf in group["params"]]
    path = context.scratch / f"{name}.pt"
    start, loss = _resume(path, tensors, [optimizer, *companions])
    for iteration in range(start, iterations):
        loss, gradients = objective(iteration)
        if gradients is not None:
            for tensor, gradient in zip(tensors, gradients, strict=True):
                tensor.grad = gradient
            optimizer.step()
        done = iteration + 1
        reports = done % REPORT_EVERY == 0 or done == iterations
        if reports and gradients is not None:
            _refuse_divergence(loss, tensors, name, done)
        if done % (save_every or SAVE_EVERY) == 0:
            _save(path, tensors, [optimizer, *companions], done, loss.detach())
        context.progress(done, iterations, **({"loss": loss.item()} if reports else {}))
    return loss.item()


def _refuse_divergence(loss: Tensor, tensors: Sequence[Tensor], name: str, done: int) -> None:
    if not (math.isfinite(loss.item()) and all(bool(leaf.isfinite().all()) for leaf in tensors)):
        raise BenchmarkError(
            f"{name}: the images diverged within {done} iterations (loss {loss.item():g}); lower its learning rates"
        )


def _save(path: Path, tensors: Sequence[Tensor], companions: Sequence[Companion], done: int, loss: Tensor) -> None:
    leaves, states = [leaf.detach() for leaf in tensors], [companion.state_dict() for companion in companions]
    scratch.save({"leaves": leaves, "states": states, "done": done, "loss": loss}, path)


def _resume(path: Path, tensors: Sequence[Tensor], companions: Sequence[Companion]) -> tuple[int, Tensor]:
    """Load what was saved; return the number of iterations done and the loss of the last."""
    saved = scratch.load(path, tensors[0].device)
    if saved is None:
        return 0, tensors[0].new_full((), math.nan)
    with torch.no_grad():
        for leaf, value in zip(tensors, saved["leaves"], strict=True):
            leaf.copy_(value)
    for companion, state in zip(companions, saved["states"], strict=True):
        companion.load_state_dict(state)
    return int(saved["done"]), saved["loss"]
