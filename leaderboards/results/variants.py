"""Variants: which rows of a leaderboard are compared in an ablation, a series of one hyperparameter, or a pair.

A variant is a method whose overrides change its base's hyperparameters. Variants that change one number form a
*series*. All other variants, together with the method that they vary, form an *ablation*. A variant that changes
nothing but its start, its iterations (0: the start itself) and its learning rate is a method like any other. So is one
whose base is not in the suite. A series and an ablation also show the control, random real images.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable

import pandas as pd

from leaderboards.results.axes import BLOCK, STUDENT
from leaderboards.results.roles import CONTROL

OF_ITS_OWN = {"start", "iterations", "learning_rate"}  # a variant that changes no others is a method of its own
SERIES = 3  # different values, at least, that make a series
FAMILY = ["base", "dataset", "protocol", "student"]  # a method and its variants share these


def series(leaderboard: pd.DataFrame) -> dict[tuple[str, str], pd.DataFrame]:
    """Return the series of every base and hyperparameter, with the value of every row in a column ``value``.

    The base itself, as its recipe makes it, belongs to the series with the value of its recipe.
    """
    members = defaultdict[tuple[str, str], dict[int, float]](dict)  # row -> value
    for index, base, overrides in leaderboard[["base", "overrides"]].itertuples(name=None):
        if changed_number := _changed_number(overrides):
            name, value = changed_number
            members[base, name][index] = value
    by_name = {}
    for (base, name), values in members.items():
        unchanged = leaderboard[(leaderboard["base"] == base) & (leaderboard["overrides"] == "")]
        for index, hyperparameters in zip(unchanged.index, unchanged["hyperparameters"], strict=True):
            recipe_value = _object(hyperparameters).get(name)
            if isinstance(recipe_value, int | float):
                values[index] = float(recipe_value)
        if len(set(values.values())) >= SERIES:
            rows = leaderboard.loc[sorted(values)]
            by_name[base, name] = rows.assign(value=[values[index] for index in rows.index])
    return by_name


def contestants(leaderboard: pd.DataFrame) -> pd.DataFrame:
    """Return the rows without the variants of a series, because these are many and have a table of their own."""
    in_series = {index for rows in series(leaderboard).values() for index in rows.index[rows["overrides"] != ""]}
    return leaderboard.drop(index=list(in_series))


def main(leaderboard: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the main table: all methods without the variants that an ablation or a series compares."""
    rows = contestants(leaderboard)
    return rows[(rows["overrides"] == "") | ~_in_ablation(rows)]


def ablation(leaderboard: pd.DataFrame) -> pd.DataFrame:
    """Return the variants that are in no series, the methods that they vary, and the control."""
    rows = contestants(leaderboard)
    varied = _in_ablation(rows)
    in_place = _any(varied, rows, ["dataset", "protocol", "student"])
    return rows[varied | ((rows["role"] == CONTROL) & in_place)]


def control_of(rows: pd.DataFrame, leaderboard: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the control in the blocks of some rows."""
    control = leaderboard[leaderboard["role"] == CONTROL]
    return control[control.set_index(BLOCK).index.isin(rows.set_index(BLOCK).index)]


def pairs(leaderboard: pd.DataFrame, declared: Iterable[tuple[str, str]]) -> pd.DataFrame:
    """Return the rows of the pairs of methods that a suite declares; of a pair both methods must be in the leaderboard.

    Args:
        leaderboard: the leaderboard, or rows of it.
        declared: names of methods that differ in one idea, two by two.
    """
    methods = set(leaderboard["method"])
    paired_methods = {method for pair in declared if methods.issuperset(pair) for method in pair}
    return leaderboard[leaderboard["method"].isin(paired_methods)]


def ranked(rows: pd.DataFrame) -> list[str]:
    """Return the methods of some rows, the most accurate first.

    Methods are sorted by their mean lead over the mean of all methods with the same dataset, IPC and student, because
    not every method was run everywhere.
    """
    means = rows.groupby(STUDENT)["top1_mean"].transform("mean")
    lead = (rows["top1_mean"] - means).groupby(rows["method"]).mean()
    return [str(name) for name in lead.sort_values(ascending=False, kind="stable").index]


def _in_ablation(rows: pd.DataFrame) -> pd.Series:
    """Return which rows belong to a family that has a variant and at least one other method."""
    is_own = [text != "" and _object(text).keys() <= OF_ITS_OWN for text in rows["overrides"]]
    of_its_own = pd.Series(is_own, rows.index, dtype=bool)
    family = [rows[name] for name in FAMILY]
    several = rows["method"].where(~of_its_own).groupby(family).transform("nunique") > 1
    varied = (rows["overrides"] != "") & ~of_its_own
    return _any(varied, rows, FAMILY) & several & ~of_its_own


def _any(mask: pd.Series, rows: pd.DataFrame, columns: list[str]) -> pd.Series:
    """Return for every row whether a row with the same values in some columns is marked."""
    return mask.groupby([rows[name] for name in columns]).transform("any").astype(bool)


def _changed_number(overrides: str) -> tuple[str, float] | None:
    """Return the name and the value of the one number that some overrides change, or None if they do more."""
    changes = list(_object(overrides).items())
    if len(changes) != 1 or isinstance(changes[0][1], bool) or not isinstance(changes[0][1], int | float):
        return None
    return changes[0][0], float(changes[0][1])


def _object(text: str) -> dict[str, object]:
    """Return the JSON object in a text, {} where there is none."""
    value = json.loads(text) if text else {}
    return value if isinstance(value, dict) else {}
