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
given for three weights and beside its components. Its 95 % interval holds the errors of the control and of the full
set; it is empty where a component has one seed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from benchmark.errors import BenchmarkError
from leaderboards.inference.intervals import Mean
from leaderboards.inference.ratios import weighted_sum
from leaderboards.results.axes import BLOCK, EVERY_IPC, SCORED, Block, axis_values
from leaderboards.results.pairwise import Blocks
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
Weighted = Mapping[str, float]  # component -> its weight in a sum


def _mixed(share: float, one: Weighted, other: Weighted) -> Weighted:
    return {name: share * one.get(name, 0.0) + (1 - share) * other.get(name, 0.0) for name in [*one, *other]}


_IOR, _RECOVERED = {"syn_any": 1.0, "random_any": -1.0}, {"full_hard": -1.0, "syn_hard": 1.0}  # the latter is -HLR
_GAINS = [{f"syn_{kind}": 1.0, f"random_{kind}": -1.0} for kind in ("augmented", "plain")]
DIFFERENCES: dict[str, Weighted] = {"hlr": {"full_hard": 1.0, "syn_hard": -1.0}, "ior": _IOR}
ADVANTAGES: dict[str, Weighted] = {  # before `normalised`
    **{f"lrs_w{w}": _mixed(w, _IOR, _RECOVERED) for w in WEIGHTS},
    **{f"ars_g{g}": _mixed(g, *_GAINS) for g in WEIGHTS},
}
SCORES = {**DIFFERENCES, **ADVANTAGES}
NAMES = {CONTROL: "random", BOUND: "full"}  # the names of the roles, in the names of components
COLUMNS = [
    *("suite", *SCORED),
    *(*COMPONENTS, *SCORES),
    "missing",  # components that have no number; the scores that need them are empty
    *(f"{name}_{end}" for name in SCORES for end in ("low", "high")),
]
Accuracies = Mapping[tuple[Block, str], float]  # block and method, or block and role -> a fraction


def ranking(protocols: Sequence[str]) -> str:
    """Return the protocol that ranks, or the first of some protocols where that one is not among them."""
    return ANY if ANY in protocols or not protocols else protocols[0]


def main_protocol(leaderboard: pd.DataFrame) -> str:
    """Return the protocol that ranks, or the first with a number where the suite has not run that one."""
    return ranking([str(name) for name in leaderboard.loc[leaderboard["top1_mean"].notna(), "protocol"].unique()])


def normalised(advantage: float) -> float:
    """Return the score in [0, 1] of an advantage in [-1, 1]; the score of 0 is 0.269.

    Raises:
        BenchmarkError: the advantage is not in [-1, 1].
    """
    if not -1 <= advantage <= 1:
        raise BenchmarkError(f"an advantage of {advantage:g}: differences of accuracies as fractions lie in [-1, 1]")
    return (math.exp(advantage) - math.exp(-1)) / (math.e - math.exp(-1))


def table(board: pd.DataFrame, blocks: Blocks) -> pd.DataFrame:
    """Return `COLUMNS`: scores, components and intervals of every dataset, IPC, method and student, as fractions.

    Args:
        board: the leaderboard, as `leaderboard.leaderboard` returns it.
        blocks: the blocks of its cells, as `pairwise.blocks` returns them.
    """
    results = board[board["top1_mean"].notna()]
    rows = rows_of(results)
    by_method = {(axis_values(row, BLOCK), row["method"]): row["top1_mean"] / 100 for row in rows}
    by_role = {block_and_role: row["top1_mean"] / 100 for block_and_role, row in rows_by_role(rows).items()}
    axes = results.loc[results["ipc"] != EVERY_IPC, ["suite", *SCORED]].drop_duplicates()
    lines = []
    for row in rows_of(axes):
        components = _components(row, by_method, by_role)
        missing = " ".join(name for name in COMPONENTS if name not in components)
        ends = {
            f"{name}_{end}": value
            for name, interval in _intervals(row, blocks).items()
            for end, value in zip(("low", "high"), interval, strict=True)
        }
        lines.append({**row, **components, **scores_of(components), "missing": missing, **ends})
    frame = pd.DataFrame(lines, columns=COLUMNS)
    return frame.astype(dict.fromkeys(COLUMNS[COLUMNS.index("missing") + 1 :], "float64"))


def scores_of(components: Mapping[str, float]) -> dict[str, float]:
    """Return the scores that some components, accuracies in [0, 1], suffice for."""
    return {
        name: shown(name, sum(weight * components[part] for part, weight in weights.items()))
        for name, weights in SCORES.items()
        if weights.keys() <= components.keys()
    }


def shown(score: str, total: float) -> float:
    """Return a score from the weighted sum of its components."""
    return total if score in DIFFERENCES else normalised(total)


def score_intervals(means: Mapping[str, Mean], row: str = "syn") -> dict[str, tuple[float, float]]:
    """Return the 95 % intervals of HLR, IOR, LRS and ARS, as far as their components are given with errors.

    Args:
        means: column of `COMPONENTS` (``full_hard``, ``syn_hard``, ``random_any``, ...) -> accuracy as a fraction.
        row: ``random`` or ``full`` where the row is one of these itself, so that it is not compared with its own error.
    """
    intervals = {}
    for score, weights in SCORES.items():
        components: dict[str, float] = {}
        for name, weight in weights.items():
            method, _, protocol = name.partition("_")
            renamed = f"{row if method == 'syn' else method}_{protocol}"
            source = renamed if renamed in means else name
            components[source] = components.get(source, 0.0) + weight
        if not components.keys() <= means.keys():
            continue
        total = weighted_sum(components, means)
        interval = total.interval if total.error else (total.value, total.value) if total.error == 0 else None
        if interval is not None:
            low, high = (min(max(end, -1.0), 1.0) for end in interval)
            intervals[score] = shown(score, low), shown(score, high)
    return intervals


def _components(row: Mapping[str, Any], by_method: Accuracies, by_role: Accuracies) -> dict[str, float]:
    """Return the components of a row that have a number."""
    components = {}
    for column, (protocol, role) in COMPONENTS.items():
        block = axis_values({**row, "protocol": protocol, "ipc": EVERY_IPC if role == BOUND else row["ipc"]}, BLOCK)
        accuracy = by_role.get((block, role)) if role else by_method.get((block, row["method"]))
        if accuracy is not None:
            components[column] = accuracy
    return components


def _intervals(row: Mapping[str, Any], blocks: Blocks) -> dict[str, tuple[float, float]]:
    """Return the intervals of the scores of a row."""
    means, kind = dict[str, Mean](), "syn"
    for column, (protocol, role) in COMPONENTS.items():
        block = blocks.get(axis_values({**row, "protocol": protocol}, BLOCK))
        if block is None:
            continue
        name = block.row_of(role) if role else row["method"]
        if name and name in block.rows:
            mean = block.model.means[name]
            means[column] = Mean(mean.value / 100, None if mean.error is None else mean.error / 100, mean.freedom)
        kind = NAMES.get(block.roles.get(row["method"], ""), kind)
    return score_intervals(means, kind)
