"""Groups of a batch, each of which passes batch norms alone: the statistics of a batch norm are those of its group."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from benchmark.vision.models import batch_norms


def split(images: Tensor, groups: int) -> tuple[Tensor, ...]:
    """Cut a batch [b, ...] into groups whose sizes differ by at most one, the larger ones last.

    There are fewer groups where one would have a single image: a batch of three is one group.
    """
    n = len(images)
    count = max(1, min(groups, n // 2))
    return images.tensor_split([n * index // count for index in range(1, count)])


class InGroups(nn.Module):
    """A network that passes the groups of a batch one after the other while it trains, and whole batches otherwise."""

    def __init__(self, network: nn.Module, groups: int) -> None:
        """Take the network, whose weights are shared, and the number of groups."""
        super().__init__()
        self.network, self.groups = network, groups

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits [b, classes] of normalised images [b, C, S, S]."""
        parts = split(images, self.groups) if self.training else (images,)
        return torch.cat([self.network(part) for part in parts])


def with_batch_statistics(network: nn.Module) -> nn.Module:
    """Return a copy of a network whose batch norms use the statistics of the batch; all else is in eval mode.

    The running statistics of the given network stay as they are; those of the copy have no effect.
    """
    result = copy.deepcopy(network).eval()
    for norm in batch_norms(result):
        norm.train()
    return result
