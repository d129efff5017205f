"""Barycenters: the properties of their alternating steps, for random features."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans
from torch import Tensor

from methods.parts.transport import barycenter, start_positions, transport_cost

cases = st.tuples(st.integers(0, 10_000), st.integers(6, 40), st.integers(1, 6), st.integers(1, 5))
starts = st.sampled_from(["kmeans++", "random_real", "noise"])


def draw(case: tuple[int, int, int, int], start: str = "kmeans++") -> tuple[Tensor, Tensor]:
    """Return features [n, d] in a few clumps and k first positions."""
    seed, n, k, d = case
    generator = torch.Generator().manual_seed(seed)
    centres = 3 * torch.randn(3, d, generator=generator)
    features = centres[torch.randint(3, (n,), generator=generator)] + torch.randn(n, d, generator=generator)
    return features.double(), start_positions(features, k, start, generator).double()


@given(cases, starts, st.sampled_from(["uniform", "learned"]))
@settings(max_examples=60, deadline=None)
def test_the_cost_never_rises(case, start, weights):
    features, first = draw(case, start)
    costs = np.array(barycenter(features, first, weights=weights).costs)
    assert (np.diff(costs) <= 1e-9 * costs[:-1]).all()


@given(cases, starts)
@settings(max_examples=60, deadline=None)
def test_learned_weights_end_at_a_fixed_point_of_k_means(case, start):
    features, first = draw(case, start)
    result = barycenter(features, first, weights="learned", rounds=1000)
    nearest = torch.cdist(features, result.positions).argmin(1)
    counts = torch.bincount(nearest, minlength=len(first))
    torch.testing.assert_close(result.weights, counts.double() / len(features))
    for j in counts.nonzero().flatten().tolist():
        torch.testing.assert_close(result.positions[j], features[nearest == j].mean(0))


@given(cases)
@settings(max_examples=40, deadline=None)
def test_learned_weights_are_as_good_as_scikit_learn_from_the_same_start(case):
    features, first = draw(case)
    theirs = KMeans(len(first), init=first.numpy(), n_init=1, max_iter=1000, tol=0).fit(features.numpy())
    ours = barycenter(features, first, weights="learned", rounds=1000)
    cost = transport_cost(features, ours.positions, ours.weights)
    assert cost <= theirs.inertia_ / len(features) * (1 + 1e-6) + 1e-12


@given(cases, starts, st.sampled_from(["uniform", "learned"]))
@settings(max_examples=40, deadline=None)
def test_weights_are_a_distribution(case, start, weights):
    features, first = draw(case, start)
    result = barycenter(features, first, weights=weights)
    assert (result.weights >= 0).all()
    assert float(result.weights.sum()) == pytest.approx(1)
    if weights == "uniform":
        assert torch.equal(result.weights, torch.full_like(result.weights, 1 / len(first)))


@given(cases)
@settings(max_examples=30, deadline=None)
def test_learned_weights_never_cost_more_than_uniform_ones_at_the_same_atoms(case):
    features, first = draw(case)
    uniform = barycenter(features, first, weights="uniform")
    learned = barycenter(features, uniform.positions, weights="learned")
    cost = transport_cost(features, uniform.positions, uniform.weights)
    assert transport_cost(features, learned.positions, learned.weights) <= cost * (1 + 1e-9)


@pytest.mark.parametrize("weights", ["uniform", "learned"])
@pytest.mark.parametrize("scheme", ["alternating", "damped"])
def test_one_atom_is_the_mean_of_the_class(weights, scheme):
    features, first = draw((3, 20, 1, 4))
    result = barycenter(features, first, weights=weights, scheme=scheme)
    kept = 0.8**10 if (weights, scheme) == ("learned", "damped") else 0.0  # what ten damped steps leave of the start
    torch.testing.assert_close(result.positions, torch.lerp(features.mean(0, keepdim=True), first, kept))


@pytest.mark.parametrize("weights", ["uniform", "learned"])
@pytest.mark.parametrize("start", ["kmeans++", "random_real", "noise"])
def test_fewer_features_than_atoms(weights, start):
    features = torch.tensor([[0.0, 0.0], [4.0, 0.0]])
    first = start_positions(features, 3, start, torch.Generator().manual_seed(0))
    result = barycenter(features, first, weights=weights)
    assert torch.isfinite(result.positions).all()
    assert float(result.weights.sum()) == pytest.approx(1)
    if weights == "learned":
        assert transport_cost(features, result.positions, result.weights) == pytest.approx(0, abs=1e-9)


def test_known_answers():
    line = torch.tensor([[0.0], [1.0], [2.0], [9.0]])
    first = torch.tensor([[0.0], [9.0]])
    learned = barycenter(line, first, weights="learned")
    assert learned.positions.flatten().tolist() == pytest.approx([1, 9])
    assert learned.weights.tolist() == pytest.approx([0.75, 0.25])
    uniform = barycenter(line, first, weights="uniform")
    assert uniform.positions.flatten().tolist() == pytest.approx([0.5, 5.5])
    assert transport_cost(line, uniform.positions, uniform.weights) == pytest.approx((0.5 + 24.5) / 4)


def test_the_damped_scheme_finds_about_the_same_atoms():
    clumps = torch.cat([torch.linspace(0, 1, 40), torch.linspace(9, 10, 20)]).unsqueeze(1)
    result = barycenter(clumps, torch.tensor([[0.1], [9.0]]), weights="learned", scheme="damped")
    assert result.weights.tolist() == pytest.approx([2 / 3, 1 / 3], abs=0.05)
    assert result.positions.flatten().tolist() == pytest.approx([0.5, 9.5], abs=0.5)


def test_sinkhorn_comes_close_to_the_exact_plan():
    features, first = draw((5, 60, 3, 2))
    exact, entropic = (barycenter(features, first, solver=solver) for solver in ("exact", "sinkhorn"))
    costs = [transport_cost(features, b.positions, b.weights) for b in (exact, entropic)]
    assert costs[1] <= 1.05 * costs[0]


def test_a_start_is_decided_by_its_generator():
    features, _ = draw((1, 30, 4, 3))
    for start in ("kmeans++", "random_real", "noise"):
        one, two, three = (start_positions(features, 4, start, torch.Generator().manual_seed(s)) for s in (1, 1, 2))
        assert torch.equal(one, two)
        assert not torch.equal(one, three)
