"""Distribution matching: mean features of the synthetic images of a class move towards those of its real images.

The features are those of random networks. DM and DataDAM differ only in `Matching.features`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal, TypeAlias

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import SGD

from benchmark.api import Context, DatasetInfo, Distiller, Job, SyntheticSet, TrainData, Unit, Work
from benchmark.identity import seed_of
from benchmark.vision.augment import denormalize
from benchmark.vision.dsa import sample_augmentation
from benchmark.vision.training import from_data
from methods.parts.descent import descend
from methods.parts.experts import new_network
from methods.parts.real import random_indices, random_members, too_few
from methods.parts.units import whole_class_units

Features: TypeAlias = list[tuple[float, Tensor]]  # weight w_l and values [n, D_l] of each feature l
Extractor: TypeAlias = Callable[[Tensor, Tensor], Features]  # images [n, C, S, S], their classes in the unit [n]

CHUNK_PIXELS = 2**20  # pixels of real images in one forward pass, at most


class Matching(Distiller):
    """``L = sum_l w_l sum_c || mean_B r_l(A(x)) - mean_S r_l(A(s)) ||^2``, squares summed over features and classes.

    r_l are the features of a ConvNet with new random weights in every iteration (training mode, frozen). B is a batch
    of real images of class c, S all synthetic images of the class, A a random DSA augmentation that both share. SGD
    changes normalised pixels, which start from real images and are never clipped. The set holds the last iterate as
    floats.

    With instance norm the features of an image do not depend on other images. So all classes of a unit pass through the
    network together, with the same result as one by one.
    """

    version: ClassVar[int] = 2

    iterations: int = Field(default=20_000, ge=0)  # 0: the start as it is
    learning_rate: float = Field(default=1.0, gt=0)
    momentum: float = Field(default=0.5, ge=0, lt=1)
    batch_real: int = Field(default=256, ge=1)  # real images per class and iteration, at most
    batch_images: int = Field(default=1000, ge=1)  # synthetic images of a unit, which are optimised together
    arch: str = "convnet_d3"
    norm: Literal["instance", "batch"] = "instance"  # batch: over all classes of a unit; real and synthetic apart

    @abstractmethod
    def features(self, network: nn.Module, images: Tensor) -> Features:
        """Return the weight w_l and the values r_l, float32 [n, D_l], of each feature l of images [n, C, S, S]."""

    def supports(self, info: DatasetInfo, ipc: int) -> str | None:
        """Return a reason where a class has fewer than IPC real images, from which the synthetic ones start."""
        return too_few(info, ipc)

    def units(self, info: DatasetInfo, ipc: int) -> Sequence[Unit]:
        """Return units of as many whole classes as fit into `batch_images`, one at least."""
        return whole_class_units(info, ipc, self.batch_images)

    def work(self, job: Job) -> tuple[Work, ...]:
        """Return the real images, which need no gradient, and the synthetic ones."""
        real = self.iterations * job.members(self.batch_real)
        return Work("forward", real, self.arch), Work("recover", self.iterations * job.images, self.arch)

    def distill(self, data: TrainData, unit: Unit, context: Context) -> SyntheticSet:
        """Return the images of the unit; an interrupted run resumes from its last save."""
        info, read = data.info, from_data(data, context.device)
        images = read(random_indices(data, unit.classes, unit.slots, context)).requires_grad_()
        owners = torch.arange(len(unit.classes)).repeat_interleave(len(unit.slots))
        chunk = len(data) if self.norm == "batch" else max(1, CHUNK_PIXELS // info.resolution**2)

        def objective(iteration: int) -> tuple[Tensor, Sequence[Tensor]]:
            extract = self._extractor(info, unit, iteration, context)
            indices, classes = self._real_batch(data, unit, iteration, context)
            with torch.no_grad():
                real = class_means(lambda rows: extract(read(indices[rows]), classes[rows]), classes, chunk)
            synthetic = class_means(lambda rows: extract(images, owners), owners, len(images))
            loss = squared_gap(real, synthetic)
            return loss, torch.autograd.grad(loss, [images])

        loss = descend(
            objective,
            SGD([images], lr=self.learning_rate, momentum=self.momentum),
            context,
            iterations=self.iterations,
            name=f"{self.name()}-{unit.index}",
        )
        pixels = denormalize(images.detach(), info).cpu().contiguous()
        return SyntheticSet(pixels, unit.labels, metadata={"loss": loss} if self.iterations else {})

    def _extractor(self, info: DatasetInfo, unit: Unit, iteration: int, context: Context) -> Extractor:
        """Return the features of an iteration: of one new network, under one augmentation for each class."""
        network = new_network(self.arch, info, seed_of(context.seed, "network", iteration), norm=self.norm)
        network.to(context.device).requires_grad_(False)
        # sampled for all classes of the dataset, so that it does not depend on the other classes of the unit
        augmentation = sample_augmentation(info.classes, context.generator("view", iteration), flip=info.flip)
        augmentation = augmentation.rows(torch.tensor(unit.classes))

        def extract(images: Tensor, classes: Tensor) -> Features:
            with context.autocast():
                return self.features(network, augmentation.rows(classes).apply(images))

        return extract

    def _real_batch(self, data: TrainData, unit: Unit, iteration: int, context: Context) -> tuple[Tensor, Tensor]:
        """Return the indices [n] of random real images, and their classes [n] as 0, 1, ... within the unit."""
        batches = [
            random_members(data, label, self.batch_real, context.generator("real", iteration, label))
            for label in unit.classes
        ]
        sizes = torch.tensor([len(indices) for indices in batches])
        return torch.cat(batches), torch.arange(len(batches)).repeat_interleave(sizes)


def class_means(extract: Callable[[Tensor], Features], owners: Tensor, chunk: int) -> Features:
    """Return for each feature l its weight w_l and its mean over every class, [classes, D_l].

    Args:
        extract: takes the indices [n] of images and returns their features, [n, D_l] for each l.
        owners: [N] int64, the class of every image, 0, 1, ...
        chunk: number of images that pass through the network together.
    """
    shares = F.one_hot(owners).float()
    shares = shares / shares.sum(0)  # [N, classes]
    total: Features = []
    for rows in torch.arange(len(owners)).split(chunk):
        part = [(weight, shares[rows].to(values.device).T @ values) for weight, values in extract(rows)]
        total = [(w, mean + term) for (w, mean), (_, term) in zip(total, part, strict=True)] if total else part
    return total


def squared_gap(real: Features, synthetic: Features) -> Tensor:
    """Return ``sum_l w_l sum_c || real - synthetic ||^2`` of class means [classes, D_l], a scalar."""
    pairs = zip(real, synthetic, strict=True)
    return torch.stack([weight * (mean - target).square().sum() for (_, target), (weight, mean) in pairs]).sum()


def embedding(network: Any, maps: Tensor) -> Tensor:
    """Return the input of a network's classifier, float32 [n, D], for its last feature map [n, C, H, W]."""
    values: Tensor = network.forward_head(maps, pre_logits=True)
    return values.float()
