"""Soft labels, hard labels, soft labels: three phases of one training, with few stored labels (HALD).

Of E epochs, s have soft labels: ``floor(s / 2)`` at the start and the others at the end. Their batches are drawn from
those of the first n epochs, each once before one comes again, and each phase begins anew. The E - s epochs between have
fresh views, and the classes of the images as labels: mixed as the views are, and smoothed, ``(1 - a) y + a / C``. Their
temperature is 1. Optimiser and learning rate go on through all phases.

Paper: Cui et al., Hard Labels In! Rethinking the Role of Hard Labels in Mitigating Local Semantic Drift, 2025,
https://arxiv.org/abs/2512.15647 (HALD). Differences from its code, https://github.com/Jiacheng8/HALD: the teacher is in
eval mode, where its code has train mode (but for RDED's sets); logits are stored where it stores probabilities at
temperature 20; no batch drops an image.
"""

from __future__ import annotations

import math

from pydantic import Field

from evaluators.parts.pool import Drawn, PooledLabels


class Phases(PooledLabels):
    """Teacher logits for the views of the first `stored` epochs; the epochs in the middle have hard labels."""

    stored: int = Field(default=10, ge=1)  # n: epochs of the pool, the soft labels per image
    soft_share: float = Field(default=0.5, gt=0, le=1)  # s / E; 1: soft labels in all epochs
    smoothing: float = Field(default=0.8, ge=0, le=1)  # a, the share of a hard label that goes to all classes alike

    def drawn(self, n: int) -> Drawn:
        """Return how a student of n images draws from the pool, and which epochs have hard labels."""
        soft = max(1, math.floor(self.soft_share * self.schedule.epochs + 1e-9))  # s
        pool = min(self.stored, soft) * self.schedule.batches(n)
        hard = hard_epochs(self.schedule.epochs, soft)
        return Drawn(**dict(self.schedule), pool=pool, reuse="cycle", hard=hard, smoothing=self.smoothing)


def hard_epochs(epochs: int, soft: int) -> tuple[int, int]:
    """Return the first epoch with hard labels and the one after the last, where ``soft`` epochs have soft labels."""
    start = min(soft, epochs) // 2
    return start, start + max(0, epochs - soft)
