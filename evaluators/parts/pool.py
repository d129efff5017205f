"""A pool of labelled batches: a student that trains for more steps draws each of its batches from the pool.

The pool holds the first batches of the stream, each with its images, crops, flips and mix, and one label per view.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import ClassVar, Literal

import torch
from pydantic import PrivateAttr

from benchmark.api import Context, DatasetInfo, LabelKind, Labels, SyntheticSet
from benchmark.identity import seed_of
from benchmark.vision.augment import Schedule, View
from evaluators.parts.stored import half, view_logits, write
from evaluators.parts.teacher_labels import TeacherLabels
from evaluators.parts.top import label_dtype, pack

Reuse = Literal["replacement", "epoch", "cycle"]


class Drawn(Schedule):
    """A schedule whose batches are drawn from a pool, apart from the hard epochs, whose views are fresh.

    ``replacement``: every batch is any of the pool. ``epoch``: the batches of an epoch differ, unless it has more than
    the pool. ``cycle``: every batch of the pool comes once before one comes again; hard epochs end a cycle. A pool of
    all batches is used in its order. A drawn view has the number of its batch in `View.stored`, a fresh one has none.
    """

    pool: int  # batches
    reuse: Reuse
    hard: tuple[int, int] = (0, 0)  # the first hard epoch, and the one after the last
    smoothing: float = 0.0  # share of the hard labels that goes to all classes alike

    _views: dict[tuple[int, int], list[View]] = PrivateAttr(default_factory=dict)

    def views(self, seed: int, epoch: int, n: int) -> Iterator[View]:
        """Yield the views of one epoch."""
        if self.hard[0] <= epoch < self.hard[1]:
            yield from super().views(seed, self.epochs + epoch, n)  # no epoch of the pool has this number
            return
        if (seed, n) not in self._views:  # some 33 bytes for each image of a view
            epochs = (Schedule.views(self, seed, number, n) for number in range(self.epochs))
            self._views[seed, n] = list(islice(chain.from_iterable(epochs), self.pool))
        for number in self.drawn(seed, epoch, n):
            yield replace(self._views[seed, n][number], stored=number)

    def drawn(self, seed: int, epoch: int, n: int) -> list[int]:
        """Return the numbers of the batches of the pool that an epoch over n images has."""
        count = self.batches(n)
        if self.pool == self.steps(n):
            return list(range(epoch * count, (epoch + 1) * count))
        if self.reuse == "replacement":
            return torch.randint(self.pool, (count,), generator=_generator(seed, epoch)).tolist()
        start = epoch if self.reuse == "epoch" else self.hard[1] if epoch >= self.hard[1] else 0
        step = (epoch - start) * count  # step since the start of the cycles
        cycles = range(step // self.pool, (step + count - 1) // self.pool + 1)
        order = torch.cat([torch.randperm(self.pool, generator=_generator(seed, start, cycle)) for cycle in cycles])
        return order[step - cycles[0] * self.pool :][:count].tolist()

    def rows(self, number: int, n: int) -> slice:
        """Return where the labels of a batch of the pool lie among those of all its views."""
        epoch, place = divmod(number, self.batches(n))
        size, larger = divmod(n, self.batches(n))  # the first batches of an epoch have one image more
        start = epoch * n + place * size + min(place, larger)
        return slice(start, start + size + (place < larger))

    def stored_views(self, n: int) -> int:
        """Return the number of views of the pool."""
        stop: int = self.rows(self.pool - 1, n).stop
        return stop


def drawn_from(labels: Labels) -> Drawn:
    """Return the schedule of a student that has these labels of a pool."""
    return Drawn(**labels.views, **labels.draws)


class PooledLabels(TeacherLabels):
    """The dataset's teacher labels the views of a pool; `drawn` says which these are and when the student has them."""

    labels_kind: ClassVar[LabelKind | None] = "pool"

    def labelled(self, n: int) -> int:
        """Return the views of the pool."""
        return self.drawn(n).stored_views(n)

    @abstractmethod
    def drawn(self, n: int) -> Drawn:
        """Return how a student of n images draws from the pool."""

    def top(self, classes: int) -> int | None:
        """Return the number of logits that a label keeps; None: all."""
        return None

    def label(self, images: SyntheticSet, info: DatasetInfo, context: Context, folder: Path) -> Labels:
        """Write ``folder/logits.npy`` batch by batch, and return labels that map this file into memory."""
        n, top, drawn = len(images), self.top(info.classes), self.drawn(len(images))
        packing = half if top is None else partial(pack, top=top, rest=False)
        schedule = self.schedule.model_copy(update={"epochs": math.ceil(drawn.pool / self.schedule.batches(n))})
        chunks = islice(view_logits(images, schedule, info, context), drawn.pool)
        logits = write(folder / "logits.npy", map(packing, chunks), drawn.stored_views(n))
        draws = drawn.model_dump(mode="json", exclude=set(Schedule.model_fields))
        return Labels("pool", logits, self.schedule.model_dump(mode="json"), context.seed, draws)

    def bytes_of(self, images: int, classes: int) -> int:
        """Return the bytes of all labels: for each view two per class, or four for each logit that is kept."""
        top = self.top(classes)
        label = classes * 2 if top is None else label_dtype(top, rest=False).itemsize
        return self.drawn(images).stored_views(images) * label


def _generator(*axes: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed_of("drawn", *axes))
