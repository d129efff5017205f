"""Sets of mosaics whose cells, enlarged, match the real images of their class: IDM, M3D, HDD and NCFM.

They differ in the networks that see the images and in what is compared.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from pydantic import Field
from torch import Tensor

from benchmark.api import Context, DatasetInfo, Distiller, TrainData, Unit
from benchmark.vision.dsa import Augmentation, Chain
from methods.parts.patches import enlarged_cells, mosaics_of
from methods.parts.real import random_indices, random_members, too_few, too_many_classes


class CellMatching(Distiller):
    """The k^2 enlarged cells of a mosaic take the place of one image, so that IPC mosaics train on k^2 IPC images.

    The start is made of IPC k^2 random real images of a class, without replacement: image i of IPC is the k x k mosaic
    of i, i + IPC, ..., each resized to S / k pixels (mean of k x k pixels). Before every use the mosaics are cut into
    their cells, which are resized to S pixels, bilinearly, and differentiably.
    """

    iterations: int = Field(default=20_000, ge=0)  # 0: the mosaics as they are, the control of the method
    batch_real: int = Field(default=256, ge=1)  # real images per class and iteration, at most
    factor: int = Field(default=2, ge=1)  # k, cells along a side of a mosaic; 1: whole images
    arch: str = "convnet_d3"

    def supports(self, info: DatasetInfo, ipc: int) -> str | None:
        """Return a reason where there are too many classes or too few images, or where cells have no whole pixels."""
        if reason := too_many_classes(info, self.name()):
            return reason
        if info.resolution % self.factor:
            return f"{self.factor} cells do not tile {info.resolution} px: choose another factor"
        return too_few(info, ipc, self.factor)

    def start(self, data: TrainData, unit: Unit, context: Context) -> Tensor:
        """Return the mosaics of real images, [N, C, S, S] on the device, pixels on the scale [0, 1], class by class."""
        tiles = tuple(range(unit.ipc * self.factor**2))
        mosaics = []
        for label in unit.classes:
            real = data.read(random_indices(data, (label,), tiles, context)).float() / 255
            mosaics.append(mosaics_of(real, unit.ipc, self.factor, "area"))
        return torch.cat(mosaics).to(context.device)

    def views(self, view: Augmentation | Chain, real: Tensor, mosaics: Tensor) -> tuple[Tensor, Tensor]:
        """Return real images and the cells of mosaics, normalised, under one augmentation with the same numbers."""
        return _augmented(view, real), self.cells(view, mosaics)

    def cells(self, view: Augmentation | Chain, mosaics: Tensor) -> Tensor:
        """Return the cells of mosaics, enlarged, under one augmentation with the same numbers for all."""
        return _augmented(view, enlarged_cells(mosaics, self.factor))

    def real_indices(self, data: TrainData, label: int, iteration: int, context: Context) -> Tensor:
        """Return the indices of random real images of a class, without replacement."""
        return random_members(data, label, self.batch_real, context.generator("real", iteration, label))


def _augmented(view: Augmentation | Chain, images: Tensor) -> Tensor:
    return view.rows(torch.zeros(len(images), dtype=torch.int64)).apply(images)


def class_by_class(images: Tensor, unit: Unit, loss: Callable[[int, Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """Return the sum of the losses of all classes, and its gradient in the images, one class in memory at a time.

    Args:
        images: [N, C, S, S], class by class.
        unit: its classes, each with all its images.
        loss: returns a scalar for a class and its images [IPC, C, S, S]; other leaves gather their gradients.
    """
    total, gradients = images.new_zeros(()), []
    for label, class_images in zip(unit.classes, images.detach().split(len(unit.slots)), strict=True):
        class_images = class_images.clone().requires_grad_()
        share = loss(label, class_images)
        share.backward()
        gradients.append(class_images.grad)
        total += share.detach()
    return total, torch.cat(gradients)
