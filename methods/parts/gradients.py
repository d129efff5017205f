"""Gradient matching: synthetic images of a class pull the weights of a network where its real images pull them.

The networks start at random and learn only from the synthetic images. DC and DSA differ in the start of the images and
in the augmentation.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from benchmark.api import Context, DatasetInfo, Distiller, SyntheticSet, TrainData, Unit
from benchmark.identity import seed_of
from benchmark.vision.augment import denormalize
from benchmark.vision.dsa import sample_augmentation
from benchmark.vision.models import batch_norms
from benchmark.vision.training import from_data
from methods.parts.descent import descend
from methods.parts.experts import new_network
from methods.parts.real import random_indices, random_members, too_few, too_many_classes

EPSILON = 1e-6  # added to the product of two norms
SCHEDULES = {1: (1, 1), 10: (10, 50), 20: (20, 25), 30: (30, 20), 40: (40, 15), 50: (50, 10)}  # the authors', by IPC
SAVE_EVERY = 50  # outer steps, rounded to whole iterations
SETTLING = 16  # real images of each class that enter the statistics of batch norms, with momentum 0.1


class GradientMatching(Distiller):
    """``L = sum_c sum_rows (1 - <s, t> / (|s| |t| + 1e-6))``, in every outer step of an iteration.

    s and t are rows of ``grad CE(f(A(S_c)), c)`` and of ``grad CE(f(A(B_c)), c)``, the gradients in the weights of f.
    S_c are all synthetic images of class c, B_c is a random batch of its real images. A row has the weights of one
    output unit: of a convolution [O, I k k], of a linear layer [O, I]. Biases and the weights of norms do not count.

    An iteration begins with new random weights. Each of its outer steps makes one step of SGD on the pixels; between
    two outer steps the network learns from the synthetic images for some inner epochs. Pixels are never clipped. The
    set holds the last iterate as floats.

    Before each outer step, batch norms see 16 real images of each class together, which enter their statistics with
    momentum 0.1, and are then in eval mode.
    """

    siamese: ClassVar[bool]  # True: a random DSA augmentation A, which S_c and B_c share; False: none

    iterations: int = Field(default=1000, ge=0)  # random networks; 0: the start as it is
    outer_steps: int | None = Field(default=None, ge=1)  # the outer steps of an iteration; None: by IPC, see `schedule`
    inner_epochs: int | None = Field(default=None, ge=0)  # between two outer steps; None: by IPC, see `schedule`
    learning_rate: float = Field(default=0.1, gt=0)  # the learning rate of the pixels
    momentum: float = Field(default=0.5, ge=0, lt=1)
    network_rate: float = Field(default=0.01, gt=0)  # learning rate of the network, SGD without momentum
    network_batch: int = Field(default=256, ge=1)  # synthetic images in a step of the network
    batch_real: int = Field(default=256, ge=1)  # real images per class and outer step, at most
    classes_per_step: int | None = Field(default=None, ge=1)  # random classes of an outer step; None: all
    start: Literal["noise", "real"] = "real"  # noise: normal, mean 0 and deviation 1
    arch: str = "convnet_d3"
    norm: Literal["instance", "batch"] = "instance"  # the norm layers of ConvNets

    def supports(self, info: DatasetInfo, ipc: int) -> str | None:
        """Return a reason where there are too many classes, or too few images of a class to start from."""
        reason = too_many_classes(info, self.name())
        return too_few(info, ipc) if reason is None and self.start == "real" else reason

    def schedule(self, ipc: int) -> tuple[int, int]:
        """Return outer steps and inner epochs: the fields; else the authors' values; at other IPC about as much work.

        The authors have values for 1, 10, 20, 30, 40 and 50 images per class. At others there are IPC outer steps, 50
        at most, and together 500 inner epochs.
        """
        outer, inner = SCHEDULES.get(ipc, (min(ipc, 50), max(1, 500 // min(ipc, 50))))
        return self.outer_steps or outer, inner if self.inner_epochs is None else self.inner_epochs

    def distill(self, data: TrainData, unit: Unit, context: Context) -> SyntheticSet:
        """Return the images of all classes; an interrupted run resumes with the network after its last save."""
        outer_steps, _ = self.schedule(unit.ipc)
        course = _Course(self, data, unit, context)
        loss = descend(
            course.objective,
            torch.optim.SGD([course.images], lr=self.learning_rate, momentum=self.momentum),
            context,
            iterations=self.iterations * outer_steps,
            name=f"{self.name()}-{unit.index}",
            save_every=max(1, SAVE_EVERY // outer_steps) * outer_steps,
        )
        pixels = denormalize(course.images.detach(), data.info).cpu().contiguous()
        return SyntheticSet(pixels, unit.labels, metadata={"loss": loss} if self.iterations else {})


class _Course:
    """The images of a set, and the network of the current iteration.

    Attributes:
        images: [N, C, S, S], normalised, class by class.
    """

    def __init__(self, method: GradientMatching, data: TrainData, unit: Unit, context: Context) -> None:
        self.method, self.data, self.unit, self.context = method, data, unit, context
        self.outer_steps, self.inner_epochs = method.schedule(unit.ipc)
        self.read, self.labels = from_data(data, context.device), unit.labels.to(context.device)
        self.images = self._start()
        self.network = self._new_network(0)

    def objective(self, step: int) -> tuple[Tensor, Sequence[Tensor]]:
        """Return the loss of an outer step (counted through all iterations), and its gradient in the images."""
        iteration, outer = divmod(step, self.outer_steps)
        if outer == 0:
            self.network = self._new_network(iteration)
        else:
            self._train(step)
        self._settle(step)
        loss, gradient = self.images.new_zeros(()), torch.zeros_like(self.images)
        for label in self._classes(step):
            rows = self.labels == label
            share, gradient[rows] = self._match(label, self.images[rows], step)
            loss += share
        return loss, [gradient]

    def _match(self, label: int, synthetic: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Return the loss of one class, and its gradient in the synthetic images of the class, [IPC, C, S, S]."""
        generator = self.context.generator("real", step, label)
        real = self.read(random_members(self.data, label, self.method.batch_real, generator))
        synthetic = synthetic.requires_grad_()
        views = [real, synthetic]
        if self.method.siamese:
            generator = self.context.generator("view", step, label)
            augmentation = sample_augmentation(1, generator, flip=self.data.info.flip)
            views = [augmentation.rows(torch.zeros(len(images), dtype=torch.int64)).apply(images) for images in views]
        target = weight_gradients(self.network, views[0], label)
        loss = row_distance(weight_gradients(self.network, views[1], label, differentiable=True), target)
        (gradient,) = torch.autograd.grad(loss, [synthetic])
        return loss.detach(), gradient

    def _train(self, step: int) -> None:
        """Train the network in place on the synthetic images, which do not change."""
        generator = self.context.generator("training", step)
        optimizer = torch.optim.SGD(self.network.parameters(), lr=self.method.network_rate)
        self.network.train()
        for _ in range(self.inner_epochs):
            for rows in torch.randperm(len(self.images), generator=generator).split(self.method.network_batch):
                images = self.images[rows.to(self.images.device)]
                if self.method.siamese:
                    images = sample_augmentation(len(rows), generator, flip=self.data.info.flip).apply(images)
                loss = F.cross_entropy(self.network(images), self.labels[rows.to(self.labels.device)])
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()

    @torch.no_grad()
    def _settle(self, step: int) -> None:
        """Show a few real images of all classes to the batch norms, and fix their statistics."""
        norms = batch_norms(self.network)
        if not norms:
            return
        generator = self.context.generator("settling", step)
        members = [random_members(self.data, label, SETTLING, generator) for label in self.unit.classes]
        self.network.train()(self.read(torch.cat(members)))
        for norm in norms:
            norm.eval()

    def _classes(self, step: int) -> Sequence[int]:
        """Return the classes of an outer step."""
        classes, most = self.unit.classes, self.method.classes_per_step
        if most is None or most >= len(classes):
            return classes
        order = torch.randperm(len(classes), generator=self.context.generator("classes", step))
        return [classes[position] for position in order[:most].tolist()]

    def _start(self) -> Tensor:
        data, unit, context = self.data, self.unit, self.context
        if self.method.start == "real":
            return self.read(random_indices(data, unit.classes, unit.slots, context))
        shape = (len(unit.labels), data.info.channels, data.info.resolution, data.info.resolution)
        return torch.randn(shape, generator=context.generator("start")).to(context.device)

    def _new_network(self, iteration: int) -> nn.Module:
        seed = seed_of(self.context.seed, "network", iteration)
        return new_network(self.method.arch, self.data.info, seed, norm=self.method.norm).to(self.context.device)


def weight_gradients(
    network: nn.Module, images: Tensor, label: int, *, differentiable: bool = False
) -> tuple[Tensor, ...]:
    """Return the gradient of the mean cross-entropy of images [n, C, S, S] of one class in each weight of a network.

    It computes in float32: the gradient of a gradient needs it. With ``differentiable``, gradients pass through it.
    """
    loss = F.cross_entropy(network(images), torch.full((len(images),), label, device=images.device))
    return torch.autograd.grad(loss, list(network.parameters()), create_graph=differentiable)


def row_distance(one: Iterable[Tensor], other: Iterable[Tensor]) -> Tensor:
    """Return ``sum over tensors and rows of 1 - <a, b> / (|a| |b| + 1e-6)``, a scalar.

    Rows are those of [rows, ...]. Tensors of one dimension do not count. The gradient is finite where a row is 0.
    """
    pairs = [(a.flatten(1), b.flatten(1)) for a, b in zip(one, other, strict=True) if a.dim() > 1]
    shares = [(a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1) + EPSILON) for a, b in pairs]
    return torch.stack([(1 - share).sum() for share in shares]).sum()
