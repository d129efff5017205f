"""Per-epoch soft labels of teachers in train mode: their batch norms use the statistics of the views that they label.

A batch of views, after CutMix, is cut into groups, halves by default, and each group passes the teacher alone. So the
label of a view depends on the other views of its group. A teacher without batch norms gives the labels of `per_epoch`.

Papers: the labels of Cui et al., Dataset Distillation via Committee Voting, 2025, https://arxiv.org/abs/2501.07575
(CV-DD, SRe2L++) and FADRM, NeurIPS 2025, https://arxiv.org/abs/2506.24125. Differences from their code: dropout is off
(in the code the whole teacher is in train mode); the running statistics of the teacher, which no label reads, are not
changed; batches have equal sizes and no group has a single image, while the code divides a small last batch too.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import torch
from pydantic import Field, field_validator
from torch import Tensor

from benchmark.api import Context, DatasetInfo, LabelKind, Labels, SyntheticSet, TeacherSpec
from benchmark.errors import BenchmarkError
from benchmark.vision.augment import Schedule
from evaluators.parts.groups import split, with_batch_statistics
from evaluators.parts.stored import half, mean_logits, view_logits, write
from evaluators.parts.teacher_labels import TeacherLabels


class TrainMode(TeacherLabels):
    """``z = (1 / K) sum_k f_k(group)``: the mean logits of K teachers whose batch norms see one group of a batch."""

    labels_kind: ClassVar[LabelKind | None] = "per_epoch"

    archs: tuple[str, ...] = ()  # the networks of the teachers; (): the dataset's teacher
    groups: int = Field(default=2, ge=1)  # the groups of a batch; 1: whole batches

    @field_validator("schedule")
    @classmethod
    def _has_batches(cls, schedule: Schedule) -> Schedule:
        if schedule.batch_size < 2:
            raise ValueError("batch_size: 2 or more; one image has no batch statistics")
        return schedule

    def teachers(self) -> tuple[TeacherSpec, ...]:
        """Return the K networks."""
        return tuple(TeacherSpec(arch=arch) for arch in self.archs) or (TeacherSpec(),)

    def labelled(self, n: int) -> int:
        """Return the views of all epochs."""
        return self.schedule.epochs * n

    def label(self, images: SyntheticSet, info: DatasetInfo, context: Context, folder: Path) -> Labels:
        """Write ``folder/logits.npy`` batch by batch, and return labels that map this file into memory.

        Raises:
            BenchmarkError: a batch has a single image.
        """
        if len(images) // self.schedule.batches(len(images)) < 2:
            raise BenchmarkError(
                f"label regime {self.name()}: a batch of one image has no batch statistics: "
                f"{len(images)} images need batches of more than {self.schedule.batch_size}"
            )
        chunks = map(half, self._logits(images, info, context))
        logits = write(folder / "logits.npy", chunks, self.schedule.epochs, len(images))
        return Labels("per_epoch", logits, self.schedule.model_dump(mode="json"), context.seed)

    def _logits(self, images: SyntheticSet, info: DatasetInfo, context: Context) -> Iterator[Tensor]:
        """Return the labels of each batch of views of each epoch, [b, classes]."""
        teachers = [with_batch_statistics(teacher) for teacher in context.teachers]

        def logits_of(views: Tensor) -> Tensor:
            return torch.cat([mean_logits(teachers, group, context) for group in split(views, self.groups)])

        return view_logits(images, self.schedule, info, context, logits_of)

    def bytes_per_image(self, classes: int) -> int:
        """Return the bytes of the labels of one image: two per class and epoch."""
        return self.schedule.epochs * classes * 2
