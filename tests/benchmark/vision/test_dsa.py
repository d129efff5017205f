"""Differentiable siamese augmentation: what is shared, what is drawn, and each group against one image at a time."""

from __future__ import annotations

import math

import pytest
import torch
from slow_dsa import FORMULAS, SIZE

from benchmark.vision.dsa import GROUPS, Augmentation, sample_augmentation

CORNERS = [(0.0, 0.0, 0.0), (0.999, 0.999, 0.999), (0.0, 0.999, 0.5)]


@pytest.fixture
def images():
    return torch.randn(7, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def augmentation(group: str, n: int) -> Augmentation:
    samples = torch.rand(n, 3, generator=torch.Generator().manual_seed(2))
    samples[: len(CORNERS)] = torch.tensor(CORNERS)[:n]
    return Augmentation(group, samples)


@pytest.mark.parametrize("group", GROUPS)
def test_each_group_is_the_formula_image_by_image(group, images):
    chosen = augmentation(group, len(images))
    expected = torch.stack(
        [FORMULAS[group](*pair) for pair in zip(images, chosen.samples.double().tolist(), strict=True)]
    )
    assert torch.allclose(chosen.apply(images), expected, atol=1e-6)
    assert not torch.allclose(expected, images, atol=1e-2)


@pytest.mark.parametrize("group", GROUPS)
def test_siamese_batches_share_the_draws_of_their_class(group, images):
    """An image fares the same among the real ones of its class, among the synthetic ones, and alone."""
    shared = augmentation(group, 5)
    classes = torch.tensor([4, 3, 3, 0, 4, 1, 3])
    together = shared.rows(classes).apply(images)
    for image, label, seen in zip(images, classes, together, strict=True):
        assert torch.equal(shared.rows(label.view(1)).apply(image.unsqueeze(0))[0], seen)
    twins = images[:1].expand(2, -1, -1, -1)
    same, other = shared.rows(torch.tensor([3, 3])).apply(twins), shared.rows(torch.tensor([0, 1])).apply(twins)
    assert torch.equal(same[0], same[1])
    assert not torch.equal(other[0], other[1]), "each class, or image, has parameters of its own"


@pytest.mark.parametrize("group", GROUPS)
def test_gradients_reach_the_pixels_and_are_exact(group, images):
    chosen, leaf = augmentation(group, 3), images[:3].clone().requires_grad_()
    assert torch.autograd.gradcheck(chosen.apply, (leaf,))
    (gradient,) = torch.autograd.grad(chosen.apply(leaf).square().sum(), [leaf])
    assert (gradient.flatten(1).abs().sum(1) > 0).all()


@pytest.mark.parametrize("group", GROUPS)
def test_shape_type_and_input_are_kept(group, images):
    before = images.clone()
    assert augmentation(group, 7).apply(images.float()).dtype == torch.float32
    assert augmentation(group, 7).apply(images).shape == images.shape
    assert torch.equal(images, before)


def test_equal_generators_give_equal_draws():
    first, again = (sample_augmentation(6, torch.Generator().manual_seed(3)) for _ in range(2))
    other = sample_augmentation(6, torch.Generator().manual_seed(4))
    assert first.group == again.group
    assert torch.equal(first.samples, again.samples)
    assert not torch.equal(first.samples, other.samples)


@pytest.mark.parametrize("flip", [True, False])
def test_groups_are_equally_likely_and_mirrors_can_be_forbidden(flip):
    generator, times = torch.Generator().manual_seed(5), 3000
    groups = [sample_augmentation(1, generator, flip=flip).group for _ in range(times)]
    allowed = [group for group in GROUPS if flip or group != "flip"]
    assert set(groups) == set(allowed)
    for group in allowed:
        assert groups.count(group) == pytest.approx(times / len(allowed), abs=5 * math.sqrt(times / 6))


def test_crops_shift_by_up_to_an_eighth_in_every_direction():
    image = torch.zeros(1, 1, 32, 32)
    image[0, 0, 16, 16] = 1
    samples = torch.cartesian_prod(*[(torch.arange(9) + 0.5) / 9] * 2, torch.zeros(1))
    seen = Augmentation("crop", samples).apply(image.expand(81, -1, -1, -1))
    places = {tuple(place[-2:]) for place in seen.nonzero().tolist()}
    assert torch.equal(seen.sum((1, 2, 3)), torch.ones(81)), "whole pixels: nothing is blurred"
    assert places == {(y, x) for y in range(12, 21) for x in range(12, 21)}
