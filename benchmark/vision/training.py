"""Train and test classifiers, with one loop for teachers on real images and students on synthetic images.

A `Stream` yields the augmented batches in order, `fit` takes one optimiser step for each of them, and the loss is a
function of the logits and the batch. Seeds determine all random numbers; global state determines none.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal, TypeAlias, TypeVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from benchmark.api import Context, DatasetInfo, Frozen, ImageData, Precision, TrainData
from benchmark.errors import BenchmarkError
from benchmark.identity import digest
from benchmark.vision.augment import CropScale, Schedule, View, WholeSchedule, normalize
from benchmark.vision.checkpoint import Checkpoint

T = TypeVar("T")
R = TypeVar("R")
OptimizerName = Literal["sgd", "adamw"]
Read: TypeAlias = Callable[[Tensor], Tensor]  # reads images by their indices

RESIDENT_BYTES = 2 << 30  # larger training sets are not kept on the device; they are read batch by batch
TEST_BATCH = 256


class TeacherTraining(Frozen):
    """How a teacher is trained on real images."""

    arch: str
    epochs: int = Field(ge=0)
    batch_size: int = Field(128, ge=1)
    optimizer: OptimizerName = "sgd"
    learning_rate: float = Field(0.1, gt=0)
    momentum: float = Field(0.9, ge=0, lt=1)
    weight_decay: float = Field(5e-4, ge=0)
    nesterov: bool = False  # Nesterov's momentum, with sgd
    warmup_epochs: float = Field(0, ge=0)  # the learning rate rises from 0 to its peak in these
    label_smoothing: float = Field(0.0, ge=0, lt=1)  # share of the target that goes to all classes alike
    crop_scale: CropScale = (0.08, 1.0)
    flip: bool = True
    pretrained: str | None = Field(None, pattern="^(torchvision|timm):.")  # LIBRARY:TAG; these weights are not trained
    precision: Precision = "float32"  # auto: bfloat16 where the hardware has it


@dataclass(frozen=True, eq=False)
class Batch:
    """One augmented batch.

    Attributes:
        epoch: number of the epoch, from 0.
        rows: the positions of its images in the order of the epoch.
        view: the indices of its images and their augmentation.
        images: [b, C, S, S] float32, normalised, augmented, on the device, channels-last.
    """

    epoch: int
    rows: slice
    view: View
    images: Tensor


@dataclass(frozen=True)
class Stream:
    """The batches of all epochs of a schedule over n images, in order; every iteration yields the same batches.

    Attributes:
        schedule: determines the views, with the seed.
        seed: seed of the views.
        n: number of images.
        read: returns normalised float32 images [b, C, S, S] on the device for indices [b].
        first: the epoch to begin with.
    """

    schedule: Schedule
    seed: int
    n: int
    read: Read
    first: int = 0

    def __iter__(self) -> Iterator[Batch]:
        """Yield every batch of every epoch from `first` on."""
        for epoch in range(self.first, self.schedule.epochs):
            start = 0
            views = self.schedule.views(self.seed, epoch, self.n)
            for view, images in read_ahead(lambda view: (view, self.read(view.indices)), views):
                augmented = view.apply(images).contiguous(memory_format=torch.channels_last)
                yield Batch(epoch, slice(start, start + len(augmented)), view, augmented)
                start += len(augmented)

    def __len__(self) -> int:
        """Return the number of batches of all epochs."""
        return self.schedule.steps(self.n)


def from_pixels(pixels: Tensor, info: DatasetInfo, device: torch.device) -> Read:
    """Return a function that returns normalised images by index; the pixels [N, C, H, W] are kept on the device."""
    resident = pixels.to(device)
    return lambda indices: normalize(resident[indices.to(device)], info)


def from_data(data: ImageData, device: torch.device, read: Read | None = None) -> Read:
    """Return a function that returns a dataset's normalised images by index; a large dataset is read in batches.

    ``read`` takes the place of `ImageData.read`: that of whole images, say.
    """
    pixels_of = read or data.read
    if len(data) * math.prod(pixels_of(torch.arange(0)).shape[1:]) <= RESIDENT_BYTES:
        return from_pixels(pixels_of(torch.arange(len(data))), data.info, device)
    return lambda indices: normalize(pixels_of(indices).to(device), data.info)


def crops_of(data: TrainData, schedule: Schedule, seed: int, device: torch.device) -> Stream:
    """Return a stream of random crops of training images: of whole ones, where the data has them."""
    if (aspects := data.aspects(torch.arange(len(data)))) is not None:
        schedule = WholeSchedule(**schedule.model_dump(), aspects=aspects, size=data.info.resolution)
    return Stream(schedule, seed, len(data), from_data(data, device, data.read_whole))


def read_ahead(read: Callable[[T], R], requests: Iterable[T]) -> Iterator[R]:
    """Yield ``read(request)`` for every request, in order; a thread reads the next one while the caller works."""
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
    """Return an optimiser of a network; weight decay applies only to weights with two or more dimensions."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    if name == "adamw":
        return AdamW(groups, lr=learning_rate, fused=True)
    return SGD(groups, lr=learning_rate, momentum=momentum, nesterov=nesterov)


def cosine(step: int, total: int, warmup: int = 0) -> float:
    """Return the learning rate of step 0, 1, ... relative to its peak: linear warm-up, then a cosine down to 0."""
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
    rate: Callable[[int, int], float] | None = None,
    checkpoint: Path | None = None,
) -> list[float]:
    """Train a network in place, one step for each batch; by default the learning rate falls to 0 as a cosine.

    Args:
        model: network on the device, with float32 weights.
        stream: the batches.
        loss: returns a scalar from float32 logits [b, classes] and the batch.
        optimizer: optimiser of the network's weights.
        context: gives device, precision, the seed of dropout, and progress.
        rate: returns the learning rate relative to its peak from (step, number of steps); None: `cosine`.
        checkpoint: a file that keeps the state after every epoch; a training that was interrupted resumes from it.

    Returns:
        The mean loss of every epoch.

    Raises:
        BenchmarkError: the loss is infinite or not a number.
    """
    scheduler = LambdaLR(optimizer, lambda step: (rate or cosine)(step, len(stream)))
    sums = torch.zeros(stream.schedule.epochs, device=context.device)
    views = [0] * stream.schedule.epochs  # the views of each epoch; batches from a pool may have another size
    saved = Checkpoint(checkpoint, model, optimizer, scheduler, sums) if checkpoint else None
    model.train()
    with _seeded(context):
        first = saved.restore() if saved else 0
        for step, batch in enumerate(replace(stream, first=first), start=1 + first * stream.schedule.batches(stream.n)):
            with context.autocast():
                logits = model(batch.images)
            value = loss(logits.float(), batch)
            optimizer.zero_grad(set_to_none=True)
            value.backward()
            optimizer.step()
            scheduler.step()
            sums[batch.epoch] += value.detach() * len(batch.images)  # on the device: the loop does not wait for it
            views[batch.epoch] += len(batch.images)
            ends_epoch = step % stream.schedule.batches(stream.n) == 0
            scalars = {"loss": _finite(sums[batch.epoch] / views[batch.epoch], batch.epoch)} if ends_epoch else {}
            context.progress(step, len(stream), **scalars)
            if saved and ends_epoch and step < len(stream):
                saved.save(batch.epoch + 1)
    return [total / (n or stream.schedule.shown(stream.n)) for total, n in zip(sums.tolist(), views, strict=True)]


def _finite(loss: Tensor, epoch: int) -> float:
    value = loss.item()
    if not math.isfinite(value):
        raise BenchmarkError(f"training diverged in epoch {epoch + 1}: the loss is {value}; lower the learning rate")
    return value


@contextmanager
def _seeded(context: Context) -> Iterator[None]:
    """Seed dropout and drop path, which take no generator; restore the global generators at the end."""
    devices = range(torch.cuda.device_count()) if context.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(context.seed)
        yield


def train_classifier(
    model: nn.Module,
    data: TrainData,
    training: TeacherTraining,
    context: Context,
    watch: Callable[[Tensor, Batch], None] = lambda logits, batch: None,
) -> list[float]:
    """Train a network in place on crops of real images, mirrored or not; resume where it was interrupted; see `fit`.

    Args:
        model: network on the device.
        data: the training split; images are mirrored only if both ``training`` and the dataset allow it.
        training: epochs, optimiser, augmentation.
        context: gives device, precision, seed and progress.
        watch: called before each step, with the logits [b, classes] without gradient and the batch.
    """
    views = training.model_dump(include={"epochs", "batch_size", "crop_scale"})
    schedule = Schedule(**views, flip=training.flip and data.info.flip, mix="none")
    labels = data.labels.to(context.device)
    options = training.model_dump(include={"learning_rate", "weight_decay", "momentum", "nesterov"})
    optimizer = make_optimizer(model, training.optimizer, **options)

    def loss(logits: Tensor, batch: Batch) -> Tensor:
        targets = labels[batch.view.indices.to(context.device)]
        watch(logits.detach(), batch)
        return F.cross_entropy(logits, targets, label_smoothing=training.label_smoothing)

    stream = crops_of(data, schedule, context.seed, context.device)
    axes = [*(part.model_dump(mode="json") for part in (training, data.info)), context.seed]
    checkpoint = context.scratch / f"training-{digest(axes)[:12]}.pt"
    rate = partial(cosine, warmup=round(training.warmup_epochs * schedule.batches(len(data))))
    return fit(model, stream, loss, optimizer, context, rate=rate, checkpoint=checkpoint)


def predict(model: nn.Module, images: Tensor, context: Context) -> Tensor:
    """Return float32 logits [N, classes] of normalised images, without gradients."""
    with torch.no_grad(), context.autocast():
        logits: Tensor = model(images)
    return logits.float()


def accuracy(model: nn.Module, test: ImageData, context: Context) -> dict[str, float | str]:
    """Return top-1 and top-5 accuracy in percent, and which images were right; the network stays in eval mode.

    ``correct`` holds one bit for each test image in the order of the split, 1 where the first class is right: packed as
    `numpy.packbits` does, in base64.
    """
    model.eval()
    chunks = torch.arange(len(test)).split(TEST_BATCH)
    parts = []
    for chunk, pixels in read_ahead(lambda indices: (indices, test.read(indices)), chunks):
        images = normalize(pixels.to(context.device), test.info).contiguous(memory_format=torch.channels_last)
        guesses = predict(model, images, context).topk(min(5, test.info.classes), dim=1).indices.cpu()
        parts.append(guesses == test.labels[chunk].unsqueeze(1))
    hits = torch.cat(parts)
    top1, top5 = (100 * count / len(test) for count in (hits[:, 0].sum().item(), hits.sum().item()))
    bits = np.packbits(hits[:, 0].numpy()).tobytes()
    return {"top1": top1, "top5": top5, "correct": base64.b64encode(bits).decode()}
