"""Who is ahead, who is tied, and where nothing is known: corrected comparisons of the rows of a block.

**Verdicts**, of one row against another, from the corrected interval of the difference of their means:

* ``ahead``, ``behind``: the interval excludes 0;
* ``tied``: it includes 0 and lies within `MARGIN` points on either side, so equivalence is shown;
* ``not known``: neither. `power.needed` says how many seeds a verdict needs;
* ``no verdict``: one of the rows has, or both share, fewer than two units, for one seed says nothing; or no spread is
  known, because every row of the block has equal units. Equal numbers say that images are few, not that errors are 0.

**Variance** comes from `variance_model`. Differences are taken over the cells that both rows have.

**One interval for a pair.** Every pair of rows has one interval, which serves the comparisons with the control, those
with the best, the pairs of a suite, and ranks, so no two tables of a block disagree. The same cells can be decided in a
small block and not in a large one. The pairs form two families:

* pairs with the control (random real images): Dunnett's critical value at error `CONTROL_ERROR`. The bound (full data)
  is compared with the control too, and counts;
* all other pairs of competing rows: the Tukey-Kramer critical value, of the studentised range, at error `OTHERS_ERROR`.

A row whose images are those of another row (`VarianceModel.same`) is counted once, and tied with it. By Bonferroni, a
block has any wrong interval with probability at most ``CONTROL_ERROR + OTHERS_ERROR`` = 6 %; with ten equal methods it
is about 5.5 %. Most of it goes to the control, for that is the question of a benchmark, and a gap of two standard
deviations is then found in 31 % of cases with three seeds and 61 % with five. Against the best it is found in 8 % and
28 %. That is the price of a best that is chosen from the data: among equal rows, best - worst is the range itself.
Hsu's intervals for the best (1984) are shorter, but exclude only that a row is the *unique* best, and so call some of
ten equal rows worse than the best in 30 % of blocks.

A pair has its own degrees of freedom where rows share no variance, as in the procedures of Games and Howell (1976) and
of Dunnett's C and T3 (1980). `Block.rests_on_pool` says which verdicts need the variance that rows share.

**Ranks.** The rank of a row lies between 1 + the number of rows that are ahead of it, and the number of rows minus
those that are behind it (Al Mohamad, Goeman and van Zwet 2022; for ties: the set of ranks that the true order allows).
All rank intervals of a block cover together with at least 94 %, each with more than 95 %.

**Part recovered.** ``(row - control) / (bound - control)`` with Fieller's interval (1954), from the variances of both
differences and of ``row - bound``, which give their covariance, with the critical value of the comparisons with the
control. It is refused unless the bound is ahead of the control.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from leaderboards.inference.intervals import Gap
from leaderboards.inference.power import Needed, needed
from leaderboards.inference.ratios import Ratio, fieller
from leaderboards.inference.simultaneous import control_critical, range_critical
from leaderboards.inference.variance_model import Cells, Correct, VarianceModel

MARGIN = 1.0  # points within which rows are equivalent
CONTROL_ERROR = 0.048  # the probability that any interval of a pair with the control misses
OTHERS_ERROR = 0.012  # the probability that any interval of another pair misses
ALONE_ERROR = 0.05  # the probability for all pairs, in a block without a control
AHEAD, BEHIND, TIED, NOT_KNOWN, NO_VERDICT = "ahead", "behind", "tied", "not known", "no verdict"
DECIDED = (AHEAD, BEHIND)


@dataclass(frozen=True)
class Comparison:
    """One row against another.

    Attributes:
        gap: the difference and its error.
        critical: half the interval over the error; None where there is no verdict.
        margin: the margin of equivalence, in points.
        seeds: how many would tell, where the verdict is not known.
    """

    gap: Gap
    critical: float | None
    margin: float
    seeds: Needed | None = None

    @property
    def interval(self) -> tuple[float, float] | None:
        """The corrected interval of the difference, in points."""
        if self.critical is None or self.gap.error is None:
            return None
        half = self.critical * self.gap.error
        return self.gap.value - half, self.gap.value + half

    @property
    def verdict(self) -> str:
        """What the interval says of the first row."""
        return verdict(self.interval, self.margin)


def verdict(interval: tuple[float, float] | None, margin: float) -> str:
    """Return the verdict that a corrected interval of a difference allows."""
    if interval is None:
        return NO_VERDICT
    low, high = interval
    if low > 0:
        return AHEAD
    if high < 0:
        return BEHIND
    return TIED if -margin < low and high < margin else NOT_KNOWN


@dataclass(frozen=True)
class Block:
    """The rows of a block, and all that may be said of them.

    Attributes:
        rows: method -> (draw, seed[, teacher]) -> top-1 accuracy in percent. The row of the bound is given too, though
            its accuracy does not depend on IPC.
        roles: method -> control, floor or bound; a method that is not named competes as a method. At most one control
            and one bound.
        correct: method -> cell -> bits [N]: which test images were right. Where both rows of a pair have them, the
            interval covers the choice of test images too.
        margin: the margin of equivalence, in points.
        share: whether rows may share a variance.
    """

    rows: Mapping[str, Cells]
    roles: Mapping[str, str]
    correct: Correct
    margin: float = MARGIN
    share: bool = True

    @cached_property
    def model(self) -> VarianceModel:
        """The variance model of the block."""
        return VarianceModel(self.rows, self.roles, self.correct, self.share)

    def row_of(self, role: str) -> str | None:
        """Return the row that has a role, whether its spread is known or not; None where there is none."""
        return next((name for name in self.rows if self.roles.get(name) == role), None)

    @cached_property
    def control(self) -> str | None:
        """The row that all others are compared with, if its spread is known."""
        return self._with_spread("control")

    @cached_property
    def bound(self) -> str | None:
        """The row of the full training set."""
        return self._with_spread("bound")

    @cached_property
    def competing(self) -> list[str]:
        """The rows that have a rank, the most accurate first: their spread is known, their cells are even; no bound.

        None competes where only floor and bound scatter, since methods that are equal in all units have no spread.
        """
        rows = self.rows if self.model.pool else ()
        names = [name for name in rows if self._has_spread(name) and self.roles.get(name) != "bound"]
        names = [name for name in names if not self.model.is_uneven(self.rows[name])]
        return sorted(names, key=lambda name: (-self.model.means[name].value, name))

    @cached_property
    def best(self) -> str | None:
        """The most accurate of the competing rows; of rows that are the same images, the control or the first."""
        return self._first_of_copies(self.competing[0]) if self.competing else None

    def compare(self, one: str, other: str, *, plan: bool = True) -> Comparison:
        """Compare two rows.

        Args:
            one: the row that the verdict is about.
            other: the row that it is compared with.
            plan: whether to compute the seeds that a verdict would need.
        """
        one, other = self._first_of_copies(one), self._first_of_copies(other)
        comparison = self._known.get((one, other)) or self._compare(one, other)
        self._known[one, other] = comparison
        if not plan or comparison.verdict != NOT_KNOWN:
            return comparison
        seeds = needed(comparison.gap, lambda freedom: self._critical(one, other, freedom), self.margin)
        return replace(comparison, seeds=seeds)

    def rests_on_pool(self, one: str, other: str) -> bool:
        """Return whether a row is ahead, behind or tied, and would not be by the variance of the two rows alone.

        That is Welch's t, or the paired t where the units of the block are blocks.
        """
        result = self.compare(one, other, plan=False).verdict
        return result in (*DECIDED, TIED) and self._unpooled.compare(one, other, plan=False).verdict != result

    @cached_property
    def _unpooled(self) -> Block:
        return replace(self, share=False)

    @cached_property
    def ranks(self) -> dict[str, tuple[int, int, int]]:
        """Competing row -> its rank by the means, and the interval of its rank; equal means share the better rank."""
        names = self._different(self.competing)
        ahead, behind = dict.fromkeys(names, 0), dict.fromkeys(names, 0)
        for one, other in itertools.combinations(names, 2):
            result = self.compare(one, other, plan=False).verdict
            leader, loser = (one, other) if result == AHEAD else (other, one)
            if result in DECIDED:
                ahead[loser] += 1
                behind[leader] += 1
        means = {name: self.model.means[name].value for name in names}
        ranks = {}
        for name in names:
            rank = 1 + sum(value > means[name] for value in means.values())
            low, high = 1 + ahead[name], len(names) - behind[name]
            # The differences of a partial row, over matched cells, may contradict the order of the means.
            ranks[name] = (rank, min(low, rank), max(high, rank))
        return {name: ranks[self._first_of_copies(name)] for name in self.competing}

    @cached_property
    def refused(self) -> str:
        """Why no part recovered is given; "" where it is."""
        for role, name in (("control", self.control), ("bound", self.bound)):
            if name is None:
                row = self.row_of(role)
                why = "one seed" if row and len(self.model.units[row]) < 2 else "no spread"
                return f"{row} has {why}" if row else f"no {role}"
        assert self.bound is not None and self.control is not None
        result = self.compare(self.bound, self.control, plan=False).verdict
        return "" if result == AHEAD else f"{self.bound} against {self.control}: {result}"

    def recovered(self, name: str) -> Ratio | None:
        """Return the part of the way from the control to the bound, as a fraction; None where it is refused."""
        if self.refused or self.bound is None or self.control is None or name not in self.competing:
            return None
        way = self.model.difference(self.bound, self.control)
        if name == self.control:
            return Ratio(0.0, 0.0, 0.0)
        part, rest = self.model.difference(name, self.control), self.model.difference(name, self.bound)
        freedom = min(gap.freedom for gap in (part, way, rest))
        return fieller(part, way, rest, self._critical(name, self.control, freedom))

    @cached_property
    def _known(self) -> dict[tuple[str, str], Comparison]:
        return {}

    def _compare(self, one: str, other: str) -> Comparison:
        gap = self.model.difference(one, other)
        critical = None if gap.error is None else self._critical(one, other, gap.freedom)
        return Comparison(gap, critical, self.margin)

    def _with_spread(self, role: str) -> str | None:
        name = self.row_of(role)
        return name if name and self._has_spread(name) else None

    def _has_spread(self, name: str) -> bool:
        return self.model.spreads[name] is not None

    def _critical(self, one: str, other: str, freedom: float) -> float:
        if self.control is None:
            return range_critical(max(len(self._different(self.competing)), 2), freedom, ALONE_ERROR)
        if self.control in (one, other):
            comparisons, correlation = self._compared_with_control
            return control_critical(comparisons, correlation, freedom, CONTROL_ERROR)
        return range_critical(max(len(self._different(self.competing)) - 1, 2), freedom, OTHERS_ERROR)

    def _different(self, names: Iterable[str]) -> list[str]:
        """Return some rows without copies of others."""
        return list(dict.fromkeys(map(self._first_of_copies, names)))

    def _first_of_copies(self, name: str) -> str:
        """Return the first row of those that are the same images; the control comes first."""
        return self.model.originals.get(name, name)

    @cached_property
    def _compared_with_control(self) -> tuple[int, float]:
        """How many rows are compared with the control, and the mean correlation of the differences."""
        variances = {}
        assert self.control is not None
        for name in self._different([self.control, *self.rows]):
            spread = self.model.spreads[name]
            if spread is not None:
                variances[name] = spread.variance / len(self.model.units[name])
        common = variances.pop(self.control)
        loads = [math.sqrt(common / (common + part)) if common + part else 0.0 for part in variances.values()]
        count = len(loads)
        pairs = count * (count - 1)
        return count, (sum(loads) ** 2 - sum(load**2 for load in loads)) / pairs if pairs else 0.0
