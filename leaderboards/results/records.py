"""From a suite's manifest and the records of its nodes to a table with one row per expected cell.

The engine writes ``leaderboards/SUITE/manifest.json``: every cell that the suite asks for, and the keys of the nodes
that it needs. A finished node has ``KEY/record.json``, a failed one ``KEY/error.json``; where both exist the record
holds. A cell is

* ``ok``       when its student has been evaluated,
* ``failed``   when its own distill, relabel or evaluate node failed,
* ``blocked``  when a node that it shares with others (teacher, prepare) failed,
* ``skipped``  when the engine said that it cannot run here,
* ``missing``  when it has simply not run yet.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from benchmark.errors import BenchmarkError, unknown
from benchmark.files import Folder, parse_object
from benchmark.record import cell_fault, fault

STAGES = ("teacher", "prepare", "distill", "relabel", "evaluate")
SHARED = ("teacher", "prepare")
IDENTITY = ["suite", "dataset", "ipc", "method", "protocol", "student", "draw", "seed"]
CELL_COLUMNS = [
    *IDENTITY,
    "status",
    "reason",
    "top1",
    "top5",
    "teacher_top1",
    "images_bytes",
    "labels_bytes",
    "teacher_seconds",
    "prepare_seconds",
    "distill_seconds",
    "relabel_seconds",
    "evaluate_seconds",
    "peak_memory_mb",
    "device",
    "precision",  # of its networks; the same identity gives other numbers in bfloat16 than in float32
    "evaluate_key",
    "base",  # the file in methods/; `method` is the row's name, which differs for variants
    "overrides",  # hyperparameters that the suite sets, as JSON; empty for what is no variant
    "hyperparameters",  # all hyperparameters that the set was made with, as JSON
]
INTEGERS = ["ipc", "draw", "seed", "images_bytes", "labels_bytes"]
CURVE_COLUMNS = [*IDENTITY[1:], "epoch", "loss"]
EVERY_IPC = 0  # the IPC of a method whose set is the same at every IPC, such as `full`

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Nodes:
    """What is known of the nodes of a suite, by key."""

    records: Mapping[str, Record]
    errors: Mapping[str, Record]


@dataclass(frozen=True)
class Stored:
    """What a store holds of a suite: its manifest's cells, and the records of their nodes."""

    folder: Folder
    suite: str
    title: str
    cells: tuple[Record, ...]
    nodes: Nodes

    def records(self, cell: Record, stage: str) -> list[Record]:
        """Return the records of a cell's nodes of a stage; [] as long as one is missing, for half a sum is no cost."""
        keys = keys_of(cell, stage)
        found = [self.nodes.records[key] for key in keys if key in self.nodes.records]
        return found if len(found) == len(keys) else []


def suites(root: str) -> list[str]:
    """Return the suites with a manifest below a store."""
    folder = Folder(root)
    found = folder.read(_manifest_name(suite) for suite in folder.folders("leaderboards"))
    return [name.split("/")[1] for name in found]


def read(root: str, suite: str) -> Stored:
    """Read a suite's manifest and the records of its nodes.

    Raises:
        BenchmarkError: no manifest, or one that cannot be understood.
    """
    folder = Folder(root)
    manifest = _manifest(folder, suite)
    cells = tuple(manifest["cells"])
    return Stored(folder, suite, str(manifest.get("title") or suite), cells, _nodes(folder, cells))


def cells_table(stored: Stored) -> pd.DataFrame:
    """Return one row per expected cell, datasets in the order of the manifest.

    Columns are `CELL_COLUMNS`; accuracies in percent, times in seconds, memory in 10**6 bytes. Times and bytes are sums
    over the nodes of a stage, empty as long as one of them is not done. Memory, device and precision are those of all
    stages but the teacher's, which is no part of a method's cost.

    Raises:
        BenchmarkError: a cell that cannot be understood.
    """
    try:
        rows = [{"suite": stored.suite, **_row(cell, stored)} for cell in stored.cells]
    except (KeyError, TypeError, AttributeError) as error:
        name = stored.folder.address(_manifest_name(stored.suite))
        raise BenchmarkError(f"{name}: a cell is malformed: {error!r}") from error
    frame = pd.DataFrame(rows, columns=CELL_COLUMNS).astype(dict.fromkeys(INTEGERS, "Int64"))
    frame = frame.drop_duplicates([*IDENTITY, "overrides"])
    keys = frame.assign(
        dataset=appearance(frame["dataset"]), protocol=appearance(frame["protocol"]), ipc=ipc_order(frame["ipc"])
    )
    return frame.loc[keys.sort_values([*IDENTITY, "overrides"]).index].reset_index(drop=True)


def curves_table(stored: Stored) -> pd.DataFrame:
    """Return the training loss of every student that was evaluated: `CURVE_COLUMNS`, a row per recorded epoch."""
    frames = []
    for cell in stored.cells:
        for record in stored.records(cell, "evaluate"):
            losses = record["metrics"].get("curve_loss") or []
            params = (record.get("identity") or {}).get("component", {}).get("params", {})
            epochs = params.get("schedule", {}).get("epochs", len(losses))
            axes = {name: cell[name] for name in IDENTITY[1:] if name != "method"}
            epoch = np.linspace(1, epochs, len(losses))  # the evaluator keeps evenly spread epochs, the last included
            frames.append(pd.DataFrame({**axes, "method": cell["method"], "epoch": epoch, "loss": losses}))
    filled = [frame for frame in frames if len(frame)]
    return pd.concat(filled, ignore_index=True)[CURVE_COLUMNS] if filled else pd.DataFrame(columns=CURVE_COLUMNS)


def appearance(names: pd.Series) -> pd.Series:
    """Return names as a sort key: in the order in which they first appear, which is the suite's."""
    return names.map({name: position for position, name in enumerate(names.unique())})


def ipc_order(ipc: pd.Series) -> pd.Series:
    """Return IPC as a sort key: ascending, what does not depend on IPC last."""
    return ipc.replace(EVERY_IPC, 2**31).astype("int64")


def rows_of(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a table as plain dictionaries."""
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


def _manifest_name(suite: str) -> str:
    return f"leaderboards/{suite}/manifest.json"


def _manifest(folder: Folder, suite: str) -> dict[str, Any]:
    name = _manifest_name(suite)
    found = folder.read([name])
    if name not in found:
        others = suites(folder.root)
        hint = f" ({unknown('suite', suite, others)})" if others else ""
        raise BenchmarkError(
            f"{folder.address(name)} is not there: suite '{suite}' has not been run into this store{hint}; "
            f"run `python -m benchmark run --suite {suite}` first"
        )
    manifest = _json(found[name])
    if not isinstance(manifest, dict) or not isinstance(manifest.get("cells"), list):
        raise BenchmarkError(f"{folder.address(name)} is damaged: run `python -m benchmark run --suite {suite}` again")
    if wrong := next(filter(None, map(cell_fault, manifest["cells"])), ""):
        raise BenchmarkError(f"{folder.address(name)}: a cell is malformed: {wrong}; the next run removes it")
    return manifest


def _nodes(folder: Folder, cells: Iterable[Record]) -> Nodes:
    """Read every record, and the errors of nodes that have none."""
    keys = dict.fromkeys(key for cell in cells for stage in (*STAGES, "measure") for key in keys_of(cell, stage))
    records, errors = {}, {}
    found = folder.read(f"{key}/record.json" for key in keys)
    for name, data in found.items():
        key = name.split("/")[0]
        record = parse_object(data)
        if record is None:
            errors[key] = {
                "message": f"{folder.address(name)} is damaged; the next run computes it anew",
                "corrupt": True,
            }
        elif wrong := fault(record, key):
            errors[key] = {"message": f"{folder.address(name)}: {wrong}", "corrupt": True}
        else:
            records[key] = record
    failures = folder.read(f"{key}/error.json" for key in keys if key not in records and key not in errors)
    for name, data in failures.items():
        error = _json(data)
        errors[name.split("/")[0]] = error if isinstance(error, dict) else {"message": "no word of why"}
    return Nodes(records, errors)


def _json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        return None


def keys_of(cell: Record, stage: str) -> list[str]:
    """Return the keys of a cell's nodes of a stage."""
    return (cell.get("nodes") or {}).get(stage) or []


def _row(cell: Record, stored: Stored) -> dict[str, Any]:
    status, reason = _status(cell, stored.nodes)
    done = {stage: stored.records(cell, stage) for stage in STAGES}
    own = [record for stage in STAGES[1:] for record in done[stage]]
    metrics = done["evaluate"][0].get("metrics", {}) if done["evaluate"] else {}
    teacher = done["teacher"][0].get("metrics", {}) if done["teacher"] else {}
    return {
        **{axis: cell[axis] for axis in ("dataset", "ipc", "protocol", "student", "draw", "seed")},
        "method": cell["method"],
        "status": status,
        "reason": reason,
        "top1": metrics.get("top1"),
        "top5": metrics.get("top5"),
        "teacher_top1": teacher.get("top1"),
        "images_bytes": _total(done["distill"], "bytes", "images"),
        "labels_bytes": _total(done["relabel"], "bytes", "labels"),
        "teacher_seconds": _total(done["teacher"], "seconds"),
        "prepare_seconds": _total(done["prepare"], "seconds"),
        "distill_seconds": _total(done["distill"], "seconds"),
        "relabel_seconds": _total(done["relabel"], "seconds"),
        "evaluate_seconds": _total(done["evaluate"], "seconds"),
        "peak_memory_mb": max((value for record in own if (value := _cost(record, "peak_memory_mb"))), default=None),
        **{name: joined(str(_cost(record, name) or "") for record in own) for name in ("device", "precision")},
        "evaluate_key": next(iter(keys_of(cell, "evaluate")), ""),
        "base": cell["base"],
        "overrides": _plain_json(cell.get("overrides")),
        "hyperparameters": _plain_json(_hyperparameters(done["distill"])),
    }


def _status(cell: Record, nodes: Nodes) -> tuple[str, str]:
    """Return a cell's status and the reason in words, "" for one that is ok."""
    evaluate = keys_of(cell, "evaluate")
    if evaluate and all(key in nodes.records for key in evaluate):
        return "ok", ""
    if cell.get("skipped"):
        return "skipped", _line(cell["skipped"])
    for stage in STAGES:
        for key in keys_of(cell, stage):
            if key in nodes.errors:
                status = "blocked" if stage in SHARED else "failed"
                return status, f"{stage}: {_line(nodes.errors[key].get('message') or 'no word of why')}"
    return "missing", "not run yet"


def _total(records: list[Record], *path: str) -> float | None:
    values = [value for record in records if (value := _cost(record, *path)) is not None]
    return sum(values) if values else None


def _cost(record: Record, *path: str) -> Any:
    value: Any = record.get("cost")
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _hyperparameters(distilled: list[Record]) -> Any:
    return distilled[0].get("identity", {}).get("component", {}).get("params") if distilled else None


def _plain_json(value: Any) -> str:
    return json.dumps(value, sort_keys=True) if value else ""


def joined(names: Iterable[str]) -> str:
    """Return the distinct names that are not empty, sorted, as one text."""
    return " + ".join(sorted({name for name in names if name}))


def _line(text: object) -> str:
    return " ".join(str(text).split())
