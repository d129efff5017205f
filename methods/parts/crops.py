"""Resize images, and crops of real images without aliasing."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def resized(images: Tensor, size: int) -> Tensor:
    """Return images [N, C, S, S] resized to ``size`` x ``size``: bilinearly, without antialiasing."""
    return images if images.shape[-1] == size else F.interpolate(images, (size, size), mode="bilinear")


def crop_antialiased(images: Tensor, boxes: Tensor, size: int) -> Tensor:
    """Cut a box out of every image and resize it to ``size`` x ``size``, bilinearly with antialiasing.

    Where the edges of a box lie between pixels, the result is that of torchvision's ``resized_crop(antialias=True)``:
    a pixel of the result is a mean of the pixels of the box, with weights that fall linearly to 0 at a distance of one
    pixel of the result (of the image, where the crop is made larger). A pixel belongs to the box that holds its centre.

    Args:
        images: [n, C, H, W] float.
        boxes: [n, 4] (x0, y0, w, h) as fractions of the image, at least one pixel wide and high.
        size: height and width of the result.

    Returns:
        [n, C, size, size].
    """
    x0, y0, w, h = boxes.to(images.device, torch.float32).unbind(1)
    across, down = _weights(x0, w, images.shape[3], size), _weights(y0, h, images.shape[2], size)
    return torch.einsum("nih,nchw,njw->ncij", down, images, across)


def _weights(start: Tensor, length: Tensor, pixels: int, size: int) -> Tensor:
    """Return the weights [n, size, pixels] of the pixels of a line; start and length [n] are fractions of the line."""
    start, length = start.view(-1, 1, 1) * pixels, length.view(-1, 1, 1) * pixels
    step = length / size  # pixels of the image per pixel of the result
    steps = torch.arange(size, device=start.device).view(1, -1, 1) + 0.5
    centres = torch.arange(pixels, device=start.device).view(1, 1, -1) + 0.5
    weights = (1 - (centres - start - steps * step).abs() / step.clamp_min(1)).clamp_min(0)
    weights = weights * ((centres > start) & (centres < start + length))
    return weights / weights.sum(2, keepdim=True)
