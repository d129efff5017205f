"""Patches and mosaics: crops of real images that a teacher has scored, as RDED joins them, and cells of mosaics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmark.api import Context, DatasetInfo, Job, Preparation, TeacherSpec, TrainData, Unit, Work
from benchmark.synthetic import to_uint8
from benchmark.vision.augment import CropScale, normalize
from benchmark.vision.boxes import sample_boxes
from benchmark.vision.training import predict
from methods.parts.crops import crop_antialiased
from methods.parts.real import middle_out, random_members


def square_boxes(
    data: TrainData, indices: Tensor, k: int, scale: tuple[float, float], generator: torch.Generator
) -> Tensor:
    """Return k random boxes in each of the whole images at indices [n], [n * k, 4]: squares in pixels of the file."""
    aspects = data.aspects(indices.repeat_interleave(k))
    return sample_boxes(k * len(indices), generator, scale=scale, ratio=(1.0, 1.0), aspects=aspects)


def scored_crops(
    images: Tensor, boxes: Tensor, label: int, size: int, info: DatasetInfo, context: Context
) -> tuple[Tensor, Tensor]:
    """Return crops of images, and the cross-entropy of the mean logits of the teachers for each.

    A crop is scored amid zeros (grey, since pixels are normalised) at the resolution that the teacher expects.

    Args:
        images: [n, C, W, W] uint8, on the device, all of one class.
        boxes: [n * k, 4], k for each image, as fractions of the image.
        label: the class.
        size: height and width of the crops, s.
        info: the dataset.
        context: its teachers score.

    Returns:
        Crops [n, k, C, s, s] in [0, 1] and losses [n, k].
    """
    n, k = len(images), len(boxes) // len(images)
    crops = crop_antialiased(images.float().repeat_interleave(k, 0) / 255, boxes, size)
    padded = pad(normalize(crops, info), info.resolution)
    logits = torch.stack([predict(teacher, padded, context) for teacher in context.teachers]).mean(0)
    targets = torch.full((len(logits),), label, device=logits.device)
    losses = F.cross_entropy(logits, targets, reduction="none").view(n, k)
    return crops.view(n, k, *crops.shape[1:]), losses


def pad(images: Tensor, size: int) -> Tensor:
    """Return images [n, C, s, s] padded with zeros on all sides to [n, C, size, size]."""
    start = (size - images.shape[-1]) // 2
    end = size - images.shape[-1] - start
    return F.pad(images, (start, end, start, end))


def mosaic(crops: Tensor, n: int, factor: int, size: int) -> Tensor:
    """Return n mosaics [n, C, size, size] of crops [n F^2, C, s, s]: mosaic i holds crops i, i + n, ..., row by row."""
    tiles = crops.view(factor, factor, n, *crops.shape[1:])  # [row, column, n, C, s, s]
    grid = tiles.permute(2, 3, 0, 4, 1, 5).reshape(n, crops.shape[1], factor * crops.shape[2], -1)
    return F.interpolate(grid, size=(size, size), mode="nearest")


def mosaics_of(images: Tensor, n: int, factor: int, mode: str = "nearest") -> Tensor:
    """Return n mosaics [n, C, S, S] of images [n k^2, C, S, S]: mosaic i holds images i, i + n, ..., row by row.

    An image is resized to S / k pixels: ``nearest`` takes one pixel of k x k, ``area`` their mean.
    """
    size = images.shape[-1]
    return mosaic(F.interpolate(images, size=size // factor, mode=mode), n, factor, size)


def enlarged_cells(mosaics: Tensor, factor: int) -> Tensor:
    """Return the cells of mosaics [n, C, S, S], each resized to S pixels: [n k^2, C, S, S], in order of rank."""
    rows = mosaics.chunk(factor, 2)
    cells = torch.cat([cell for row in rows for cell in row.chunk(factor, 3)])
    return F.interpolate(cells, size=mosaics.shape[-1], mode="bilinear", align_corners=False)


class Patches(Preparation):
    """For each class, one crop of each of `pool` whole images, from those of medium difficulty outwards.

    The crop of an image is the one with the least ``CE(f(pad(r)), y)`` of `crops` random square crops r, f the teacher.
    The crops of a class are sorted from the hardest to the easiest. With n crops and ``m = ceil(n / 2)`` the order is
    m, m + 1, m - 1, m + 2, ..., ranks from 0.
    """

    teacher: str | None = None  # architecture of the network f; None: the dataset's teacher
    factor: int  # F: a mosaic has F x F crops
    pool: int = 400  # images per class, at most
    crops: int = 5  # per image
    crop_scale: CropScale = (0.08, 1.0)  # area of the crops
    batch_size: int = 500  # crops that are scored together

    def teachers(self) -> tuple[TeacherSpec, ...]:
        """Return the network that scores."""
        return (TeacherSpec(arch=self.teacher),)

    def work(self, job: Job) -> tuple[Work, ...]:
        """Return the crops that are scored."""
        return (Work("forward", self.crops * job.members(self.pool), self.teacher or ""),)

    def too_few(self, info: DatasetInfo, ipc: int) -> str | None:
        """Return None where there are crops for IPC mosaics per class, else how many there are."""
        offered, count = min(self.pool, *info.train_counts), ipc * self.factor**2
        if count <= offered:
            return None
        return f"IPC {ipc} needs {count} patches of each class, one per image; there are {offered}"

    def prepare(self, data: TrainData, context: Context) -> Mapping[str, Tensor]:
        """Return ``patch_image`` [M] (indices), ``patch_label`` [M] and ``patch_box`` [M, 4], class by class."""
        tensors: dict[str, list[Tensor]] = {"patch_image": [], "patch_label": [], "patch_box": []}
        for label in range(data.info.classes):
            generator = context.generator("patches", label)
            indices = random_members(data, label, self.pool, generator)
            batches = self.best_crops(data, indices, label, generator, context)
            boxes_and_losses = [(boxes, losses.cpu()) for _, boxes, losses in batches]  # crops are not kept
            boxes, losses = map(torch.cat, zip(*boxes_and_losses, strict=True))
            order = losses.argsort(descending=True, stable=True)[middle_out(len(indices))]
            tensors["patch_image"].append(indices[order])
            tensors["patch_label"].append(torch.full((len(order),), label))
            tensors["patch_box"].append(boxes[order])
            context.progress(label + 1, data.info.classes)
        return {name: torch.cat(parts) for name, parts in tensors.items()}

    def best_crops(
        self, data: TrainData, candidates: Tensor, label: int, generator: torch.Generator, context: Context
    ) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield the best crop of each candidate, [n, C, S/F, S/F], its box [n, 4] and its loss [n], in batches."""
        for indices in candidates.split(max(1, self.batch_size // self.crops)):
            boxes = square_boxes(data, indices, self.crops, self.crop_scale, generator)
            images, size = data.read_whole(indices).to(context.device), data.info.resolution // self.factor
            crops, losses = scored_crops(images, boxes, label, size, data.info, context)
            lowest, best = losses.min(1)
            rows = torch.arange(len(indices))
            yield crops[rows.to(best.device), best], boxes.unflatten(0, losses.shape)[rows, best.cpu()], lowest


def patch_images(data: TrainData, unit: Unit, context: Context) -> Tensor:
    """Return the mosaics of a unit, uint8 [N, C, S, S]; `context.prepared` comes from `Patches`.

    The image of slot j has the patches ``j F^2 .. (j + 1) F^2 - 1`` of its class, row by row, whatever IPC is.
    """
    factor = patch_factor(data.info)
    tiles, size = factor**2, data.info.resolution
    rows = torch.tensor(unit.slots).unsqueeze(0) * tiles + torch.arange(tiles).unsqueeze(1)  # [F^2, slots]
    images = []
    for label in unit.classes:
        entries = (context.prepared["patch_label"] == label).nonzero().squeeze(1)[rows.flatten()]
        pixels = data.read_whole(context.prepared["patch_image"][entries]).float() / 255
        crops = crop_antialiased(pixels, context.prepared["patch_box"][entries], size // factor)
        images.append(to_uint8(mosaic(crops, len(unit.slots), factor, size)))
    return torch.cat(images)


def patch_factor(info: DatasetInfo) -> int:
    """Return F for a dataset as RDED has it: 2 from 128 px on, 1 below."""
    return 2 if info.resolution >= 128 else 1
