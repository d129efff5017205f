"""Differentiable siamese augmentation (Zhao and Bilen, ICML 2021, https://arxiv.org/abs/2102.08259), batched.

Random numbers are sampled first and applied later, so that two siamese batches (real and synthetic) use the same ones.
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
    """One of the six groups of augmentations, with random numbers for every image.

    Attributes:
        group: one of `GROUPS`.
        samples: [n, 3], uniform in [0, 1); the parameters of the augmentation are computed from them.
    """

    group: str
    samples: Tensor

    def rows(self, index: Tensor) -> Augmentation:
        """Return the augmentation with the random numbers at ``index`` [m], e.g. at the class of each image."""
        return Augmentation(self.group, self.samples[index.to(self.samples.device)])

    def apply(self, images: Tensor) -> Tensor:
        """Return augmented normalised images [n, C, S, S]; pixels that are cut away become 0, the dataset's mean."""
        samples = self.samples.to(images.device, images.dtype)
        result: Tensor = _APPLY[self.group](images, samples)
        return result


@dataclass(frozen=True, eq=False)
class Chain:
    """Several augmentations, one after another.

    Attributes:
        parts: the augmentations, in the order in which they apply.
    """

    parts: tuple[Augmentation, ...]

    def rows(self, index: Tensor) -> Chain:
        """Return the augmentations with the random numbers at ``index`` [m]."""
        return Chain(tuple(part.rows(index) for part in self.parts))

    def apply(self, images: Tensor) -> Tensor:
        """Return augmented normalised images [n, C, S, S]."""
        for part in self.parts:
            images = part.apply(images)
        return images


def sample_chain(n: int, generator: torch.Generator, *, flip: bool = True, cutout: bool = True) -> Chain:
    """Sample what CIM's student sees: flip, colour, one of crop, scale and rotate for all images, and cutout.

    Args:
        n: number of images; each has its own random numbers.
        generator: a CPU generator.
        flip: whether images are mirrored.
        cutout: whether squares are cut out; not for the student of NCFM.
    """
    moved = ("crop", "scale", "rotate")[int(torch.randint(3, (), generator=generator))]
    switches = {"flip": flip, "cutout": cutout}
    groups = [group for group in ("flip", "color", moved, "cutout") if switches.get(group, True)]
    return Chain(tuple(Augmentation(group, torch.rand(n, 3, generator=generator)) for group in groups))


def sample_augmentation(n: int, generator: torch.Generator, *, flip: bool = True) -> Augmentation:
    """Sample one group for all images, uniformly, and random numbers for each of n images (or classes).

    Args:
        n: number of images or classes.
        generator: a CPU generator.
        flip: whether mirroring is one of the groups.
    """
    groups = [group for group in GROUPS if flip or group != "flip"]
    group = groups[int(torch.randint(len(groups), (), generator=generator))]
    return Augmentation(group, torch.rand(n, 3, generator=generator))


def _color(images: Tensor, samples: Tensor) -> Tensor:
    """Shift the brightness, then scale the distance to each pixel's grey value, then to the image's mean."""
    u = samples[:, :, None, None, None]
    images = images + (u[:, 0] - 0.5) * BRIGHTNESS
    images = torch.lerp(images.mean(1, keepdim=True), images, u[:, 1] * SATURATION)
    return torch.lerp(images.mean((1, 2, 3), keepdim=True), images, u[:, 2] + CONTRAST)


def _crop(images: Tensor, samples: Tensor) -> Tensor:
    """Shift each image by whole pixels."""
    side = images.shape[-1]
    most = int(side * SHIFT + 0.5)
    shift = (samples[:, :2] * (2 * most + 1)).floor() - most
    x, y = (shift * 2 / (side - 1)).unbind(1)  # in the coordinates of `_affine`
    one, zero = torch.ones_like(x), torch.zeros_like(x)
    return _affine(images, (one, zero, x), (zero, one, y), mode="nearest")


def _cutout(images: Tensor, samples: Tensor) -> Tensor:
    """Set a square of each image to 0; the square may reach beyond the border."""
    side = images.shape[-1]
    width = int(side * CUTOUT + 0.5)
    start = (samples[:, :2] * (side + 1 - width % 2)).floor() - width // 2  # [n, 2]
    position = torch.arange(side, device=images.device)
    hidden = (position >= start.unsqueeze(-1)) & (position < start.unsqueeze(-1) + width)  # [n, 2, S]
    return images.masked_fill((hidden[:, 0].unsqueeze(1) & hidden[:, 1].unsqueeze(2)).unsqueeze(1), 0.0)


def _flip(images: Tensor, samples: Tensor) -> Tensor:
    return torch.where(samples[:, :1, None, None] < 0.5, images.flip(3), images)


def _scale(images: Tensor, samples: Tensor) -> Tensor:
    """Zoom in or out; width and height have different factors."""
    x, y = (1 / SCALE + samples[:, :2] * (SCALE - 1 / SCALE)).unbind(1)
    zero = torch.zeros_like(x)
    return _affine(images, (x, zero, zero), (zero, y, zero))


def _rotate(images: Tensor, samples: Tensor) -> Tensor:
    angle = (samples[:, 0] * 2 - 1) * math.radians(DEGREES)
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    return _affine(images, (cos, -sin, zero), (sin, cos, zero))


def _affine(images: Tensor, row_x: tuple[Tensor, ...], row_y: tuple[Tensor, ...], mode: str = "bilinear") -> Tensor:
    """Return images whose pixel (x, y) is the input at ``(row_x . (x, y, 1), row_y . (x, y, 1))``; 0 outside the input.

    The centres of the outermost pixels have the coordinates -1 and 1, torch's convention when the method was published.
    """
    theta = torch.stack([torch.stack(row_x, 1), torch.stack(row_y, 1)], 1)  # [n, 2, 3]
    grid = F.affine_grid(theta, list(images.shape), align_corners=True)
    return F.grid_sample(images, grid, mode=mode, padding_mode="zeros", align_corners=True)


_APPLY = {"color": _color, "crop": _crop, "cutout": _cutout, "flip": _flip, "scale": _scale, "rotate": _rotate}
