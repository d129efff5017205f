"""The tier of a published cell: submitted by its authors, or reproduced: submitted, and run again here since.

A cell of a run that was published here has no tier. What stands in a paper is *reported*; see `references`.
"""

from __future__ import annotations

from leaderboards.results.cells import DIFFERENCE, REPRODUCED, SUBMITTED, TIER
from leaderboards.results.records import STAGES, Record, Records, keys_of

FIELDS = (TIER, DIFFERENCE)


def joined(new: Record, old: Record | None, run: Records, published: Records) -> Record:
    """Return the cell of a run with the tier that it has beside a published one.

    A cell without a number never replaces one with a number. A submitted cell is reproduced where the run has executed
    all its nodes anew; not where the run evaluates the submitted set, or where its records are the published ones.

    Args:
        new: the cell of the run.
        old: the published cell with the same axes; None where there is none.
        run: the records of the run.
        published: the published records.
    """
    if old is None or not keys_of(new, "evaluate"):
        return old or new
    if keys_of(new, "evaluate") != keys_of(old, "evaluate"):
        return new  # it has another identity: nothing of the published number is in it
    if old.get(TIER) and new.get(TIER) != SUBMITTED and _is_anew(new, run, published):
        (key,) = keys_of(new, "evaluate")
        gap = run[key]["metrics"]["top1"] - published[key]["metrics"]["top1"]
        return {**new, TIER: REPRODUCED, DIFFERENCE: round(gap, 4)}
    tier = {name: old[name] for name in FIELDS if name in old}
    return {**{name: value for name, value in new.items() if name not in FIELDS}, **tier}


def _is_anew(cell: Record, run: Records, published: Records) -> bool:
    keys = [key for stage in STAGES for key in keys_of(cell, stage) if key in run and key in published]
    return all(run[key]["provenance"] != published[key]["provenance"] for key in keys)
