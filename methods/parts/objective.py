"""The terms that a recovery loop minimises besides cross-entropy: a goal for the features, and a regulariser R."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmark.vision.moments import BatchNormInputs, pooled


@dataclass(frozen=True)
class Goal:
    """Further losses of a unit, and what belongs to them; the defaults add nothing.

    Attributes:
        loss: takes the features, float32 [N, D] in the order of the unit, and returns a scalar.
        weights: [classes, slots], of the images within their class; each row sums to 1. None: equal weights.
        atoms: [classes, IPC, D], features of which the nearest real images are the start ``nearest_real``.
        metadata: values for the metadata of the set.
        view_loss: takes the view, normalised images [N, C, S, S] in the order of the unit, and returns a scalar.
    """

    loss: Callable[[Tensor], Tensor] | None = None
    weights: Tensor | None = None
    atoms: Tensor | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    view_loss: Callable[[Tensor], Tensor] | None = None


class Penalty(Protocol):
    """A regulariser R: a context manager around the loop, which records the forward passes of the teachers."""

    def __enter__(self) -> Any: ...

    def __exit__(self, *error: object) -> None: ...

    def begin(self, iteration: int) -> None:
        """Prepare for the forward pass of an iteration."""

    def __call__(self) -> Tensor:
        """Return R for the last forward pass."""


class Regulariser:
    """Distance between the batch-norm statistics of groups of images and the target statistics, summed over layers.

    Not squared: ``R = sum_l a_l mean_g (|mu_gl - mu*_gl| + |v_gl - v*_gl|)``, as in the code of SRe2L and of WMDD.
    Squared: ``R = sum_l a_l sum_g (|mu_gl - mu*_gl|^2 + |v_gl - v*_gl|^2)``, as in the paper of WMDD.

    Attributes:
        variance_weight: factor of the terms of the variances; 1 unless a method sets it.
        columns: takes an iteration and returns the columns of the weights whose images take part; None: all.
    """

    def __init__(
        self,
        inputs: BatchNormInputs,
        target: tuple[Tensor, Tensor],
        weights: Tensor,
        *,
        first_layer_weight: float,
        squared: bool,
    ) -> None:
        """Set the target statistics.

        Args:
            inputs: the recorder of the teacher's batch-norm inputs.
            target: means mu* and variances v*, each [groups, channels of all layers].
            weights: [groups, n], of the images in their group; each row sums to 1.
            first_layer_weight: a_0; the other a_l are 1.
            squared: which of the two forms.
        """
        self.inputs, self.target, self.weights, self.squared = inputs, torch.stack(target), weights, squared
        channels = torch.tensor(inputs.channels)
        owner = torch.arange(len(channels)).repeat_interleave(channels)
        self.member = F.one_hot(owner).to(
            self.target
        )  # [channels of all layers, layers]: sums over the channels of each layer
        self.layer_weights = torch.ones(len(channels)).to(self.target)
        self.layer_weights[:1] = first_layer_weight
        self.variance_weight = 1.0
        self.columns: Callable[[int], list[int]] | None = None
        self._all_weights = weights

    def __enter__(self) -> Regulariser:
        self.inputs.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.inputs.__exit__(*error)

    def begin(self, iteration: int) -> None:
        """Choose the images that take part, where not all do; their weights sum to 1 again."""
        if self.columns:
            part = self._all_weights[:, self.columns(iteration)]
            self.weights = part / part.sum(1, keepdim=True)

    def __call__(self) -> Tensor:
        """Return R for the last forward pass of the teacher."""
        shape = (*self.weights.shape, -1)
        mean, variance = (moment.view(shape) for moment in self.inputs.moments())
        gaps = torch.stack(pooled(mean, variance, self.weights)) - self.target
        squares = gaps.square() @ self.member  # [2, groups, layers]
        kinds = squares.new_tensor([1.0, self.variance_weight]).view(2, 1)
        if self.squared:
            return ((squares * kinds.unsqueeze(1)).sum((0, 1)) * self.layer_weights).sum()
        return ((squares.clamp_min(1e-12).sqrt().mean(1) * kinds).sum(0) * self.layer_weights).sum()


class InTurn:
    """The regulariser of the teacher whose turn it is: iteration i has number i mod K; None: R = 0."""

    def __init__(self, penalties: Sequence[Penalty | None], device: torch.device) -> None:
        """Take the regularisers of the K teachers, in the order of the teachers."""
        self.penalties, self.none, self.stack = penalties, torch.zeros((), device=device), ExitStack()

    def __enter__(self) -> InTurn:
        for penalty in filter(None, self.penalties):
            self.stack.enter_context(penalty)
        return self

    def __exit__(self, *error: object) -> None:
        self.stack.close()

    def begin(self, iteration: int) -> None:
        """Choose the regulariser of an iteration."""
        self.current = self.penalties[iteration % len(self.penalties)]
        if self.current:
            self.current.begin(iteration)

    def __call__(self) -> Tensor:
        """Return R for the last forward pass."""
        return self.current() if self.current else self.none
