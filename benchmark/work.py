"""How much work a component does: the images that pass through networks, before anything runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from benchmark.data import DatasetInfo

Pass: TypeAlias = Literal["forward", "recover", "train"]


@dataclass(frozen=True)
class Work:
    """Images that pass through one network; an image counts at every pass, as in the record (``images_forwarded``).

    Attributes:
        kind: ``forward``; ``recover``: forward, and backward to the pixels; ``train``: forward, and backward to the
            weights.
        images: number of images.
        arch: the name of the network; "": that of the dataset's teacher, ``neutral``: that of its neutral network.
        side: the side of the images, in pixels; 0: the resolution of the dataset.
    """

    kind: Pass
    images: int
    arch: str = ""
    side: int = 0


@dataclass(frozen=True)
class Job:
    """What the work of a node depends on, beside its hyperparameters.

    Attributes:
        info: the dataset.
        images: the size of the unit that is distilled, or of the set that is labelled, evaluated or measured.
        classes: the labels of the classes of the unit.
        ipc: images per class of the whole set; 0 where the set does not depend on it.
        student: architecture of the student; "" where there is none.
        test_images: the number of images of the test split.
    """

    info: DatasetInfo
    images: int = 0
    classes: tuple[int, ...] = ()
    ipc: int = 0
    student: str = ""
    test_images: int = 0

    @property
    def train_images(self) -> int:
        """Number of training images."""
        return sum(self.info.train_counts)

    def members(self, most: int | None = None) -> int:
        """Return the training images of the unit's classes, at most `most` of each."""
        counts = [self.info.train_counts[label] for label in self.classes or range(self.info.classes)]
        return sum(counts if most is None else (min(most, count) for count in counts))
