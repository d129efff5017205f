"""One loop trains everything: it learns what can be learnt, and nothing but its seeds decides how."""

import base64
import dataclasses
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from fresh import fresh
from torch import Tensor, nn

from benchmark.api import Context, DatasetInfo, TestData, TrainData
from benchmark.errors import BenchmarkError
from benchmark.vision import training
from benchmark.vision.augment import Schedule
from benchmark.vision.models import Stem, create_model
from benchmark.vision.training import (
    Stream,
    TeacherTraining,
    accuracy,
    cosine,
    fit,
    from_pixels,
    make_optimizer,
    read_ahead,
)

COLOURS = torch.tensor([[200, 40, 40], [40, 200, 40], [40, 40, 200], [200, 200, 40], [40, 200, 200], [120, 120, 120]])
INFO = DatasetInfo(
    name="colours",
    class_names=("red", "green", "blue", "yellow", "cyan", "grey"),
    train_counts=(20,) * 6,
    resolution=8,
    mean=(0.5,) * 3,
    std=(0.25,) * 3,
    fingerprint="0",
)
CONTEXT = Context(torch.device("cpu"), torch.float32, seed=3, scratch=Path(tempfile.mkdtemp()))

TRAINING = TeacherTraining(arch="convnet_d3", epochs=6, batch_size=20, optimizer="adamw", learning_rate=0.003)


def train_classifier(model: nn.Module, data: TrainData, recipe: TeacherTraining, context: Context) -> list[float]:
    """Train a network where nothing is saved yet."""
    return training.train_classifier(model, data, recipe, fresh(context))


class Colours:
    """Noisy images of one colour per class, that count how often each is read."""

    def __init__(self, n: int = 120, seed: int = 0) -> None:
        self.info = INFO
        self.labels = torch.arange(n) % INFO.classes
        noise = torch.randint(-30, 31, (n, 3, 8, 8), generator=torch.Generator().manual_seed(seed))
        self.pixels = (COLOURS[self.labels].view(n, 3, 1, 1) + noise).to(torch.uint8)
        self.reads = torch.zeros(n, dtype=torch.int64)

    def read(self, indices: Tensor) -> Tensor:
        self.reads[indices] += 1
        return self.pixels[indices]


class TrainColours(Colours, TrainData):
    pass


class TestColours(Colours, TestData):
    pass


def student(seed: int = 0) -> nn.Module:
    return create_model("convnet_d3", classes=INFO.classes, resolution=8, stem=Stem(norm="batch"), seed=seed)


def same_weights(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_dropout_is_decided_by_the_seed_alone():
    def weights(seed: int, before: int) -> Tensor:
        torch.manual_seed(before)
        model = nn.Sequential(nn.Dropout(0.5), nn.Flatten(), nn.Linear(3 * 64, INFO.classes))
        nn.init.zeros_(model[2].weight)
        nn.init.zeros_(model[2].bias)
        stream = Stream(
            Schedule(epochs=1, batch_size=20, mix="none"), 0, 120, from_pixels(Colours().pixels, INFO, CONTEXT.device)
        )
        context = dataclasses.replace(CONTEXT, seed=seed)
        fit(
            model,
            stream,
            lambda logits, batch: logits.square().mean() + logits.mean(),
            make_optimizer(model, "sgd", learning_rate=0.1, weight_decay=0.0),
            context,
        )
        return model[2].weight.detach()

    assert torch.equal(weights(3, before=0), weights(3, before=1))
    assert not torch.equal(weights(3, before=0), weights(4, before=0))


def test_a_separable_set_is_learnt():
    model = student()
    losses = train_classifier(model, TrainColours(), TRAINING, CONTEXT)
    assert len(losses) == TRAINING.epochs and losses[-1] < 0.5 * losses[0]
    assert accuracy(model, TestColours(seed=1), CONTEXT)["top1"] > 95


def test_training_is_decided_by_the_seed_alone():
    models = [student() for _ in range(3)]
    for model, seed in zip(models, (3, 3, 4), strict=True):
        torch.rand(1)  # the global generator plays no part
        context = Context(torch.device("cpu"), torch.float32, seed, CONTEXT.scratch)
        train_classifier(model, TrainColours(), TRAINING.model_copy(update={"epochs": 1}), context)
    assert same_weights(models[0], models[1])
    assert not same_weights(models[0], models[2])


def test_a_network_that_was_tested_before_trains_as_one_that_was_not():
    plain, tested = student(), student().eval()
    for model in (plain, tested):
        train_classifier(model, TrainColours(), TRAINING.model_copy(update={"epochs": 1}), CONTEXT)
    assert same_weights(plain, tested)


def test_a_training_goes_on_from_no_other_training_in_its_folder():
    recipe, context = TRAINING.model_copy(update={"epochs": 2}), fresh(CONTEXT)
    data, alone, last = TrainColours(), student(), student()
    train_classifier(alone, data, recipe, CONTEXT)
    other = TrainColours(seed=1)
    other.info = INFO.model_copy(update={"fingerprint": "1"})
    training.train_classifier(student(), data, recipe, dataclasses.replace(context, seed=4))
    training.train_classifier(student(), data, recipe.model_copy(update={"learning_rate": 0.1}), context)
    training.train_classifier(student(), other, recipe, context)
    training.train_classifier(last, data, recipe, context)
    assert same_weights(alone, last)


@pytest.mark.parametrize(
    "changes",
    [
        {"nesterov": True},
        {"momentum": 0.5},
        {"weight_decay": 0.1},
        {"label_smoothing": 0.1},
        {"warmup_epochs": 1},
        {"crop_scale": (0.5, 1.0)},
    ],
    ids=str,
)
def test_what_a_recipe_says_reaches_the_training(changes):
    recipe = TRAINING.model_copy(update={"optimizer": "sgd", "epochs": 1})
    plain, changed = student(), student()
    train_classifier(plain, TrainColours(), recipe, CONTEXT)
    train_classifier(changed, TrainColours(), recipe.model_copy(update=changes), CONTEXT)
    assert not same_weights(plain, changed)


def test_images_are_mirrored_only_where_recipe_and_dataset_allow_it():
    models, data = [student() for _ in range(3)], TrainColours()
    for model, recipe, dataset in zip(models, (True, False, True), (False, True, True), strict=True):
        data.info = INFO.model_copy(update={"flip": dataset})
        train_classifier(model, data, TRAINING.model_copy(update={"epochs": 1, "flip": recipe}), CONTEXT)
    assert same_weights(models[0], models[1])
    assert not same_weights(models[0], models[2])


def test_dropout_is_seeded_and_the_global_generator_left_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    models = [nn.Sequential(nn.Dropout(0.5), student()) for _ in range(2)]
    torch.manual_seed(5)
    for model in models:
        train_classifier(model, TrainColours(), TRAINING.model_copy(update={"epochs": 1}), CONTEXT)
    assert torch.equal(torch.rand(3), expected)
    assert same_weights(*models)


def test_images_read_batch_by_batch_train_as_resident_ones_do(monkeypatch):
    resident, streamed = student(), student()
    two_epochs = TRAINING.model_copy(update={"epochs": 2})
    train_classifier(resident, TrainColours(), two_epochs, CONTEXT)
    monkeypatch.setattr(training, "RESIDENT_BYTES", 0)
    data = TrainColours()
    train_classifier(streamed, data, two_epochs, CONTEXT)
    assert same_weights(resident, streamed)
    assert (data.reads == 2).all()


class WholeColours(TrainColours):
    """Colours whose whole images are larger than the squares, which nobody reads."""

    def read(self, indices: Tensor) -> Tensor:
        raise AssertionError("crops come from whole images")

    def read_whole(self, indices: Tensor) -> Tensor:
        return super().read(indices).repeat_interleave(2, -1).repeat_interleave(2, -2)

    def aspects(self, indices: Tensor) -> Tensor:
        return torch.where(indices % 2 == 0, 1.5, 0.5)


def test_networks_train_on_crops_of_whole_images_at_the_resolution(monkeypatch):
    data, seen = WholeColours(), []
    schedule = Schedule(epochs=1, batch_size=50, mix="none")
    for batch in training.crops_of(data, schedule, 1, CONTEXT.device):
        assert batch.images.shape[1:] == (3, INFO.resolution, INFO.resolution)
        seen.append(batch.view.boxes[:, 2] / batch.view.boxes[:, 3] * data.aspects(batch.view.indices))
    assert torch.cat(seen).min() > 0.749 and torch.cat(seen).max() < 1.334
    resident, streamed = student(), student()
    train_classifier(resident, data, TRAINING, CONTEXT)
    assert accuracy(resident, TestColours(seed=1), CONTEXT)["top1"] > 95
    monkeypatch.setattr(training, "RESIDENT_BYTES", 2 * 120 * 3 * 64)  # holds the squares, but not the whole images
    data.reads.zero_()
    train_classifier(streamed, data, TRAINING, CONTEXT)
    assert same_weights(resident, streamed) and (data.reads == TRAINING.epochs).all()


def test_bfloat16_learns_with_float32_weights():
    model = student()
    context = Context(torch.device("cpu"), torch.bfloat16, 3, CONTEXT.scratch)
    train_classifier(model, TrainColours(), TRAINING, context)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert accuracy(model, TestColours(seed=1), context)["top1"] > 95


def test_divergence_is_an_error_that_names_the_epoch():
    diverging = TRAINING.model_copy(update={"learning_rate": 1e30, "optimizer": "sgd"})
    with pytest.raises(BenchmarkError, match="diverged in epoch 1"):
        train_classifier(student(), TrainColours(), diverging, CONTEXT)


def test_progress_counts_every_step():
    seen = []
    context = dataclasses.replace(CONTEXT, seed=0, report=lambda *report: seen.append(report))
    train_classifier(student(), TrainColours(), TRAINING.model_copy(update={"epochs": 2}), context)
    assert [step for step, _, _ in seen] == list(range(1, 13)) and {total for _, total, _ in seen} == {12}
    assert [step for step, _, scalars in seen if "loss" in scalars] == [6, 12]


def test_learning_rate_rises_linearly_and_falls_to_zero_as_a_cosine():
    rates = [cosine(step, 100, warmup=10) for step in range(101)]
    assert rates[:3] == pytest.approx([1 / 11, 2 / 11, 3 / 11])
    assert rates[10] == 1 and rates[55] == pytest.approx(0.5) and rates[100] == pytest.approx(0)
    assert rates[10:] == sorted(rates[10:], reverse=True)


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_only_matrices_and_filters_decay(name):
    model = create_model("convnet_d3", classes=3, resolution=8)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    optimizer = make_optimizer(model, name, learning_rate=0.1, weight_decay=0.5)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for key, value in model.state_dict().items():
        expected = before[key] * 0.95 if value.dim() >= 2 else before[key]
        torch.testing.assert_close(value, expected)


def test_a_stream_visits_each_image_once_an_epoch_in_the_same_order_every_time():
    data = TrainColours()
    schedule = Schedule(epochs=2, batch_size=50)
    stream = Stream(schedule, 1, len(data), from_pixels(data.pixels, INFO, CONTEXT.device))
    first, second = list(stream), list(stream)
    assert len(first) == len(stream) == 6
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a.images, b.images)
    for epoch in range(2):
        visits = [batch for batch in first if batch.epoch == epoch]
        assert torch.equal(torch.cat([batch.view.indices for batch in visits]).sort().values, torch.arange(120))
        assert [i for batch in visits for i in range(120)[batch.rows]] == list(range(120))


def test_reading_ahead_keeps_order_and_passes_errors_on():
    assert list(read_ahead(lambda x: x * x, range(5))) == [0, 1, 4, 9, 16]
    assert list(read_ahead(abs, [])) == []
    with pytest.raises(ZeroDivisionError):
        list(read_ahead(lambda x: 1 / x, [1, 0]))


class Ranks(nn.Module):
    """Ranks class k for a grey image of pixel value k, then k + 1 and so on, in a circle."""

    def __init__(self, shift: int) -> None:
        super().__init__()
        self.shift = shift

    def forward(self, x: Tensor) -> Tensor:
        pixel = (x[:, 0, 0, 0] * 0.25 + 0.5).mul(255).round().long()
        return -((torch.arange(6) - pixel.unsqueeze(1) + self.shift) % 6).float()


@pytest.mark.parametrize(("shift", "top1", "top5"), [(0, 100, 100), (1, 0, 100), (4, 0, 100), (5, 0, 0)])
def test_accuracy_is_the_part_of_images_whose_class_is_among_the_first(shift, top1, top5):
    test = TestColours(600)
    test.pixels = test.labels.to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 8, 8)
    scores = accuracy(Ranks(shift), test, CONTEXT)
    assert (scores["top1"], scores["top5"]) == (top1, top5)
    assert (test.reads == 1).all()


def test_the_bits_say_which_images_were_right():
    test = TestColours(11)
    test.pixels = test.labels.to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 8, 8).clone()
    test.pixels[[2, 9]] += 1  # shows the next class
    packed = np.frombuffer(base64.b64decode(accuracy(Ranks(0), test, CONTEXT)["correct"]), np.uint8)
    assert np.flatnonzero(np.unpackbits(packed, count=11) == 0).tolist() == [2, 9]


def test_accuracy_does_not_train_batch_norm():
    model = nn.Sequential(nn.BatchNorm2d(3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 6))
    before = model[0].running_mean.clone()
    accuracy(model, TestColours(), CONTEXT)
    assert torch.equal(model[0].running_mean, before)


def test_fit_reports_the_mean_loss_over_images():
    data = TrainColours(7)
    stream = Stream(Schedule(epochs=1, batch_size=2), 0, 7, from_pixels(data.pixels, INFO, CONTEXT.device))
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 6))
    optimizer = make_optimizer(model, "sgd", learning_rate=1e-12, weight_decay=0)
    losses = fit(model, stream, lambda z, b: (z.mean(1) * 0 + b.view.indices).mean(), optimizer, CONTEXT)
    assert losses == pytest.approx([3.0])  # the mean of 0..6, whatever the batches


class Stop(Exception):
    """The end of a process."""


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_an_interrupted_training_resumes_after_its_last_epoch_with_the_same_weights(tmp_path, optimizer):
    data, batches = TrainColours(), 6
    recipe = TRAINING.model_copy(update={"optimizer": optimizer, "warmup_epochs": 1})

    def trained(scratch: Path, stop: int | None = None) -> tuple[nn.Module, list[float], list[int]]:
        steps: list[int] = []

        def report(step: int, total: int, scalars: object) -> None:
            steps.append(step)
            if step == stop:
                raise Stop

        network = create_model("convnet_d3", classes=6, resolution=8, seed=2)
        model = nn.Sequential(network, nn.Dropout(0.2))
        context = dataclasses.replace(CONTEXT, scratch=scratch, report=report)
        try:
            losses = training.train_classifier(model, data, recipe, context)
        except Stop:
            return model, [], steps
        return model, losses, steps

    (tmp_path / "once").mkdir()
    whole, losses, _ = trained(tmp_path / "once")
    (tmp_path / "twice").mkdir()
    trained(tmp_path / "twice", stop=3 * batches + 2)
    resumed, again, steps = trained(tmp_path / "twice")
    assert steps[0] == 3 * batches + 1, "three epochs were saved"
    assert again == losses
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
