"""Class statistics: computed batch by batch, they equal those of the whole class."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from float64 import TIGHT, apart, forward
from hypothesis import given, settings
from hypothesis import strategies as st
from memory import MEGABYTE, needs_linux, peak
from safetensors.torch import save_file

from benchmark.vision.augment import normalize
from benchmark.vision.models import batch_norms, create_model, features_and_logits
from benchmark.vision.moments import BatchNormInputs, Moments, pooled
from methods.parts.statistics import Accumulated, ClassStatistics


def test_moments_and_their_gradient_are_those_of_var_mean():
    for memory_format in (torch.contiguous_format, torch.channels_last):
        x = torch.randn(3, 4, 5, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float32)
        x = (x * 2 + 1).to(memory_format=memory_format).requires_grad_()
        mean, variance = Moments.apply(x)
        wanted_variance, wanted_mean = torch.var_mean(x, (2, 3), correction=0)
        torch.testing.assert_close(mean, wanted_mean)
        torch.testing.assert_close(variance, wanted_variance)
        (mine,) = torch.autograd.grad((mean.sin() + variance.square()).sum(), x)
        (theirs,) = torch.autograd.grad((wanted_mean.sin() + wanted_variance.square()).sum(), x)
        torch.testing.assert_close(mine, theirs)


@given(st.integers(0, 10_000), st.lists(st.integers(1, 9), min_size=1, max_size=6), st.floats(-30, 30))
@settings(max_examples=60, deadline=None)
def test_merged_statistics_are_those_of_the_whole(seed, sizes, offset):
    values = torch.randn(sum(sizes), 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + offset
    parts = [Accumulated(len(p), p.mean(0), p.var(0, correction=0)) for p in values.split(sizes)]
    total = parts[0]
    for part in parts[1:]:
        total = total.merge(part)
    assert total.count == len(values)
    torch.testing.assert_close(total.mean, values.mean(0), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(total.variance, values.var(0, correction=0), rtol=1e-9, atol=1e-9)


@given(st.integers(0, 10_000), st.integers(1, 4), st.integers(1, 5))
@settings(max_examples=40, deadline=None)
def test_images_pool_to_their_group(seed, groups, n):
    pixels = torch.randn(groups, n, 3, 7, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    mean, variance = pooled(pixels.mean(3), pixels.var(3, correction=0), torch.full((groups, n), 1 / n).double())
    torch.testing.assert_close(mean, pixels.mean((1, 3)), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(variance, pixels.var((1, 3), correction=0), rtol=1e-6, atol=1e-6)


def test_weights_count_images_more_than_once():
    mean, variance = torch.randn(2, 1, 2, 5, generator=torch.Generator().manual_seed(1)).square()
    weighted = pooled(mean, variance, torch.tensor([[0.75, 0.25]]))
    repeated = pooled(mean[:, [0, 0, 0, 1]], variance[:, [0, 0, 0, 1]], torch.full((1, 4), 0.25))
    torch.testing.assert_close(weighted, repeated)


@pytest.mark.parametrize("batch_size", [4, 100])
def test_statistics_are_those_of_whole_classes_in_float64(batch_size, toy_data, toy_context):
    """Means, variances, their means within batches (as in WMDD's code) and features."""
    result = ClassStatistics(batch_size=batch_size).prepare(toy_data, toy_context)
    teacher, exact = toy_context.teachers[0], {"mean": [], "var": [], "batch_var": []}
    for label in range(3):
        inside = forward(teacher, (toy_data.images[toy_data.labels == label].double() / 255 - 0.5) / 0.25)
        inputs = [x for _, x in inside.norms]  # [n, C, H, W] each
        within = [
            sum(len(part) * part.var((0, 2, 3), correction=0) for part in x.split(batch_size)) / len(x) for x in inputs
        ]
        exact["mean"].append(torch.cat([x.mean((0, 2, 3)) for x in inputs]))
        exact["var"].append(torch.cat([x.var((0, 2, 3), correction=0) for x in inputs]))
        exact["batch_var"].append(torch.cat(within))
        assert apart(result["features"][toy_data.labels == label], inside.features) < TIGHT
    for name, rows in exact.items():
        assert apart(result[name], torch.stack(rows)) < TIGHT, name
    assert result["channels"].tolist() == [layer.num_features for layer in batch_norms(teacher)]
    assert result["counts"].tolist() == list(toy_data.info.train_counts)


def test_features_come_in_the_order_of_the_data(toy_data, toy_context):
    result = ClassStatistics(batch_size=5).prepare(toy_data, toy_context)
    with torch.no_grad():
        wanted, _ = features_and_logits(toy_context.teachers[0], normalize(toy_data.images, toy_data.info))
    torch.testing.assert_close(result["features"], wanted, atol=1e-5, rtol=1e-4)


def test_variance_averaged_over_batches_lacks_that_of_the_batches_means(toy_data, toy_context):
    whole, split = (ClassStatistics(batch_size=size).prepare(toy_data, toy_context) for size in (100, 4))
    torch.testing.assert_close(whole["batch_var"], whole["var"])
    assert (split["batch_var"] <= split["var"] * (1 + 1e-6)).all()
    assert (split["batch_var"] < split["var"] * 0.999).any()


def test_a_teacher_without_batch_norms_still_gives_features(toy_data, toy_context):
    teacher = create_model("test_vit", classes=3, resolution=32).eval().requires_grad_(False)
    result = ClassStatistics().prepare(toy_data, dataclasses.replace(toy_context, teachers=(teacher,)))
    assert result["features"].shape[0] == len(toy_data)
    assert result["mean"].shape == (3, 0)


def test_recorded_layers_follow_the_network_not_the_calls(toy_context):
    teacher = toy_context.teachers[0]
    with BatchNormInputs(teacher) as inputs:
        teacher(torch.zeros(2, 3, 32, 32))
        mean, variance = inputs.moments()
    assert mean.shape == variance.shape == (2, sum(inputs.channels))
    assert all(not layer._forward_pre_hooks for layer in inputs.layers)


class Wide(torch.nn.Module):
    """A network of one layer with many features and no batch norm."""

    def __init__(self, width: int):
        super().__init__()
        self.layer = torch.nn.Linear(3, width)

    def forward_features(self, x):
        return self.layer(x.mean((2, 3)))

    def forward_head(self, maps, pre_logits=False):
        return maps if pre_logits else maps[:, :3]


@needs_linux
@pytest.mark.parametrize("megabytes", [16, 32, 64])
def test_features_are_in_memory_once_and_a_second_time_while_they_are_written(
    megabytes, toy_data, toy_context, tmp_path
):
    """As the stage does it; ImageNet-1K with ResNet-18 has 2.6 GB of features."""
    width = 4096
    count = megabytes * MEGABYTE // (4 * width)
    few, many = (
        type(toy_data)(toy_data.info, torch.zeros(n, 3, 8, 8, dtype=torch.uint8), torch.arange(n) % 3)
        for n in (30, count)
    )
    context = dataclasses.replace(toy_context, teachers=(Wide(width).requires_grad_(False),))

    def stage(data):
        save_file(dict(ClassStatistics().prepare(data, context)), tmp_path / "tensors.safetensors")

    stage(few)  # imports and buffers
    assert peak(lambda: stage(many)) <= 2 * megabytes * MEGABYTE + 12 * MEGABYTE
