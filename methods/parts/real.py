"""Choices of real images, as a start or as the whole set: random ones, and those nearest to given features."""

from __future__ import annotations

import torch
from torch import Tensor

from benchmark.api import Context, DatasetInfo, TrainData


def too_few(info: DatasetInfo, ipc: int) -> str | None:
    """Return None where every class has IPC training images; else which class has fewer."""
    smallest = min(info.train_counts)
    if ipc <= smallest:
        return None
    name = info.class_names[info.train_counts.index(smallest)]
    return f"class '{name}' of {info.name} has {smallest} training images, fewer than IPC {ipc}"


def random_indices(data: TrainData, classes: tuple[int, ...], slots: tuple[int, ...], context: Context) -> Tensor:
    """Return indices [len(classes) * len(slots)] of random images, class by class, without replacement.

    The choice depends only on the seed of the context and the class. So a larger IPC extends a smaller one where the
    set has one unit. With several units, a class may be in different units, with different seeds, at different IPC.
    """
    chosen = []
    for label in classes:
        members = data.indices_of(label)
        order = torch.randperm(len(members), generator=context.generator("choice", label))
        chosen.append(members[order[list(slots)]])
    return torch.cat(chosen)


def nearest_indices(features: Tensor, atoms: Tensor) -> Tensor:
    """Return for each atom of [k, D] the index of its own feature among [n, D], n >= k, as int64 [k].

    No index occurs twice: the assignment is the one with the smallest sum of squared distances.
    """
    from scipy.optimize import linear_sum_assignment  # takes a second

    costs = torch.cdist(atoms.cpu().double(), features.cpu().double()).square()
    return torch.from_numpy(linear_sum_assignment(costs.numpy())[1])
