"""Wasserstein barycenters of one class: the k atoms (positions and weights) with the lowest transport cost.

The features ``y_1..y_n`` have mass 1/n each. The barycenter with at most k atoms minimises
``W2^2 = min over plans P of sum_ij P_ij |y_i - b_j|^2`` over the positions ``b`` and, if they are learned, the weights
``w`` of the atoms. Two steps alternate:

- the plan. With uniform weights it is an optimal-transport problem, solved exactly (``exact``) or with entropy
  (``sinkhorn``). With learned weights each feature goes to its nearest atom, and ``w_j`` is the mass that arrives;
- the positions. Each atom moves to the mean of the mass that it receives.

No step raises the cost. With learned weights this is k-means; with uniform weights, k-means of clusters of equal mass.

Why not a library: `ot.lp.free_support_barycenter` returns no costs, and other positions where several plans are optimal
(by up to 3.5 in the pixels of digits), and scikit-learn's ``kmeans_plusplus`` uses other random numbers. Both would
change the images that are published.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Weights = Literal["uniform", "learned"]
Solver = Literal["exact", "sinkhorn"]
Scheme = Literal["alternating", "damped"]
AtomsStart = Literal["kmeans++", "random_real", "noise"]

MOVES = 10  # the most moves of the atoms under the damped scheme
DAMPING = 0.2  # the share of the way that a move goes under the damped scheme
WEIGHT_RATE, WEIGHT_STEPS = 10.0, 100  # the rate and the steps of the mirror descent of the weights


@dataclass(frozen=True)
class Barycenter:
    """The k atoms that stand for a class.

    Attributes:
        positions: [k, D] float64.
        weights: [k] float64, non-negative, sum 1.
        costs: the transport cost before each move of the atoms.
    """

    positions: Tensor
    weights: Tensor
    costs: tuple[float, ...]


def barycenter(
    features: Tensor,
    start: Tensor,
    *,
    weights: Weights = "uniform",
    solver: Solver = "exact",
    scheme: Scheme = "alternating",
    rounds: int = 100,
) -> Barycenter:
    """Return the Wasserstein barycenter of features, with k atoms.

    Args:
        features: [n, D], the features of one class.
        start: [k, D], the first positions of the atoms, from `start_positions`.
        weights: the weights of the atoms; ``uniform``: 1/k each.
        solver: the solver of the plans under uniform weights.
        scheme: ``alternating``: as the module describes. ``damped``, only for learned weights: the scheme of WMDD's
            code, at most ten times mirror descent on the dual potentials for the weights, at a constant rate from
            uniform weights, and a fifth of the way to the optimum for the positions. It reaches no fixed point: of the
            start, 0.8^10 remains after ten moves, and 0.8 where there is one atom, since its weight cannot move. Errors
            of rounding grow about tenfold with each move.
        rounds: how often the atoms move, at most; it ends earlier where they do not move any more.
    """
    points, atoms = features.double(), start.to(features.device).double()
    if weights == "learned" and scheme == "damped":
        return _damped(points, atoms, rounds)
    if weights == "learned":
        return _kmeans(points, atoms, rounds)
    return _fixed_masses(points, atoms, _uniform(len(atoms), points), solver, rounds)


def start_positions(features: Tensor, k: int, start: AtomsStart, generator: torch.Generator) -> Tensor:
    """Return k first positions [k, D] for features [n, D]; the generator is one of the CPU.

    ``kmeans++`` samples features with probabilities proportional to their squared distance from the nearest one chosen
    before (Arthur and Vassilvitskii 2007), ``random_real`` uniformly (repeatedly if n < k), ``noise`` from a normal
    distribution.
    """
    n = len(features)
    if start == "noise":
        return torch.randn(k, features.shape[1], generator=generator).to(features)
    if start == "random_real":
        order = torch.cat([torch.randperm(n, generator=generator) for _ in range(-(-k // n))])
        return features[order[:k].to(features.device)]
    indices = [int(torch.randint(n, (), generator=generator))]
    nearest = _squared(features, features[indices]).squeeze(1)
    for _ in range(k - 1):
        distances = nearest.double().cpu()
        masses = distances if distances.sum() > 0 else torch.ones_like(distances)
        indices.append(int(torch.multinomial(masses, 1, generator=generator)))
        nearest = torch.minimum(nearest, _squared(features, features[indices[-1:]]).squeeze(1))
    return features[indices]


def transport_cost(features: Tensor, positions: Tensor, weights: Tensor) -> float:
    """Return the exact W2^2 between features [n, D] of mass 1/n each and atoms at positions [k, D] of weights [k]."""
    points = features.double()
    _, cost = _plan(points, positions.to(points), weights.to(points), "exact")
    return cost


def _uniform(k: int, like: Tensor) -> Tensor:
    """Return k equal weights, float64 on the device of another tensor."""
    return torch.full((k,), 1 / k, dtype=torch.float64, device=like.device)


def _squared(points: Tensor, atoms: Tensor) -> Tensor:
    """Return squared distances [n, k]."""
    return torch.cdist(points, atoms).square()


def _plan(points: Tensor, atoms: Tensor, weights: Tensor, solver: Solver) -> tuple[Tensor, float]:
    """Return the plan [n, k] between features and weighted atoms, and its cost."""
    distances = _squared(points, atoms)
    mass = _uniform(len(points), points)
    if solver == "exact":
        import ot  # takes seconds

        arrays = (value.cpu().numpy() for value in (mass, weights, distances))
        plan = torch.from_numpy(ot.emd(*arrays, numItermax=1_000_000)).to(points)
    else:
        plan = _sinkhorn_plan(points, atoms, mass, weights, distances)
    return plan, float((plan * distances).sum())


def _sinkhorn_plan(points: Tensor, atoms: Tensor, mass: Tensor, weights: Tensor, distances: Tensor) -> Tensor:
    """Return the entropic plan [n, k] from geomloss's dual potentials; the masses of its atoms are exact."""
    from geomloss import SamplesLoss

    blur = max(0.05 * float(distances.mean()) ** 0.5, 1e-6)  # below this length a plan may split mass
    loss = SamplesLoss("sinkhorn", p=2, blur=blur, scaling=0.9, debias=False, potentials=True, backend="tensorized")
    potential, _ = loss(mass, points, weights, atoms)
    return torch.softmax((potential.view(-1, 1) - distances / 2) / blur**2, dim=0) * weights


def _fixed_masses(points: Tensor, atoms: Tensor, weights: Tensor, solver: Solver, rounds: int) -> Barycenter:
    """Alternate plans and positions under fixed weights, until the atoms do not move any more."""
    costs = []
    for _ in range(rounds):
        plan, cost = _plan(points, atoms, weights, solver)
        costs.append(cost)
        moved = torch.where(weights.unsqueeze(1) > 0, plan.T @ points / weights.clamp_min(1e-300).unsqueeze(1), atoms)
        shift, atoms = float((moved - atoms).square().sum()), moved
        if shift < 1e-7:
            break
    return Barycenter(atoms, weights, tuple(costs))


def _kmeans(points: Tensor, atoms: Tensor, rounds: int) -> Barycenter:
    """Alternate nearest atoms and means (k-means) until no feature changes its atom."""
    costs: list[float] = []
    owner = points.new_full((len(points),), -1, dtype=torch.int64)
    for _ in range(rounds):
        atoms, distances, nearest = _assign(points, atoms)
        costs.append(float(distances.mean()))
        if torch.equal(nearest, owner):
            break
        owner = nearest
        atoms = _means(points, owner, atoms)
    counts = torch.bincount(owner, minlength=len(atoms))
    return Barycenter(atoms, counts.double() / len(points), tuple(costs))


def _assign(points: Tensor, atoms: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return atoms, squared distances to the nearest and its index; an atom without points moves to the farthest."""
    for _ in range(len(atoms)):
        distances, nearest = _squared(points, atoms).min(1)
        idle = torch.bincount(nearest, minlength=len(atoms)).eq(0).nonzero().flatten()
        if not len(idle) or not distances.max() > 0:
            break
        atoms = atoms.clone()
        atoms[idle[0]] = points[distances.argmax()]
    return atoms, distances, nearest


def _means(points: Tensor, owner: Tensor, atoms: Tensor) -> Tensor:
    """Return the mean of the points of each atom, [k, D]; an atom without points stays."""
    counts = torch.bincount(owner, minlength=len(atoms)).unsqueeze(1)
    sums = torch.zeros_like(atoms).index_add_(0, owner, points)
    return torch.where(counts > 0, sums / counts.clamp_min(1), atoms)


def _damped(points: Tensor, atoms: Tensor, rounds: int) -> Barycenter:
    """Alternate the weights and a move of the atoms, a share `DAMPING` of the way to their optimum.

    It ends after `MOVES` moves, or earlier where the weights have changed by less than 1e-6.
    """
    weights, costs = _uniform(len(atoms), points), list[float]()
    for _ in range(MOVES):
        descended = _descend_weights(points, atoms)
        if costs and torch.linalg.vector_norm(descended - weights) < 1e-6:
            break
        weights = descended
        solution = _fixed_masses(points, atoms, weights, "exact", rounds)
        costs.append(solution.costs[0])
        atoms = torch.lerp(atoms, solution.positions, DAMPING)
    return Barycenter(atoms, weights, tuple(costs))


def _descend_weights(points: Tensor, atoms: Tensor) -> Tensor:
    """Return weights for fixed atoms by mirror descent, ``w <- w exp(-rate u)``, u the dual potentials of the atoms.

    It starts from uniform weights, and ends where they move by less than 1e-9 or after `WEIGHT_STEPS` steps. The cost
    is piecewise linear in the weights, so with the constant rate `WEIGHT_RATE` they seldom converge.
    """
    import ot

    distances = _squared(atoms, points)
    cost_matrix = (distances / distances.max().clamp_min(1e-30)).cpu().numpy()
    mass, weights = _uniform(len(points), points).cpu().numpy(), _uniform(len(atoms), points)
    for _ in range(WEIGHT_STEPS):
        _, log = ot.emd(weights.cpu().numpy(), mass, cost_matrix, log=True)
        potential = torch.from_numpy(log["u"]).to(points)
        moved = weights * torch.exp(-WEIGHT_RATE * (potential - potential.min()))
        moved = moved / moved.sum()
        change, weights = (moved - weights).abs().sum(), moved
        if change < 1e-9:
            break
    return weights
