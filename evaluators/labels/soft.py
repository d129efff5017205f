"""Soft labels: the teacher's logits for each image, once.

The teacher gets the whole image, neither cropped nor mixed. The student trains on views of it, and all views have the
same label; where a view mixes two images, it mixes their labels in the same way. A label takes two bytes per class, for
any number of epochs.

Paper: the labels of Qin et al., A Label is Worth a Thousand Images in Dataset Distillation, NeurIPS 2024.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import torch

from benchmark.api import Context, DatasetInfo, LabelKind, Labels, SyntheticSet
from benchmark.vision.training import from_pixels
from evaluators.parts.stored import half, mean_logits, write
from evaluators.parts.teacher_labels import TeacherLabels


class Soft(TeacherLabels):
    """One label per image: the logits of the dataset's teacher for the image without augmentation."""

    version: ClassVar[int] = 2
    labels_kind: ClassVar[LabelKind | None] = "soft"

    def labelled(self, n: int) -> int:
        """Return the number of images, each of which is labelled once."""
        return n

    def label(self, images: SyntheticSet, info: DatasetInfo, context: Context, folder: Path) -> Labels:
        """Write ``folder/logits.npy`` [N, classes] batch by batch, and return labels that map this file into memory."""
        read = from_pixels(images.images, info, context.device)
        batches = torch.arange(len(images)).split(self.schedule.batch_size)
        chunks = (half(mean_logits(context.teachers, read(batch), context)) for batch in batches)
        logits = write(folder / "logits.npy", chunks, len(images))
        return Labels("soft", logits, self.schedule.model_dump(mode="json"), context.seed)

    def bytes_per_image(self, classes: int) -> int:
        """Return the bytes of the label of one image: two per class."""
        return classes * 2
