"""The scores of DD-Ranking: the worth of images apart from labels and recipe (Li et al., arXiv 2505.13300).

* HLR, hard-label recovery, lower is better: ``Acc(full, hard) - Acc(syn, hard)``.
* IOR, improvement over random, higher is better: ``Acc(syn, any) - Acc(random, any)``.
* LRS, label-robust score: ``N(w IOR - (1 - w) HLR)``.
* ARS, augmentation-robust score: ``N(g gain_augmented + (1 - g) gain_plain)``, where a gain is an IOR with or without
  the students' augmentation.

``N(a) = (e^a - e^-1) / (e - e^-1)`` maps [-1, 1] onto [0, 1], and a = 0 to 0.269. ARS is 0.269 where there is no
advantage over random real images. LRS is lower there, because HLR is seldom 0. Accuracies are fractions here. The
authors' code (version 0.2.0) uses percent, so that its scores leave [0, 1].

In the paper ``any`` is each method's own recipe. Here it is the protocol `standard`, for all methods and for random
real images; ARS compares the protocols `soft` and `soft_plain`. The weights w and g are a choice, so every score is
given for three weights and beside its components.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import pandas as pd

from benchmark.errors import BenchmarkError
from leaderboards.results.axes import BLOCK, EVERY_IPC, SCORED, Block, axis_values
from leaderboards.results.records import rows_of
from leaderboards.results.roles import BOUND, CONTROL, rows_by_role

WEIGHTS = (0.25, 0.5, 0.75)
HARD, ANY, AUGMENTED, PLAIN = "hard", "standard", "soft", "soft_plain"  # protocols
COMPONENTS = {  # column -> the protocol, and the role of the method whose accuracy it is (None: the method of the row)
    "full_hard": (HARD, BOUND),
    "syn_hard": (HARD, None),
    "random_any": (ANY, CONTROL),
    "syn_any": (ANY, None),
    "random_augmented": (AUGMENTED, CONTROL),
    "syn_augmented": (AUGMENTED, None),
    "random_plain": (PLAIN, CONTROL),
    "syn_plain": (PLAIN, None),
}
COLUMNS = [
    *("suite", *SCORED),
    *COMPONENTS,
    *("hlr", "ior", *(f"lrs_w{w}" for w in WEIGHTS), *(f"ars_g{g}" for g in WEIGHTS)),
    "missing",  # components that have no number; the scores that need them are empty
]


class Accuracies(NamedTuple):
    """The accuracies of a leaderboard as fractions: by block and method, and by block and role."""

    by_method: Mapping[tuple[Block, str], float]
    by_role: Mapping[tuple[Block, str], float]


def hlr(full_hard: float, syn_hard: float) -> float:
    """Return hard-label recovery: the accuracy lost against the full training set; lower is better.

    Args:
        full_hard: accuracy of the full training set with hard labels, in [0, 1].
        syn_hard: accuracy of the synthetic images with hard labels, in [0, 1].

    Raises:
        BenchmarkError: an accuracy is not in [0, 1].
    """
    return _fraction(full_hard) - _fraction(syn_hard)


def ior(syn: float, random: float) -> float:
    """Return the improvement over random real images under one protocol; arguments and errors as in `hlr`."""
    return _fraction(syn) - _fraction(random)


def lrs(hlr: float, ior: float, w: float = 0.5) -> float:
    """Return the label-robust score in [0, 1], higher is better.

    Args:
        hlr: hard-label recovery, in [-1, 1].
        ior: improvement over random, in [-1, 1].
        w: weight of IOR, in [0, 1].
    """
    return normalised(_weight(w) * ior - (1 - w) * hlr)


def ars(gain_augmented: float, gain_plain: float, gamma: float = 0.5) -> float:
    """Return the augmentation-robust score in [0, 1], higher is better.

    Args:
        gain_augmented: improvement over random real images of students that see augmented images, in [-1, 1].
        gain_plain: the same of students that see unchanged images.
        gamma: weight of `gain_augmented`, in [0, 1].
    """
    return normalised(_weight(gamma) * gain_augmented + (1 - gamma) * gain_plain)


def normalised(advantage: float) -> float:
    """Return the score in [0, 1] of an advantage in [-1, 1]; the score of 0 is 0.269.

    Raises:
        BenchmarkError: the advantage is not in [-1, 1].
    """
    if not -1 <= advantage <= 1:
        raise BenchmarkError(f"an advantage of {advantage:g}: differences of accuracies as fractions lie in [-1, 1]")
    return (math.exp(advantage) - math.exp(-1)) / (math.e - math.exp(-1))


def table(board: pd.DataFrame) -> pd.DataFrame:
    """Return `COLUMNS`: scores and components of every dataset, IPC, method and student, as fractions.

    Args:
        board: as `leaderboard.leaderboard` returns it.
    """
    measured = board[board["top1_mean"].notna()]
    rows = rows_of(measured)
    accuracies = Accuracies(
        {(axis_values(row, BLOCK), row["method"]): row["top1_mean"] / 100 for row in rows},
        {block_and_role: row["top1_mean"] / 100 for block_and_role, row in rows_by_role(rows).items()},
    )
    axes = measured.loc[measured["ipc"] != EVERY_IPC, ["suite", *SCORED]].drop_duplicates()
    return pd.DataFrame([{**row, **_scores(_components(row, accuracies))} for row in rows_of(axes)], columns=COLUMNS)


def _components(row: dict[str, Any], accuracies: Accuracies) -> dict[str, float]:
    """Return the components of a row that have a number."""
    components = {}
    for column, (protocol, role) in COMPONENTS.items():
        block = axis_values({**row, "protocol": protocol, "ipc": EVERY_IPC if role == BOUND else row["ipc"]}, BLOCK)
        known = accuracies.by_role.get((block, role)) if role else accuracies.by_method.get((block, row["method"]))
        if known is not None:
            components[column] = known
    return components


def _scores(components: dict[str, float]) -> dict[str, Any]:
    """Return the components of a row and the scores that they suffice for."""
    scores: dict[str, Any] = dict(components)
    if "syn_hard" in components and "full_hard" in components:
        scores["hlr"] = hlr(components["full_hard"], components["syn_hard"])
    if "syn_any" in components and "random_any" in components:
        scores["ior"] = ior(components["syn_any"], components["random_any"])
    if "hlr" in scores and "ior" in scores:
        scores |= {f"lrs_w{w}": lrs(scores["hlr"], scores["ior"], w) for w in WEIGHTS}
    if all(f"{side}_{kind}" in components for side in ("syn", "random") for kind in ("augmented", "plain")):
        augmented = ior(components["syn_augmented"], components["random_augmented"])
        plain = ior(components["syn_plain"], components["random_plain"])
        scores |= {f"ars_g{g}": ars(augmented, plain, g) for g in WEIGHTS}
    return {**scores, "missing": " ".join(name for name in COMPONENTS if name not in components)}


def _fraction(accuracy: float) -> float:
    if not 0 <= accuracy <= 1:
        raise BenchmarkError(f"an accuracy of {accuracy:g}: scores take fractions from 0 to 1; divide percent by 100")
    return accuracy


def _weight(weight: float) -> float:
    if not 0 <= weight <= 1:
        raise BenchmarkError(f"a weight of {weight:g}: weights lie in [0, 1]")
    return weight
