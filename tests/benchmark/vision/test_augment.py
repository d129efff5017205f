"""Crops are torchvision's, mixes are exact, and views are a pure function of schedule, seed, epoch and size."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.stats import ks_2samp
from torchvision.transforms import RandomResizedCrop, v2

from benchmark.api import DatasetInfo
from benchmark.vision.augment import (
    Schedule,
    View,
    WholeSchedule,
    denormalize,
    normalize,
    pixel_bounds,
    swap_halves,
)
from benchmark.vision.boxes import crop_alike, crop_resize, sample_boxes
from benchmark.vision.dsa import GROUPS

INFO = DatasetInfo(
    name="toy",
    class_names=("a", "b"),
    train_counts=(1, 1),
    resolution=8,
    mean=(0.5, 0.4, 0.3),
    std=(0.2, 0.3, 0.4),
    fingerprint="0",
)
WHOLE = torch.tensor([[0.0, 0.0, 1.0, 1.0]])
UPRIGHT = torch.tensor([False])


def images(n: int = 4, size: int = 16, seed: int = 0) -> torch.Tensor:
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("size", [5, 16, 33])
@pytest.mark.parametrize("box", [(0, 0, 16, 16), (3, 5, 7, 4), (10, 0, 6, 16), (15, 15, 1, 1)])
def test_crop_is_that_of_torchvision(box, size, layout):
    x, y, w, h = box
    batch = images().contiguous(memory_format=layout)
    fractions = torch.tensor([[x, y, w, h]]) / 16
    expected = v2.functional.resized_crop(batch, y, x, h, w, [size, size], antialias=False)
    torch.testing.assert_close(crop_resize(batch, fractions, UPRIGHT, size), expected, atol=2e-5, rtol=0)
    mirrored = crop_resize(batch, fractions, ~UPRIGHT, size)
    torch.testing.assert_close(mirrored, expected.flip(-1), atol=2e-5, rtol=0)


@given(
    st.integers(0, 10_000),
    st.sampled_from([8, 15]),
    st.booleans(),
    st.tuples(st.integers(0, 9), st.integers(0, 9)),
    st.sampled_from([(0.08, 1.0), (0.001, 0.01)]),  # the latter: boxes that are smaller than a pixel too
)
@settings(max_examples=80, deadline=None)
def test_one_box_for_all_is_a_crop_and_a_shift(seed, size, mirrored, shift, scale):
    box = sample_boxes(1, torch.Generator().manual_seed(seed), scale=scale)
    flip, x = torch.tensor([mirrored]), images(size=size, seed=seed).requires_grad_()
    wanted, mine = crop_resize(x, box, flip, size).roll(shift, (2, 3)), crop_alike(x, box, flip, shift)
    torch.testing.assert_close(mine, wanted, atol=1e-5, rtol=0)
    gradients = [torch.autograd.grad(view.sin().sum(), x)[0] for view in (mine, wanted)]
    # One pixel may have the weights of all pixels of a view, and each weight has the rounding of a position in float32.
    rounding = 1e-5 if scale == (0.08, 1.0) else size**3 * torch.finfo(torch.float32).eps / 2
    torch.testing.assert_close(*gradients, atol=rounding, rtol=1e-5)


def test_each_image_has_its_own_box_and_flip():
    batch = images(3)
    boxes = sample_boxes(3, torch.Generator().manual_seed(1))
    flips = torch.tensor([True, False, True])
    together = crop_resize(batch, boxes, flips, 16)
    for i in range(3):
        alone = crop_resize(batch[i : i + 1], boxes[i : i + 1], flips[i : i + 1], 16)
        torch.testing.assert_close(together[i : i + 1], alone)
    assert not torch.allclose(together[0], crop_resize(batch, boxes, ~flips, 16)[0])


def test_a_crop_of_an_image_on_its_side_is_the_crop_on_its_side():
    oblong, sides = torch.rand(1, 3, 8, 24, generator=torch.Generator().manual_seed(0)), [1, 0, 3, 2]
    for box in (WHOLE, torch.tensor([[0.25, 0.5, 0.125, 0.5]])):
        crop, turned = (crop_resize(x, b, UPRIGHT, 12) for x, b in ((oblong, box), (oblong.mT, box[:, sides])))
        torch.testing.assert_close(crop.mT, turned, atol=1e-6, rtol=0)


def test_whole_box_without_flip_is_the_identity():
    batch = images()
    torch.testing.assert_close(crop_resize(batch, WHOLE, UPRIGHT, 16), batch, atol=1e-5, rtol=0)


def test_gradient_of_a_crop_is_its_transpose_and_stays_in_the_box():
    batch = images(2).requires_grad_()
    boxes = torch.tensor([[0.25, 0.5, 0.5, 0.25]])
    out = crop_resize(batch, boxes, UPRIGHT, 16)
    cotangent = torch.randn(out.shape, generator=torch.Generator().manual_seed(2))
    (gradient,) = torch.autograd.grad(out, batch, cotangent)
    torch.testing.assert_close((gradient * batch).sum(), (cotangent * out).sum(), atol=1e-3, rtol=1e-4)
    inside = torch.zeros(16, 16, dtype=torch.bool)
    inside[8:12, 4:12] = True
    assert (gradient[:, :, inside].abs().sum((0, 1)) > 0).all()
    assert gradient[:, :, ~inside].abs().max() < 1e-4


@pytest.mark.parametrize("scale", [(0.08, 1.0), (0.5, 1.0), (0.9, 1.0)])
def test_boxes_follow_the_distribution_of_torchvision(scale):
    n, side = 3000, 10_000
    boxes = sample_boxes(n, torch.Generator().manual_seed(0), scale=scale).numpy()
    big = torch.empty(1).expand(1, side, side)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        drawn = [RandomResizedCrop.get_params(big, list(scale), [3 / 4, 4 / 3]) for _ in range(n)]
    theirs = np.array([(left, top, width, height) for top, left, height, width in drawn]) / side
    assert (boxes[:, :2] >= 0).all() and (boxes[:, :2] + boxes[:, 2:] <= 1 + 1e-6).all()
    for part in range(4):
        assert ks_2samp(boxes[:, part], theirs[:, part]).pvalue > 0.01
    assert ks_2samp(boxes[:, 2] * boxes[:, 3], theirs[:, 2] * theirs[:, 3]).pvalue > 0.01


@pytest.mark.parametrize("ratio", [(3 / 4, 4 / 3), (1.0, 1.0)])
@pytest.mark.parametrize("aspect", [0.6, 1.5, 3.0])
def test_boxes_of_a_squeezed_image_are_those_of_the_image(aspect, ratio):
    n, height = 2000, 10_000
    width = round(aspect * height)
    aspects = torch.full((n,), aspect)
    boxes = sample_boxes(n, torch.Generator().manual_seed(0), ratio=ratio, aspects=aspects).double().numpy()
    image = torch.empty(1).expand(1, height, width)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        drawn = [RandomResizedCrop.get_params(image, [0.08, 1.0], list(ratio)) for _ in range(n)]
    theirs = np.array([(left / width, top / height, w / width, h / height) for top, left, h, w in drawn])
    assert (boxes[:, :2] >= 0).all() and (boxes[:, :2] + boxes[:, 2:] <= 1 + 1e-6).all()
    shapes = boxes[:, 2] / boxes[:, 3] * aspect
    assert shapes.min() > ratio[0] - 1e-3 and shapes.max() < ratio[1] + 1e-3, "in pixels of the image"
    for part in range(4):
        assert ks_2samp(boxes[:, part].round(3), theirs[:, part].round(3)).pvalue > 0.01
    assert boxes[:, 2:].prod(1).mean() == pytest.approx(theirs[:, 2:].prod(1).mean(), abs=0.02)


def test_the_largest_central_box_has_the_shape_nearest_to_the_image():
    boxes = sample_boxes(3, torch.Generator().manual_seed(0), scale=(1.0, 1.0), aspects=torch.tensor([4.0, 0.25, 1.25]))
    wide, high = [1 / 3, 0.0, 1 / 3, 1.0], [0.0, 1 / 3, 1.0, 1 / 3]
    torch.testing.assert_close(boxes[:2], torch.tensor([wide, high]))
    with torch.random.fork_rng():
        for aspect, (_, _, w, h) in zip((4.0, 0.25), boxes.tolist(), strict=False):
            image = torch.empty(1).expand(1, 1200, round(1200 * aspect))
            *_, theirs_h, theirs_w = RandomResizedCrop.get_params(image, [1.0, 1.0], [3 / 4, 4 / 3])
            assert (theirs_h, theirs_w) == (round(1200 * h), round(1200 * aspect * w))


def test_boxes_of_squares_are_what_they_were():
    """Published results hold these numbers."""
    old = [[0.12010751664638519, 0.22134777903556824, 0.7717870473861694, 0.6952125430107117]]
    old += [[0.0001143844347097911, 0.14923648536205292, 0.999530553817749, 0.787133514881134]]
    boxes = sample_boxes(2, torch.Generator().manual_seed(0))
    torch.testing.assert_close(boxes, torch.tensor(old), rtol=1e-6, atol=1e-7)
    assert torch.equal(boxes, sample_boxes(2, torch.Generator().manual_seed(0), aspects=torch.ones(2)))


def test_views_of_whole_images_have_the_boxes_of_their_own_images():
    options = {"epochs": 1, "batch_size": 3, "mix": "none"}
    aspects = torch.tensor([4.0, 0.25, 1.0, 4.0, 0.25, 1.0])
    views = list(WholeSchedule(**options, aspects=aspects, size=5).views(0, 0, 6))
    plain = list(Schedule(**options).views(0, 0, 6))
    assert [v.indices.tolist() for v in views] == [v.indices.tolist() for v in plain]
    shapes = torch.cat([v.boxes[:, 2] / v.boxes[:, 3] * aspects[v.indices] for v in views])
    assert (shapes > 0.749).all() and (shapes < 1.334).all()
    squares, same = (torch.cat([v.boxes[aspects[v.indices] == 1] for v in some]) for some in (views, plain))
    assert torch.equal(squares, same), "images of other shapes change nothing for a square one"
    assert views[0].apply(images(3)).shape == (3, 3, 5, 5) and plain[0].apply(images(3)).shape == (3, 3, 16, 16)


def test_a_box_that_never_fits_becomes_the_largest_central_one():
    generator = torch.Generator().manual_seed(0)
    wide = sample_boxes(5, generator, scale=(1.0, 1.0), ratio=(2.0, 2.0))
    torch.testing.assert_close(wide, torch.tensor([[0.0, 0.25, 1.0, 0.5]]).expand(5, 4))
    assert torch.equal(sample_boxes(5, generator, scale=(1.0, 1.0)), WHOLE.expand(5, 4))


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**31), size=st.sampled_from([5, 8, 32]))
def test_share_is_exactly_what_a_mixed_image_keeps(seed, size):
    schedule = Schedule(epochs=1, batch_size=2, crop_scale=(1.0, 1.0), flip=False)
    (drawn,) = schedule.views(seed, 0, 2)
    view = View(drawn.indices, drawn.boxes, drawn.flips, torch.tensor([1, 0]), drawn.box, drawn.share)
    ones_and_zeros = torch.stack([torch.ones(3, size, size), torch.zeros(3, size, size)])
    kept = view.apply(ones_and_zeros)
    assert kept[0].mean().item() == pytest.approx(view.share, abs=1e-4)
    assert kept[1].mean().item() == pytest.approx(1 - view.share, abs=1e-4)
    torch.testing.assert_close(view.mix(torch.tensor([1.0, 0.0])), torch.tensor([view.share, 1 - view.share]))


def test_mixed_pixels_are_the_partners_inside_the_box_and_ones_own_outside():
    batch = images(2)
    view = View(
        torch.arange(2), WHOLE.expand(2, 4), UPRIGHT.expand(2), torch.tensor([1, 0]), (0.25, 0.5, 0.75, 1.0), 0.75
    )
    mixed = view.apply(batch)
    torch.testing.assert_close(mixed[0, :, 8:, 4:12], batch[1, :, 8:, 4:12], atol=1e-5, rtol=0)
    torch.testing.assert_close(mixed[0, :, :8], batch[0, :, :8], atol=1e-5, rtol=0)
    torch.testing.assert_close(mixed[0, :, :, 12:], batch[0, :, :, 12:], atol=1e-5, rtol=0)


def test_shares_follow_cutmix():
    schedule = Schedule(epochs=1, batch_size=1)
    ours = [view.share for view in schedule.views(0, 0, 2000)]
    rng = np.random.default_rng(0)
    side, (x, y) = np.sqrt(1 - rng.beta(1, 1, 2000)), rng.random((2, 2000))
    width, height = (np.clip(c + side / 2, 0, 1) - np.clip(c - side / 2, 0, 1) for c in (x, y))
    assert ks_2samp(ours, 1 - width * height).pvalue > 0.01


@settings(deadline=None, max_examples=50)
@given(n=st.integers(1, 200), batch_size=st.integers(1, 64), epoch=st.integers(0, 3))
def test_an_epoch_visits_every_image_once_in_even_batches(n, batch_size, epoch):
    schedule = Schedule(epochs=4, batch_size=batch_size)
    views = list(schedule.views(7, epoch, n))
    sizes = [len(view.indices) for view in views]
    assert torch.equal(torch.cat([view.indices for view in views]).sort().values, torch.arange(n))
    assert max(sizes) <= batch_size and max(sizes) - min(sizes) <= 1
    assert schedule.steps(n) == 4 * len(views)
    assert all(torch.equal(view.partner.sort().values, torch.arange(len(view.indices))) for view in views)


def as_numbers(schedule: Schedule, seed: int, epoch: int) -> list[object]:
    return [
        (v.indices.tolist(), v.boxes.tolist(), v.flips.tolist(), v.partner.tolist(), v.box, v.share)
        for v in schedule.views(seed, epoch, 10)
    ]


def test_views_depend_on_seed_and_epoch_only():
    schedule = Schedule(epochs=3, batch_size=4)
    first = as_numbers(schedule, 1, 2)
    torch.rand(5)  # the global generator plays no part
    assert as_numbers(schedule, 1, 2) == first
    assert as_numbers(schedule, 1, 1) != first
    assert as_numbers(schedule, 2, 2) != first


PINNED = {
    "indices": [0, 1, 5, 7],
    "partner": [3, 2, 0, 1],
    "box": [0.319342, 0.242837, 0.660446, 0.532726],
    "share": 0.813684,
}


def test_views_are_those_of_stored_labels():
    """Labels on disk were computed for these draws: whoever changes them must raise the label regime's version."""
    view = next(Schedule(epochs=1, batch_size=4).views(0, 0, 8))
    assert view.indices.tolist() == PINNED["indices"]
    assert view.partner.tolist() == PINNED["partner"]
    assert view.boxes[0].tolist() == pytest.approx(PINNED["box"], abs=1e-5)
    assert view.share == pytest.approx(PINNED["share"], abs=1e-5)


def test_a_shuffle_joins_the_draws_of_cutmix_and_changes_none():
    options = {"epochs": 1, "batch_size": 9}
    (plain,), (shuffled,) = (Schedule(**options, mix=mix).views(3, 0, 9) for mix in ("cutmix", "swap_cutmix"))
    for name in ("indices", "boxes", "flips", "partner"):
        assert torch.equal(getattr(plain, name), getattr(shuffled, name))
    assert (plain.box, plain.share) == (shuffled.box, shuffled.share)
    assert plain.swaps is None and shuffled.swaps.shape == (9, 2)
    swapped = swap_halves(images(9), shuffled.swaps)
    assert torch.equal(shuffled.apply(images(9)), plain.apply(swapped))


@pytest.mark.parametrize("mix", ["dsa_of_cells", "cutmix_of_cells"])
def test_cells_of_mosaics_are_numbered_row_by_row(mix):
    schedule = Schedule(epochs=1, batch_size=4, mix=mix)
    view = schedule._view_of_cells(torch.zeros(4, dtype=torch.int64), torch.arange(4), torch.Generator())
    assert view.cells.tolist() == [[x, y, 0.5, 0.5] for y in (0.0, 0.5) for x in (0.0, 0.5)]


def test_halves_trade_places_where_they_are_told_to():
    quarters = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).repeat_interleave(4, 0).repeat_interleave(4, 1)
    batch = quarters.expand(4, 3, 8, 8)
    swaps = torch.tensor([[False, False], [True, False], [False, True], [True, True]])
    corners = swap_halves(batch, swaps)[:, 0, ::4, ::4].flatten(1)
    assert corners.tolist() == [[1, 2, 3, 4], [2, 1, 4, 3], [3, 4, 1, 2], [4, 3, 2, 1]]
    assert torch.equal(swap_halves(swap_halves(batch, swaps), swaps), batch)


def test_dsa_takes_the_place_of_crops_flips_and_mixes():
    schedule = Schedule(epochs=40, batch_size=5, mix="dsa", crop_scale=(0.1, 0.2), flip=False)
    groups = set()
    for epoch in range(40):
        (view,) = schedule.views(0, epoch, 5)
        groups.add(view.siamese.group)
        assert torch.equal(view.apply(images(5)), view.siamese.apply(images(5)))
        assert torch.equal(view.mix(torch.arange(5.0)), torch.arange(5.0)), "labels stay their own"
    assert groups == set(GROUPS) - {"flip"}


def test_views_of_cells_show_a_quarter_three_times_in_four():
    """A mosaic of four colours: a cell has one, and the whole has all; then come the augmentations of the student."""
    quarters = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).repeat_interleave(4, 0).repeat_interleave(4, 1)
    mosaics = quarters.expand(2000, 3, 8, 8)
    (view,) = Schedule(epochs=1, batch_size=2000, mix="cells").views(0, 0, 2000)
    shown = replace(view, siamese=None).apply(mosaics)
    for image in (shown[0], mosaics[0]):
        assert image.shape == (3, 8, 8)
    flat = shown.flatten(1)
    single = (flat.amax(1) - flat.amin(1)) < 1e-5
    assert 0.72 < single.float().mean() < 0.78
    colours = torch.bincount(flat[single][:, 0].round().long(), minlength=5)[1:] / single.sum()
    assert colours.tolist() == pytest.approx([0.25] * 4, abs=0.05)
    torch.testing.assert_close(shown[~single], mosaics[~single], atol=1e-4, rtol=0)
    assert torch.equal(view.apply(mosaics), view.siamese.apply(shown))
    assert torch.equal(view.mix(torch.arange(2000.0)), torch.arange(2000.0)), "labels stay their own"


def test_views_of_cells_are_those_of_their_seed_and_take_turns_in_one_group():
    options = {"epochs": 40, "batch_size": 5, "mix": "cells"}
    groups = []
    for epoch in range(40):
        (view,), (again,) = (Schedule(**options).views(0, epoch, 5) for _ in range(2))
        assert torch.equal(view.apply(images(5)), again.apply(images(5)))
        groups.append(tuple(part.group for part in view.siamese.parts))
    assert set(groups) == {("flip", "color", moved, "cutout") for moved in ("crop", "scale", "rotate")}
    (upright,) = Schedule(**options, flip=False).views(0, 0, 5)
    assert [part.group for part in upright.siamese.parts] == [g for g in groups[0] if g != "flip"]


@pytest.mark.parametrize("mix", ["dsa_of_cells", "cutmix_of_cells"])
def test_an_epoch_of_cells_shows_every_cell_of_every_mosaic_once(mix):
    """Mosaic m has the colours 4 m, 4 m + 1, 4 m + 2 and 4 m + 3, row by row."""
    colours = torch.arange(24.0).view(6, 1, 2, 2).repeat_interleave(4, 2).repeat_interleave(4, 3)
    mosaics = colours.expand(6, 3, 8, 8)
    schedule, seen, mixed = Schedule(epochs=50, batch_size=10, mix=mix), [], []
    assert (schedule.shown(6), schedule.batches(6), schedule.steps(6)) == (24, 3, 150)
    for epoch in range(50):
        shown = []
        for view in schedule.views(0, epoch, 6):
            cells = replace(view, siamese=None, box=None).apply(mosaics[view.indices])
            assert torch.allclose(cells, cells.mean((1, 2, 3), keepdim=True))
            shown += cells.mean((1, 2, 3)).round().int().tolist()
            assert torch.equal(view.indices, cells.mean((1, 2, 3)).round().long() // 4)
            mixed.append(view.box is not None)
            seen.append(view)
        assert sorted(shown) == list(range(24))
    assert sum(mixed) == 0 if mix == "dsa_of_cells" else 0.35 < sum(mixed) / len(mixed) < 0.65


def test_cells_are_mixed_after_they_are_augmented_and_their_labels_with_them():
    schedule = Schedule(epochs=9, batch_size=24, mix="cutmix_of_cells")
    view = next(view for epoch in range(9) for view in schedule.views(0, epoch, 6) if view.box is not None)
    assert "cutout" not in [part.group for part in view.siamese.parts]
    plain = replace(view, box=None).apply(images(6)[view.indices])
    result, partners = view.apply(images(6)[view.indices]), plain[view.partner]
    assert torch.allclose(((result - plain) * (result - partners)).abs().amin(), torch.tensor(0.0))
    inside = (result == partners).all(1) & ~(result == plain).all(1)
    assert inside.any()
    x0, y0, x1, y1 = view.box
    assert view.share == pytest.approx(1 - (x1 - x0) * (y1 - y0))
    values = torch.arange(24.0)
    assert torch.allclose(view.mix(values), view.share * values + (1 - view.share) * values[view.partner])


def test_what_is_switched_off_does_not_happen():
    for view in Schedule(epochs=1, batch_size=5, flip=False, mix="none").views(0, 0, 50):
        assert not view.flips.any() and view.box is None and view.share == 1
    flips = torch.cat([view.flips for view in Schedule(epochs=1, batch_size=50).views(0, 0, 2000)])
    assert 0.45 < flips.float().mean() < 0.55


@pytest.mark.parametrize("crop_scale", [(0.0, 1.0), (0.9, 0.5), (0.5, 1.5)])
def test_impossible_crops_are_refused(crop_scale):
    with pytest.raises(ValidationError, match="crop_scale"):
        Schedule(epochs=1, batch_size=1, crop_scale=crop_scale)


def test_normalising_takes_bytes_and_fractions_and_has_an_inverse():
    pixels = torch.randint(0, 256, (2, 3, 4, 4), dtype=torch.uint8)
    normal = normalize(pixels, INFO)
    torch.testing.assert_close(normal, normalize(pixels / 255, INFO))
    torch.testing.assert_close(denormalize(normal, INFO), pixels / 255)
    low, high = pixel_bounds(INFO, "cpu")
    torch.testing.assert_close(normalize(torch.zeros(1, 3, 1, 1), INFO), low)
    torch.testing.assert_close(normalize(torch.full((1, 3, 1, 1), 255, dtype=torch.uint8), INFO), high)
