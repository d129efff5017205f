"""Patches: which crops of real images a start has, and in which order."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch.nn import functional as F

from benchmark.api import Unit
from benchmark.vision.augment import normalize
from methods.parts import patches
from methods.parts.patches import Patches, patch_images
from methods.sre2l_pp import SRe2LPP

WHOLE = {"crops": 1, "crop_scale": (1.0, 1.0)}


def losses(teacher, images, label, info):
    """Return the cross-entropy of each image, one by one."""
    with torch.no_grad():
        rows = [teacher(normalize(image.unsqueeze(0), info)) for image in images]
    return [float(F.cross_entropy(row, torch.tensor([label]))) for row in rows]


@pytest.fixture
def prepared(toy_data, toy_context):
    return dataclasses.replace(toy_context, prepared=Patches(factor=1, **WHOLE).prepare(toy_data, toy_context))


def test_patches_of_medium_difficulty_come_first(toy_data, prepared):
    """Of whole images, those in the middle of the order from the hardest to the easiest of a slow loop."""
    for label in range(3):
        members = toy_data.indices_of(label)
        own = losses(prepared.teachers[0], toy_data.images[members], label, toy_data.info)
        ranked = sorted(range(len(members)), key=lambda i: -own[i])
        n, middle = len(members), (len(members) + 1) // 2
        expected = [ranked[i] for i in (middle, middle + 1, middle - 1, middle + 2) if i < n]
        found = prepared.prepared["patch_image"][prepared.prepared["patch_label"] == label]
        assert found[: len(expected)].tolist() == members[expected].tolist()
        assert sorted(found.tolist()) == sorted(members.tolist()), "one crop of each image"


def test_a_crop_is_the_easiest_of_its_image(toy_data, toy_context):
    few, many = (
        Patches(factor=1, crops=crops, crop_scale=(0.1, 0.3)).best_crops(
            toy_data, toy_data.indices_of(0), 0, torch.Generator().manual_seed(0), toy_context
        )
        for crops in (1, 20)
    )
    assert torch.cat([losses for *_, losses in many]).mean() < torch.cat([losses for *_, losses in few]).mean()


@pytest.mark.parametrize("factor", [1, 2])
def test_a_slot_has_its_own_patches_whatever_ipc_is(factor, toy_data, prepared, monkeypatch):
    """Slot j has the patches j F^2 ... of its class, row by row."""
    monkeypatch.setattr(patches, "patch_factor", lambda info: factor)
    ten = patch_images(toy_data, Unit(index=0, ipc=2, classes=(0, 1, 2), slots=(0, 1)), prepared)
    one = patch_images(toy_data, Unit(index=0, ipc=1, classes=(1,), slots=(1,)), prepared)
    assert ten.shape == (6, 3, 32, 32)
    assert torch.equal(one[0], ten[3])
    side = 32 // factor
    order = prepared.prepared["patch_image"][prepared.prepared["patch_label"] == 1]
    for tile in range(factor**2):
        row, column = divmod(tile, factor)
        cell = one[0, :, row * side :, column * side :][:, :side, :side].float()
        image = toy_data.images[order[factor**2 + tile]].float().unsqueeze(0)
        small = F.interpolate(image, (side, side), mode="bilinear", antialias=True)[0]
        assert (cell - small).abs().max() <= 1, "up to rounding"


def test_zero_iterations_give_the_patches_untouched(toy_data, toy_context):
    method = SRe2LPP(iterations=0, one_slot_per_unit=False, crop_scale=(0.5, 1.0))
    context = dataclasses.replace(
        toy_context, prepared=method.preparation(toy_data.info).prepare(toy_data, toy_context)
    )
    (unit,) = method.units(toy_data.info, 3)
    result = method.distill(toy_data, unit, context)
    assert torch.equal(result.images, patch_images(toy_data, unit, context))
    assert result.extras == {}
    assert result.metadata["snapshot_iterations"] == []


def test_too_few_images_are_a_reason(toy_info):
    method = SRe2LPP()
    assert method.supports(toy_info, 11) is None
    assert "needs 12 patches of each class, one per image; there are 11" in method.supports(toy_info, 12)
    large = toy_info.model_copy(update={"resolution": 224})
    assert "needs 12 patches" in method.supports(large, 3), "four patches an image"
    assert "cannot be combined" in SRe2LPP(regulariser="pcbn").supports(toy_info, 1)
