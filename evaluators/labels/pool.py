"""A pool of labels: the teacher's logits for a part of all batches, from which the student draws (LPLD, LPQLD).

A student of E epochs with B batches each takes ``E B`` steps. Labels of the first ``floor(share E B)`` batches are
stored, ten batches at least. Each batch of the student is one of them, with the views that its labels belong to. A
published pruning ratio rho is ``1 - share``. With `top_share`, a label keeps only its largest logits and their classes;
the softmax is over these, and the other classes have probability 0. LPLD draws with replacement, LPQLD without
(``reuse: epoch``).

Papers: Xiao and He, Are Large-scale Soft Labels Necessary for Large-scale Dataset Distillation?, NeurIPS 2024,
https://arxiv.org/abs/2410.15919 (LPLD); Soft Label Pruning and Quantization for Large-Scale Dataset Distillation, TPAMI
2026, https://arxiv.org/abs/2604.18135 (LPQLD). Differences from their code: batches have equal sizes (in the code of
LPLD a small last batch is replaced by the one before it); where all logits are kept, no classes are stored.
"""

from __future__ import annotations

import math

from pydantic import Field

from evaluators.parts.pool import Drawn, PooledLabels, Reuse

LEAST_BATCHES = 10  # the fewest batches of a pool, where the student trains on so many
LEAST_TOP = 10  # logits of a label, where there are so many classes


class Pool(PooledLabels):
    """Teacher logits for the views of the first batches: all logits, or the largest of each label."""

    share: float = Field(default=0.1, gt=0, le=1)  # the share of the batches that are stored, 1 - rho
    reuse: Reuse = "replacement"  # how batches are drawn: with replacement, or without it in an epoch or in a cycle
    # share of the classes whose logits a label keeps, ten classes at least; None: all
    top_share: float | None = Field(default=None, gt=0, le=1)

    def drawn(self, n: int) -> Drawn:
        """Return how a student of n images draws from the pool."""
        steps = self.schedule.steps(n)
        count = math.floor(self.share * steps + 1e-9)  # 0.29 of 100 is 29, also as binary fractions
        pool = max(count, min(LEAST_BATCHES, steps))
        return Drawn(**dict(self.schedule), pool=pool, reuse=self.reuse)

    def top(self, classes: int) -> int | None:
        """Return the number of logits that a label keeps; None: all."""
        top = classes if self.top_share is None else max(LEAST_TOP, round(self.top_share * classes))
        return top if top < classes else None
