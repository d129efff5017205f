"""CCS: real images of all degrees of difficulty, without the hardest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from methods.parts.coreset import Coreset, ranked


class CCS(Coreset):
    """Of each class, the ``floor(beta n)`` images with the smallest AUM are dropped; the rest fills equal strata.

    The strata divide the range of the AUM (see `aum`) of the rest into intervals of equal width. From the smallest
    stratum to the largest, each gives ``min(size, floor(images left to choose / strata left))`` random images.

    Differences from the authors' code (haizhongzheng/CCS): strata and budgets are those of a class, not of the whole
    training set, so that each class has exactly IPC images; there are min(strata, IPC) strata, since most of 50 would
    give none of a few images; never so many images are dropped that fewer than IPC are left; the upper end of the range
    is the maximum itself, not 1.0001 times it, which loses the maximum where it is negative; beta is 0.1 for our few
    images (the code has 0.2 and 0.3); float32.
    """

    paper: ClassVar[str] = (
        "Zheng et al.: Coverage-centric Coreset Selection for High Pruning Rates, ICLR 2023, "
        "https://arxiv.org/abs/2210.15809"
    )

    beta: float = Field(default=0.1, ge=0, lt=1)  # share of a class that is dropped as too hard
    strata: int = Field(default=50, ge=1)  # the most strata; with fewer images per class, as many as these

    def choose(self, records: Mapping[str, Tensor], ipc: int, generator: torch.Generator) -> Tensor:
        """Return the indices [IPC] of the chosen images, stratum by stratum."""
        areas = records["margins"].double().sum(0)
        candidates = ranked(areas, generator, largest=True)[: max(ipc, len(areas) - int(self.beta * len(areas) + 1e-9))]
        stratum = strata_of(areas[candidates], min(self.strata, ipc))
        sizes = torch.bincount(stratum, minlength=min(self.strata, ipc))
        indices = []
        for index, budget in enumerate(budgets(sizes.tolist(), ipc)):
            members = candidates[stratum == index]
            indices.append(members[torch.randperm(len(members), generator=generator)[:budget]])
        return torch.cat(indices)


def strata_of(scores: Tensor, strata: int) -> Tensor:
    """Return the stratum [n] of each score [n]: 0 to strata - 1, intervals of equal width from least to largest."""
    low, high = scores.min(), scores.max()
    if low == high:
        return torch.zeros(len(scores), dtype=torch.int64)
    return ((scores - low) / (high - low) * strata).long().clamp(max=strata - 1)


def budgets(sizes: list[int], k: int) -> list[int]:
    """Return how many images each stratum gives, at most its size; their sum is k, or all images where these are fewer.

    The smallest stratum decides first; what it cannot give, the larger ones share.
    """
    counts, remainder = [0] * len(sizes), k
    for position, index in enumerate(sorted(range(len(sizes)), key=lambda i: sizes[i])):
        counts[index] = min(sizes[index], remainder // (len(sizes) - position))
        remainder -= counts[index]
    return counts
