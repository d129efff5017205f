"""What a recovery loop minimises besides cross-entropy: a goal for the features, and batch-norm statistics."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmark.vision.moments import BatchNormInputs, pooled


@dataclass(frozen=True)
class Goal:
    """What the features of a unit's images are drawn to; all defaults where cross-entropy alone leads.

    Attributes:
        loss: of the features, float32 [N, D] in the order of the unit; a scalar.
        weights: [classes, slots] of the images within their class, each row summing to 1; None: equal.
        atoms: [classes, IPC, D] features that images start near, where they start ``nearest_real``.
        metadata: plain values worth keeping.
        view_loss: of the images as the teacher sees them, [N, C, S, S] normalised, in the order of the unit; a scalar.
    """

    loss: Callable[[Tensor], Tensor] | None = None
    weights: Tensor | None = None
    atoms: Tensor | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    view_loss: Callable[[Tensor], Tensor] | None = None


class Penalty(Protocol):
    """A regulariser R: entered for the time of the loop, it watches the teachers' forward passes."""

    def __enter__(self) -> Any: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def begin(self, iteration: int) -> None:
        """Make ready for the forward pass of an iteration."""

    def __call__(self) -> Tensor:
        """Return R for the last forward pass."""


class Regulariser:
    """Distance between the batch-norm statistics of groups of images and those wanted, summed over layers.

    ``norm``:    ``R = sum_l a_l mean_g (|mu_gl - mu*_gl| + |v_gl - v*_gl|)``, as in the code of SRe2L and of WMDD;
    ``squared``: ``R = sum_l a_l sum_g (|mu_gl - mu*_gl|^2 + |v_gl - v*_gl|^2)``, as in the paper of WMDD.
    """

    def __init__(
        self,
        inputs: BatchNormInputs,
        wanted: tuple[Tensor, Tensor],
        weights: Tensor,
        *,
        first_layer_weight: float,
        squared: bool,
    ) -> None:
        """Say what is to be matched.

        Args:
            inputs: the recorder on the teacher.
            wanted: means and variances, each [groups, channels of all layers].
            weights: [groups, n] of the images in their group, every row summing to 1.
            first_layer_weight: a_0; the other layers count 1.
            squared: which form.
        """
        self.inputs, self.wanted, self.weights, self.squared = inputs, torch.stack(wanted), weights, squared
        channels = torch.tensor(inputs.channels)
        owner = torch.arange(len(channels)).repeat_interleave(channels)
        self.member = F.one_hot(owner).to(self.wanted)  # [channels of all layers, layers], sums over each layer
        self.layer_weights = torch.ones(len(channels)).to(self.wanted)
        self.layer_weights[:1] = first_layer_weight

    def __enter__(self) -> Regulariser:
        self.inputs.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.inputs.__exit__(kind, error, trace)

    def begin(self, iteration: int) -> None:
        """Do nothing: every iteration is the same."""

    def __call__(self) -> Tensor:
        """Return R for the last forward pass of the teacher."""
        shape = (*self.weights.shape, -1)
        mean, variance = (moment.view(shape) for moment in self.inputs.moments())
        gaps = torch.stack(pooled(mean, variance, self.weights)) - self.wanted
        squares = gaps.square() @ self.member  # [2, groups, layers]
        if self.squared:
            return (squares.sum((0, 1)) * self.layer_weights).sum()
        return (squares.clamp_min(1e-12).sqrt().mean(1).sum(0) * self.layer_weights).sum()
