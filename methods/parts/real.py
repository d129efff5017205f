"""Choose real images, as a start or as the whole set: random, of medium probability, or nearest to given features."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmark.api import Context, DatasetInfo, Distiller, Job, TrainData, Work
from benchmark.vision.augment import normalize
from benchmark.vision.training import predict, read_ahead

BATCH = 500  # images whose losses are computed together
MOST_CLASSES = 200  # the most classes of a method each of whose steps passes images of every class


class RealImages(Distiller):
    """A method whose set is real images as they are."""

    def supports(self, info: DatasetInfo, ipc: int) -> str | None:
        """Return a reason where a class has fewer than IPC images."""
        return too_few(info, ipc)

    def work(self, job: Job) -> tuple[Work, ...]:
        """Return nothing: no image passes a network, but in the preparation."""
        return ()


def too_few(info: DatasetInfo, ipc: int, factor: int = 1) -> str | None:
    """Return None where every class has IPC factor^2 training images; else which class has fewer.

    ``factor`` counts the cells along a side of a mosaic, each of which takes one image.
    """
    smallest, needed = min(info.train_counts), ipc * factor**2
    if needed <= smallest:
        return None
    name = info.class_names[info.train_counts.index(smallest)]
    reason = f"class '{name}' of {info.name} has {smallest} training images, fewer than IPC {ipc}"
    return reason if factor == 1 else f"{reason} x {factor}^2 = {needed}: choose a factor below {factor}"


def too_many_classes(info: DatasetInfo, method: str) -> str | None:
    """Return None up to `MOST_CLASSES` classes; else why a method that passes images of each class is infeasible."""
    if info.classes <= MOST_CLASSES:
        return None
    return (
        f"{method} is infeasible on {info.name} ({info.classes} classes): every step passes real and synthetic images "
        f"of each class, which is affordable up to {MOST_CLASSES} classes"
    )


def random_members(data: TrainData, label: int, most: int, generator: torch.Generator) -> Tensor:
    """Return the indices of `most` random images of a class, or of all where these are fewer, without replacement."""
    members = data.indices_of(label)
    return members[torch.randperm(len(members), generator=generator)[:most]]


def random_indices(data: TrainData, classes: tuple[int, ...], slots: tuple[int, ...], context: Context) -> Tensor:
    """Return indices [len(classes) * len(slots)] of random images, class by class, without replacement.

    The choice depends only on the seed of the context and the class. So a larger IPC extends a smaller one where the
    set has one unit. With several units, a class may be in different units, with different seeds, at different IPC.
    """
    indices = []
    for label in classes:
        members = data.indices_of(label)
        order = torch.randperm(len(members), generator=context.generator("choice", label))
        indices.append(members[order[list(slots)]])
    return torch.cat(indices)


def medium_indices(data: TrainData, classes: tuple[int, ...], slots: tuple[int, ...], context: Context) -> Tensor:
    """Return indices [len(classes) * len(slots)] of images of which the teacher is neither sure nor unsure.

    The n images of a class are ordered by the teacher's probability of the class, lowest first, and taken from the
    middle outwards: ``m, m + 1, m - 1, m + 2, ...`` with ``m = ceil(n / 2)``, counted from 0. As the start of DELT.
    """
    indices = []
    for label in classes:
        members = data.indices_of(label)
        order = class_losses(data, members, label, context).argsort(descending=True, stable=True)
        indices.append(members[order[middle_out(len(members))[list(slots)]]])
    return torch.cat(indices)


def middle_out(n: int) -> Tensor:
    """Return the ranks 0 .. n - 1 in the order m, m + 1, m - 1, m + 2, ..., where m = ceil(n / 2)."""
    ranks, middle = torch.arange(n), (n + 1) // 2
    return (2 * (ranks - middle).abs() - (ranks > middle).int()).argsort()


def class_losses(data: TrainData, indices: Tensor, label: int, context: Context) -> Tensor:
    """Return the cross-entropy of the first teacher on whole images, float32 [n] on the CPU: -log of p(label)."""
    losses = []
    for images in read_ahead(data.read, indices.split(BATCH)):
        pixels = normalize(images.to(context.device), data.info).contiguous(memory_format=torch.channels_last)
        logits = predict(context.teachers[0], pixels, context)
        targets = torch.full((len(logits),), label, device=logits.device)
        losses.append(F.cross_entropy(logits, targets, reduction="none").cpu())
    return torch.cat(losses)


def nearest_indices(features: Tensor, atoms: Tensor) -> Tensor:
    """Return for each atom of [k, D] the index of its own feature among [n, D], n >= k, as int64 [k].

    No index occurs twice: the assignment is the one with the smallest sum of squared distances.
    """
    from scipy.optimize import linear_sum_assignment  # takes a second

    costs = torch.cdist(atoms.cpu().double(), features.cpu().double()).square()
    return torch.from_numpy(linear_sum_assignment(costs.numpy())[1])
