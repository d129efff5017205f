"""Noise under the same labels: the floor, which shows how much of an accuracy the labels alone bring."""

from __future__ import annotations

from typing import ClassVar

import torch

from benchmark.api import Context, Distiller, SyntheticSet, TrainData, Unit
from benchmark.synthetic import to_uint8
from benchmark.vision.augment import denormalize


class Noise(Distiller):
    """IPC images of independent Gaussian noise per class: ``x = clamp(m + s e), e ~ N(0, 1)`` for every pixel.

    m and s are the dataset's mean and deviation, so these are the images from which a recovery loop starts.
    """

    paper: ClassVar[str] = "noise images, the floor of the field"

    def distill(self, data: TrainData, unit: Unit, context: Context) -> SyntheticSet:
        """Draw the unit's images."""
        shape = (len(unit.labels), data.info.channels, data.info.resolution, data.info.resolution)
        noise = torch.randn(shape, generator=context.generator("noise", unit.index))
        return SyntheticSet(to_uint8(denormalize(noise, data.info)), unit.labels)
