"""Boxes in images, as fractions of their width and height: sampled, and cut out."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

TRIES = 10  # torchvision's RandomResizedCrop samples so many boxes; if none fits, it takes the largest central one


def sample_boxes(
    n: int,
    generator: torch.Generator,
    *,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
    aspects: Tensor | None = None,
) -> Tensor:
    """Sample boxes like torchvision's RandomResizedCrop, without rounding to whole pixels.

    The area is uniform in `scale` and the width / height of the box log-uniform in `ratio`. A box that does not fit is
    sampled again; after ten samples that do not fit, the largest central box is taken whose shape is nearest to that of
    the image.

    Args:
        n: number of boxes.
        generator: a CPU generator.
        scale: smallest and largest area, as parts of the image.
        ratio: smallest and largest width / height of a box, in pixels of the image.
        aspects: [n] width / height of the images; None: all are squares.

    Returns:
        [n, 4] float32 (x0, y0, w, h) as fractions of the image.
    """
    aspects = torch.ones(n) if aspects is None else aspects
    area, shape, left, top = torch.rand(4, TRIES, n, generator=generator)
    area = scale[0] + area * (scale[1] - scale[0])
    root = torch.exp((math.log(ratio[0]) + shape * math.log(ratio[1] / ratio[0])) / 2) / aspects.sqrt()
    largest = aspects.clamp(*ratio) / aspects  # its width / height, in fractions of the image
    width = _append(area.sqrt() * root, largest.clamp(max=1))  # [TRIES + 1, n]
    height = _append(area.sqrt() / root, (1 / largest).clamp(max=1))
    left, top = (_append(part, torch.full((n,), 0.5)) for part in (left, top))
    boxes = torch.stack([left * (1 - width), top * (1 - height), width, height], dim=-1)  # [TRIES + 1, n, 4]
    tries = ((width <= 1) & (height <= 1)).int().argmax(0)
    return boxes[tries, torch.arange(n)]


def _append(samples: Tensor, row: Tensor) -> Tensor:
    """Return samples [TRIES, n] with one more row [n]."""
    return torch.cat([samples, row.unsqueeze(0)])


def crop_resize(images: Tensor, boxes: Tensor, flips: Tensor, size: int) -> Tensor:
    """Cut a box out of every image and resize it to ``size`` x ``size``, bilinearly and differentiably.

    Where the edges of a box lie between pixels, the result is that of torchvision's ``resized_crop(antialias=False)``:
    outside the box, the pixels at its edge are repeated.

    Args:
        images: [n, C, H, W] float.
        boxes: [n, 4] or [1, 4] (x0, y0, w, h) as fractions of the image.
        flips: [n] or [1] bool, whether to mirror the crop.
        size: height and width of the result.

    Returns:
        [n, C, size, size].
    """
    xs, ys = _positions(boxes.to(images.device), flips.to(images.device), size, *images.shape[-2:])
    grid = torch.stack(
        [
            xs.unsqueeze(1).expand(len(images), size, size),
            ys.unsqueeze(2).expand(len(images), size, size),
        ],
        dim=-1,
    )
    return F.grid_sample(images, grid * 2 - 1, mode="bilinear", padding_mode="border", align_corners=False)


def crop_alike(images: Tensor, box: Tensor, flip: Tensor, shift: tuple[int, int]) -> Tensor:
    """Cut the same box out of all images, resize it to their size, and shift it in a circle.

    It computes ``crop_resize(images, box, flip, S).roll(shift, (2, 3))``, as two products with matrices that hold the
    bilinear weights: faster where the gradient is needed, and with the same bytes every time on a graphics card.

    Args:
        images: [n, C, S, S] float.
        box: [1, 4] (x0, y0, w, h) as fractions of the image, on the CPU.
        flip: [1] bool, whether to mirror the crop, on the CPU.
        shift: the shift in pixels, down and to the right.

    Returns:
        [n, C, S, S], channels-last.
    """
    size = images.shape[-1]
    centres = torch.stack(_positions(box, flip, size, size, size)).squeeze(1) * size - 0.5  # [2, S], in pixels
    weights = (1 - (centres.clamp_min(0).unsqueeze(2) - torch.arange(size)).abs()).clamp_min(0)  # [2, S, S]
    columns, rows = (part.roll(by, 0) for part, by in zip(weights, reversed(shift), strict=True))
    columns, rows = torch.stack([columns, rows]).to(images, non_blocking=True).unbind()  # does not wait for the device
    return (rows @ (images @ columns.T)).contiguous(memory_format=torch.channels_last)


def _positions(boxes: Tensor, flips: Tensor, size: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Return where the columns and the rows of crops lie, [n, size] each, as fractions of the image."""
    x0, y0, w, h = boxes.float().unsqueeze(-1).unbind(1)  # [n, 1] each
    steps = (torch.arange(size, device=boxes.device) + 0.5) / size
    mirrored = torch.where(flips.unsqueeze(-1), steps.flip(0), steps)
    xs = torch.clamp(x0 + w * mirrored, x0 + 0.5 / width, x0 + w - 0.5 / width)
    ys = torch.clamp(y0 + h * steps, y0 + 0.5 / height, y0 + h - 0.5 / height)
    return xs, ys
