"""Per-epoch soft labels (FKD): the teacher's answer to every augmented view that the student will see.

The views are a function of (schedule, seed, epoch), so only the logits are stored, [epochs, N, classes] float16 in the
order of the visits; crops, flips and CutMix are drawn again when the student trains.

Paper: Shen & Xing, A Fast Knowledge Distillation Framework for Visual Recognition, ECCV 2022,
https://arxiv.org/abs/2112.01528; as the labels of distilled sets since SRe2L (Yin et al., NeurIPS 2023).
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from numpy.lib.format import open_memmap

from benchmark.api import Context, DatasetInfo, LabelRegime, Labels, SyntheticSet, TeacherSpec
from benchmark.vision.augment import Schedule
from benchmark.vision.training import Stream, from_pixels, predict


class PerEpoch(LabelRegime):
    """Teacher logits for all views of all epochs, on disk, or given while the student trains (``online``)."""

    schedule: Schedule
    storage: Literal["disk", "online"] = "disk"

    def teachers(self) -> tuple[TeacherSpec, ...]:
        """Return the dataset's teacher: it answers now or while the student trains."""
        return (TeacherSpec(),)

    def label(self, images: SyntheticSet, info: DatasetInfo, context: Context, folder: Path) -> Labels:
        """Write ``folder/logits.npy`` batch by batch, in bounded memory, and return labels that map it."""
        views = self.schedule.model_dump(mode="json")
        if self.storage == "online":
            return Labels("per_epoch", views=views, seed=context.seed)
        shape = (self.schedule.epochs, len(images), info.classes)
        logits = open_memmap(folder / "logits.npy", mode="w+", dtype=np.float16, shape=shape)
        read = from_pixels(images.images, info, context.device)
        stream = Stream(self.schedule, context.seed, len(images), read)
        for step, batch in enumerate(stream, start=1):
            answers = predict(context.teachers[0], batch.images, context)
            logits[batch.epoch, batch.rows] = answers.half().cpu().numpy()
            context.progress(step, len(stream))
        logits.flush()
        return Labels("per_epoch", logits, views, context.seed)
