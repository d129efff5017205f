"""Pruned labels: the teacher's answers to the views of a few epochs, which the student meets again and again.

``epochs`` = k of them are stored, and epoch e of the student replays the views and the labels of epoch ``e mod k``. The
labels shrink by k / E, and so does the variety of views.

With ``top``, only the largest logits of a label are kept, with their classes and the mean of the others. What is lost
are the differences among the others, and of their common probability what is of second order in z / T:
``T log mean exp(z / T)`` exceeds the mean of z by about ``var(z) / 2T``.

Papers: Xiao and He, Are Large-scale Soft Labels Necessary for Large-scale Dataset Distillation?, NeurIPS 2024,
https://arxiv.org/abs/2410.15919 (LPLD, pruning); Soft Label Pruning and Quantization for Large-Scale Dataset
Distillation, TPAMI 2026, https://arxiv.org/abs/2604.18135 (LPQLD, the largest logits). LPLD draws what is stored
and what is met at random; here every stored epoch is met equally often, in order.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from pydantic import Field

from benchmark.api import Context, DatasetInfo, LabelRegime, Labels, SyntheticSet, TeacherSpec
from benchmark.vision.augment import Schedule
from evaluators.parts.stored import answers, half, write
from evaluators.parts.top import pack, record


class Pruned(LabelRegime):
    """Teacher logits for the views of a few epochs, all of them or the largest of each label."""

    schedule: Schedule
    epochs: int | None = Field(default=None, ge=1)  # stored; None, or more than there are: all
    top: int | None = Field(default=None, ge=1, le=65536)  # logits kept of each label; None: all

    def teachers(self) -> tuple[TeacherSpec, ...]:
        """Return the dataset's teacher."""
        return (TeacherSpec(),)

    def label(self, images: SyntheticSet, info: DatasetInfo, context: Context, folder: Path) -> Labels:
        """Write ``folder/logits.npy`` batch by batch, in bounded memory, and return labels that map it."""
        packing = half if self.top is None else partial(pack, top=min(self.top, info.classes))
        stored = self.schedule.model_copy(update={"epochs": self._stored})
        chunks = map(packing, answers(images, stored, info, context))
        logits = write(folder / "logits.npy", chunks, stored.epochs, len(images))
        return Labels("per_epoch", logits, self.schedule.model_dump(mode="json"), context.seed)

    def bytes_per_image(self, classes: int) -> int:
        """Return the bytes of one image's labels: two for each class, or ``4 top + 2``, in each stored epoch."""
        label = classes * 2 if self.top is None else record(min(self.top, classes)).itemsize
        return self._stored * label

    @property
    def _stored(self) -> int:
        return min(self.epochs or self.schedule.epochs, self.schedule.epochs)
