"""Labels of which only the largest logits are stored, with or without the mean of the others."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from evaluators.parts.stored import Array, half


def label_dtype(top: int, *, rest: bool = True) -> np.dtype[np.void]:
    """Return the type of a stored label, of ``4 top + 2`` bytes, or of ``4 top`` bytes without the mean."""
    mean = [("rest", "<f2")] if rest else []
    return np.dtype([("logits", "<f2", (top,)), *mean, ("classes", "<u2", (top,))])


def pack(logits: Tensor, top: int, *, rest: bool = True) -> Array:
    """Return stored labels [b] of logits [b, classes]: the ``top`` largest, their classes, the mean of the others.

    Without the mean (`rest`), the other classes have no probability.
    """
    sorted_logits, classes = logits.float().sort(dim=1, descending=True)
    packed = np.empty(len(logits), label_dtype(top, rest=rest))
    packed["logits"], packed["classes"] = half(sorted_logits[:, :top]), classes[:, :top].cpu().numpy()
    if rest:
        packed["rest"] = half(sorted_logits[:, top:].mean(1)) if top < logits.shape[1] else 0
    return packed


def unpack(packed: Array, classes: int) -> Tensor:
    """Return logits, float32 [b, classes], of stored labels [b].

    A class without a stored logit gets the mean, or minus infinity where no mean is stored.
    """
    means = packed["rest"] if "rest" in (packed.dtype.names or ()) else np.full(len(packed), -np.inf)
    filling = torch.from_numpy(means.astype(np.float32)).unsqueeze(1)
    values = torch.from_numpy(packed["logits"].astype(np.float32))
    return filling.repeat(1, classes).scatter_(1, torch.from_numpy(packed["classes"].astype(np.int64)), values)
