"""Real data: the facts about a dataset, and its two splits."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Set
from functools import cached_property
from typing import get_args, get_origin

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor


class Frozen(BaseModel):
    """Validated values that cannot be changed; an unknown field is an error, and so is a number that is not finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def __pydantic_init_subclass__(cls, **_options: object) -> None:
        """Refuse a class with a field of sets, from which each process would make another key."""
        for name, field in cls.model_fields.items():
            if _has_set(field.annotation):
                raise TypeError(f"{cls.__name__}.{name}: a set has another order in each process; take a tuple")


def _has_set(kind: object) -> bool:
    """Return whether a type is a set, or has one in its parts."""
    origin = get_origin(kind) or kind
    return (isinstance(origin, type) and issubclass(origin, Set)) or any(map(_has_set, get_args(kind)))


class DatasetInfo(Frozen):
    """The facts about a dataset that need no image."""

    name: str
    class_names: tuple[str, ...]
    train_counts: tuple[int, ...]  # training images per class
    resolution: int  # images are [channels, resolution, resolution]
    channels: int = 3
    mean: tuple[float, ...]  # the mean of pixels in [0, 1], per channel
    std: tuple[float, ...]
    flip: bool = True  # True: a mirrored image still shows its class
    fingerprint: str  # hash of everything that decides which pixels are read

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)


class ImageData(ABC):
    """Labelled images, held in memory or decoded when they are asked for."""

    info: DatasetInfo
    labels: Tensor  # [N] int64

    @abstractmethod
    def read(self, indices: Tensor) -> Tensor:
        """Return the images at indices [n] int64, as uint8 [n, C, H, W] in the same order."""

    def __len__(self) -> int:
        return len(self.labels)


class TrainData(ImageData):
    """The training split: the only real data that a method gets. It gives no access to the test split."""

    @cached_property
    def _by_class(self) -> tuple[Tensor, ...]:
        order = torch.argsort(self.labels, stable=True)
        ends = torch.bincount(self.labels, minlength=self.info.classes).cumsum(0)
        return tuple(order.tensor_split(ends[:-1]))

    def indices_of(self, label: int) -> Tensor:
        """Return the indices (int64 [n]) of the training images of one class, in increasing order."""
        return self._by_class[label]

    def read_whole(self, indices: Tensor) -> Tensor:
        """Return whole images at indices [n], each squeezed into a square, uint8 [n, C, W, W]: random crops are theirs.

        W may differ from the resolution. Data without whole images return what `read` returns.
        """
        return self.read(indices)

    def aspects(self, indices: Tensor) -> Tensor | None:
        """Return width / height [n] of the images of `read_whole` before they were squeezed; None: all are squares."""
        return None


class TestData(ImageData):
    """The test split. An evaluator reads it once, after the last training step of the student."""

    __test__ = False  # pytest would take a class called Test... for a test case
