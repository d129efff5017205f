"""One training run that records, for every real image and epoch, the numbers from which difficulty is scored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from benchmark.api import Context, Job, Preparation, TeacherSpec, TrainData, Work
from benchmark.identity import seed_of
from benchmark.vision.augment import CropScale
from benchmark.vision.training import Batch, TeacherTraining, train_classifier
from methods.parts.experts import new_network
from methods.parts.selfsupervised import untrained

RECORDS = ("errors", "margins", "right")


class ScoringRun(Preparation):
    """A network trained from random weights, and its answers about each image in the training pass of each epoch.

    With p the softmax of the logits of image i in epoch e (augmented, batch norms in train mode, before the step of its
    batch), it returns tensors [epochs, N]:

    - ``errors`` float32: ``|p - onehot(y)|_2``;
    - ``margins`` float32: ``p_y - max_{k != y} p_k``;
    - ``right`` bool: whether y has the largest logit.

    ``metric.train_top1`` is the share of right answers in the last epoch. Source: haizhongzheng/CCS, which records the
    same. Differences: the learning rate falls to 0 (there to 1e-4); crops that are scaled up again replace shifts by 4
    px of 32, which leave 77 % of an image or more; biases and the weights of norms do not decay.
    """

    per_draw: ClassVar[bool] = True  # a set that is chosen by one run for all seeds would hide the chance in the choice

    arch: str | None = None  # None: the dataset's teacher, with new random weights of torch's layers (`untrained`)
    epochs: int = Field(default=200, ge=1)
    batch_size: int = Field(default=256, ge=1)
    learning_rate: float = Field(default=0.1, gt=0)
    weight_decay: float = Field(default=5e-4, ge=0)
    crop_scale: CropScale = (0.77, 1.0)  # area of a crop, as a part of the image

    def teachers(self) -> tuple[TeacherSpec, ...]:
        """Return the dataset's teacher, of which only the architecture is used; none where `arch` names another."""
        return () if self.arch else (TeacherSpec(),)

    def work(self, job: Job) -> tuple[Work, ...]:
        """Return the training."""
        return (Work("train", self.epochs * job.train_images, self.arch or ""),)

    def prepare(self, data: TrainData, context: Context) -> Mapping[str, Tensor]:
        """Train the network; an interrupted run resumes after the last finished epoch."""
        if self.arch:
            network = new_network(self.arch, data.info, seed_of(context.seed, "scoring"))
        else:
            network = untrained(context.teachers[0], context.generator("scoring"))
        recorder = Recorder(network, self.epochs, data.labels).to(context.device)
        training = TeacherTraining(
            arch=self.arch or "teacher",
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            nesterov=True,
            crop_scale=self.crop_scale,
        )
        train_classifier(recorder, data, training, context, watch=recorder.record)
        records = {name: getattr(recorder, name).cpu() for name in RECORDS}
        return {**records, "metric.train_top1": 100 * records["right"][-1].double().mean()}


class Recorder(nn.Module):
    """A network with the records of its training as buffers, so that a checkpoint of the network keeps them."""

    errors: Tensor
    margins: Tensor
    right: Tensor
    labels: Tensor

    def __init__(self, network: nn.Module, epochs: int, labels: Tensor) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("labels", labels, persistent=False)
        for name, kind in zip(RECORDS, (torch.float32, torch.float32, torch.bool), strict=True):
            self.register_buffer(name, torch.zeros(epochs, len(labels), dtype=kind))

    def forward(self, images: Tensor) -> Tensor:
        """Return logits [b, classes]."""
        logits: Tensor = self.network(images)
        return logits

    def record(self, logits: Tensor, batch: Batch) -> None:
        """Keep what the logits [b, classes] of a batch say about its images."""
        indices = batch.view.indices.to(self.labels.device)
        labels = self.labels[indices]
        self.errors[batch.epoch, indices] = error_norms(logits, labels).float()
        self.margins[batch.epoch, indices] = margins(logits, labels).float()
        self.right[batch.epoch, indices] = logits.argmax(1) == labels


def error_norms(logits: Tensor, labels: Tensor) -> Tensor:
    """Return ``|softmax(z) - onehot(y)|_2`` [b] of logits [b, classes] and labels [b]: 0 to sqrt(2)."""
    gaps = logits.softmax(1)
    gaps[torch.arange(len(labels), device=labels.device), labels] -= 1
    return torch.linalg.vector_norm(gaps, dim=1)


def margins(logits: Tensor, labels: Tensor) -> Tensor:
    """Return ``p_y - max_{k != y} p_k`` [b], p the softmax of logits [b, classes]: -1 to 1."""
    p = logits.softmax(1)
    columns = labels.unsqueeze(1)
    largest = p.scatter(1, columns, -torch.inf).amax(1)
    return p.gather(1, columns)[:, 0] - largest


def forgetting_events(right: Tensor) -> Tensor:
    """Return how often each image [N] went from right to wrong between two epochs of ``right`` [epochs, N] bool."""
    return (right[:-1] & ~right[1:]).sum(0)
