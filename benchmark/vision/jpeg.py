"""JPEG compression of images, as in the code of methods that store their images as files."""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmark.synthetic import as_image


def compressed(images: Tensor, quality: int) -> Tensor:
    """Return images, uint8 [N, C, H, W] with 1 or 3 channels on the CPU, after compression at a quality from 1 to 100.

    A quality of 0 returns them as they are. Colours have half the resolution. Pillow's default quality is 75.
    """
    return torch.stack([_reopened(image, quality) for image in images]) if quality else images


def _reopened(image: Tensor, quality: int) -> Tensor:
    file = io.BytesIO()
    as_image(image).save(file, "JPEG", quality=quality)
    with Image.open(file) as reopened:
        pixels = torch.from_numpy(np.array(reopened))
    return pixels.view(*image.shape[1:], -1).permute(2, 0, 1).contiguous()
