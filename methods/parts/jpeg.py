"""JPEG compression of distilled images, as in the code of methods that store their images as files."""

from __future__ import annotations

import io

import torch
from PIL import Image
from torch import Tensor


def compressed(images: Tensor, quality: int) -> Tensor:
    """Return images, uint8 [N, C, H, W] with 1 or 3 channels on the CPU, after compression at a quality from 1 to 100.

    A quality of 0 returns them as they are. Colours have half the resolution. Pillow's default quality is 75.
    """
    return torch.stack([_reopened(image, quality) for image in images]) if quality else images


def _reopened(image: Tensor, quality: int) -> Tensor:
    from torchvision.transforms.v2.functional import pil_to_tensor, to_pil_image  # takes seconds

    file = io.BytesIO()
    to_pil_image(image).save(file, "JPEG", quality=quality)
    with Image.open(file) as reopened:
        return pil_to_tensor(reopened)
