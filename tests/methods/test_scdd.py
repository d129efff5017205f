"""SCDD: the training of its self-supervised teacher, and that recovery uses only this teacher."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from fresh import fresh, interrupted
from torch import nn
from torch.nn import functional as F

from benchmark.vision.augment import normalize
from benchmark.vision.models import Stem, batch_norms, create_model
from methods.parts import selfsupervised
from methods.parts.selfsupervised import Probe, SelfSupervised, classifier, contrast, recolor, untrained
from methods.scdd import SCDD
from methods.sre2l import SRe2L

FEW = {"pretrain_epochs": 1, "probe_epochs": 1}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


class TestContrast:
    def test_it_is_the_formula(self):
        first, second = torch.randn(2, 5, 7, generator=generator()).double()
        z = [v / v.norm() for v in (*first, *second)]
        total = 0.0
        for i in range(10):
            likeness = [torch.exp(z[i] @ z[k] / 0.3) if k != i else 0 for k in range(10)]
            total -= torch.log(likeness[(i + 5) % 10] / sum(likeness))
        assert float(contrast(first, second, 0.3)) == pytest.approx(float(total / 10), rel=1e-9)

    def test_views_that_agree_and_differ_from_the_others_are_best(self):
        own = torch.eye(6)
        assert contrast(own, own, 0.2) < contrast(own, own.roll(1, 0), 0.2)
        assert contrast(own, own, 0.2) < contrast(torch.ones(6, 6), torch.ones(6, 6), 0.2)

    def test_length_does_not_matter(self):
        first, second = torch.randn(2, 5, 7, generator=generator())
        torch.testing.assert_close(contrast(3 * first, second, 0.2), contrast(first, 9 * second, 0.2))


class TestRecolor:
    images = torch.randn(200, 3, 8, 8, generator=generator())

    def test_it_changes_mean_spread_and_colour_of_each_image_by_its_own_draw(self):
        result = recolor(self.images, 0.4, generator(1))
        shift = result.mean((1, 2, 3)) - self.images.mean((1, 2, 3))
        assert float(shift.abs().max()) <= 0.4 + 1e-5
        assert float(shift.std()) == pytest.approx(0.8 / 12**0.5, rel=0.15)
        grey = (result.std(1).flatten(1).max(1).values < 1e-5).float().mean()
        assert float(grey) == pytest.approx(0.2, abs=0.08)

    def test_contrast_is_about_the_mean_of_the_image_so_colours_change_with_it(self):
        """The colours of flat images spread by saturation times contrast: by more than either could alone."""
        flat = torch.tensor([1.0, 0.0, -1.0]).view(1, 3, 1, 1).expand(200, 3, 4, 4)
        result = recolor(flat, 0.4, generator(1))
        spread = (result[:, 0] - result[:, 2]).flatten(1).mean(1) / 2
        assert 1.4 < float(spread.max()) <= 1.4 * 1.4

    def test_no_change_leaves_all_but_the_grey_ones_as_they_are(self):
        result = recolor(self.images, 0.0, generator(1))
        same = (result - self.images).abs().flatten(1).max(1).values < 1e-5
        grey = result.std(1).flatten(1).max(1).values < 1e-5
        assert (same | grey).all()
        assert same.sum() > 100


def test_nothing_of_the_supervised_weights_is_left(toy_teacher):
    fresh = untrained(toy_teacher, generator())
    for name, value in fresh.named_parameters():
        old = toy_teacher.get_parameter(name)
        assert not torch.equal(value, old) or value.std() == 0 or len(value) == 1, name
    for layer in batch_norms(fresh):
        assert layer.running_mean.abs().sum() == 0
    assert all(parameter.requires_grad for parameter in fresh.parameters())
    other = untrained(toy_teacher, generator(1))
    assert not torch.equal(classifier(fresh).weight, classifier(other).weight)


def test_nothing_of_a_transformer_is_left():
    trained = create_model("test_vit", classes=4, resolution=32, channels=3, stem=Stem(), seed=0)
    with torch.no_grad():
        for weight in trained.parameters():
            weight.fill_(7.0)
    fresh = untrained(trained, generator())
    assert [name for name, weight in fresh.named_parameters() if (weight == 7).any()] == []
    assert 0.01 < float(fresh.get_parameter("pos_embed").detach().std()) < 0.03


def test_a_probe_trains_its_classifier_alone(toy_teacher):
    probe = Probe(untrained(toy_teacher, generator()))
    probe.train()
    assert not any(layer.training for layer in batch_norms(probe))
    before = {name: value.clone() for name, value in probe.state_dict().items()}
    loss = F.cross_entropy(probe(torch.randn(4, 3, 32, 32, generator=generator())), torch.tensor([0, 1, 2, 0]))
    loss.backward()
    torch.optim.SGD([p for p in probe.parameters() if p.requires_grad], lr=1.0).step()
    changed = {name for name, value in probe.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"network.fc.weight", "network.fc.bias"}


def test_the_two_views_of_an_image_are_two_crops(toy_data, toy_context, monkeypatch):
    seen = []

    def one_step(model, stream, loss, *_given, **_options):
        model.register_forward_pre_hook(lambda _model, given: seen.append(given[0]))
        batch = next(iter(stream))
        loss(model(batch.images), batch)

    monkeypatch.setattr(selfsupervised, "fit", one_step)
    SelfSupervised(batch_size=12)._pretrain(untrained(toy_context.teachers[0], generator()), toy_data, toy_context)
    first, second = seen
    assert first.shape == second.shape
    assert (first - second).abs().flatten(1).amax(1).min() > 0


def test_it_learns_without_labels_and_the_probe_finds_the_classes(toy_data, toy_context):
    losses = []
    report = lambda step, total, scalars: losses.append(scalars["loss"]) if "loss" in scalars else None  # noqa: E731
    context = dataclasses.replace(toy_context, report=report)
    state = dict(SelfSupervised(epochs=8, probe_epochs=20, batch_size=12).prepare(toy_data, context))
    quality = float(state.pop("metric.train_top1"))
    assert losses[7] < losses[0] - 0.2
    network = untrained(toy_context.teachers[0], generator())
    network.load_state_dict(state)
    with torch.no_grad():
        result = network.eval()(normalize(toy_data.images, toy_data.info)).argmax(1)
    assert 100 * float((result == toy_data.labels).float().mean()) == pytest.approx(quality)
    assert quality > 80

    shuffled = type(toy_data)(toy_data.info, toy_data.images, toy_data.labels.roll(1))
    other = SelfSupervised(epochs=8, probe_epochs=20, batch_size=12).prepare(shuffled, toy_context)
    differ = {name for name, value in state.items() if not torch.equal(value, other[name])}
    assert differ == {"fc.weight", "fc.bias"}, "labels reach nothing but the probe"


@pytest.mark.parametrize(("at", "first"), [(5, 4), (12, 10)])  # an epoch has three steps
def test_an_interrupted_training_ends_with_the_same_bytes(at, first, toy_data, toy_context):
    training = SelfSupervised(epochs=4, probe_epochs=3, batch_size=12)
    whole = training.prepare(toy_data, fresh(toy_context))
    resumed, steps = interrupted(lambda again: training.prepare(toy_data, again), fresh(toy_context), at=at)
    assert steps[0] == first, "epochs that ended are not repeated"
    assert all(torch.equal(resumed[name], value) for name, value in whole.items())


def test_recovery_asks_the_self_supervised_teacher(toy_data, toy_context):
    method = SCDD(iterations=3, **FEW)
    (unit,) = method.units(toy_data.info, 2)
    state = dict(method.preparation(toy_data.info).prepare(toy_data, toy_context))
    del state["metric.train_top1"]  # the engine moves it to the record
    result = method.distill(toy_data, unit, dataclasses.replace(toy_context, prepared=state))
    network = untrained(toy_context.teachers[0], generator()).eval().requires_grad_(False)
    network.load_state_dict(state)
    expected = SRe2L(iterations=3).distill(toy_data, unit, dataclasses.replace(toy_context, teachers=(network,)))
    assert torch.equal(result.images, expected.images)
    supervised = SRe2L(iterations=3).distill(toy_data, unit, toy_context)
    assert not torch.equal(result.images, supervised.images)


def test_what_it_cannot_do_is_said_in_words(toy_info):
    assert SCDD().supports(toy_info, 2) is None
    assert "no per-class statistics of these teachers" in SCDD(regulariser="pcbn").supports(toy_info, 2)
    assert "no per-class statistics of these teachers" in SCDD(start="nearest_real").supports(toy_info, 2)
    assert "leave out teacher" in SCDD(teacher="resnet18").supports(toy_info, 2)


def test_the_classifier_is_the_last_linear_layer(toy_teacher):
    assert classifier(toy_teacher) is toy_teacher.fc
    assert isinstance(classifier(toy_teacher), nn.Linear)
