"""Distribution matching: what random networks see in the synthetic images of a class is drawn to what they see in real.

DM and DataDAM share everything but what they look at (`Matching.features`).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from benchmark.api import Context, DatasetInfo, Distiller, SyntheticSet, TrainData, Unit
from benchmark.identity import seed_of
from benchmark.vision.augment import denormalize
from benchmark.vision.dsa import sample_augmentation
from benchmark.vision.models import Stem, create_model
from benchmark.vision.training import from_data
from methods.parts.descent import descend
from methods.parts.real import random_indices, too_few

Features: TypeAlias = list[tuple[float, Tensor]]  # weight w_l and values [n, D_l] of everything that is matched
Look: TypeAlias = Callable[[Tensor, Tensor], Features]  # images [n, C, S, S], places of their classes [n]

CHUNK_PIXELS = 2**20  # of real images in one forward pass


class Matching(Distiller):
    """``L = sum_l w_l sum_c || mean_B r_l(A(x)) - mean_S r_l(A(s)) ||^2``, squares summed over features and classes.

    r_l are the features of a ConvNet that is drawn afresh in every iteration (training mode, frozen), B a batch of real
    images of class c, S all of its synthetic ones, A one draw of DSA that both share. SGD on normalised pixels that
    start from real images and are never clipped; the last iterate is kept, as floats.

    With instance norm no image sees another, so neither batches nor classes that are computed together or apart make a
    difference: all classes of a unit go through the network at once.
    """

    iterations: int = Field(default=20_000, ge=1)
    learning_rate: float = Field(default=1.0, gt=0)
    momentum: float = Field(default=0.5, ge=0, lt=1)
    batch_real: int = Field(default=256, ge=1)  # real images of every class in an iteration
    batch_images: int = Field(default=1000, ge=1)  # synthetic images of a unit, which are optimised together
    arch: str = "convnet_d3"
    norm: Literal["instance", "batch"] = "instance"  # batch: over the classes of a unit, real and synthetic apart

    @abstractmethod
    def features(self, network: nn.Module, images: Tensor) -> Features:
        """Return the weight w_l and the value r_l, float32 [n, D_l], of everything that is matched."""

    def supports(self, info: DatasetInfo, ipc: int) -> str | None:
        """Return a reason where a class has fewer than IPC images to start from."""
        return too_few(info, ipc)

    def units(self, info: DatasetInfo, ipc: int) -> Sequence[Unit]:
        """Return units of as many whole classes as fit into `batch_images`, one at least."""
        size = max(1, self.batch_images // ipc)
        groups = [tuple(range(info.classes))[first : first + size] for first in range(0, info.classes, size)]
        return [Unit(index=i, ipc=ipc, classes=group, slots=tuple(range(ipc))) for i, group in enumerate(groups)]

    def distill(self, data: TrainData, unit: Unit, context: Context) -> SyntheticSet:
        """Return the unit's images; a killed run goes on where it was last saved."""
        info, read = data.info, from_data(data, context.device)
        images = read(random_indices(data, unit.classes, unit.slots, context)).requires_grad_()
        owners = torch.arange(len(unit.classes)).repeat_interleave(len(unit.slots))
        chunk = len(data) if self.norm == "batch" else max(1, CHUNK_PIXELS // info.resolution**2)

        def objective(iteration: int) -> tuple[Tensor, Sequence[Tensor]]:
            look = self._look(info, unit, iteration, context)
            chosen, classes = self._real_batch(data, unit, iteration, context)
            with torch.no_grad():
                real = class_means(lambda rows: look(read(chosen[rows]), classes[rows]), classes, chunk)
            synthetic = class_means(lambda rows: look(images, owners), owners, len(images))
            loss = squared_gap(real, synthetic)
            return loss, torch.autograd.grad(loss, [images])

        loss = descend(
            objective,
            [(images, self.learning_rate)],
            context,
            iterations=self.iterations,
            momentum=self.momentum,
            name=f"{self.name()}-{unit.index}",
        )
        pixels = denormalize(images.detach(), info).cpu().contiguous()
        return SyntheticSet(pixels, unit.labels, metadata={"loss": loss})

    def _look(self, info: DatasetInfo, unit: Unit, iteration: int, context: Context) -> Look:
        """Return what is seen in images of given classes: by one new network, under one draw for each class."""
        network = self._network(info, iteration, context)
        # drawn for all classes, so that under one seed (every unit has its own) a class fares the same in any company
        view = sample_augmentation(info.classes, context.generator("view", iteration), flip=info.flip)
        view = view.rows(torch.tensor(unit.classes))

        def look(images: Tensor, classes: Tensor) -> Features:
            with context.autocast():
                return self.features(network, view.rows(classes).apply(images))

        return look

    def _network(self, info: DatasetInfo, iteration: int, context: Context) -> nn.Module:
        network = create_model(
            self.arch,
            classes=info.classes,
            resolution=info.resolution,
            channels=info.channels,
            stem=Stem(norm=self.norm),
            seed=seed_of(context.seed, "network", iteration),
        )
        return network.to(context.device).requires_grad_(False)

    def _real_batch(self, data: TrainData, unit: Unit, iteration: int, context: Context) -> tuple[Tensor, Tensor]:
        """Draw real images without replacement; return their indices and the place of their class in the unit, [n]."""
        drawn = []
        for label in unit.classes:
            members = data.indices_of(label)
            order = torch.randperm(len(members), generator=context.generator("real", iteration, label))
            drawn.append(members[order[: self.batch_real]])
        sizes = torch.tensor([len(indices) for indices in drawn])
        return torch.cat(drawn), torch.arange(len(drawn)).repeat_interleave(sizes)


def class_means(look: Callable[[Tensor], Features], owners: Tensor, chunk: int) -> Features:
    """Return the mean of every class, [classes, D_l] for each l, with its weight w_l.

    Args:
        look: returns weight and values [n, D_l] of everything that is matched, for the images at places [n].
        owners: the class of every image, 0, 1, ...
        chunk: images looked at together.
    """
    shares = F.one_hot(owners).float()
    shares = shares / shares.sum(0)  # [N, classes]
    total: Features = []
    for rows in torch.arange(len(owners)).split(chunk):
        part = [(weight, shares[rows].to(values.device).T @ values) for weight, values in look(rows)]
        total = [(w, mean + more) for (w, mean), (_, more) in zip(total, part, strict=True)] if total else part
    return total


def squared_gap(real: Features, synthetic: Features) -> Tensor:
    """Return ``sum_l w_l sum_c || real - synthetic ||^2`` of class means [classes, D_l]."""
    pairs = zip(real, synthetic, strict=True)
    return torch.stack([weight * (mean - target).square().sum() for (_, target), (weight, mean) in pairs]).sum()


def embedding(network: Any, maps: Tensor) -> Tensor:
    """Return the input of a network's classifier, float32 [n, D], from its last feature map."""
    values: Tensor = network.forward_head(maps, pre_logits=True)
    return values.float()
