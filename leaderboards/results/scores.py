"""DD-Ranking's scores, which ask what images are worth apart from labels and recipe (Li et al., arXiv 2505.13300).

* HLR, hard-label recovery, lower is better: ``Acc(full, hard) - Acc(syn, hard)``.
* IOR, improvement over random, higher is better: ``Acc(syn, any) - Acc(random, any)``.
* LRS, label-robust score: ``N(w IOR - (1 - w) HLR)``.
* ARS, augmentation-robust score: ``N(g gain_augmented + (1 - g) gain_plain)``, where a gain is an IOR with or without
  the students' augmentation.

``N(a) = (e^a - e^-1) / (e - e^-1)`` maps [-1, 1] onto [0, 1], and no advantage at all (a = 0) to 0.269. So accuracies
are fractions: their code (version 0.2.0) puts in percent, and its scores leave the interval.

``any`` is a method's own recipe there; here it is the protocol `standard`, the same for every method and for random
images, and ARS comes from the protocols `soft` and `soft_plain`. The weights w and g are a choice: every score stands
beside its components, and for three weights.
"""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from benchmark.errors import BenchmarkError
from leaderboards.results.axes import EVERY_IPC, SCORED
from leaderboards.results.records import rows_of

WEIGHTS = (0.25, 0.5, 0.75)
HARD, ANY, AUGMENTED, PLAIN = "hard", "standard", "soft", "soft_plain"  # protocols
COMPONENTS = {  # column -> protocol, and the method that stands in for the synthetic images (None: the row's own)
    "full_hard": (HARD, "full"),
    "syn_hard": (HARD, None),
    "random_any": (ANY, "random_real"),
    "syn_any": (ANY, None),
    "random_augmented": (AUGMENTED, "random_real"),
    "syn_augmented": (AUGMENTED, None),
    "random_plain": (PLAIN, "random_real"),
    "syn_plain": (PLAIN, None),
}
COLUMNS = [
    *("suite", *SCORED),
    *COMPONENTS,
    *("hlr", "ior", *(f"lrs_w{w}" for w in WEIGHTS), *(f"ars_g{g}" for g in WEIGHTS)),
    "missing",  # components, without which scores are empty
]


def hlr(full_hard: float, syn_hard: float) -> float:
    """Return hard-label recovery: what is lost against the full training set, both with hard labels; lower is better.

    Args:
        full_hard: accuracy of the full training set in [0, 1].
        syn_hard: of the synthetic images.

    Raises:
        BenchmarkError: an accuracy that is no fraction.
    """
    return _fraction(full_hard) - _fraction(syn_hard)


def ior(syn: float, random: float) -> float:
    """Return the improvement over random real images under one protocol; accuracies and errors as those of `hlr`."""
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
        gain_augmented: improvement over random of students that see augmented images, in [-1, 1].
        gain_plain: of students that see the images as they are.
        gamma: weight of the first, in [0, 1].
    """
    return normalised(_weight(gamma) * gain_augmented + (1 - gamma) * gain_plain)


def normalised(advantage: float) -> float:
    """Map an advantage in [-1, 1] onto [0, 1], increasingly; 0 becomes 0.269."""
    if not -1 <= advantage <= 1:
        raise BenchmarkError(f"an advantage of {advantage:g}: differences of accuracies as fractions lie in [-1, 1]")
    return (math.exp(advantage) - math.exp(-1)) / (math.e - math.exp(-1))


def table(board: pd.DataFrame) -> pd.DataFrame:
    """Return `COLUMNS`: the scores of every dataset, IPC, method and student, and what they are made of, as fractions.

    Args:
        board: as `tables.leaderboard` returns it.
    """
    known = {
        (row["protocol"], row["dataset"], row["ipc"], row["method"], row["student"]): row["top1_mean"] / 100
        for row in rows_of(board[board["top1_mean"].notna()])
    }
    measured = board[board["top1_mean"].notna() & (board["ipc"] != EVERY_IPC)]
    axes = measured[["suite", *SCORED]].drop_duplicates()
    return pd.DataFrame([{**row, **_scores(_components(row, known))} for row in rows_of(axes)], columns=COLUMNS)


def _components(row: dict[str, Any], known: dict[Any, float]) -> dict[str, float]:
    found = {}
    for column, (protocol, control) in COMPONENTS.items():
        ipc = EVERY_IPC if control == "full" else row["ipc"]
        value = known.get((protocol, row["dataset"], ipc, control or row["method"], row["student"]))
        if value is not None:
            found[column] = value
    return found


def _scores(parts: dict[str, float]) -> dict[str, Any]:
    found: dict[str, Any] = dict(parts)
    if "syn_hard" in parts and "full_hard" in parts:
        found["hlr"] = hlr(parts["full_hard"], parts["syn_hard"])
    if "syn_any" in parts and "random_any" in parts:
        found["ior"] = ior(parts["syn_any"], parts["random_any"])
    if "hlr" in found and "ior" in found:
        found |= {f"lrs_w{w}": lrs(found["hlr"], found["ior"], w) for w in WEIGHTS}
    if all(f"{side}_{kind}" in parts for side in ("syn", "random") for kind in ("augmented", "plain")):
        augmented = ior(parts["syn_augmented"], parts["random_augmented"])
        plain = ior(parts["syn_plain"], parts["random_plain"])
        found |= {f"ars_g{g}": ars(augmented, plain, g) for g in WEIGHTS}
    return {**found, "missing": " ".join(name for name in COMPONENTS if name not in parts)}


def _fraction(accuracy: float) -> float:
    if not 0 <= accuracy <= 1:
        raise BenchmarkError(f"an accuracy of {accuracy:g}: scores take fractions from 0 to 1; divide percent by 100")
    return accuracy


def _weight(weight: float) -> float:
    if not 0 <= weight <= 1:
        raise BenchmarkError(f"a weight of {weight:g}: weights lie in [0, 1]")
    return weight
