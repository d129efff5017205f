"""IDM: mosaics whose enlarged cells have the mean features of the real images, in networks that are being trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F
from torch.optim import SGD

from benchmark.api import Context, SyntheticSet, TrainData, Unit
from benchmark.vision.augment import denormalize, normalize
from benchmark.vision.dsa import sample_augmentation
from benchmark.vision.models import features_and_logits
from methods.parts.cells import CellMatching, class_by_class
from methods.parts.descent import descend
from methods.parts.queue import Growth, Learner, Queue


class IDM(CellMatching):
    """``L = sum_c || mean_B f(A(x)) - mean_S f(A(s)) ||^2 + w a CE(z(A(s)), c)``, s the enlarged cells of the mosaics.

    f is the embedding (the flattened last feature map) and z are the logits of a network from a queue, B is a batch of
    real images of class c, S all cells of the class, A a random DSA augmentation that both share; a is the accuracy of
    the network on the batches that it has learned from, in percent: w = 0.5 at 60 % is a factor of 30.

    The queue begins with three random networks and gets one every `interval` iterations, the first at once; beyond
    `networks` the oldest leaves. In every iteration one of them matches, in eval mode, and two of them learn from real
    images afterwards. SGD changes normalised pixels, which are never clipped. The set holds the last iterate as floats.

    A set of IPC mosaics trains on 4 IPC images in the papers: protocol ``native`` shows each cell as an image.

    Differences from the authors' code: its options ``--aug`` and the accuracy weight are on, as in its scripts; the
    cells of a class start from different images (the code may take one twice) in the order of CIM; one step for all
    classes, while the code steps after each class over all images, so that momentum runs out before the next gradient
    of a class: it travels equally far. The accuracy counts all batches of a network, in the code those since the last
    evaluation. Batches of the networks are drawn with replacement.
    """

    paper: ClassVar[str] = (
        "Zhao et al.: Improved Distribution Matching for Dataset Condensation, CVPR 2023, "
        "https://arxiv.org/abs/2307.09742"
    )

    learning_rate: float = Field(default=0.2, gt=0)
    momentum: float = Field(default=0.5, ge=0, lt=1)
    ce_weight: float = Field(default=0.5, ge=0)  # w
    networks: int = Field(default=100, ge=1)  # the most networks of the queue
    interval: int = Field(default=30, ge=1)  # iterations from one new network to the next
    network_steps: int = Field(default=10, ge=0)  # the steps of a network that learns, in an iteration
    network_batch: int = Field(default=256, ge=1)  # real images in a step of a network
    network_rate: float = Field(default=0.01, gt=0)  # learning rate of the networks, SGD with momentum 0.9

    def gap(self, real: Tensor, synthetic: Tensor) -> Tensor:
        """Return how far the features [n, D] of real images are from those [m, D] of cells, a scalar."""
        return (real.mean(0) - synthetic.mean(0)).square().sum()

    def distill(self, data: TrainData, unit: Unit, context: Context) -> SyntheticSet:
        """Return the mosaics of all classes; an interrupted run resumes with its networks after its last save."""
        images = normalize(self.start(data, unit, context), data.info).requires_grad_()
        queue = Queue(self.growth(), data, context)

        def objective(iteration: int) -> tuple[Tensor, Sequence[Tensor]]:
            learner = queue.drawn(iteration)

            def loss(label: int, mosaics: Tensor) -> Tensor:
                real = queue.read(self.real_indices(data, label, iteration, context))
                view = sample_augmentation(1, context.generator("view", iteration, label), flip=data.info.flip)
                return self.loss(learner, label, *self.views(view, real, mosaics))

            total, gradient = class_by_class(images, unit, loss)
            queue.train(iteration)
            return total, [gradient]

        loss = descend(
            objective,
            SGD([images], lr=self.learning_rate, momentum=self.momentum),
            context,
            iterations=self.iterations,
            name=f"{self.name()}-{unit.index}",
            companions=[queue],
        )
        pixels = denormalize(images.detach(), data.info).cpu().contiguous()
        return SyntheticSet(pixels, unit.labels, metadata={"loss": loss} if self.iterations else {})

    def growth(self) -> Growth:
        """Return how the queue grows and its networks learn."""
        return Growth(
            self.arch, self.networks, self.interval, self.network_steps, self.network_batch, self.network_rate
        )

    def loss(self, learner: Learner, label: int, real: Tensor, cells: Tensor) -> Tensor:
        """Return the loss of a class for augmented real images [n, C, S, S] and augmented cells [m, C, S, S]."""
        with torch.no_grad():
            target, _ = features_and_logits(learner.network, real)
        features, logits = features_and_logits(learner.network, cells)
        cross_entropy = F.cross_entropy(logits, torch.full((len(cells),), label, device=cells.device))
        return self.gap(target, features) + self.ce_weight * learner.percent * cross_entropy
