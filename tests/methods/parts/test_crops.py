"""Antialiased crops: those of torchvision where the edges of a box lie between pixels."""

from __future__ import annotations

import pytest
import torch
from torchvision.transforms.v2.functional import InterpolationMode, resized_crop

from methods.parts.crops import crop_antialiased

IMAGES = torch.rand(6, 3, 40, 30, generator=torch.Generator().manual_seed(0))  # [n, C, H, W]


@pytest.mark.parametrize("size", [4, 7, 16, 40])
def test_whole_pixels_give_the_crops_of_torchvision(size):
    pixels = [(0, 0, 30, 40), (3, 5, 20, 31), (29, 39, 1, 1), (10, 2, 7, 5), (0, 20, 13, 20), (8, 8, 8, 8)]
    boxes = torch.tensor([(x / 30, y / 40, w / 30, h / 40) for x, y, w, h in pixels])
    result = crop_antialiased(IMAGES, boxes, size)
    for image, crop, (x, y, w, h) in zip(IMAGES, result, pixels, strict=True):
        bilinear = {"interpolation": InterpolationMode.BILINEAR, "antialias": True}
        expected = resized_crop(image, y, x, h, w, [size, size], **bilinear)
        torch.testing.assert_close(crop, expected, rtol=1e-4, atol=1e-5)


def test_stripes_finer_than_the_result_become_grey():
    """Without antialiasing, a crop of every second column would be all black or all white."""
    stripes = torch.zeros(1, 1, 32, 32)
    stripes[..., ::2] = 1
    result = crop_antialiased(stripes, torch.tensor([[0.0, 0.0, 1.0, 1.0]]), 8)
    assert (result - 0.5).abs().max() < 0.1


def test_boxes_between_pixels_see_no_pixel_from_outside():
    images = torch.full((1, 1, 16, 16), 9.0)
    images[..., 4:8, 4:8] = 1
    boxes = torch.tensor([[4.3 / 16, 4.2 / 16, 3.4 / 16, 3.6 / 16]])
    for size in (1, 2, 9):
        torch.testing.assert_close(crop_antialiased(images, boxes, size), torch.ones(1, 1, size, size))
