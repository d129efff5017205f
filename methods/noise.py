"""Noise images: the floor, which shows what accuracy labels reach without useful images."""

from __future__ import annotations

from typing import ClassVar

import torch

from benchmark.api import Context, Distiller, Job, Role, SyntheticSet, TrainData, Unit, Work
from benchmark.synthetic import to_uint8
from benchmark.vision.augment import denormalize


class Noise(Distiller):
    """IPC images of independent Gaussian noise per class: ``x = clamp(m + s e), e ~ N(0, 1)`` for every pixel.

    m and s are mean and deviation of the dataset's pixels. A recovery starts from such images.
    There is no authors' code.
    """

    paper: ClassVar[str] = "noise images, the floor of the field"
    role: ClassVar[Role] = "floor"

    def work(self, job: Job) -> tuple[Work, ...]:
        """Return nothing: no image passes a network."""
        return ()

    def distill(self, data: TrainData, unit: Unit, context: Context) -> SyntheticSet:
        """Sample the images of the unit."""
        shape = (len(unit.labels), data.info.channels, data.info.resolution, data.info.resolution)
        noise = torch.randn(shape, generator=context.generator("noise", unit.index))
        return SyntheticSet(to_uint8(denormalize(noise, data.info)), unit.labels)
