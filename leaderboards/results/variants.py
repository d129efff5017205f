"""Which rows of a leaderboard belong together: contestants, the parts of an ablation, the values of one hyperparameter.

A suite names a variant of a method by what it overrides (``overrides``). Variants that differ in one number form a
*series*; all others, with the method that they vary, an *ablation*. A variant that stands for its method alone, such as
one cut to what a CPU affords, is a contestant like any other. Both kinds are read beside random real images.
"""

from __future__ import annotations

import json
from collections import defaultdict

import pandas as pd

from leaderboards.results.records import rows_of
from leaderboards.results.standings import RANDOM

DISTANCES = {  # rows that differ in the distance between features and nothing else that their name says
    "wmdd": "mmd",
    "wasserstein": "mmd",
    "wasserstein+bn": "mmd+bn",
    "wasserstein+pcbn": "mmd+pcbn",
    "wasserstein+none": "mmd+none",
}
SERIES = 3  # values from which on a series is one


def series(leaderboard: pd.DataFrame) -> dict[tuple[str, str], pd.DataFrame]:
    """Return the rows of every (method, hyperparameter) that was tried at three values or more.

    The rows have a column ``value``; the method itself joins with the value that its recipe has.
    """
    members = defaultdict[tuple[str, str], dict[int, float]](dict)
    for index, row in zip(leaderboard.index, rows_of(leaderboard), strict=True):
        changed = _number(row["overrides"])
        if changed:
            members[row["base"], changed[0]][index] = changed[1]
    found = {}
    for (base, parameter), values in members.items():
        own = leaderboard[(leaderboard["base"] == base) & (leaderboard["overrides"] == "")]
        for index, hyperparameters in zip(own.index, own["hyperparameters"], strict=True):
            value = _plain(hyperparameters).get(parameter)
            if isinstance(value, int | float):
                values[index] = float(value)
        if len(set(values.values())) >= SERIES:
            rows = leaderboard.loc[sorted(values)]
            found[base, parameter] = rows.assign(value=[values[index] for index in rows.index])
    return found


def contestants(leaderboard: pd.DataFrame) -> pd.DataFrame:
    """Return the rows without the members of a series, which would crowd out all else."""
    crowd = {index for rows in series(leaderboard).values() for index in rows.index[rows["overrides"] != ""]}
    return leaderboard.drop(index=list(crowd))


def plain(leaderboard: pd.DataFrame) -> pd.DataFrame:
    """Return the methods as their recipes make them, without the variants that are compared with one another."""
    rows = contestants(leaderboard)
    return rows[(rows["overrides"] == "") | ~_varied(rows)]


def ablation(leaderboard: pd.DataFrame) -> pd.DataFrame:
    """Return the variants that are no member of a series, with the methods that they vary and the control."""
    rows = contestants(leaderboard)
    varied = _varied(rows)
    return rows[varied | ((rows["base"] == RANDOM) & _any(varied, rows, ["dataset", "protocol", "student"]))]


def control_of(rows: pd.DataFrame, leaderboard: pd.DataFrame) -> pd.DataFrame:
    """Return the control's rows of a leaderboard at the dataset, IPC, protocol and student of some of its rows."""
    axes = ["dataset", "ipc", "protocol", "student"]
    control = leaderboard[leaderboard["base"] == RANDOM]
    return control[control.set_index(axes).index.isin(rows.set_index(axes).index)]


def distances(leaderboard: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of those pairs of `DISTANCES` of which both sides are listed."""
    listed = set(leaderboard["method"])
    sides = {side for pair in DISTANCES.items() if listed.issuperset(pair) for side in pair}
    return leaderboard[leaderboard["method"].isin(sides)]


def ranked(rows: pd.DataFrame) -> list[str]:
    """Return the methods of some rows, the most accurate first.

    What counts is a method's mean lead over the mean of its competitors at the same dataset, IPC and student, for not
    every method was run everywhere.
    """
    competitors = rows.groupby(["dataset", "ipc", "student"])["top1_mean"]
    lead = (rows["top1_mean"] - competitors.transform("mean")).groupby(rows["method"]).mean()
    return [str(name) for name in lead.sort_values(ascending=False, kind="stable").index]


def _varied(rows: pd.DataFrame) -> pd.Series:
    """Return which rows are a variant, or a method of which one is listed, and have another to be compared with."""
    where = ["base", "dataset", "protocol", "student"]
    several = rows.groupby(where)["method"].transform("nunique") > 1
    return _any(rows["overrides"] != "", rows, where) & several


def _any(marked: pd.Series, rows: pd.DataFrame, where: list[str]) -> pd.Series:
    """Return of every row whether any that shares its values of some columns is marked."""
    return marked.groupby([rows[name] for name in where]).transform("any").astype(bool)


def _number(overrides: str) -> tuple[str, float] | None:
    """Return the name and the value of the one number that a variant changes, or None."""
    changed = list(_plain(overrides).items())
    if len(changed) != 1 or isinstance(changed[0][1], bool) or not isinstance(changed[0][1], int | float):
        return None
    return changed[0][0], float(changed[0][1])


def _plain(text: str) -> dict[str, object]:
    found = json.loads(text) if text else {}
    return found if isinstance(found, dict) else {}
