"""DM and DataDAM: their losses against a slow reference, on what an image depends, and interruptions."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from float64 import TIGHT, Captured, apart, smooth
from fresh import fresh, interrupted
from torch import nn

from benchmark.errors import BenchmarkError
from benchmark.identity import seed_of
from benchmark.synthetic import SyntheticSet
from benchmark.vision.augment import denormalize, normalize
from benchmark.vision.dsa import sample_augmentation
from benchmark.vision.models import Stem, create_model
from methods.datadam import DataDAM, attention
from methods.dm import DM
from methods.parts import descent, matching
from methods.parts.experts import new_network
from methods.parts.real import random_indices

BOTH = pytest.mark.parametrize("method", [DM, DataDAM])


def run(method, data, context, ipc=2):
    return SyntheticSet.merge([method.distill(data, unit, context) for unit in method.units(data.info, ipc)])


class Reference:
    """The first iteration of a method from its formula: float64, class by class, image by image, layer by layer."""

    def __init__(self, method, data, context, ipc=2):
        self.method, self.info = method, data.info
        (unit,) = method.units(data.info, ipc)
        start = data.read(random_indices(data, unit.classes, unit.slots, context))
        self.images = normalize(start, data.info).double().requires_grad_()
        view = sample_augmentation(3, context.generator("view", 0), flip=data.info.flip)
        network = create_model(
            "convnet_d3",
            classes=3,
            resolution=32,
            stem=Stem(norm=method.norm),
            seed=seed_of(context.seed, "network", 0),
        )
        self.network = smooth(network).double()
        self.synthetic = [self.seen(self.images[2 * c : 2 * c + 2], c, view) for c in unit.classes]
        self.real = [self.seen(self.real_images(data, c, context), c, view) for c in unit.classes]

    def real_images(self, data, label, context):
        members = data.indices_of(label)
        order = torch.randperm(len(members), generator=context.generator("real", 0, label))
        return normalize(data.read(members[order[: self.method.batch_real]]), data.info).double()

    def seen(self, images, label, view):
        return view.rows(torch.full((len(images),), label)).apply(images)

    def dm(self):
        loss = 0.0
        for real, synthetic in zip(self.real, self.synthetic, strict=True):
            mean_real = sum(self.layers(image)[-1] for image in real) / len(real)
            mean_synthetic = sum(self.layers(image)[-1] for image in synthetic) / len(synthetic)
            loss = loss + ((mean_real - mean_synthetic) ** 2).sum()
        return loss

    def datadam(self):
        loss = 0.0
        for real, synthetic in zip(self.real, self.synthetic, strict=True):
            means = []
            for images in (real, synthetic):
                layers = [self.layers(image) for image in images]
                maps = [[self.attention(layer) for layer in layer_list[:-2]] for layer_list in layers]
                means.append([sum(per_layer) / len(images) for per_layer in zip(*maps, strict=True)])
                means[-1].append(sum(layer_list[-1] for layer_list in layers) / len(images))
            weights = [100.0] * (len(means[0]) - 1) + [100.0 * self.method.task_balance]
            for weight, a, b in zip(weights, *means, strict=True):
                loss = loss + weight * ((a - b) ** 2).sum()
        return loss

    def attention(self, layer):
        total = 0.0
        for channel in layer:
            total = total + channel.abs() ** self.method.exponent
        return total.flatten() / (total**2).sum().sqrt()

    def layers(self, image):
        """Return what every ReLU puts out, [C, H, W] each, and the embedding last."""
        result, out = [], image.unsqueeze(0)
        for block in self.network.features:
            for layer in block:
                out = layer(out)
                if isinstance(layer, nn.ReLU):
                    result.append(out[0])
        return [*result, out.flatten()]


CASES = [
    (DM, {}),
    (DM, {"batch_real": 5}),
    (DataDAM, {}),
    (DataDAM, {"exponent": 1, "task_balance": 0.5, "batch_real": 5}),
    (DataDAM, {"exponent": 2, "task_balance": 0.0}),
]


@pytest.fixture
def smooth_networks(monkeypatch):
    monkeypatch.setattr(matching, "new_network", lambda *given, **options: smooth(new_network(*given, **options)))


@pytest.fixture
def first(monkeypatch, smooth_networks):
    """A function that returns the loss of a method's first iteration and its gradient in the pixels."""

    def capture(objective, *given, **options):
        raise Captured(*objective(0))

    def run(method, data, context, ipc=2):
        monkeypatch.setattr(matching, "descend", capture)
        (unit,) = method.units(data.info, ipc)
        with pytest.raises(Captured) as caught:
            method.distill(data, unit, context)
        loss, (gradient,) = caught.value.args
        return loss, gradient

    return run


@pytest.mark.parametrize(("method", "fields"), CASES)
@pytest.mark.parametrize("seed", [0, 4, 12])  # which draw to scale, to rotate and to change colours
def test_first_loss_and_gradient_are_those_of_the_formula(method, fields, seed, first, toy_data, toy_context):
    context = dataclasses.replace(toy_context, seed=seed)
    method = method(iterations=1, **fields)
    reference = Reference(method, toy_data, context)
    exact = getattr(reference, method.name())()
    (slope,) = torch.autograd.grad(exact, [reference.images])
    loss, gradient = first(method, toy_data, context)
    assert apart(loss, exact.detach()) < TIGHT
    assert apart(gradient, slope) < TIGHT


@BOTH
@pytest.mark.usefixtures("smooth_networks")
def test_the_first_step_goes_down_the_gradient_of_the_formula(method, toy_data, toy_context):
    method = method(iterations=1, learning_rate=0.125)
    reference = Reference(method, toy_data, toy_context)
    (slope,) = torch.autograd.grad(getattr(reference, method.name())(), [reference.images])
    expected = denormalize((reference.images - 0.125 * slope).detach(), toy_data.info)
    step = 0.125 * slope * 0.25  # the dataset's deviation
    assert (run(method, toy_data, toy_context).images.double() - expected).norm() < 1e-3 * step.norm()


def test_datadam_has_the_form_of_its_paper_or_of_its_code():
    assert (DataDAM().exponent, DataDAM().norm) == (4, "instance")
    code = DataDAM(form="code")
    assert (code.exponent, code.norm, code.task_balance) == (1, "batch", 0.01)
    assert DataDAM(form="code", exponent=2).exponent == 2
    assert code.identity()["params"]["norm"] == "batch"


def test_attention_shows_where_not_in_which_channel():
    maps = torch.randn(4, 5, 3, 3, generator=torch.Generator().manual_seed(0))
    for exponent in (1, 2, 4):
        seen = attention(maps, exponent)
        assert seen.shape == (4, 9)
        assert torch.allclose(seen.norm(dim=1), torch.ones(4))
        assert torch.allclose(attention(-3 * maps[:, [4, 2, 0, 1, 3]], exponent), seen, atol=1e-6)
        assert not torch.allclose(attention(maps.flip(3), exponent), seen, atol=1e-2)


@pytest.mark.parametrize("fields", [{"form": "code"}, {"norm": "batch", "task_balance": 0.1}])
def test_batch_norm_sees_the_real_images_together_and_the_synthetic_ones_apart(
    fields, first, toy_data, toy_context, monkeypatch
):
    """The form of DataDAM's code, with the batch norm written out.

    The network runs in float64: in float32, torch's own batch norm over 36 images moves the gradient by 1.4e-4.
    """
    monkeypatch.setattr(matching, "CHUNK_PIXELS", 5 * 32**2)  # which would show them in parts
    read = matching.from_data
    monkeypatch.setattr(matching, "from_data", lambda *given: lambda rows: read(*given)(rows).double())
    monkeypatch.setattr(
        matching, "new_network", lambda *given, **options: smooth(new_network(*given, **options)).double()
    )
    method = DataDAM(iterations=1, **fields)
    reference, means = Reference(method, toy_data, toy_context), []
    for parts in (reference.real, reference.synthetic):
        layers, out = [], torch.cat(parts)
        for module in reference.network.features.modules():
            if isinstance(module, nn.BatchNorm2d):
                mean = out.mean((0, 2, 3), keepdim=True)
                out = (out - mean) / (((out - mean) ** 2).mean((0, 2, 3), keepdim=True) + 1e-5).sqrt()
            elif not isinstance(module, nn.Sequential):
                out = module(out)
                layers += [out] if isinstance(module, nn.ReLU) else []
        values = [torch.stack([reference.attention(maps) for maps in layer]) for layer in layers[:-1]]
        sizes = [len(part) for part in parts]
        means.append([[rows.mean(0) for rows in value.split(sizes)] for value in (*values, out.flatten(1))])
    weights = [100.0, 100.0, 100.0 * method.task_balance]
    gaps = [[(a - b) ** 2 for a, b in zip(*pair, strict=True)] for pair in zip(*means, strict=True)]
    exact = sum(w * sum(gap.sum() for gap in gap_list) for w, gap_list in zip(weights, gaps, strict=True))
    (slope,) = torch.autograd.grad(exact, [reference.images])
    loss, gradient = first(method, toy_data, toy_context)
    assert apart(loss, exact.detach()) < TIGHT
    assert apart(gradient, slope) < TIGHT


@BOTH
def test_images_do_not_depend_on_how_the_work_is_cut(method, toy_data, toy_context, monkeypatch):
    """Neither on the classes of a unit nor on the chunks of real images: instance norm shows every image alone."""
    whole = run(method(iterations=3), toy_data, toy_context)
    units = method(iterations=3, batch_images=2)
    assert len(units.units(toy_data.info, 2)) == 3
    assert torch.allclose(run(units, toy_data, toy_context).images, whole.images, atol=1e-5)
    monkeypatch.setattr(matching, "CHUNK_PIXELS", 5 * 32**2)
    assert torch.allclose(run(method(iterations=3), toy_data, toy_context).images, whole.images, atol=1e-5)


@BOTH
def test_the_loss_falls_where_nothing_is_drawn_anew(method, toy_data, toy_context, monkeypatch):
    still = sample_augmentation(3, torch.Generator().manual_seed(0))
    monkeypatch.setattr(matching, "sample_augmentation", lambda *args, **options: still)
    monkeypatch.setattr(matching, "seed_of", lambda *axes: 0)
    first, last = (run(method(iterations=n), toy_data, toy_context, ipc=1).metadata["loss"] for n in (1, 12))
    assert last < 0.7 * first


@BOTH
def test_the_images_of_a_whole_class_are_left_alone(method, toy_data, toy_context):
    """Where synthetic and real images are the same, loss and gradient are 0."""
    few = [toy_data.indices_of(label)[:4] for label in range(3)]
    data = type(toy_data)(
        toy_data.info.model_copy(update={"train_counts": (4, 4, 4)}),
        toy_data.images[torch.cat(few)],
        torch.arange(3).repeat_interleave(4),
    )
    result = run(method(iterations=1), data, toy_context, ipc=4)
    start = data.read(random_indices(data, (0, 1, 2), (0, 1, 2, 3), toy_context))
    assert result.metadata["loss"] < 1e-8
    assert torch.allclose(result.images, start / 255, atol=1e-4)


@BOTH
def test_an_interrupted_run_ends_with_the_same_bytes(method, toy_data, toy_context, monkeypatch):
    monkeypatch.setattr(descent, "SAVE_EVERY", 4)
    method = method(iterations=9)
    whole = run(method, toy_data, fresh(toy_context))
    resumed, steps = interrupted(lambda again: run(method, toy_data, again), toy_context, at=7)
    assert steps == [5, 6, 7, 8, 9], "it went on after the last save"
    assert torch.equal(whole.images, resumed.images)
    assert whole.metadata == resumed.metadata


def test_divergence_is_said_in_words(toy_data, toy_context):
    with pytest.raises(BenchmarkError, match=r"dm-0: the images diverged within \d+ iterations .* lower its learning"):
        run(DM(iterations=30, learning_rate=1e30), toy_data, toy_context)


def test_a_class_with_too_few_images_to_start_from_is_named(toy_info):
    assert "class 'green' of toy has 11 training images" in DM().supports(toy_info, 12)
