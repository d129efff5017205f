"""Labels of which only the largest logits are stored, with the mean of the others."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from evaluators.parts.stored import Array, half


def label_dtype(top: int) -> np.dtype[np.void]:
    """Return the type of a stored label, of ``4 top + 2`` bytes."""
    return np.dtype([("logits", "<f2", (top,)), ("rest", "<f2"), ("classes", "<u2", (top,))])


def pack(logits: Tensor, top: int) -> Array:
    """Return stored labels [b] of logits [b, classes]: the ``top`` largest, their classes, the mean of the others."""
    ordered, classes = logits.float().sort(dim=1, descending=True)
    packed = np.empty(len(logits), label_dtype(top))
    packed["logits"], packed["classes"] = half(ordered[:, :top]), classes[:, :top].cpu().numpy()
    packed["rest"] = half(ordered[:, top:].mean(1)) if top < logits.shape[1] else 0
    return packed


def unpack(packed: Array, classes: int) -> Tensor:
    """Return logits, float32 [b, classes], of stored labels [b]; a class without a stored logit gets the mean."""
    rest = torch.from_numpy(packed["rest"].astype(np.float32)).unsqueeze(1)
    kept = torch.from_numpy(packed["logits"].astype(np.float32))
    return rest.repeat(1, classes).scatter_(1, torch.from_numpy(packed["classes"].astype(np.int64)), kept)
