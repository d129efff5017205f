"""Expert trajectories for MTT: the weights of networks after each epoch of training on real images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from benchmark.api import Context, DatasetInfo, Job, Preparation, TrainData, Work
from benchmark.errors import BenchmarkError
from benchmark.identity import seed_of
from benchmark.vision import scratch
from benchmark.vision.dsa import sample_augmentation
from benchmark.vision.models import Stem, create_model
from benchmark.vision.training import from_data


class Experts(Preparation):
    """``theta_{e,t}``: weights of expert e after t epochs of SGD on cross-entropy, with DSA as augmentation.

    It returns ``trajectories`` [experts, epochs + 1, P] float32: weights in the order of `flat_weights`; t = 0 is
    before the first step. An interrupted run resumes after the last finished expert.
    """

    version: ClassVar[int] = 2

    arch: str = "convnet_d3"
    experts: int = Field(default=100, ge=1)
    epochs: int = Field(default=50, ge=1)
    batch_size: int = Field(default=256, ge=1)
    learning_rate: float = Field(default=0.01, gt=0)
    momentum: float = Field(default=0.0, ge=0, lt=1)

    def work(self, job: Job) -> tuple[Work, ...]:
        """Return the training of all experts."""
        return (Work("train", self.experts * self.epochs * job.train_images, self.arch),)

    def prepare(self, data: TrainData, context: Context) -> Mapping[str, Tensor]:
        """Train the experts one after the other."""
        read = from_data(data, context.device)
        trajectories = torch.empty(0)
        for expert in range(self.experts):
            path = context.scratch / f"expert-{expert}.pt"
            trajectory = scratch.load(path)
            if trajectory is None:
                trajectory = self._trajectory(data, read, expert, context)
                scratch.save(trajectory, path)
            if not expert:
                trajectories = trajectory.new_empty((self.experts, *trajectory.shape))
            trajectories[expert] = trajectory
            context.progress(expert + 1, self.experts)
        return {"trajectories": trajectories}

    def _trajectory(self, data: TrainData, read: Callable[[Tensor], Tensor], expert: int, context: Context) -> Tensor:
        """Return the weights of one expert, [epochs + 1, P]."""
        network = new_network(self.arch, data.info, seed_of(context.seed, "expert", expert)).to(context.device)
        optimizer = torch.optim.SGD(network.parameters(), lr=self.learning_rate, momentum=self.momentum)
        weights, labels = list(network.parameters()), data.labels.to(context.device)
        snapshots = [flat_weights(network)]
        for epoch in range(self.epochs):
            generator = context.generator("expert", expert, epoch)
            for indices in torch.randperm(len(data), generator=generator).split(self.batch_size):
                augmentation = sample_augmentation(len(indices), generator, flip=data.info.flip)
                views, targets = augmentation.apply(read(indices)), labels[indices.to(context.device)]
                slopes = self.slopes(weights, partial(_loss, network, views, targets, context))
                for weight, slope in zip(weights, slopes, strict=True):
                    weight.grad = slope
                optimizer.step()
            snapshots.append(flat_weights(network))
            if not snapshots[-1].isfinite().all():
                raise BenchmarkError(f"expert {expert} diverged in epoch {epoch + 1}; lower the experts' learning rate")
        return torch.stack(snapshots)

    def slopes(self, weights: Sequence[Tensor], loss: Callable[[], Tensor]) -> Sequence[Tensor]:
        """Return the direction that a step of SGD goes down: the gradient of the loss in the weights as they are."""
        return torch.autograd.grad(loss(), weights)


def _loss(network: nn.Module, views: Tensor, targets: Tensor, context: Context) -> Tensor:
    with context.autocast():
        logits = network(views)
    return F.cross_entropy(logits.float(), targets)


def new_network(arch: str, info: DatasetInfo, seed: int, norm: Literal["instance", "batch"] = "instance") -> nn.Module:
    """Return a network for a dataset with random weights, on the CPU; `norm` is that of ConvNets."""
    return create_model(
        arch,
        classes=info.classes,
        resolution=info.resolution,
        channels=info.channels,
        stem=Stem(norm=norm),
        seed=seed,
    )


@cache
def batch_norm_reason(arch: str, info: DatasetInfo) -> str | None:
    """Return why a method that keeps the weights of trained networks cannot use a network; None where it can.

    `flat_weights` lacks the running statistics of batch norms, without which a trained network in eval mode is wrong.
    """
    if not any(isinstance(module, nn.BatchNorm2d) for module in new_network(arch, info, seed=0).modules()):
        return None
    return f"{arch} has batch norms, whose statistics are not kept with the weights: choose an arch without them"


def flat_weights(network: nn.Module) -> Tensor:
    """Return a copy of all weights as one vector [P] on the CPU, in the order of ``network.parameters()``."""
    return torch.cat([weight.detach().flatten() for weight in network.parameters()]).cpu()
