"""The manifest of a suite in a store: its cells, and those cells of earlier runs that still belong beside them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmark.identity import canonical
from benchmark.plan.graph import Plan, Planner
from benchmark.plan.suite import Suite
from benchmark.record import CELL_AXES, ROW_AXES, SET_AXES, cell_fault, keys_of

OTHER_SUITE = "are not in the file of the suite, which has changed"
OTHER_KEY = "have another key now: their dataset, protocol or method has changed"
OTHER_SET = "belong to another set of the same name; give each set a --method-name of its own"
NO_PLAN = "need a file that is not here, as of a method; name its folder by --extra"


def merged(
    plans: Sequence[Plan], earlier: Mapping[str, Any], planner: Planner
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return one manifest for several plans of a suite and the manifest that an earlier run wrote.

    Cells and columns of a later plan replace equal ones of an earlier plan. Of the earlier manifest stay the names of
    classes, the keys of cells that only another machine can plan, and cells that no plan has, as far as they would be
    measured in the same way now; see `_why_left_out`. An earlier manifest of another version of the suite is ignored.

    Args:
        plans: first that of the whole suite.
        earlier: {} for none.
        planner: plans the cells of the earlier manifest again.

    Returns:
        The manifest, and the reasons why cells of the earlier one are left out, by their axes.
    """
    manifests, suite = [plan.manifest() for plan in plans], plans[0].suite
    same_version = earlier.get("version") == suite.version
    same_suite = same_version and earlier.get("content") == manifests[0]["content"]
    earlier_cells = {_axes(cell): cell for cell in _sound_cells(earlier)}
    cells = _planned_cells(plans, manifests, earlier_cells if same_version else {})
    replaced = _replaced(cells, earlier_cells)
    reasons = {
        axes: _why_left_out(cell, suite, planner, is_replaced=axes in replaced) if same_suite else OTHER_SUITE
        for axes, cell in earlier_cells.items()
        if axes not in cells
    }
    kept_cells = [earlier_cells[axes] for axes, reason in reasons.items() if not reason]
    columns = [earlier.get("columns", {}) if kept_cells else {}, *(manifest["columns"] for manifest in manifests)]
    class_names = [earlier.get("class_names", {}) if same_version else {}, *(each["class_names"] for each in manifests)]
    return {
        **manifests[0],
        "columns": {stage: _union(each.get(stage, {}) for each in columns) for stage in manifests[0]["columns"]},
        "class_names": _union(class_names),
        "cells": [*cells.values(), *kept_cells],
    }, {axes: reason for axes, reason in reasons.items() if reason}


def _planned_cells(
    plans: Sequence[Plan], manifests: Sequence[Mapping[str, Any]], earlier_cells: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """Return the cells of some plans by axes; those that only another machine can plan have the earlier keys."""
    cells = {}
    for plan, manifest in zip(plans, manifests, strict=True):
        for planned, cell in zip(plan.cells, manifest["cells"], strict=True):
            axes = _axes(cell)
            nodes = earlier_cells.get(axes, {}).get("nodes", {}) if planned.elsewhere else cell["nodes"]
            cells[axes] = {**cell, "nodes": nodes}
    return cells


def _replaced(cells: Mapping[str, Any], earlier_cells: Mapping[str, Any]) -> set[str]:
    """Return the axes of earlier cells whose name now means another method version or another set."""
    sets = {_axes(cell, SET_AXES): keys for cell in cells.values() if (keys := keys_of(cell, "distill"))}
    changed_rows = {
        _axes(cell, ROW_AXES)
        for axes, cell in cells.items()
        if axes in earlier_cells and _evaluation(earlier_cells[axes]) not in ([], _evaluation(cell))
    }
    return {
        axes
        for axes, cell in earlier_cells.items()
        if _axes(cell, ROW_AXES) in changed_rows
        or sets.get(_axes(cell, SET_AXES)) not in (None, keys_of(cell, "distill"))
    }


def stale_cells(plan: Plan, manifest: Mapping[str, Any], planner: Planner) -> list[dict[str, Any]]:
    """Return the cells of a manifest that have another evaluation key now, or are left out; all for another version.

    Args:
        plan: the plan of the whole suite.
        manifest: the manifest that an earlier run wrote.
        planner: has made the plan.
    """
    same_version = manifest.get("version") == plan.suite.version
    cells = merged([plan], manifest, planner)[0]["cells"] if same_version else []
    keys = {_axes(cell): _evaluation(cell) for cell in cells}
    return [cell for cell in manifest["cells"] if keys.get(_axes(cell)) != _evaluation(cell)]


def left_out_line(reasons: Mapping[str, str]) -> str:
    """Return how many cells of earlier runs are left out of a manifest, and why; "" for none.

    Args:
        reasons: the reasons, as `merged` returns them.
    """
    parts = "; ".join(f"{count} {reason}" for reason, count in Counter(reasons.values()).items())
    remedy = "their results stay in the store, and a run with their options adds them again"
    return f"cells of earlier runs that tables leave out: {parts} ({remedy})" if reasons else ""


def _why_left_out(cell: Mapping[str, Any], suite: Suite, planner: Planner, *, is_replaced: bool) -> str:
    """Return why a cell of an earlier run that no plan has is left out, "" where it stays.

    It stays if it has the same evaluation key when it is planned now, or if only another machine can tell; but not if
    its name is taken.

    Args:
        cell: a cell of the earlier manifest.
        suite: says which cells are excluded.
        planner: plans the cell again.
        is_replaced: whether another version of its method, or another set, has taken its name.
    """
    planned = planner.plan_again(cell, suite)
    if planned is None:
        return NO_PLAN
    same = planned.elsewhere or _evaluation(cell) in ([], list(planned.nodes.get("evaluate", ())))
    if not same:
        return OTHER_KEY
    return OTHER_SET if is_replaced else ""


def _sound_cells(manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    cells = manifest.get("cells")
    return [cell for cell in cells if not cell_fault(cell)] if isinstance(cells, list) else []


def _axes(cell: Mapping[str, Any], names: Sequence[str] = CELL_AXES) -> str:
    """Return what tells a cell from the other cells of a suite, or a row from the other rows."""
    return canonical([cell[name] for name in names])


def _evaluation(cell: Mapping[str, Any]) -> list[str]:
    """Return the keys of a cell's evaluation, on which all hangs that can change its numbers; [] for none."""
    return list(keys_of(cell, "evaluate"))


def _union(mappings: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    return {name: value for mapping in mappings for name, value in mapping.items()}
