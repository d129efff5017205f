"""Six corruptions of Hendrycks & Dietterich (2019), each at one medium strength, for images of 32 to 224 px.

Paper: Benchmarking Neural Network Robustness to Common Corruptions and Perturbations, ICLR 2019,
https://arxiv.org/abs/1903.12261.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmark.vision.jpeg import compressed


def _noise(pixels: Tensor, generator: torch.Generator) -> Tensor:
    noise = torch.randn(pixels.shape, generator=generator) * (0.1 * 255)
    return (pixels + noise).round().clamp(0, 255).byte()


def _blur(pixels: Tensor, _: torch.Generator) -> Tensor:
    from torchvision.transforms.v2 import functional as vision  # takes seconds

    sigma = pixels.shape[-1] / 64
    blurred: Tensor = vision.gaussian_blur(pixels, [2 * math.ceil(3 * sigma) + 1] * 2, [sigma] * 2)
    return blurred


def _brightness(pixels: Tensor, _: torch.Generator) -> Tensor:
    return (pixels.int() + 51).clamp(max=255).byte()


def _contrast(pixels: Tensor, _: torch.Generator) -> Tensor:
    from torchvision.transforms.v2 import functional as vision

    flat: Tensor = vision.adjust_contrast(pixels, 0.4)
    return flat


def _pixelate(pixels: Tensor, _: torch.Generator) -> Tensor:
    halved = F.avg_pool2d(pixels.float(), 2)
    return F.interpolate(halved, pixels.shape[-2:], mode="nearest").round().byte()


def _jpeg(pixels: Tensor, _: torch.Generator) -> Tensor:
    return compressed(pixels, 25)


# name -> function of uint8 images [b, C, S, S] on the CPU, which returns images of the same shape and type
CORRUPTIONS: Mapping[str, Callable[[Tensor, torch.Generator], Tensor]] = {
    "gaussian_noise": _noise,  # deviation 0.1 of pixels in [0, 1]
    "gaussian_blur": _blur,  # deviation S / 64 px
    "brightness": _brightness,  # plus 0.2
    "contrast": _contrast,  # times 0.4
    "pixelate": _pixelate,  # to half the resolution
    "jpeg": _jpeg,  # quality 25
}
