"""RDED: which crops it chooses, and where they stand in a mosaic."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from benchmark.vision.augment import normalize
from benchmark.vision.jpeg import compressed
from methods.parts.patches import mosaic, pad, square_boxes
from methods.rded import RDED


def distill(method, data, context, ipc):
    (unit,) = method.units(data.info, ipc)
    return method.distill(data, unit, context)


class Redness(nn.Module):
    """A teacher whose logits are the mean colours: it is the surest of red where an image is red."""

    def forward(self, images):
        self.seen = images
        return images.mean((2, 3))


def test_a_mosaic_takes_ranks_i_and_i_plus_n_row_by_row():
    crops = torch.arange(12.0).view(12, 1, 1, 1).expand(12, 2, 3, 3).contiguous()  # crop r is filled with r; n = 3
    result = mosaic(crops, 3, 2, 6)
    assert result.shape == (3, 2, 6, 6)
    for i in range(3):
        corners = result[i, 0, ::3, ::3]
        assert corners.tolist() == [[i, i + 3], [i + 6, i + 9]]
        assert torch.equal(result[i, 1], corners.repeat_interleave(3, 0).repeat_interleave(3, 1))


def test_a_mosaic_keeps_crops_upright():
    crops = torch.rand(4, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    (result,) = mosaic(crops, 1, 2, 4)
    assert torch.equal(result[0, :2, :2], crops[0, 0])
    assert torch.equal(result[0, :2, 2:], crops[1, 0])
    assert torch.equal(result[0, 2:, :2], crops[2, 0])
    assert torch.equal(result[0, 2:, 2:], crops[3, 0])


def test_a_mosaic_that_does_not_fit_is_resized_to_the_nearest_pixel():
    crops = torch.arange(9.0).view(9, 1, 1, 1).expand(9, 1, 2, 2).contiguous()
    result = mosaic(crops, 1, 3, 7)  # cells of 2 px in 7 px
    assert result.shape == (1, 1, 7, 7)
    assert set(result.unique().tolist()) == set(range(9)), "no pixel is mixed of two crops"


def test_padding_puts_zeros_around():
    result = pad(torch.ones(1, 1, 2, 2), 5)
    assert result.sum() == 4
    assert torch.equal(result[0, 0, 1:3, 1:3], torch.ones(2, 2))


def test_a_crop_is_scored_amid_zeros_at_full_size(toy_data, toy_context):
    teacher = Redness()
    distill(RDED(factor=2, crops=1), toy_data, dataclasses.replace(toy_context, teachers=(teacher,)), 1)
    assert teacher.seen.shape[2:] == (32, 32)
    inside = teacher.seen[:, :, 8:24, 8:24].clone()
    assert inside.std() > 0.5, "crops are normalised before they are padded"
    assert torch.equal(pad(inside, 32), teacher.seen)


def test_of_every_image_the_best_crop_is_kept_and_of_every_class_the_best_images(toy_data, toy_context):
    """With whole images as crops, the set is the images that a slow loop over all of them finds the easiest."""
    result = distill(RDED(factor=1, crops=1, crop_scale=(1.0, 1.0), batch_size=4), toy_data, toy_context, 3)
    for label in range(3):
        images = toy_data.images[toy_data.labels == label]
        with torch.no_grad():
            logits = toy_context.teachers[0](normalize(images, toy_data.info))
        losses = [float(F.cross_entropy(row, torch.tensor(label))) for row in logits]
        easiest = sorted(range(len(images)), key=losses.__getitem__)[:3]
        assert torch.equal(result.images[result.targets == label], images[easiest])


def test_the_kept_crop_has_the_least_loss_of_its_image(toy_data, toy_context):
    context = dataclasses.replace(toy_context, teachers=(Redness(),))
    method = RDED(factor=1, crops=6, crop_scale=(0.05, 0.1))
    best, scores = method._best_crops(toy_data, 0, 1, context)
    assert best.shape == (12, 3, 32, 32)
    again = F.cross_entropy(
        normalize(best, toy_data.info).mean((2, 3)), torch.zeros(12, dtype=torch.int64), reduction="none"
    )
    torch.testing.assert_close(again, scores)
    _, single = method.model_copy(update={"crops": 1})._best_crops(toy_data, 0, 1, context)
    assert scores.mean() < single.mean()


def test_a_pool_that_is_smaller_than_the_set_grows(toy_data, toy_context):
    method = RDED(factor=1, crops=1, crop_scale=(1.0, 1.0))
    small, large = (distill(method.model_copy(update={"pool": pool}), toy_data, toy_context, 3) for pool in (1, 3))
    assert torch.equal(small.images, large.images)


def test_more_crops_to_choose_from_are_never_harder(toy_data, toy_context):
    losses = [distill(RDED(crops=crops), toy_data, toy_context, 2).metadata["ce"] for crops in (1, 10)]
    assert losses[1] < losses[0]


@pytest.mark.parametrize(("factor", "most"), [(1, 11), (2, 2), (3, 1)])
def test_each_crop_is_of_another_image(factor, most, toy_info):
    method = RDED(factor=factor)
    assert method.supports(toy_info, most) is None
    assert "11" in method.supports(toy_info, most + 1)


def test_crops_are_made_smaller_without_aliasing(toy_data, toy_context):
    """Of columns that are black and white in turn, every crop is grey; every second column would be black or white."""
    data = type(toy_data)(toy_data.info, toy_data.images.clone(), toy_data.labels)
    data.images[..., ::2], data.images[..., 1::2] = 0, 255
    result = distill(RDED(factor=2, crops=1, crop_scale=(1.0, 1.0)), data, toy_context, 1)
    inside = torch.cat([result.images[..., 2:14], result.images[..., 18:30]])  # the ends of a crop see half a period
    assert (inside.float() - 127.5).abs().max() < 10


def test_jpeg_compresses_the_mosaics(toy_data, toy_context):
    plain, packed = (distill(RDED(jpeg=jpeg), toy_data, toy_context, 1) for jpeg in (0, 75))
    assert RDED().jpeg == 0
    assert torch.equal(packed.images, compressed(plain.images, 75))
    assert not torch.equal(packed.images, plain.images)


def test_crops_are_squares_of_whole_images(toy_data, toy_context, monkeypatch):
    """An image of 64 x 32 px has its red third on the right: a square crop of it fits into the squeezed third."""
    pixels = torch.full((len(toy_data.labels), 3, 48, 48), 60, dtype=torch.uint8)
    pixels[:, 0, :, 32:] = 255
    pixels[:, 1:, :, 32:] = 0
    monkeypatch.setattr(toy_data, "read", None)
    monkeypatch.setattr(toy_data, "read_whole", lambda indices: pixels[indices], raising=False)
    monkeypatch.setattr(toy_data, "aspects", lambda indices: torch.full((len(indices),), 2.0), raising=False)
    boxes = square_boxes(toy_data, torch.arange(5), 4, (0.08, 1.0), torch.Generator().manual_seed(0))
    assert boxes.shape == (20, 4)
    torch.testing.assert_close(2 * boxes[:, 2], boxes[:, 3])
    context = dataclasses.replace(toy_context, teachers=(Redness(),))
    images = distill(RDED(factor=1, crops=60, crop_scale=(0.1, 0.2)), toy_data, context, 1).images
    assert images.shape == (3, 3, 32, 32)
    assert (images[0, 0] > 250).all() and (images[0, 1] < 5).all(), "the surest crop of red lies in the third"
