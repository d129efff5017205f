"""Simulated blocks whose truth is known: how often verdicts err, how often intervals cover, and what is found.

`python tests/support/verdict_simulations.py [BLOCKS]` prints the table; the tests run fewer blocks of the same code.
The rules are those of `leaderboards.inference.verdicts`, run as a report runs them, block by block.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from leaderboards.inference.verdicts import AHEAD, BEHIND, TIED, Block


@dataclass(frozen=True)
class Setting:
    """The truth of simulated blocks.

    Attributes:
        means: of the rows, in percent; the first is the control.
        deviations: of a cell of every row, in points.
        seeds: cells per row.
        common: deviation of what seed j adds to every row.
        followed: deviation of what seed j adds to every row but the control.
        random: deviations are multiplied by the root of ``random / chi2(random)``, anew in every block.
        draws: distribution of the errors: "normal", "uniform" or "laplace", of variance 1.
    """

    means: Sequence[float]
    deviations: Sequence[float]
    seeds: int
    common: float = 0.0
    followed: float = 0.0
    random: float = 0.0
    draws: str = "normal"


@dataclass(frozen=True)
class Rates:
    """Fractions of blocks (or of rows or pairs in blocks, where it says so).

    Attributes:
        control: some verdict against the control contradicts the truth.
        best: some row is called worse than the best, or better than another, that is not.
        block: either of these.
        own: either of these, by a verdict that does not rest on the shared variance (no †).
        tied: of all pairs, those called tied although the true gap is not below the margin.
        found: of all rows that differ from the control, those whose verdict says so.
        found_best: of all rows but the control that are worse than the best, those that are called behind it.
        mean: of all intervals of means, those that cover.
        first_mean: the interval of the control's mean covers.
        last_mean: the interval of the last row's mean covers.
        intervals: all corrected intervals of the block cover.
        ranks: of all rank intervals, those that cover.
        all_ranks: all rank intervals of the block cover.
    """

    control: float
    best: float
    block: float
    own: float
    tied: float
    found: float
    found_best: float
    mean: float
    first_mean: float
    last_mean: float
    intervals: float
    ranks: float
    all_ranks: float


def cells(setting: Setting, blocks: int, seed: int = 0) -> np.ndarray:
    """Return accuracies [blocks, rows, seeds] in percent."""
    generator = np.random.default_rng(seed)
    shape = (blocks, len(setting.means), setting.seeds)
    noise = {
        "normal": generator.standard_normal,
        "uniform": lambda size: generator.uniform(-(3**0.5), 3**0.5, size),
        "laplace": lambda size: generator.laplace(0, 0.5**0.5, size),
    }[setting.draws](shape)
    deviations = np.broadcast_to(setting.deviations, shape[:2])
    if setting.random:
        deviations = deviations * np.sqrt(setting.random / generator.chisquare(setting.random, shape[:2]))
    accuracies = np.asarray(setting.means)[:, None] + deviations[..., None] * noise
    accuracies += setting.common * generator.standard_normal((blocks, 1, setting.seeds))
    accuracies[:, 1:] += setting.followed * generator.standard_normal((blocks, 1, setting.seeds))
    return accuracies


def block(accuracies: np.ndarray) -> Block:
    """Return a block of accuracies [rows, seeds], row 0 being the control."""
    rows = {f"m{i}": {(j, j, 0): float(value) for j, value in enumerate(row)} for i, row in enumerate(accuracies)}
    return Block(rows, {"m0": "control"}, {})


def simulate(setting: Setting, blocks: int, seed: int = 0) -> Rates:
    """Judge simulated blocks and return the rates at which verdicts err and intervals cover."""
    truth = {f"m{i}": value for i, value in enumerate(setting.means)}
    outcomes = [outcome(block(accuracies), truth) for accuracies in cells(setting, blocks, seed)]
    known = [[value for value in values if not np.isnan(value)] for values in zip(*outcomes, strict=True)]
    return Rates(*(float(np.mean(values)) if values else np.nan for values in known))


def outcome(judged: Block, truth: dict[str, float]) -> tuple[float, ...]:
    """Return the values of `Rates` of one block."""
    names = list(truth)
    order = judged.competing  # pairs in this order are known from the ranks
    pairs = [(one, other) for i, one in enumerate(order) for other in order[i + 1 :]]
    wrong, covered, tied, calls = {}, [], [], {}
    for one, other in pairs:
        found = judged.compare(one, other, plan=False)
        gap, (low, high) = truth[one] - truth[other], found.interval
        calls[one, other], calls[other, one] = found.verdict, {AHEAD: BEHIND, BEHIND: AHEAD}.get(found.verdict)
        wrong[one, other] = (found.verdict == AHEAD and gap <= 0) or (found.verdict == BEHIND and gap >= 0)
        wrong[other, one] = wrong[one, other]
        covered.append(low <= gap <= high)
        if abs(gap) >= judged.margin:
            tied.append(found.verdict == TIED)
    best, control = judged.best, names[0]
    off = [name for name in names if truth[name] != truth[control]]
    below = [name for name in names[1:] if truth[name] < truth[best]]
    against_control = [(name, control) for name in names[1:] if wrong[name, control]]
    against_best = [(name, best) for name in names if name != best and wrong[name, best]]
    own = any(not judged.rests_on_pool(*pair) for pair in against_control + against_best)
    means = [low <= truth[name] <= high for name in names for low, high in [judged.model.means[name].interval]]
    ranks = [rank_covered(judged.ranks[name], truth, name) for name in names]
    return (
        bool(against_control),
        bool(against_best),
        bool(against_control or against_best),
        own,
        np.mean(tied) if tied else np.nan,
        np.mean([calls[name, control] in (AHEAD, BEHIND) for name in off]) if off else np.nan,
        np.mean([calls[name, best] == BEHIND for name in below]) if below else np.nan,
        np.mean(means),
        means[0],
        means[-1],
        all(covered),
        np.mean(ranks),
        all(ranks),
    )


def rank_covered(interval: tuple[int, int, int], truth: dict[str, float], name: str) -> bool:
    """Whether a rank interval holds every rank that the true means allow the row."""
    better = sum(value > truth[name] for value in truth.values())
    worse = sum(value < truth[name] for value in truth.values())
    return interval[1] <= 1 + better and len(truth) - worse <= interval[2]


def looks(blocks: int, after: Sequence[int] = (3, 5, 8, 12), seed: int = 0) -> tuple[float, float]:
    """Return in how many blocks of ten equal rows some verdict is wrong at the first look, and at one of the looks.

    Args:
        blocks: that are simulated.
        after: how many seeds.
        seed: of the simulation.
    """
    accuracies = cells(Setting([60.0] * 10, [1.0] * 10, max(after)), blocks, seed)
    wrong = np.zeros((blocks, len(after)), dtype=bool)
    for i, j in np.ndindex(wrong.shape):
        judged = block(accuracies[i][:, : after[j]])
        pairs = itertools.combinations(judged.competing, 2)
        wrong[i, j] = any(judged.compare(*pair, plan=False).verdict in (AHEAD, BEHIND) for pair in pairs)
    return float(wrong[:, 0].mean()), float(wrong.any(1).mean())


def old_rule(setting: Setting, blocks: int, seed: int = 0) -> tuple[float, float, float, float]:
    """Return the rates of paired t tests at 5 %, as the tables had them until these verdicts.

    Returns:
        Some row is called different from the control; worse than the best; either; rows found to differ from the
        control, each among the blocks (the last among the rows that do differ).
    """
    accuracies = cells(setting, blocks, seed)
    limit = stats.t.ppf(0.975, setting.seeds - 1)

    def differs(gaps: np.ndarray) -> np.ndarray:
        return np.abs(gaps.mean(2)) > limit * gaps.std(2, ddof=1) / setting.seeds**0.5

    truth = np.array(setting.means)
    against_control = differs(accuracies[:, 1:] - accuracies[:, :1])
    best = accuracies.mean(2).argmax(1)
    gaps = accuracies[np.arange(blocks), best][:, None] - accuracies
    with np.errstate(invalid="ignore"):
        against_best = differs(gaps) & (truth >= truth[best][:, None])
    off = truth[1:] != truth[0]
    control, worse = (against_control & ~off).any(1), against_best.any(1)
    found = against_control[:, off].mean() if off.any() else np.nan
    return control.mean(), worse.mean(), (control | worse).mean(), found


def settings(seeds: int) -> dict[str, Setting]:
    """Return what is simulated, by name."""
    ten, one = [60.0] * 10, [1.0] * 10
    return {
        "ten equal rows": Setting(ten, one, seeds),
        "equal, seeds in common (ICC 0.5)": Setting(ten, one, seeds, common=1.0),
        "equal, uniform errors": Setting(ten, one, seeds, draws="uniform"),
        "equal, Laplace errors": Setting(ten, one, seeds, draws="laplace"),
        "equal, near the ceiling (96 +- 1.5)": Setting([96.0] * 10, [1.5] * 10, seeds),
        "control lower by 2 sd": Setting([58.0] + [60.0] * 9, one, seeds),
        "one row higher by 2 sd": Setting([60.0] * 9 + [62.0], one, seeds),
        "true gaps of 1 point, sd 0.1": Setting([60.0 + i for i in range(10)], [0.1] * 10, seeds),
        "true gaps of 1 point, sd 0.4": Setting([60.0 + i for i in range(10)], [0.4] * 10, seeds),
        "one row 3 x the spread": Setting(ten, [1.0] * 9 + [3.0], seeds),
        "control 3 x the spread": Setting(ten, [3.0] + [1.0] * 9, seeds),
        "control 1/3 of the spread": Setting(ten, [1 / 3] + [1.0] * 9, seeds),
        "half of the rows 3 x the spread": Setting(ten, [1.0] * 5 + [3.0] * 5, seeds),
        "one row almost without spread": Setting(ten, [1.0] * 9 + [0.01], seeds),
        "spreads random, chi2(4)": Setting(ten, one, seeds, random=4.0),
        "five rows, spreads random, chi2(4)": Setting([60.0] * 5, [1.0] * 5, seeds, random=4.0),
        "all but the control have 2 sd in common": Setting(ten, one, seeds, followed=2.0),
        **{f"control 3 x the spread, {n} rows": _wide(n, 0, seeds) for n in (15, 21, 27)},
        "one row 3 x the spread, 27 rows": _wide(27, 26, seeds),
    }


def _wide(rows: int, wide: int, seeds: int) -> Setting:
    """Return equal rows, of which one scatters three times as much as the others."""
    return Setting([60.0] * rows, [3.0 if row == wide else 1.0 for row in range(rows)], seeds)


def main(blocks: int) -> None:
    """Print the table as Markdown."""
    head = ["setting", "seeds", "wrong: control", "best", "either", "without †", "old: control", "best", "either"]
    head += ["found: control", "best", "old: control", "covers: mean", "of the control", "of the last row"]
    head += ["all gaps", "a rank", "all ranks", "wrong tied"]
    print("| " + " | ".join(head) + " |\n|" + " --- |" * len(head))
    for seeds in (2, 3, 5):
        for name, setting in settings(seeds).items():
            new, old = simulate(setting, blocks), old_rule(setting, 10 * blocks)
            values = [new.control, new.best, new.block, new.own, *old[:3], new.found, new.found_best, old[3]]
            values += [new.mean, new.first_mean, new.last_mean, new.intervals, new.ranks, new.all_ranks, new.tied]
            shown = ["" if np.isnan(value) else f"{100 * value:.1f}" for value in values]
            print(f"| {name} | {seeds} | " + " | ".join(shown) + " |", flush=True)
    first, some = looks(blocks)
    print(f"\nTen equal rows, wrong after 3 seeds: {first:.1%}; after 3, 5, 8 or 12: {some:.1%}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2000)
