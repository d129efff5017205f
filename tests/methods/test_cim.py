"""CIM: which images stand in which cell, which pairs are compared, and the loss and its steps in float64."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
from float64 import TIGHT, apart, forward, smooth
from torch import nn
from torch.nn import functional as F

from benchmark.errors import BenchmarkError
from benchmark.vision.augment import normalize
from methods.cim import CIM, enlarged_cells, layer_input, mosaics_of
from methods.parts.real import class_losses

IPC = 2


def unit_of(data, ipc=IPC, label=1):
    return CIM().units(data.info, ipc)[label]


def test_a_unit_is_one_class(toy_info):
    units = CIM().units(toy_info, IPC)
    assert [(unit.classes, unit.slots) for unit in units] == [((0,), (0, 1)), ((1,), (0, 1)), ((2,), (0, 1))]


def test_cells_of_one_colour_are_paired_with_their_images():
    """Image of rank r is filled with r: cut out of its mosaic and enlarged, it is the r-th view again."""
    images = torch.arange(12.0).view(12, 1, 1, 1).expand(12, 3, 8, 8)
    mosaics = mosaics_of(images, 3, 2)
    assert mosaics[1, 0, ::4, ::4].tolist() == [[1, 4], [7, 10]]
    assert torch.equal(enlarged_cells(mosaics, 2), images)


def test_cells_are_nearest_pixels_and_views_are_bilinear():
    images = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    (mosaic,) = mosaics_of(images, 1, 2)
    assert torch.equal(mosaic[:, :4, 4:], images[1, :, ::2, ::2])
    expected = F.interpolate(mosaic[None, :, 4:, :4], scale_factor=2, mode="bilinear", align_corners=False)
    assert torch.equal(enlarged_cells(mosaic[None], 2)[2:3], expected)


def test_the_candidates_of_lowest_loss_come_first(toy_data, toy_context):
    members = toy_data.indices_of(1)  # 11 images
    losses = class_losses(toy_data, members, 1, toy_context)
    expected = members[losses.argsort()[:8]]
    assert torch.equal(CIM()._easiest(toy_data, unit_of(toy_data), toy_context), expected)
    few = CIM(candidates=9)._easiest(toy_data, unit_of(toy_data), toy_context)
    assert set(few.tolist()) != set(expected.tolist())
    assert class_losses(toy_data, few, 1, toy_context).tolist() == sorted(class_losses(toy_data, few, 1, toy_context))


class Linear(nn.Module):
    """A teacher whose features are a linear map of the pixels."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(4)
        self.weight = nn.Parameter(torch.randn(3 * 32 * 32, 5, generator=generator), requires_grad=False)

    def forward_features(self, images):
        return images.flatten(1) @ self.weight

    def forward_head(self, maps, pre_logits=False):
        return maps

    def forward(self, images):
        return self.forward_features(images)


def as_they_are(images):
    return images


def test_the_loss_is_the_sum_by_hand_for_linear_features(toy_data, toy_context):
    """``sum_j mean_d |W (n(x_j) - n(up(s_j)))|``, n the normalisation; the gradient is that of signs."""
    context = dataclasses.replace(toy_context, teachers=(Linear(),))
    real = toy_data.images[:8]
    pixels = torch.rand(IPC, 3, 32, 32, generator=torch.Generator().manual_seed(5)).requires_grad_()
    loss = CIM().loss(pixels, real, as_they_are, toy_data.info, context)
    exact_pixels, weight = pixels.detach().double().requires_grad_(), context.teachers[0].weight.double()
    total = 0.0
    for rank in range(8):
        cell, image = divmod(rank, IPC)
        top, left = 16 * (cell // 2), 16 * (cell % 2)
        small = exact_pixels[image, :, top : top + 16, left : left + 16]
        large = F.interpolate(small[None], size=32, mode="bilinear", align_corners=False)[0]
        gap = (real[rank].double() / 255 - large) / 0.25
        total = total + (gap.flatten() @ weight).abs().sum() / 5
    (gradient,), (slope,) = torch.autograd.grad(loss, [pixels]), torch.autograd.grad(total, [exact_pixels])
    assert apart(loss.detach(), total.detach()) < TIGHT
    assert apart(gradient, slope) < TIGHT


@pytest.mark.parametrize("tap", [None, "layer3"])
def test_the_loss_in_a_network_is_that_of_float64(tap, toy_data, toy_context):
    teacher = smooth(toy_context.teachers[0])
    real, augment = toy_data.images[:8], CIM().augmentation(8, unit_of(toy_data), 3, toy_data.info, toy_context)
    pixels = mosaics_of(real.float() / 255, IPC, 2).requires_grad_()
    loss = CIM(tap=tap).loss(pixels, real, augment, toy_data.info, toy_context)
    exact = pixels.detach().double().requires_grad_()

    def features(images):
        if tap is None:
            return forward(teacher, augment(images)).features
        return layer_input(copy.deepcopy(teacher).double(), tap, augment(images)).flatten(1)

    gap = features((real.double() / 255 - 0.5) / 0.25) - features((enlarged_cells(exact, 2) - 0.5) / 0.25)
    expected = sum(row.abs().mean() for row in gap)
    (gradient,), (slope,) = torch.autograd.grad(loss, [pixels]), torch.autograd.grad(expected, [exact])
    assert apart(loss.detach(), expected.detach()) < TIGHT
    assert apart(gradient, slope) < 20 * TIGHT  # a sign of the norm may differ


def test_the_gradient_is_that_of_differences():
    weight = torch.rand(3 * 4 * 4, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    mosaics = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64).requires_grad_()

    def loss(images):  # all features are above those of black images: off the corners of the L1 norm
        return (enlarged_cells(images, 2).flatten(1) @ weight).abs().mean(1).sum()

    assert torch.autograd.gradcheck(loss, [mosaics])


def test_each_class_has_its_own_augmentation(toy_data, toy_context):
    one, other = (
        CIM().augmentation(8, unit_of(toy_data, label=label), 0, toy_data.info, toy_context) for label in (0, 1)
    )
    images = normalize(toy_data.images[:8], toy_data.info)
    assert not torch.equal(one(images), other(images))


def test_the_augmentation_is_shared_and_differs_between_images(toy_data, toy_context):
    augment = CIM().augmentation(8, unit_of(toy_data), 0, toy_data.info, toy_context)
    image = normalize(toy_data.images[:1], toy_data.info).expand(8, -1, -1, -1)
    first = augment(image)
    assert torch.equal(first, augment(image))
    assert len({view.numpy().tobytes() for view in first}) == 8
    assert (first == 0).flatten(1).float().mean(1).min() > 0.05, "a part of every image is cut out"
    other = CIM().augmentation(8, unit_of(toy_data), 1, toy_data.info, toy_context)
    assert not torch.equal(first, other(image))


def test_digits_are_not_mirrored(toy_data, toy_context):
    info = toy_data.info.model_copy(update={"flip": False})
    ramp = torch.arange(32.0).add(1).expand(64, 3, 32, 32)  # rises from left to right, in what is left of it
    plain, mirrored = (
        CIM().augmentation(64, unit_of(toy_data), 0, i, toy_context)(ramp) for i in (info, toy_data.info)
    )

    def falls(views):
        return [bool(((row := view[0].max(0).values)[row > 0].diff() < 0).any()) for view in views]

    assert not any(falls(plain))
    assert 16 < sum(falls(mirrored)) < 48


def test_a_step_without_gradient_shrinks_delta(toy_data, toy_context):
    """AdamW: ``delta (1 - lr wd)`` where the gradient is 0; the decay is of delta and not of the pixels."""
    method, unit = CIM(iterations=3, learning_rate=0.1, weight_decay=0.5), unit_of(toy_data)
    start = CIM(iterations=0).distill(toy_data, unit, toy_context).images
    values = iter([1.0, 0.0, 0.0])

    class Still(CIM):
        def loss(self, images, *rest):
            return next(values) * images.sum()

    Still.__module__ = CIM.__module__
    result = Still(**method.model_dump()).distill(toy_data, unit, toy_context)
    m, v, delta = 0.0, 0.0, 0.0
    for t, g in enumerate([1.0, 0.0, 0.0], start=1):
        delta *= 1 - 0.1 * 0.5
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        delta -= 0.1 * (m / (1 - 0.9**t)) / ((v / (1 - 0.999**t)) ** 0.5 + 1e-8)
    torch.testing.assert_close(result.images - start, torch.full_like(start, delta), atol=1e-5, rtol=0)


def test_without_iterations_the_set_is_its_mosaics(toy_data, toy_context):
    unit = unit_of(toy_data)
    chosen = CIM()._easiest(toy_data, unit, toy_context)
    result = CIM(iterations=0).distill(toy_data, unit, toy_context)
    assert torch.equal(result.images, mosaics_of(toy_data.images[chosen] / 255, IPC, 2))
    assert result.metadata == {}


def test_views_come_nearer_to_the_images(toy_data, toy_context):
    few, many = (CIM(iterations=n).distill(toy_data, unit_of(toy_data), toy_context) for n in (1, 30))
    assert many.metadata["loss"] < 0.8 * few.metadata["loss"]


def test_more_than_there_are_is_refused_in_words(toy_info):
    assert CIM().supports(toy_info, 2) is None
    assert "class 'green' of toy has 11 training images, fewer than IPC 3 x 2^2 = 12" in CIM().supports(toy_info, 3)
    assert CIM(factor=1).supports(toy_info, 11) is None
    assert "3 cells do not tile 32 px" in CIM(factor=3).supports(toy_info, 1)


def test_a_layer_that_is_not_there_is_named(toy_context):
    images = torch.zeros(1, 3, 32, 32)
    with pytest.raises(BenchmarkError, match=r"no layer 'layer9': its blocks are conv1, .*layer3"):
        layer_input(toy_context.teachers[0], "layer9", images)
    maps = layer_input(toy_context.teachers[0], "layer3", images)
    assert maps.shape[0] == 1 and maps.dim() == 4
    assert not toy_context.teachers[0].get_submodule("layer3")._forward_pre_hooks
