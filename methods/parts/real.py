"""Real images as a starting point or as the whole method: random ones, and those nearest to given features."""

from __future__ import annotations

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from benchmark.api import Context, DatasetInfo, TrainData


def too_few(info: DatasetInfo, ipc: int) -> str | None:
    """Return why IPC different real images cannot be had of every class, or None."""
    least = min(info.train_counts)
    if ipc <= least:
        return None
    name = info.class_names[info.train_counts.index(least)]
    return f"class '{name}' of {info.name} has {least} training images, fewer than IPC {ipc}"


def random_indices(data: TrainData, classes: tuple[int, ...], slots: tuple[int, ...], context: Context) -> Tensor:
    """Return indices [len(classes) * len(slots)] of random images, class by class, without replacement.

    The draw of a class depends on the context's seed and the class alone. So a larger IPC extends a smaller one where
    all classes are in one unit; with several, a class may be in another unit, with another seed, at another IPC.
    """
    chosen = []
    for label in classes:
        members = data.indices_of(label)
        order = torch.randperm(len(members), generator=context.generator("choice", label))
        chosen.append(members[order[list(slots)]])
    return torch.cat(chosen)


def nearest_indices(features: Tensor, atoms: Tensor) -> Tensor:
    """Return for each atom [k, D] the place among the features [n, D], n >= k, of its own nearest one.

    No place is given twice: the assignment has the least sum of squared distances.
    """
    costs = torch.cdist(atoms.cpu().double(), features.cpu().double()).square()
    return torch.from_numpy(linear_sum_assignment(costs.numpy())[1])
