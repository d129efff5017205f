"""Pairs of networks for NCFM: random weights, and the weights to which training on the real images takes them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import vector_to_parameters

from benchmark.api import Context, Preparation, TrainData
from benchmark.identity import seed_of
from benchmark.vision import scratch
from benchmark.vision.augment import Schedule
from benchmark.vision.training import Batch, Stream, fit, from_data, make_optimizer
from methods.parts.experts import flat_weights, new_network


class Pairs(Preparation):
    """``(theta_k, theta*_k)`` for some networks: before and after training by SGD on cross-entropy, with DSA.

    It returns ``initial`` and ``trained``, each [networks, P] float32, weights in the order of `flat_weights`. The
    learning rate is a fifth after two thirds of the steps and a 25th after five sixths. An interrupted run resumes
    after the last finished epoch.

    Differences from the authors' code: DSA takes the place of colour, crop and CutMix; biases and the weights of norms
    do not decay.
    """

    arch: str = "convnet_d3"
    networks: int = Field(default=20, ge=1)
    epochs: int = Field(default=60, ge=1)
    batch_size: int = Field(default=128, ge=1)
    learning_rate: float = Field(default=0.01, gt=0)

    def prepare(self, data: TrainData, context: Context) -> Mapping[str, Tensor]:
        """Train the networks one after the other."""
        weights_by_name: dict[str, list[Tensor]] = {"initial": [], "trained": []}
        for number in range(self.networks):
            path = context.scratch / f"pair-{number}.pt"
            pair = scratch.load(path)
            if pair is None:
                pair = self._train(number, data, context)
                scratch.save(pair, path)
            for name, weights in pair.items():
                weights_by_name[name].append(weights.cpu())
        return {name: torch.stack(weights) for name, weights in weights_by_name.items()}

    def _train(self, number: int, data: TrainData, context: Context) -> dict[str, Tensor]:
        network = new_network(self.arch, data.info, seed_of(context.seed, "pair", number)).to(context.device)
        initial, labels = flat_weights(network), data.labels.to(context.device)
        schedule = Schedule(epochs=self.epochs, batch_size=self.batch_size, flip=data.info.flip, mix="dsa")
        seed = seed_of(context.seed, "training", number)
        stream = Stream(schedule, seed, len(data), from_data(data, context.device))
        optimizer = make_optimizer(network, "sgd", learning_rate=self.learning_rate, weight_decay=5e-4)

        def loss(logits: Tensor, batch: Batch) -> Tensor:
            return F.cross_entropy(logits, labels[batch.view.indices.to(labels.device)])

        fit(network, stream, loss, optimizer, context, rate=_rate, checkpoint=context.scratch / f"epoch-{number}.pt")
        return {"initial": initial, "trained": flat_weights(network)}


def _rate(step: int, total: int) -> float:
    return 0.2 ** int((3 * step >= 2 * total) + (6 * step >= 5 * total))


def load_flat(network: nn.Module, weights: Tensor) -> nn.Module:
    """Give a network weights [P] in the order of `flat_weights`, freeze it, and return it."""
    network.requires_grad_(False)
    vector_to_parameters(weights.to(next(network.parameters()).device), network.parameters())
    return network
