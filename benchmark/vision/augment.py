"""Augmentation of a whole batch on the device: crops, flips and CutMix.

Random numbers are sampled first and applied later. A `View` holds the random numbers of one batch. A `Schedule` yields
the views of an epoch, which depend only on (schedule, seed, epoch, number of images). The labels of a view can thus be
computed in one run and used in another run, on another device, without storing a crop.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Annotated, Literal, TypeAlias

import torch
from pydantic import AfterValidator, ConfigDict, Field
from torch import Tensor

from benchmark.api import DatasetInfo, Frozen
from benchmark.identity import seed_of
from benchmark.vision.boxes import crop_resize, sample_boxes
from benchmark.vision.dsa import Augmentation, Chain, sample_augmentation, sample_chain

Mix = Literal["none", "cutmix", "swap_cutmix", "dsa", "cells", "dsa_of_cells", "cutmix_of_cells"]
CELL_SHARE = 0.75  # how often a view shows a cell of a mosaic and not the mosaic, under mix cells
CELLS = 4  # the cells of a mosaic; where they take its place, each of them is an image of its own
CUTMIX_SHARE = 0.5  # how often a batch of cells is mixed, under mix cutmix_of_cells


def _check_crops(areas: tuple[float, float]) -> tuple[float, float]:
    if not 0 < areas[0] <= areas[1] <= 1:
        raise ValueError(f"should be [smallest, largest] with 0 < smallest <= largest <= 1, not {list(areas)}")
    return areas


CropScale: TypeAlias = Annotated[tuple[float, float], AfterValidator(_check_crops)]  # areas, as parts of the image


def normalize(images: Tensor, info: DatasetInfo) -> Tensor:
    """Return pixels [N, C, H, W], uint8 or float in [0, 1], as float32 with the dataset's mean 0 and deviation 1."""
    pixels = images.float() / 255 if images.dtype == torch.uint8 else images.float()
    mean, std = _statistics(info, images.device)
    return (pixels - mean) / std


def denormalize(images: Tensor, info: DatasetInfo) -> Tensor:
    """Return normalised images as pixels on the scale [0, 1], unclamped: the inverse of `normalize`."""
    mean, std = _statistics(info, images.device)
    return images * std + mean


def pixel_bounds(info: DatasetInfo, device: torch.device | str) -> tuple[Tensor, Tensor]:
    """Return the normalised values of pixel 0 and of pixel 1, each [1, C, 1, 1]."""
    mean, std = _statistics(info, device)
    return -mean / std, (1 - mean) / std


def _statistics(info: DatasetInfo, device: torch.device | str) -> tuple[Tensor, Tensor]:
    return _per_channel(info.mean, device), _per_channel(info.std, device)


@cache
def _per_channel(values: tuple[float, ...], device: torch.device | str) -> Tensor:
    """Return values as [1, C, 1, 1]; kept, since a graphics card waits for every copy from the processor."""
    return torch.tensor(values, device=device).view(1, -1, 1, 1)


@dataclass(frozen=True, eq=False)
class View:
    """The augmentation of one batch of images.

    Attributes:
        indices: [b] int64, the images of the batch.
        boxes: [b, 4] crops as fractions (x0, y0, w, h).
        flips: [b] bool, whether an image is mirrored.
        partner: [b] int64, for each image the row in the batch of the image that it is mixed with.
        box: the rectangle (x0, y0, x1, y1), in fractions of the cropped image, that shows the partner; None: no mixing.
        share: the part of the area in which a mixed image shows its own pixels.
        swaps: [b, 2] bool, whether the left and right and the upper and lower halves are swapped first; None: no swaps.
        siamese: an augmentation of DSA, or several, in place of crops and flips; None: crops and flips apply.
        cells: [b, 4] boxes that are cut out and resized before `siamese`; None: the whole images.
        stored: number of the batch of stored labels that belongs to it, where batches are drawn from a pool.
        size: height and width of the crops, in pixels; None: those of the images.
    """

    indices: Tensor
    boxes: Tensor
    flips: Tensor
    partner: Tensor
    box: tuple[float, float, float, float] | None = None
    share: float = 1.0
    swaps: Tensor | None = None
    siamese: Augmentation | Chain | None = None
    cells: Tensor | None = None
    stored: int | None = None
    size: int | None = None

    def apply(self, images: Tensor) -> Tensor:
        """Return the images of the batch, [b, C, S, S] float, cropped to `size`, flipped and mixed."""
        if self.cells is not None:
            images = crop_resize(images, self.cells, torch.zeros(len(images), dtype=torch.bool), images.shape[-1])
        if self.swaps is not None:
            images = swap_halves(images, self.swaps)
        if self.siamese is None:
            images = crop_resize(images, self.boxes, self.flips, self.size or images.shape[-1])
        else:
            images = self.siamese.apply(images)
        if self.box is None:
            return images
        return torch.lerp(images, images[self.partner.to(images.device)], _coverage(self.box, images))

    def mix(self, values: Tensor) -> Tensor:
        """Return values of the images, [b] or [b, K] float (targets, weights), mixed in the shares of the pixels."""
        if self.box is None:
            return values
        return self.share * values + (1 - self.share) * values[self.partner.to(values.device)]


def swap_halves(images: Tensor, swaps: Tensor) -> Tensor:
    """Return images [b, C, S, S] with left and right, upper and lower halves swapped where ``swaps`` [b, 2] is True.

    This is RDED's patch shuffle for mosaics of 2 x 2.
    """
    for column, axis in enumerate((3, 2)):
        swapped = images.roll(images.shape[axis] // 2, axis)
        images = torch.where(swaps[:, column].view(-1, 1, 1, 1).to(images.device), swapped, images)
    return images


def _coverage(box: tuple[float, float, float, float], images: Tensor) -> Tensor:
    """Return the part of every pixel that the box covers, [S, S]; its mean is the exact area of the box at any size."""
    size = images.shape[-1]
    edges = torch.arange(size + 1, device=images.device, dtype=images.dtype)
    x0, y0, x1, y1 = (corner * size for corner in box)
    along_x = (edges[1:].clamp(max=x1) - edges[:-1].clamp(min=x0)).clamp(min=0)
    along_y = (edges[1:].clamp(max=y1) - edges[:-1].clamp(min=y0)).clamp(min=0)
    return along_y.unsqueeze(1) * along_x


class Schedule(Frozen):
    """Which views a set of images gets, and in which order; together with a seed it determines all of them.

    Under ``dsa`` a batch has one augmentation of DSA, and under ``cells`` several, after three quarters of the mosaics
    were replaced by one of their cells (CIM). Under ``dsa_of_cells`` (IDM) and ``cutmix_of_cells`` (NCFM) the four
    cells of a mosaic are four images, with one augmentation of DSA, or with several and CutMix in half of the batches.
    """

    epochs: int = Field(ge=0)
    batch_size: int = Field(ge=1)
    crop_scale: CropScale = (0.08, 1.0)  # area of a crop, as a part of the image
    flip: bool = True
    mix: Mix = "cutmix"  # swap: halves first; dsa: only dsa; cells: cells or mosaics (CIM); of_cells: all cells (IDM)

    def shown(self, n: int) -> int:
        """Return the number of views of an epoch over n images: n, or 4 n where the cells of mosaics are the images."""
        return n * CELLS if self.mix.endswith("_of_cells") else n

    def batches(self, n: int) -> int:
        """Return the number of batches of an epoch over n images."""
        return math.ceil(self.shown(n) / self.batch_size)

    def steps(self, n: int) -> int:
        """Return the number of optimiser steps over all epochs."""
        return self.epochs * self.batches(n)

    def views(self, seed: int, epoch: int, n: int) -> Iterator[View]:
        """Yield the views of one epoch; together they contain each of n images once, or each of its cells once.

        The images are shuffled and divided into batches of at most ``batch_size`` images, whose sizes differ by at most
        one: otherwise batch norm could get a single image at the end of an epoch.
        """
        generator = torch.Generator().manual_seed(seed_of(seed, "view", epoch))
        for positions in torch.randperm(self.shown(n), generator=generator).tensor_split(self.batches(n)):
            if self.shown(n) == n:
                yield self._view(positions, generator)
            else:
                yield self._view_of_cells(positions % n, positions // n, generator)

    def _view_of_cells(self, indices: Tensor, numbers: Tensor, generator: torch.Generator) -> View:
        """Return the view of some cells of mosaics, numbered row by row [b]."""
        b = len(indices)
        corner = torch.stack([numbers % 2, numbers // 2], 1) / 2
        view = replace(_whole(indices), cells=torch.cat([corner, torch.full((b, 2), 0.5)], 1))
        if self.mix == "dsa_of_cells":
            return replace(view, siamese=sample_augmentation(b, generator, flip=self.flip))
        view = replace(view, siamese=sample_chain(b, generator, flip=self.flip, cutout=False))
        if torch.rand((), generator=generator) >= CUTMIX_SHARE:
            return view
        box = _cutmix_box(generator)
        return replace(view, partner=torch.randperm(b, generator=generator), box=box, share=_share(box))

    def _view(self, indices: Tensor, generator: torch.Generator) -> View:
        b = len(indices)
        if self.mix in ("dsa", "cells"):
            base_view = _whole(indices)
            if self.mix == "dsa":
                return replace(base_view, siamese=sample_augmentation(b, generator, flip=self.flip))
            return replace(base_view, cells=_cells(b, generator), siamese=sample_chain(b, generator, flip=self.flip))
        boxes = self._boxes(indices, generator)
        flips = torch.rand(b, generator=generator) < (0.5 if self.flip else 0.0)
        if self.mix == "none":
            return View(indices, boxes, flips, torch.arange(b))
        partner = torch.randperm(b, generator=generator)
        box = _cutmix_box(generator)
        swaps = torch.rand(b, 2, generator=generator) < 0.5 if self.mix == "swap_cutmix" else None
        return View(indices, boxes, flips, partner, box, _share(box), swaps)

    def _boxes(self, indices: Tensor, generator: torch.Generator) -> Tensor:
        return sample_boxes(len(indices), generator, scale=self.crop_scale)


class WholeSchedule(Schedule):
    """A schedule of images of many shapes that were squeezed into squares: its crops are those of the images before."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    aspects: Tensor  # [n] width / height of the images before they were squeezed
    size: int = Field(ge=1)  # height and width of the crops, in pixels

    def _view(self, indices: Tensor, generator: torch.Generator) -> View:
        return replace(super()._view(indices, generator), size=self.size)

    def _boxes(self, indices: Tensor, generator: torch.Generator) -> Tensor:
        return sample_boxes(len(indices), generator, scale=self.crop_scale, aspects=self.aspects[indices])


def _whole(indices: Tensor) -> View:
    """Return the view of whole images, upright and unmixed."""
    b = len(indices)
    boxes = torch.tensor([[0.0, 0.0, 1.0, 1.0]]).repeat(b, 1)
    return View(indices, boxes, torch.zeros(b, dtype=torch.bool), torch.arange(b))


def _cells(b: int, generator: torch.Generator) -> Tensor:
    """Sample boxes [b, 4]: with probability `CELL_SHARE` one of the cells of a mosaic of 2 x 2, or the whole image."""
    left, top, share = torch.rand(3, b, generator=generator)
    boxes = torch.stack([(left < 0.5) / 2, (top < 0.5) / 2, torch.full((b,), 0.5), torch.full((b,), 0.5)], 1)
    return torch.where((share < CELL_SHARE).unsqueeze(1), boxes, torch.tensor([0.0, 0.0, 1.0, 1.0]))


def _share(box: tuple[float, float, float, float]) -> float:
    """Return the part of the area outside a rectangle."""
    return 1 - (box[2] - box[0]) * (box[3] - box[1])


def _cutmix_box(generator: torch.Generator) -> tuple[float, float, float, float]:
    """Sample CutMix's rectangle: area 1 - lambda with lambda ~ Beta(1, 1), centre uniform, clipped to the image."""
    lam, x, y = torch.rand(3, generator=generator, dtype=torch.float64).tolist()
    half = math.sqrt(1 - lam) / 2
    return max(0.0, x - half), max(0.0, y - half), min(1.0, x + half), min(1.0, y + half)
