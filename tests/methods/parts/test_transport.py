"""Barycenters: the properties of their alternating steps, for random features."""

from __future__ import annotations

import numpy as np
import ot
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans
from torch import Tensor

from methods.parts import transport
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
    kept = 0.8 if (weights, scheme) == ("learned", "damped") else 0.0  # what the one damped move leaves of the start
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


def damped_by_pot(points, atoms, moves):
    """Return positions and weights of the scheme of WMDD's code, written with POT's own barycenter.

    A move: weights from mirror descent at rate 10 from uniform weights, 100 steps at most, on the cost over its
    maximum; then a fifth of the way to the free-support barycenter under these weights. It ends where the weights stay.
    """
    n, k = len(points), len(atoms)
    mass, kept = np.full(n, 1 / n), None
    for _ in range(moves):
        cost = ((atoms[:, None] - points[None]) ** 2).sum(-1)
        weights = np.full(k, 1 / k)
        for _ in range(100):
            _, duals = ot.emd(weights, mass, cost / cost.max(), log=True)
            descended = weights * np.exp(-10 * duals["u"])
            descended /= descended.sum()
            stays = np.abs(descended - weights).sum() < 1e-9
            weights = descended
            if stays:
                break
        if kept is not None and np.linalg.norm(weights - kept) < 1e-6:
            break
        kept = weights
        atoms = 0.8 * atoms + 0.2 * ot.lp.free_support_barycenter([points], [mass], atoms, b=weights)
    return atoms, kept


@pytest.mark.parametrize("case", [(0, 40, 4, 3), (3, 31, 3, 5), (8, 12, 2, 2), (5, 20, 1, 4)])
@pytest.mark.parametrize("start", ["noise", "kmeans++"])
@pytest.mark.parametrize("moves", [1, 4])  # of the ten: errors of rounding grow tenfold with each
def test_the_damped_scheme_is_that_of_the_authors_code(moves, start, case, monkeypatch):
    assert transport.MOVES == 10
    monkeypatch.setattr(transport, "MOVES", moves)
    features, first = draw(case, start)
    result = barycenter(features, first, weights="learned", scheme="damped")
    positions, weights = damped_by_pot(features.numpy(), first.numpy(), moves)
    np.testing.assert_allclose(result.weights, weights, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(result.positions, positions, rtol=1e-7, atol=1e-9)


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
