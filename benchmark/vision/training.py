"""Training and testing classifiers: one loop for teachers on real images and for students on synthetic ones.

A `Stream` says which views are visited in which order, `fit` takes one optimiser step for each of them, and the loss is
a function of the logits and the batch. All that is random is decided by seeds, never by global state.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Literal, TypeVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from benchmark.api import Context, DatasetInfo, Frozen, ImageData, TrainData
from benchmark.errors import BenchmarkError
from benchmark.vision.augment import Schedule, View, normalize

T = TypeVar("T")
R = TypeVar("R")
OptimizerName = Literal["sgd", "adamw"]

RESIDENT_BYTES = 2 << 30  # training sets up to this size are kept on the device, larger ones are read batch by batch
TEST_BATCH = 256


class TrainRecipe(Frozen):
    """How a network is trained on real images."""

    arch: str
    epochs: int = Field(ge=0)
    batch_size: int = Field(128, ge=1)
    optimizer: OptimizerName = "sgd"
    learning_rate: float = Field(0.1, gt=0)
    momentum: float = 0.9
    weight_decay: float = 5e-4
    nesterov: bool = False  # Nesterov's momentum, with sgd
    warmup_epochs: float = Field(0, ge=0)  # the learning rate rises from 0 to its peak in these
    label_smoothing: float = 0.0  # share of the target that goes to all classes alike
    crop_scale: tuple[float, float] = (0.08, 1.0)
    flip: bool = True
    pretrained: str | None = None  # published weights to start from, see `models.load_pretrained`


@dataclass(frozen=True, eq=False)
class Batch:
    """One augmented batch.

    Attributes:
        epoch: counted from 0.
        rows: the places of its images in the epoch's order of visits.
        view: which images it shows, and how.
        images: [b, C, S, S] float32, normalised, augmented, on the device, channels-last.
    """

    epoch: int
    rows: slice
    view: View
    images: Tensor


@dataclass(frozen=True)
class Stream:
    """The batches of all epochs of a schedule over n images, in order: the same in every pass.

    Attributes:
        schedule: of the views.
        seed: of the views.
        n: number of images.
        read: returns normalised float32 images [b, C, S, S] on the device for indices [b].
    """

    schedule: Schedule
    seed: int
    n: int
    read: Callable[[Tensor], Tensor]

    def __iter__(self) -> Iterator[Batch]:
        """Yield every batch of every epoch."""
        for epoch in range(self.schedule.epochs):
            start = 0
            views = self.schedule.views(self.seed, epoch, self.n)
            for view, images in read_ahead(lambda view: (view, self.read(view.indices)), views):
                seen = view.apply(images).contiguous(memory_format=torch.channels_last)
                yield Batch(epoch, slice(start, start + len(seen)), view, seen)
                start += len(seen)

    def __len__(self) -> int:
        """Return the number of batches of all epochs."""
        return self.schedule.steps(self.n)


def from_pixels(pixels: Tensor, info: DatasetInfo, device: torch.device) -> Callable[[Tensor], Tensor]:
    """Return a reader of images [N, C, H, W] in pixel space: kept on the device as they are, normalised per batch."""
    resident = pixels.to(device)
    return lambda indices: normalize(resident[indices.to(device)], info)


def from_data(data: ImageData, device: torch.device) -> Callable[[Tensor], Tensor]:
    """Return a reader of a dataset: resident on the device where it is small enough, else read batch by batch."""
    if len(data) * data.info.channels * data.info.resolution**2 <= RESIDENT_BYTES:
        return from_pixels(data.read(torch.arange(len(data))), data.info, device)
    return lambda indices: normalize(data.read(indices).to(device), data.info)


def read_ahead(read: Callable[[T], R], requests: Iterable[T]) -> Iterator[R]:
    """Yield ``read(request)`` for every request, in order; one thread reads the next while this one is used."""
    with ThreadPoolExecutor(1) as reader:
        pending: Future[R] | None = None
        for request in requests:
            following = reader.submit(read, request)
            if pending is not None:
                yield pending.result()
            pending = following
        if pending is not None:
            yield pending.result()


def make_optimizer(
    model: nn.Module,
    name: OptimizerName,
    *,
    learning_rate: float,
    weight_decay: float,
    momentum: float = 0.9,
    nesterov: bool = False,
) -> Optimizer:
    """Return an optimiser of a network's weights that lets only those with two or more dimensions decay."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.dim() >= 2], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.dim() < 2], "weight_decay": 0.0},
    ]
    if name == "adamw":
        return AdamW(groups, lr=learning_rate)
    return SGD(groups, lr=learning_rate, momentum=momentum, nesterov=nesterov)


def cosine(step: int, total: int, warmup: int = 0) -> float:
    """Return the learning rate of step 0, 1, ... as a part of the peak: linear warm-up, then a cosine down to 0."""
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))


def fit(
    model: nn.Module,
    stream: Stream,
    loss: Callable[[Tensor, Batch], Tensor],
    optimizer: Optimizer,
    context: Context,
    *,
    warmup_epochs: float = 0.0,
    rate: Callable[[int, int], float] | None = None,
) -> list[float]:
    """Train a network in place, one step for each batch, by a cosine schedule that ends at 0 unless told otherwise.

    Args:
        model: on the device, with float32 weights.
        stream: what it is shown.
        loss: a scalar from float32 logits [b, classes] and the batch.
        optimizer: of the network's weights.
        context: gives device, precision, the seed of dropout, and progress.
        warmup_epochs: epochs in which the learning rate rises linearly.
        rate: gives the learning rate of a step as a part of the peak, from (step, steps in all), in place of `cosine`.

    Returns:
        The mean loss of every epoch.

    Raises:
        BenchmarkError: the loss is no longer finite.
    """
    warmup = round(warmup_epochs * stream.schedule.batches(stream.n))
    shape = rate or partial(cosine, warmup=warmup)
    scheduler = LambdaLR(optimizer, lambda step: shape(step, len(stream)))
    sums = torch.zeros(stream.schedule.epochs, device=context.device)
    model.train()
    with _seeded(context):
        for step, batch in enumerate(stream, start=1):
            with context.autocast():
                logits = model(batch.images)
            value = loss(logits.float(), batch)
            optimizer.zero_grad(set_to_none=True)
            value.backward()
            optimizer.step()
            scheduler.step()
            sums[batch.epoch] += value.detach() * len(batch.images)  # stays on the device: no wait in the loop
            last = batch.rows.stop == stream.n  # of its epoch
            scalars = {"loss": _finite(sums[batch.epoch] / stream.n, batch.epoch)} if last else {}
            context.progress(step, len(stream), **scalars)
    return [total / stream.n for total in sums.tolist()]


def _finite(loss: Tensor, epoch: int) -> float:
    value = loss.item()
    if not math.isfinite(value):
        raise BenchmarkError(f"training diverged in epoch {epoch + 1}: the loss is {value}; lower the learning rate")
    return value


@contextmanager
def _seeded(context: Context) -> Iterator[None]:
    """Seed dropout and drop path, which take no generator, and give the global generators back as they were."""
    devices = range(torch.cuda.device_count()) if context.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(context.seed)
        yield


def train_classifier(model: nn.Module, data: TrainData, recipe: TrainRecipe, context: Context) -> list[float]:
    """Train a network in place on real images with crops and flips (teachers, experts); return each epoch's mean loss.

    Args:
        model: on the device.
        data: the training split; mirrored only if recipe and dataset both allow it.
        recipe: epochs, optimiser, augmentation.
        context: gives device, precision, seed and progress.
    """
    schedule = Schedule(
        epochs=recipe.epochs,
        batch_size=recipe.batch_size,
        crop_scale=recipe.crop_scale,
        flip=recipe.flip and data.info.flip,
        mix="none",
    )
    labels = data.labels.to(context.device)
    optimizer = make_optimizer(
        model,
        recipe.optimizer,
        learning_rate=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        momentum=recipe.momentum,
        nesterov=recipe.nesterov,
    )

    def loss(logits: Tensor, batch: Batch) -> Tensor:
        targets = labels[batch.view.indices.to(context.device)]
        return F.cross_entropy(logits, targets, label_smoothing=recipe.label_smoothing)

    stream = Stream(schedule, context.seed, len(data), from_data(data, context.device))
    return fit(model, stream, loss, optimizer, context, warmup_epochs=recipe.warmup_epochs)


def predict(model: nn.Module, images: Tensor, context: Context) -> Tensor:
    """Return float32 logits [N, classes] of normalised images, without gradients."""
    with torch.no_grad(), context.autocast():
        logits: Tensor = model(images)
    return logits.float()


def accuracy(model: nn.Module, test: ImageData, context: Context) -> dict[str, float]:
    """Return top-1 and top-5 accuracy in percent, reading every image once; the network is left in eval mode."""
    model.eval()
    chunks = torch.arange(len(test)).split(TEST_BATCH)
    hits = torch.zeros(2, dtype=torch.int64)
    for chunk, pixels in read_ahead(lambda indices: (indices, test.read(indices)), chunks):
        images = normalize(pixels.to(context.device), test.info).contiguous(memory_format=torch.channels_last)
        ranked = predict(model, images, context).topk(min(5, test.info.classes), dim=1).indices.cpu()
        correct = ranked == test.labels[chunk].unsqueeze(1)
        hits += torch.stack([correct[:, 0].sum(), correct.sum()])
    top1, top5 = hits.tolist()
    return {"top1": 100 * top1 / len(test), "top5": 100 * top5 / len(test)}
