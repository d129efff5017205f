"""Differentiable siamese augmentation (Zhao and Bilen, ICML 2021, https://arxiv.org/abs/2102.08259), batched.

What is drawn is kept apart from what is done with it: siamese batches (real and synthetic) apply the same draws.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

GROUPS = ("color", "crop", "cutout", "flip", "scale", "rotate")
BRIGHTNESS, SATURATION, CONTRAST = 1.0, 2.0, 0.5
SHIFT = 0.125  # largest shift of a crop, as a part of the image
CUTOUT = 0.5  # side of the square, as a part of the image
SCALE = 1.2  # largest zoom, in and out
DEGREES = 15.0


@dataclass(frozen=True, eq=False)
class Augmentation:
    """One of the six groups, with the parameters of every image.

    Attributes:
        group: a name of `GROUPS`.
        draws: [n, 3] in [0, 1), what the parameters are computed from.
    """

    group: str
    draws: Tensor

    def rows(self, index: Tensor) -> Augmentation:
        """Return the draws at ``index`` [m]: those of each image's class, say, for a siamese pair of batches."""
        return Augmentation(self.group, self.draws[index.to(self.draws.device)])

    def apply(self, images: Tensor) -> Tensor:
        """Return the augmented images [n, C, S, S], normalised as they came; what is cut away becomes 0, the mean."""
        draws = self.draws.to(images.device, images.dtype)
        result: Tensor = _APPLY[self.group](images, draws)
        return result


def draw(n: int, generator: torch.Generator, *, flip: bool = True) -> Augmentation:
    """Draw one group for the whole call, uniformly, and parameters for n images (or classes) on their own.

    Args:
        n: number of parameter sets.
        generator: a CPU generator.
        flip: whether mirroring is among the groups.
    """
    groups = [group for group in GROUPS if flip or group != "flip"]
    group = groups[int(torch.randint(len(groups), (), generator=generator))]
    return Augmentation(group, torch.rand(n, 3, generator=generator))


def _color(images: Tensor, draws: Tensor) -> Tensor:
    """Shift the brightness, then stretch about each pixel's grey value, then about the image's mean."""
    u = draws[:, :, None, None, None]
    images = images + (u[:, 0] - 0.5) * BRIGHTNESS
    images = torch.lerp(images.mean(1, keepdim=True), images, u[:, 1] * SATURATION)
    return torch.lerp(images.mean((1, 2, 3), keepdim=True), images, u[:, 2] + CONTRAST)


def _crop(images: Tensor, draws: Tensor) -> Tensor:
    """Shift by whole pixels."""
    side = images.shape[-1]
    most = int(side * SHIFT + 0.5)
    shift = (draws[:, :2] * (2 * most + 1)).floor() - most
    x, y = (shift * 2 / (side - 1)).unbind(1)  # in the coordinates of `_affine`
    one, zero = torch.ones_like(x), torch.zeros_like(x)
    return _affine(images, (one, zero, x), (zero, one, y), mode="nearest")


def _cutout(images: Tensor, draws: Tensor) -> Tensor:
    """Blank a square, as much of it as lies within the image."""
    side = images.shape[-1]
    width = int(side * CUTOUT + 0.5)
    first = (draws[:, :2] * (side + 1 - width % 2)).floor() - width // 2  # [n, 2]
    place = torch.arange(side, device=images.device)
    hidden = (place >= first.unsqueeze(-1)) & (place < first.unsqueeze(-1) + width)  # [n, 2, S]
    return images.masked_fill((hidden[:, 0].unsqueeze(1) & hidden[:, 1].unsqueeze(2)).unsqueeze(1), 0.0)


def _flip(images: Tensor, draws: Tensor) -> Tensor:
    return torch.where(draws[:, :1, None, None] < 0.5, images.flip(3), images)


def _scale(images: Tensor, draws: Tensor) -> Tensor:
    """Zoom in and out, width and height on their own."""
    x, y = (1 / SCALE + draws[:, :2] * (SCALE - 1 / SCALE)).unbind(1)
    zero = torch.zeros_like(x)
    return _affine(images, (x, zero, zero), (zero, y, zero))


def _rotate(images: Tensor, draws: Tensor) -> Tensor:
    angle = (draws[:, 0] * 2 - 1) * math.radians(DEGREES)
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    return _affine(images, (cos, -sin, zero), (sin, cos, zero))


def _affine(images: Tensor, row_x: tuple[Tensor, ...], row_y: tuple[Tensor, ...], mode: str = "bilinear") -> Tensor:
    """Look up every pixel at ``(row_x . (x, y, 1), row_y . (x, y, 1))``, 0 outside the image.

    Coordinates are -1 and 1 at the centres of the outermost pixels, as torch had it when the method was published.
    """
    theta = torch.stack([torch.stack(row_x, 1), torch.stack(row_y, 1)], 1)  # [n, 2, 3]
    grid = F.affine_grid(theta, list(images.shape), align_corners=True)
    return F.grid_sample(images, grid, mode=mode, padding_mode="zeros", align_corners=True)


_APPLY = {"color": _color, "crop": _crop, "cutout": _cutout, "flip": _flip, "scale": _scale, "rotate": _rotate}
