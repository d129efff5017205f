"""Descent on pixels: its steps are those of SGD with momentum, and every iteration has new random numbers."""

from __future__ import annotations

import dataclasses
from functools import partial

import pytest
import torch
from torch.optim import SGD

from benchmark.synthetic import SyntheticSet
from methods.datadam import DataDAM
from methods.dm import DM
from methods.dsa import DSA
from methods.mtt import MTT
from methods.parts import matching
from methods.parts.descent import Leaf, descend, sgd
from methods.parts.experts import new_network

EXPERTS = {"inner_steps": 2, "start_epochs": 1, "expert_span": 1, "experts": 1, "expert_epochs": 1, "expert_batch": 12}
METHODS = pytest.mark.parametrize(
    "make", [DM, DataDAM, partial(DSA, batch_real=2), lambda **fields: MTT(**EXPERTS, **fields)]
)


def run(method, data, context):
    preparation = method.preparation(data.info)
    prepared = preparation.prepare(data, context) if preparation else {}
    context = dataclasses.replace(context, prepared=prepared)
    return SyntheticSet.merge([method.distill(data, unit, context) for unit in method.units(data.info, 1)]).images


def test_steps_are_those_of_sgd_with_momentum(toy_context):
    near, far = torch.tensor([1.0]), torch.tensor([1.0])

    def objective(iteration):
        return (near**2 + far**2).sum() / 2, [near.clone(), far.clone()]

    optimizer = SGD([{"params": [near], "lr": 0.1}, {"params": [far], "lr": 0.2}], momentum=0.5)
    loss = descend(objective, optimizer, toy_context, iterations=2, name="toy")
    assert near.item() == pytest.approx(0.9 - 0.1 * (0.5 * 1 + 0.9))
    assert far.item() == pytest.approx(0.8 - 0.2 * (0.5 * 1 + 0.8))
    assert loss == pytest.approx((0.9**2 + 0.8**2) / 2), "the loss of the last iteration, before its step"


def test_a_leaf_can_have_its_own_momentum_and_an_iteration_can_change_nothing(toy_context):
    own, other = torch.zeros(1), torch.zeros(1)

    def objective(iteration):
        return torch.tensor(1.0), None if iteration == 1 else [torch.ones(1), torch.ones(1)]

    optimizer = sgd([Leaf(own, 1.0, momentum=0.0), Leaf(other, 1.0)], momentum=0.5)
    descend(objective, optimizer, toy_context, iterations=3, name="toy")
    assert own.item() == -2
    assert other.item() == pytest.approx(-(1 + 1.5)), "the momentum waits too"


def test_an_iteration_that_changes_nothing_may_have_an_infinite_loss(toy_context):
    own = torch.zeros(1)

    def objective(iteration):
        return torch.tensor(float("inf")), None

    assert descend(objective, sgd([Leaf(own, 1.0)], momentum=0.0), toy_context, iterations=10, name="toy") == float(
        "inf"
    )
    assert own.item() == 0


@METHODS
def test_the_momentum_of_a_method_counts_from_its_second_iteration(make, toy_data, toy_context):
    for iterations, equal in ((1, True), (2, False)):
        with_it, without = (run(make(iterations=iterations, momentum=m), toy_data, toy_context) for m in (0.5, 0.0))
        assert torch.equal(with_it, without) == equal


def test_every_iteration_of_matching_draws_images_views_and_networks_anew(toy_data, toy_context, monkeypatch):
    seeds, sample = [], matching.sample_augmentation

    def recording(n, generator, **options):
        seeds.append(generator.initial_seed())
        return sample(n, generator, **options)

    def recorded(*arguments, **options):
        network = new_network(*arguments, **options)
        weights.append(next(iter(network.parameters())).flatten().tolist())
        return network

    monkeypatch.setattr(matching, "sample_augmentation", recording)
    monkeypatch.setattr(matching, "new_network", recorded)
    method = DM(batch_real=5)
    (unit,) = method.units(toy_data.info, 1)
    batches, weights = [], []
    for iteration in (0, 1, 1):
        method._extractor(toy_data.info, unit, iteration, toy_context)
        batches.append(method._real_batch(toy_data, unit, iteration, toy_context)[0].tolist())
    for drawn in (seeds, batches, weights):
        assert drawn[0] != drawn[1] == drawn[2]


def test_every_iteration_of_mtt_draws_batches_anew(toy_info, toy_context):
    method = MTT(inner_steps=3, batch_synthetic=2)
    orders = [[rows.tolist() for rows, _ in method._batches(6, toy_info, i, toy_context)] for i in (0, 1, 1)]
    assert orders[0] != orders[1] == orders[2]
