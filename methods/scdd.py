"""SCDD: SRe2L with a teacher that learned its features without labels, so that its statistics hold more detail."""

from __future__ import annotations

import copy
import dataclasses
from typing import ClassVar

from pydantic import Field

from benchmark.api import Context, DatasetInfo, Preparation, SyntheticSet, TrainData, Unit
from benchmark.vision.augment import CropScale
from methods.parts.recover import NO_CLASS_STATISTICS
from methods.parts.selfsupervised import SelfSupervised
from methods.sre2l import SRe2L


class SCDD(SRe2L):
    """SRe2L's loss, ``L = CE(f(T(x)), y) + lambda R(T(x))``, with f a self-supervised network and a linear probe.

    f has the architecture of the dataset's teacher. SimCLR trains it without labels; then its classifier alone learns
    the labels. The supervised teacher gives the soft labels of the images, as for every method.

    Differences from the authors' code: f is trained on the dataset itself, while the code has published MoCo, SwAV or
    DINO networks (ResNet-50 on ImageNet-1K); units are those of sre2l.
    """

    paper: ClassVar[str] = (
        "Zhou et al.: Self-supervised Dataset Distillation: A Good Compression Is All You Need, 2024, "
        "https://arxiv.org/abs/2404.07976"
    )

    pretrain_epochs: int = Field(default=200, ge=1)  # the epochs of SimCLR
    probe_epochs: int = Field(default=50, ge=1)  # the epochs of the linear probe
    pretrain_crop_scale: CropScale = (0.2, 1.0)  # area of the crops in both trainings

    def supports(self, info: DatasetInfo, ipc: int) -> str | None:
        """Return a reason where another teacher is named, or a hyperparameter needs per-class statistics."""
        if self.teacher:
            return "the self-supervised network has the architecture of the dataset's teacher: leave out teacher"
        if self.needs_class_statistics:
            return NO_CLASS_STATISTICS
        return super().supports(info, ipc)

    def preparation(self, info: DatasetInfo) -> Preparation:
        """Return the training of the self-supervised teacher."""
        return SelfSupervised(
            epochs=self.pretrain_epochs, probe_epochs=self.probe_epochs, crop_scale=self.pretrain_crop_scale
        )

    def distill(self, data: TrainData, unit: Unit, context: Context) -> SyntheticSet:
        """Recover with the self-supervised teacher in place of the supervised one."""
        teacher = copy.deepcopy(context.teachers[0])
        teacher.load_state_dict({name: context.prepared[name] for name in teacher.state_dict()})
        return super().distill(data, unit, dataclasses.replace(context, teachers=(teacher,)))
