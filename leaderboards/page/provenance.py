"""Where every number of a page comes from: the records of its nodes, as plain values for JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pandas as pd

from benchmark.files import file_name
from leaderboards.results.axes import CELL, ROW, axis_values
from leaderboards.results.records import STAGES, Record, Stored, flat, keys_of
from leaderboards.results.text import ipc_text

KEYS = 4  # keys of a set's units that a page names; the record of the next stage names all


def provenance(stored: Stored, leaderboard: pd.DataFrame) -> dict[str, Any]:
    """Return where every number comes from.

    ``rows`` has the cells of every row of the leaderboard by its permalink. Cells refer to ``nodes`` by number, and
    nodes refer to long ``texts`` by number.
    """
    numbers: dict[tuple[str, ...], int] = {}  # the keys of a stage's nodes -> their number
    nodes: list[dict[str, Any]] = []
    texts: dict[str, int] = {}
    cells: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for cell in sorted(stored.cells, key=lambda cell: [str(cell[name]) for name in CELL]):
        stages = []
        for stage in STAGES:
            keys, records = tuple(keys_of(cell, stage)), stored.records(cell, stage)
            if records and keys not in numbers:
                numbers[keys] = len(nodes)
                nodes.append(_node(stage, keys, records, texts))
            stages += [numbers[keys]] if keys in numbers else []
        metrics = (stored.records(cell, "evaluate") or [{}])[0].get("metrics", {})
        axes = {axis: cell[axis] for axis in ("draw", "seed", "teacher")}
        facts = {**axes, "top1": metrics.get("top1"), "nodes": stages}
        cells.setdefault(axis_values(cell, ROW), []).append(facts)
    rows = zip(permalinks(leaderboard), leaderboard[ROW].itertuples(index=False, name=None), strict=True)
    return {"rows": {link: cells[axes] for link, axes in rows}, "nodes": nodes, "texts": list(texts)}


def permalinks(leaderboard: pd.DataFrame) -> list[str]:
    """Return a readable name for every row, which is the same on every page that shows the row."""
    counts = Counter[str]()
    names = []
    for axes in leaderboard[ROW].itertuples(index=False, name=None):
        texts = [ipc_text(value) if name == "ipc" else str(value) for name, value in zip(ROW, axes, strict=True)]
        name = file_name("-".join(["row", *texts]))
        counts[name] += 1
        names.append(name if counts[name] == 1 else f"{name}-{counts[name]}")
    return names


def _node(stage: str, keys: tuple[str, ...], records: Sequence[Record], texts: dict[str, int]) -> dict[str, Any]:
    """Return what is recorded of the nodes of a stage; a long text is stored once, in `texts`."""
    first = records[0]
    component = first.get("identity", {}).get("component", {})
    cost, history = first.get("cost", {}), first.get("provenance", {})
    versions = "  ".join(f"{name} {version}" for name, version in sorted(history.get("versions", {}).items()))
    hyperparameters = "\n".join(f"{name}: {value}" for name, value in flat(component.get("params", {})))
    name = f"{component.get('name', '')} (version {component.get('version', '?')})"
    return {
        "stage": stage,
        "component": name if component else "",
        "keys": list(keys[:KEYS]),
        "parts": len(keys),
        "device": cost.get("device", ""),
        "precision": cost.get("precision", ""),
        "seconds": _seconds(records),
        "commit": history.get("commit", ""),
        "finished": max(str(record.get("provenance", {}).get("finished", "")) for record in records),
        "versions": texts.setdefault(versions, len(texts)),
        "hyperparameters": texts.setdefault(hyperparameters, len(texts)),
    }


def _seconds(records: Sequence[Record]) -> float | str:
    """Return the seconds of all nodes, "" where a set was made elsewhere and its seconds are unknown."""
    seconds = [record.get("cost", {}).get("seconds") for record in records]
    return "" if None in seconds else round(sum(seconds), 2)
