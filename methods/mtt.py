"""MTT: synthetic images on which the weights of a network move as those of experts move on the real images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.optim import SGD

from benchmark.api import Context, DatasetInfo, Distiller, Preparation, SyntheticSet, TrainData, Unit
from benchmark.errors import BenchmarkError
from benchmark.vision.augment import denormalize, normalize
from benchmark.vision.dsa import Augmentation, sample_augmentation
from methods.parts.descent import descend
from methods.parts.experts import Experts, new_network
from methods.parts.real import random_indices, too_few
from methods.parts.unroll import recomputed, unrolled

MOST_CLASSES, MOST_PIXELS = 200, 128  # with more, experts do not fit on a disk and inner steps not into a GPU


class MTT(Distiller):
    """``L = || theta_N - theta*_{t+M} ||^2 / || theta*_t - theta*_{t+M} ||^2``.

    theta*_t and theta*_{t+M} are the weights of an expert (see `Experts`) after t and t + M epochs on real images,
    t ~ U{0..T-1}. theta_N are the weights after N steps ``theta <- theta - alpha grad CE(A(s); theta)`` from theta*_t,
    each on a batch of synthetic images under its own DSA augmentation A. SGD with momentum changes the pixels and the
    step size alpha. The images start from real ones and are never clipped. The set holds the last iterate as floats,
    and the learned alpha in its metadata.

    Differences from the authors' code: alpha = exp(rho) stays positive; the learning rate of rho is
    ``step_size_rate / alpha_0^2``, so that alpha first moves as in the code; no ZCA; the gradient keeps one inner step
    in memory at a time (``memory: unrolled`` is the code's single graph, with equal results); the set is the last
    iterate, not the best on the test set.
    """

    version: ClassVar[int] = 2
    paper: ClassVar[str] = (
        "Cazenavette et al.: Dataset Distillation by Matching Training Trajectories, CVPR 2022, "
        "https://arxiv.org/abs/2203.11932"
    )

    iterations: int = Field(default=5000, ge=1)
    learning_rate: float = Field(default=1000.0, gt=0)  # of the pixels
    momentum: float = Field(default=0.5, ge=0, lt=1)
    inner_steps: int = Field(default=30, ge=1)  # N
    expert_span: int = Field(default=2, ge=1)  # M, epochs
    start_epochs: int = Field(default=15, ge=1)  # T
    step_size: float = Field(default=0.01, gt=0)  # alpha_0
    step_size_rate: float = Field(default=1e-5, ge=0)  # the authors' lr_lr
    batch_synthetic: int | None = Field(default=None, ge=1)  # of an inner step; None: all images
    memory: Literal["constant", "unrolled"] = "constant"
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
        if info.classes > MOST_CLASSES or info.resolution > MOST_PIXELS:
            return (
                f"trajectory matching is infeasible on {info.name} ({info.classes} classes at {info.resolution} px): "
                f"its experts and the gradient through {self.inner_steps} training steps are affordable up to "
                f"{MOST_CLASSES} classes and {MOST_PIXELS} px"
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
        info, device = data.info, context.device
        chosen = data.read(random_indices(data, unit.classes, unit.slots, context))
        images = normalize(chosen.to(device), info).requires_grad_()
        rho = torch.tensor(math.log(self.step_size), device=device, requires_grad=True)
        learner = Learner(new_network(self.arch, info, seed=0).to(device), unit.labels.to(device))
        gradients = recomputed if self.memory == "constant" else unrolled

        def objective(iteration: int) -> tuple[Tensor, Sequence[Tensor]]:
            start, target = (weights.to(device) for weights in self._stretch(iteration, context))
            batches = self._batches(len(images), info, iteration, context)

            def step(index: int, weights: Tensor, learned: Sequence[Tensor]) -> Tensor:
                return learner.step(weights, learned, batches[index])

            return gradients(step, start, target, [images, rho], self.inner_steps)

        rates = [(images, self.learning_rate), (rho, self.step_size_rate / self.step_size**2)]
        optimizer = SGD([{"params": [leaf], "lr": rate} for leaf, rate in rates], momentum=self.momentum)
        loss = descend(objective, optimizer, context, iterations=self.iterations, name=f"mtt-{unit.index}")
        step_size = float(rho.detach().exp())
        if step_size == 0:
            raise BenchmarkError(
                f"mtt-{unit.index}: the step size vanished; lower step_size_rate (now {self.step_size_rate:g})"
            )
        pixels = denormalize(images.detach(), info).cpu().contiguous()
        return SyntheticSet(pixels, unit.labels, metadata={"loss": loss, "step_size": step_size})

    def _stretch(self, iteration: int, context: Context) -> tuple[Tensor, Tensor]:
        """Return the weights [P] of a random expert at a random epoch t and at epoch t + M."""
        trajectories, generator = context.prepared["trajectories"], context.generator("stretch", iteration)
        expert = int(torch.randint(len(trajectories), (), generator=generator))
        epoch = int(torch.randint(self.start_epochs, (), generator=generator))
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
        labels: [N] int64, the classes of the images from which it learns.
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
            learned: images [N, C, S, S], normalised, and rho, the log of the step size.
            batch: indices [b] of the batch's images, and their augmentation.
        """
        images, rho = learned
        rows, augmentation = batch[0].to(images.device), batch[1]
        parts = zip(weights.split(self._sizes), self._shapes, strict=True)
        state = dict(zip(self._names, (part.view(shape) for part, shape in parts), strict=True))
        logits = functional_call(self.network, state, (augmentation.apply(images[rows]),))
        loss = F.cross_entropy(logits, self.labels[rows])
        (gradient,) = torch.autograd.grad(loss, [weights], create_graph=images.requires_grad)
        return weights - rho.exp() * gradient
