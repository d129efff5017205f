"""The columns that evaluators and measures declare: which numbers they return, and how tables and plots show these.

The engine writes the columns into the manifest of a suite, because the packages that declare them need torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from benchmark.columns import Column


def with_kept(columns: Iterable[Column]) -> list[Column]:
    """Return columns with `Column.kept` behind every column that is a part of another."""
    return [one for column in columns for one in ((column, column.kept) if column.part_of else (column,))]


IN_LEADERBOARD = ("top1", "top5")  # columns that the leaderboard itself has

Columns = Mapping[str, Mapping[str, tuple[Column, ...]]]  # columns by stage (evaluate, measure) and component


def parse_columns(columns: Mapping[str, Mapping[str, Iterable[Mapping[str, Any]]]]) -> Columns:
    """Return the columns of a manifest.

    Raises:
        TypeError: a column has an unknown field, or lacks its name or heading.
    """
    return {
        stage: {name: tuple(Column(**column) for column in declared) for name, declared in components.items()}
        for stage, components in columns.items()
    }


def merged_columns(earlier: Columns, later: Columns) -> Columns:
    """Return the columns of two manifests of one suite; those of the later one where both have a component."""
    return {stage: {**earlier.get(stage, {}), **later.get(stage, {})} for stage in dict.fromkeys([*earlier, *later])}


def declared_columns(columns: Columns, stage: str) -> list[Column]:
    """Return the columns of all components of a stage, each name once, in the order of the manifest."""
    by_name: dict[str, Column] = {}
    for declared in columns.get(stage, {}).values():
        for column in declared:
            by_name.setdefault(column.name, column)
    return list(by_name.values())
