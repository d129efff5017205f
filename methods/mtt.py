"""MTT: synthetic images on which the weights of a network move as those of experts move on the real images."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from benchmark.api import Context, DatasetInfo, Distiller, Preparation, SyntheticSet, TrainData, Unit
from benchmark.errors import BenchmarkError
from benchmark.vision.augment import denormalize, normalize
from benchmark.vision.dsa import Augmentation, sample_augmentation
from methods.parts.descent import Leaf, descend, sgd
from methods.parts.experts import Experts, new_network
from methods.parts.real import random_indices, too_few
from methods.parts.unroll import detached, recomputed, unrolled

MOST_PIXELS = 128  # with more, experts do not fit on a disk and inner steps not into a GPU
GRADIENTS = {"constant": recomputed, "unrolled": unrolled, "tesla": detached}


class MTT(Distiller):
    """``L = || theta_N - theta*_{t+M} ||^2 / || theta*_t - theta*_{t+M} ||^2``.

    theta*_t and theta*_{t+M} are the weights of an expert (see `Experts`) after t and t + M epochs on real images,
    t ~ U{0..T-1}. theta_N are the weights after N steps ``theta <- theta - alpha grad CE(A(s); theta)`` from theta*_t,
    each on a batch of synthetic images under its own DSA augmentation A. SGD with momentum changes the pixels and the
    step size alpha. The images start from real ones and are never clipped. The set holds the last iterate as floats,
    and the learned alpha in its metadata.

    Differences from the authors' code: alpha = exp(rho) stays positive; the learning rate of rho is
    ``step_size_rate / alpha_0^2``, so that alpha first moves as in the code; no ZCA; the gradient keeps one inner step
    in memory at a time (``memory: unrolled`` is the code's single graph, with equal results; ``memory: tesla`` is an
    approximation, see `tesla`); the set is the last iterate, not the best on the test set.
    """

    version: ClassVar[int] = 2
    most_classes: ClassVar[int] = 200  # the most classes; the reason is that of `MOST_PIXELS`
    paper: ClassVar[str] = (
        "Cazenavette et al.: Dataset Distillation by Matching Training Trajectories, CVPR 2022, "
        "https://arxiv.org/abs/2203.11932"
    )

    iterations: int = Field(default=5000, ge=0)  # 0: the start as it is
    learning_rate: float = Field(default=1000.0, gt=0)  # the learning rate of the pixels
    momentum: float = Field(default=0.5, ge=0, lt=1)
    inner_steps: int = Field(default=30, ge=1)  # N
    expert_span: int = Field(default=2, ge=1)  # M, epochs
    start_epochs: int = Field(default=15, ge=1)  # T
    step_size: float = Field(default=0.01, gt=0)  # alpha_0
    step_size_rate: float = Field(default=1e-5, ge=0)  # the authors' lr_lr
    batch_synthetic: int | None = Field(default=None, ge=1)  # the images of an inner step; None: all images
    memory: Literal["constant", "unrolled", "tesla"] = "constant"
    arch: str = "convnet_d3"
    experts: int = Field(default=100, ge=1)
    expert_epochs: int = Field(default=50, ge=1)
    expert_batch: int = Field(default=256, ge=1)
    expert_learning_rate: float = Field(default=0.01, gt=0)

    @model_validator(mode="after")
    def _check(self) -> MTT:
        last = self.start_epochs - 1 + self.expert_span
        if last > self.expert_epochs:
            raise ValueError(
                f"start_epochs - 1 + expert_span = {last} lies beyond the experts' last epoch; "
                f"raise expert_epochs (now {self.expert_epochs}) or lower one of them"
            )
        return self

    def supports(self, info: DatasetInfo, ipc: int) -> str | None:
        """Return a reason where the dataset is too large for experts, or where a class has fewer than IPC images."""
        if info.classes > self.most_classes or info.resolution > MOST_PIXELS:
            return (
                f"trajectory matching is infeasible on {info.name} ({info.classes} classes at {info.resolution} px): "
                f"its experts and the gradient through {self.inner_steps} training steps are affordable up to "
                f"{self.most_classes} classes and {MOST_PIXELS} px"
            )
        return too_few(info, ipc)

    def preparation(self, info: DatasetInfo) -> Preparation | None:
        """Return the expert trajectories."""
        return Experts(
            arch=self.arch,
            experts=self.experts,
            epochs=self.expert_epochs,
            batch_size=self.expert_batch,
            learning_rate=self.expert_learning_rate,
        )

    def distill(self, data: TrainData, unit: Unit, context: Context) -> SyntheticSet:
        """Return the images and the learned step size; an interrupted run resumes from its last save."""
        info, device, name = data.info, context.device, f"{self.name()}-{unit.index}"
        learner = Learner(new_network(self.arch, info, seed=0).to(device), unit.labels.to(device))
        rho = torch.tensor(math.log(self.step_size), device=device)
        images, *labels = self.start(data, unit, learner, context)
        learned = [tensor.requires_grad_() for tensor in (images, rho, *labels)]
        leaves = self.leaves(learned)

        def objective(iteration: int) -> tuple[Tensor, Sequence[Tensor] | None]:
            start, target = (weights.to(device) for weights in self._stretch(iteration, context))
            batches = self._batches(len(images), info, iteration, context)

            def step(index: int, weights: Tensor, learned: Sequence[Tensor]) -> Tensor:
                return learner.step(weights, learned, batches[index])

            loss, slopes = GRADIENTS[self.memory](step, start, target, learned, self.inner_steps)
            return loss, self.directions(loss, slopes, leaves)

        optimizer = sgd(leaves, self.momentum)
        loss = descend(objective, optimizer, context, iterations=self.iterations, name=name)
        step_size = float(rho.detach().exp())
        if step_size == 0:
            raise BenchmarkError(f"{name}: the step size vanished; lower step_size_rate (now {self.step_size_rate:g})")
        result = self.finished(leaves, unit, info)
        metadata = {**({"loss": loss} if self.iterations else {}), "step_size": step_size, **result.metadata}
        return dataclasses.replace(result, metadata=metadata)

    def start(self, data: TrainData, unit: Unit, learner: Learner, context: Context) -> tuple[Tensor, ...]:
        """Return the first images [N, C, S, S], normalised, and first logits [N, classes] if labels are learned."""
        pixels = data.read(random_indices(data, unit.classes, unit.slots, context))
        return (normalize(pixels.to(context.device), data.info),)

    def leaves(self, learned: Sequence[Tensor]) -> list[Leaf]:
        """Return what descends, and how fast: images and rho, and what a subclass adds."""
        images, rho = learned[:2]
        return [Leaf(images, self.learning_rate), Leaf(rho, self.step_size_rate / self.step_size**2)]

    def directions(self, loss: Tensor, slopes: Sequence[Tensor], leaves: Sequence[Leaf]) -> Sequence[Tensor] | None:
        """Return the direction that each leaf goes down, from the gradients of what is learned; None: no step."""
        return slopes

    def finished(self, leaves: Sequence[Leaf], unit: Unit, info: DatasetInfo) -> SyntheticSet:
        """Return the set after the last iteration."""
        return SyntheticSet(denormalize(leaves[0].tensor.detach(), info).cpu().contiguous(), unit.labels)

    def starts(self, iteration: int) -> tuple[int, int]:
        """Return between which epochs of an expert a stretch starts: the first, and the one after the last."""
        return 0, self.start_epochs

    def _stretch(self, iteration: int, context: Context) -> tuple[Tensor, Tensor]:
        """Return the weights [P] of a random expert at a random epoch t and at epoch t + M."""
        trajectories, generator = context.prepared["trajectories"], context.generator("stretch", iteration)
        expert = int(torch.randint(len(trajectories), (), generator=generator))
        epoch = int(torch.randint(*self.starts(iteration), (), generator=generator))
        return trajectories[expert, epoch], trajectories[expert, epoch + self.expert_span]

    def _batches(
        self, n: int, info: DatasetInfo, iteration: int, context: Context
    ) -> list[tuple[Tensor, Augmentation]]:
        """Return image indices [b] and augmentation for every inner step; all images are used before one is reused."""
        generator = context.generator("batches", iteration)
        size = min(self.batch_synthetic or n, n)
        rounds = math.ceil(self.inner_steps / math.ceil(n / size))
        batches = [rows for _ in range(rounds) for rows in torch.randperm(n, generator=generator).split(size)]
        steps = batches[: self.inner_steps]
        return [(rows, sample_augmentation(len(rows), generator, flip=info.flip)) for rows in steps]


class Learner:
    """A network that takes its weights as one vector, so that gradients can pass through its training.

    Attributes:
        network: the architecture.
        labels: [N] int64, the classes of the images from which it learns; learned labels take their place.
    """

    def __init__(self, network: nn.Module, labels: Tensor) -> None:
        self.network, self.labels = network, labels
        self._names, parameters = zip(*network.named_parameters(), strict=True)
        self._shapes = [parameter.shape for parameter in parameters]
        self._sizes = [parameter.numel() for parameter in parameters]

    def step(self, weights: Tensor, learned: Sequence[Tensor], batch: tuple[Tensor, Augmentation]) -> Tensor:
        """Return the weights [P] after one step, ``weights - exp(rho) grad CE``, on a batch.

        It computes in float32: the gradient of a gradient needs it.

        Args:
            weights: [P], requires grad.
            learned: images [N, C, S, S], normalised; rho, the log of the step size; where labels are learned, their
                logits [N, classes].
            batch: indices [b] of the batch's images, and their augmentation.
        """
        images, rho, *labels = learned
        rows, augmentation = batch[0].to(images.device), batch[1]
        targets = labels[0][rows].softmax(1) if labels else self.labels[rows]
        loss = F.cross_entropy(self.logits(weights, augmentation.apply(images[rows])), targets)
        (gradient,) = torch.autograd.grad(loss, [weights], create_graph=images.requires_grad)
        return weights - rho.exp() * gradient

    def logits(self, weights: Tensor, images: Tensor) -> Tensor:
        """Return the logits [n, classes] of the network with weights [P] for normalised images [n, C, S, S]."""
        parts = zip(weights.split(self._sizes), self._shapes, strict=True)
        state = dict(zip(self._names, (part.view(shape) for part, shape in parts), strict=True))
        logits: Tensor = functional_call(self.network, state, (images,))
        return logits
