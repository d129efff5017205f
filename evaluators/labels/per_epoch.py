"""Per-epoch soft labels (FKD): the teacher's logits for every view on which the student will train.

The views are a function of (schedule, seed, epoch). So only the logits are stored, float16 [epochs, N, classes] in the
order of the views; crops, flips and CutMix are computed again when the student trains.

Paper: Shen & Xing, A Fast Knowledge Distillation Framework for Visual Recognition, ECCV 2022,
https://arxiv.org/abs/2112.01528; as the labels of distilled sets since SRe2L (Yin et al., NeurIPS 2023).
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from benchmark.api import Context, DatasetInfo, Job, LabelKind, Labels, SyntheticSet, Work
from evaluators.parts.stored import half, view_logits, write
from evaluators.parts.teacher_labels import TeacherLabels


class PerEpoch(TeacherLabels):
    """Teacher logits for all views of all epochs, on disk or computed while the student trains (``online``)."""

    labels_kind: ClassVar[LabelKind | None] = "per_epoch"

    version: ClassVar[int] = 2

    storage: Literal["disk", "online"] = "disk"

    @property
    def stores_views(self) -> bool:
        """Whether labels are stored."""
        return self.storage == "disk"

    def labelled(self, n: int) -> int:
        """Return the views of all epochs."""
        return self.schedule.epochs * self.schedule.shown(n)

    def work(self, job: Job) -> tuple[Work, ...]:
        """Return the views of all epochs, unless the student's training has them."""
        return () if self.storage == "online" else super().work(job)

    def online(self, job: Job) -> tuple[Work, ...]:
        """Return the views of all epochs where labels are not stored."""
        return super().work(job) if self.storage == "online" else ()

    def label(self, images: SyntheticSet, info: DatasetInfo, context: Context, folder: Path) -> Labels:
        """Write ``folder/logits.npy`` batch by batch, and return labels that map this file into memory."""
        views = self.schedule.model_dump(mode="json")
        if self.storage == "online":
            return Labels("per_epoch", views=views, seed=context.seed)
        chunks = map(half, view_logits(images, self.schedule, info, context))
        logits = write(folder / "logits.npy", chunks, self.schedule.epochs, len(images))
        return Labels("per_epoch", logits, views, context.seed)

    def bytes_per_image(self, classes: int) -> int:
        """Return the bytes of the labels of one image: two per class and epoch; 0 online."""
        return 0 if self.storage == "online" else self.schedule.epochs * classes * 2
