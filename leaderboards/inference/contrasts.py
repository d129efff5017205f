"""Contrasts of the rows of a block: main effects and interactions of two factors, with corrected intervals."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from scipy.special import stdtrit

from leaderboards.inference.variance_model import VarianceModel
from leaderboards.inference.variance_pool import Estimate, combined

ERROR = 0.05  # the probability that any interval of a family of contrasts misses
Weights = Mapping[str, float]  # row -> its weight; the weights add up to 0


@dataclass(frozen=True)
class Contrast:
    """A weighted sum of means, ``sum_i w_i mu_i``, in points, with its interval; None where no spread is known."""

    value: float
    interval: tuple[float, float] | None


def contrasts(model: VarianceModel, family: Sequence[Weights]) -> list[Contrast]:
    """Return the contrasts of a family, with Bonferroni's correction.

    The variance is ``sum_i w_i^2 v_i / n_i``, v_i being that of a unit of row i as `variance_model` has it; where rows
    have their own variances, degrees of freedom are Satterthwaite's. All intervals cover together with 95 % if rows
    scatter as the pool says, and with about 90 % if some scatter twice as much without a test noticing it. What units
    have in common cancels where spreads are equal in points; where they are equal in log odds, only if
    ``sum_i w_i g_i = 0``: else an interval can be slightly too short. They do not cover the choice of test images,
    nor what units do to some rows only (a teacher that suits one regulariser).

    Args:
        model: the model of the block.
        family: the contrasts that are looked at together.

    Returns:
        A contrast for each of the family, in their order.
    """
    results = []
    for weights in family:
        value = sum(weight * model.means[name].value for name, weight in weights.items())
        cells = [cell for name in weights for cell in model.rows[name]]
        axes = [_variance(axis_model, weights) for axis_model in (model, *model.crossed(cells))]
        if None in axes:
            results.append(Contrast(value, None))
            continue
        spread = combined(*filter(None, axes))
        half = float(stdtrit(spread.freedom, 1 - ERROR / 2 / len(family))) * spread.variance**0.5
        results.append(Contrast(value, (value - half, value + half)))
    return results


def _variance(model: VarianceModel, weights: Weights) -> Estimate | None:
    parts = []
    for name, weight in weights.items():
        spread = model.spreads[name]
        if spread is None:
            return None
        parts.append(Estimate(weight**2 * spread.variance / len(model.units[name]), spread.freedom))
    if all(model.source(name) == "pool" for name in weights):
        return Estimate(sum(part.variance for part in parts), parts[0].freedom)  # one estimate for all rows
    return combined(*parts)


def factorial(rows: Collection[str], reference: str, second: Sequence[str]) -> dict[str, Weights]:
    """Return the effects of two factors in rows that are named ``A+B``, each with the weights of its contrast.

    For neighbours in `second` these are the main effect of B, over all A. For each A but the reference they are its
    difference from the reference over all B but the last, and the interactions: how far this difference is larger with
    one B than with the next.

    Args:
        rows: names; an A without all values of B is left out.
        reference: the value of A that the others are compared with.
        second: the values of B, in order; the last is "none".
    """
    names = dict.fromkeys(name.partition("+")[0] for name in rows if "+" in name)
    first = [a for a in names if all(f"{a}+{b}" in rows for b in second)]
    if reference not in first:
        return {}
    levels, neighbours = second[:-1], list(itertools.pairwise(second))
    effects: dict[str, Weights] = {}
    for b, other in neighbours:
        effects[f"{b} against {other}"] = {f"{a}+{x}": s / len(first) for a in first for x, s in ((b, 1), (other, -1))}
    compared_names = [a for a in first if a != reference]
    for a in compared_names:
        signs = ((a, 1), (reference, -1))
        name = f"{a} against {reference}, with {' or '.join(levels)}"
        effects[name] = {f"{x}+{b}": sign / len(levels) for b in levels for x, sign in signs}
    for a, (b, other) in itertools.product(compared_names, neighbours):
        name = f"({a} against {reference}) x ({b} against {other})"
        effects[name] = {f"{a}+{b}": 1, f"{a}+{other}": -1, f"{reference}+{b}": -1, f"{reference}+{other}": 1}
    return effects
