"""A queue of networks of different ages, which learn from real images while images are distilled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import SGD, Optimizer

from benchmark.api import Context, TrainData
from benchmark.identity import seed_of
from benchmark.vision.training import from_data
from methods.parts.experts import new_network

FIRST = 3  # networks before the first iteration
TRAINED = 2  # networks that learn in an iteration


@dataclass(frozen=True)
class Growth:
    """How a queue grows and its networks learn.

    Attributes:
        arch: the architecture.
        most: number of networks, at most; the oldest goes first.
        interval: iterations from one new network to the next.
        steps: steps of a network that learns, each on a new batch.
        batch: real images of a step.
        rate: learning rate, SGD with momentum 0.9 and weight decay 5e-4; a network keeps its momentum.
    """

    arch: str
    most: int
    interval: int
    steps: int
    batch: int
    rate: float


@dataclass(eq=False)
class Learner:
    """A network of the queue.

    Attributes:
        network: the network, on the device.
        optimizer: the optimiser of its weights.
        correct: how many of the images that it has learned from it had right, a scalar tensor.
        shown: how many images it has learned from.
    """

    network: nn.Module
    optimizer: Optimizer
    correct: Tensor
    shown: int = 0

    @property
    def percent(self) -> float:
        """The accuracy on the batches that it has learned from, before each step, in percent; 0 before the first."""
        return 100 * float(self.correct) / self.shown if self.shown else 0.0


class Queue:
    """Networks, first in, first out."""

    def __init__(self, growth: Growth, data: TrainData, context: Context) -> None:
        self.growth, self.data, self.context = growth, data, context
        self.read, self.labels = from_data(data, context.device), data.labels.to(context.device)
        self.learners: list[Learner] = []
        self.born = 0

    def drawn(self, iteration: int) -> Learner:
        """Return a random network, frozen and in eval mode, after the queue has grown where it is time to."""
        if iteration % self.growth.interval == 0:
            self._grow(1 if self.born else FIRST + 1)
        pick = torch.randint(len(self.learners), (), generator=self.context.generator("pick", iteration))
        learner = self.learners[int(pick)]
        learner.network.eval().requires_grad_(False)
        return learner

    def train(self, iteration: int) -> None:
        """Let random networks learn from random real images, without augmentation."""
        generator = self.context.generator("training", iteration)
        for pick in torch.randperm(len(self.learners), generator=generator)[:TRAINED].tolist():
            learner = self.learners[pick]
            learner.network.train().requires_grad_(True)
            for _ in range(self.growth.steps):
                rows = torch.randint(len(self.data), (min(self.growth.batch, len(self.data)),), generator=generator)
                self._step(learner, rows)

    def _step(self, learner: Learner, rows: Tensor) -> None:
        logits, labels = learner.network(self.read(rows)), self.labels[rows.to(self.labels.device)]
        loss = F.cross_entropy(logits, labels)
        learner.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        learner.optimizer.step()
        learner.correct += (logits.detach().argmax(1) == labels).sum()
        learner.shown += len(rows)

    def _grow(self, number: int) -> None:
        self.learners += [self._new(self.born + k) for k in range(number)]
        self.born += number
        del self.learners[: -self.growth.most]

    def _new(self, number: int) -> Learner:
        seed = seed_of(self.context.seed, "network", number)
        network = new_network(self.growth.arch, self.data.info, seed).to(self.context.device)
        optimizer = SGD(network.parameters(), lr=self.growth.rate, momentum=0.9, weight_decay=5e-4)
        return Learner(network, optimizer, torch.zeros((), dtype=torch.int64, device=self.context.device))

    def state_dict(self) -> dict[str, Any]:
        """Return all networks and the states of their optimisers."""
        learners = [
            (learner.network.state_dict(), learner.optimizer.state_dict(), learner.correct, learner.shown)
            for learner in self.learners
        ]
        return {"born": self.born, "learners": learners}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a state."""
        self.born, self.learners = state["born"], []
        for weights, optimizer, correct, shown in state["learners"]:
            learner = self._new(0)
            learner.network.load_state_dict(weights)
            learner.optimizer.load_state_dict(optimizer)
            self.learners.append(Learner(learner.network, learner.optimizer, correct, shown))
