"""Pruned labels: the teacher's logits for the views of a few epochs, on which the student trains repeatedly.

Labels of ``epochs`` = k epochs are stored. Epoch e of the student has the views and the labels of epoch ``e mod k``.
This divides the bytes of the labels, and the number of different views, by E / k.

With ``top``, a label keeps only its largest logits, with their classes, and the mean of the others. The differences
among the others are lost. The probability of the others together changes little: ``T log mean exp(z / T)`` exceeds the
mean of z by about ``var(z) / 2T``.

Papers: Xiao and He, Are Large-scale Soft Labels Necessary for Large-scale Dataset Distillation?, NeurIPS 2024,
https://arxiv.org/abs/2410.15919 (LPLD, pruning); Soft Label Pruning and Quantization for Large-Scale Dataset
Distillation, TPAMI 2026, https://arxiv.org/abs/2604.18135 (LPQLD, the largest logits). LPLD chooses at random what it
stores and what the student trains on (label regime `pool`); here the stored epochs come in order, all equally often.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from benchmark.api import Context, DatasetInfo, LabelKind, Labels, SyntheticSet
from evaluators.parts.stored import half, view_logits, write
from evaluators.parts.teacher_labels import TeacherLabels
from evaluators.parts.top import label_dtype, pack


class Pruned(TeacherLabels):
    """Teacher logits for the views of a few epochs: all logits, or the largest of each label."""

    labels_kind: ClassVar[LabelKind | None] = "per_epoch"

    version: ClassVar[int] = 2

    epochs: int | None = Field(default=None, ge=1)  # number of stored epochs; None or too many: all epochs
    top: int | None = Field(default=None, ge=1, le=65536)  # number of logits kept per label; None: all

    def labelled(self, n: int) -> int:
        """Return the views of the stored epochs."""
        return self._stored * n

    def label(self, images: SyntheticSet, info: DatasetInfo, context: Context, folder: Path) -> Labels:
        """Write ``folder/logits.npy`` batch by batch, and return labels that map this file into memory."""
        packing = half if self.top is None else partial(pack, top=min(self.top, info.classes))
        schedule = self.schedule.model_copy(update={"epochs": self._stored})
        chunks = map(packing, view_logits(images, schedule, info, context))
        logits = write(folder / "logits.npy", chunks, schedule.epochs, len(images))
        return Labels("per_epoch", logits, self.schedule.model_dump(mode="json"), context.seed)

    def bytes_per_image(self, classes: int) -> int:
        """Return the bytes of the labels of one image: per stored epoch, two per class or ``4 top + 2``."""
        label = classes * 2 if self.top is None else label_dtype(min(self.top, classes)).itemsize
        return self._stored * label

    @property
    def _stored(self) -> int:
        return min(self.epochs or self.schedule.epochs, self.schedule.epochs)
