"""The cells of a suite: a table with one row per cell and its status, and the training losses of the students.

The status of a cell is

* ``ok``       its student was evaluated;
* ``failed``   its distill, relabel or evaluate node failed;
* ``blocked``  a node that it shares with other cells (teacher, prepare) failed;
* ``skipped``  it cannot run on this machine; the manifest gives the reason;
* ``missing``  it has not run yet.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np
import pandas as pd

from leaderboards.results import outside
from leaderboards.results.axes import CELL, EVERY_IPC
from leaderboards.results.records import NO_MESSAGE, SHARED, STAGES, Nodes, Record, Stored, keys_of

CELL_COLUMNS = [
    *("suite", *CELL),
    "status",
    "reason",
    "top1",
    "top5",
    "teacher_top1",
    "images_bytes",
    "labels_bytes",
    *(f"{stage}_seconds" for stage in STAGES),
    "peak_memory_mb",
    "device",
    "precision",  # the precision of the networks; an identity may give other numbers in bfloat16 than in float32
    "evaluate_key",
    "teacher_keys",  # the teachers of a finished cell; what differs between the cells of a row are other teachers
    "set_sha256",  # checksums of the images of a finished cell, one per unit; equal sets have equal ones
    "role",  # method, control, floor or bound
    "base",  # the file in methods/ that the method uses
    "overrides",  # hyperparameters that the suite sets, as JSON; empty where the method is no variant
    "hyperparameters",  # all hyperparameters of the method, as JSON
    "images_png_bytes",  # the bytes of the images as PNG; empty where they have more than 8 bits, or records are older
    "online_teacher_bytes",  # weights that have to be sent because the teacher labels while the student trains
    "total_bytes",  # what has to be sent: images (as PNG where that is recorded), labels, weights
    "student_steps",  # optimiser steps of the student
    "cut",  # what a method has less than those that it is compared with, and why; "" for nothing
]
TIER = "tier"  # the tier of a published cell; the column is there where a cell has one
SUBMITTED, REPRODUCED = "submitted", "reproduced"  # run by its authors, with verified records; run again here since
DIFFERENCE = "reproduced_difference"  # top-1 of a reproduced cell: run again here minus submitted, in points
OUTSIDE = "outside"  # the files outside of the benchmark that a cell needs; the column is there where a cell has some
MARKS = (OUTSIDE, TIER, DIFFERENCE)  # columns that are there where a cell has a value
BYTES = ["images_bytes", "images_png_bytes", "labels_bytes", "online_teacher_bytes", "total_bytes"]
INTEGERS = ["ipc", "teacher", "draw", "seed", "student_steps", *BYTES]
CURVE_COLUMNS = [*CELL, "epoch", "loss"]


def cells_table(stored: Stored) -> pd.DataFrame:
    """Return one row per cell, datasets in the order of the manifest.

    Columns are `CELL_COLUMNS`, and those of `MARKS` where a cell has a value; accuracies in percent, times in seconds,
    memory in 10**6 bytes. Times and bytes are sums over the nodes of a stage, empty until all of them are done. Memory,
    device and precision are those of all stages but the teacher's, because a teacher is no part of a method's cost.
    """
    file_versions = outside.versions(stored.nodes.records.values())
    rows = [{"suite": stored.suite, **_row(cell, stored), **_files(cell, file_versions)} for cell in stored.cells]
    columns = [*CELL_COLUMNS, *(name for name in MARKS if any(row[name] not in ("", None) for row in rows))]
    frame = pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(INTEGERS, "Int64"))
    return in_order(frame.drop_duplicates([*CELL, "overrides"]), [*CELL, "overrides"])


def curves_table(stored: Stored) -> pd.DataFrame:
    """Return the training losses of all evaluated students: `CURVE_COLUMNS`, a row per recorded epoch."""
    frames = []
    for cell in stored.cells:
        for record in stored.records(cell, "evaluate"):
            losses = record["metrics"].get("curve_loss") or []
            epochs = params_of(record).get("schedule", {}).get("epochs", len(losses))
            axes = {name: cell[name] for name in CELL}
            epoch = np.linspace(1, epochs, len(losses))  # an evaluator records evenly spaced epochs up to the last
            frames.append(pd.DataFrame({**axes, "epoch": epoch, "loss": losses}))
    frames = [frame for frame in frames if len(frame)]
    return pd.concat(frames, ignore_index=True)[CURVE_COLUMNS] if frames else pd.DataFrame(columns=CURVE_COLUMNS)


def in_order(rows: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """Return rows sorted by some columns: datasets and protocols as they first appear, `EVERY_IPC` as the last IPC."""

    def key(column: pd.Series) -> pd.Series:
        if column.name in ("dataset", "protocol"):
            return column.map({name: position for position, name in enumerate(column.unique())})
        return column.replace(EVERY_IPC, 2**31).astype("int64") if column.name == "ipc" else column

    return rows.sort_values(columns, key=key, ignore_index=True)


def _row(cell: Record, stored: Stored) -> dict[str, Any]:
    status, reason = _status(cell, stored.nodes)
    records = {stage: stored.records(cell, stage) for stage in STAGES}
    nodes = [record for stage in STAGES[1:] for record in records[stage]]
    metrics = records["evaluate"][0].get("metrics", {}) if records["evaluate"] else {}
    teacher = records["teacher"][0].get("metrics", {}) if records["teacher"] else {}
    return {
        **{axis: cell[axis] for axis in CELL},
        "status": status,
        "reason": reason,
        "top1": metrics.get("top1"),
        "top5": metrics.get("top5"),
        "teacher_top1": teacher.get("top1"),
        "images_bytes": total_cost(records["distill"], "bytes", "images"),
        "labels_bytes": total_cost(records["relabel"], "bytes", "labels"),
        **{f"{stage}_seconds": total_cost(records[stage], "seconds") for stage in STAGES},
        "peak_memory_mb": max((value for record in nodes if (value := cost(record, "peak_memory_mb"))), default=None),
        **{name: joined(str(cost(record, name) or "") for record in nodes) for name in ("device", "precision")},
        "evaluate_key": next(iter(keys_of(cell, "evaluate")), ""),
        "teacher_keys": " ".join(keys_of(cell, "teacher")) if status == "ok" else "",
        "set_sha256": " ".join(_checksums(records["distill"])) if status == "ok" else "",
        "role": cell["role"],
        "base": cell["base"],
        "overrides": _json_text(cell["overrides"]),
        **_sent(records),
        "student_steps": _steps(records["evaluate"], records["distill"]),
        "cut": cell.get("cut") or "",
        "hyperparameters": _json_text(params_of(records["distill"][0]) if records["distill"] else None),
        TIER: cell.get(TIER) or "",
        DIFFERENCE: cell.get(DIFFERENCE),
    }


def _files(cell: Record, file_versions: Mapping[str, Counter[str]]) -> dict[str, str]:
    """Return the column `OUTSIDE`: the files of a cell; behind each that changed between records, of which version."""
    counts = {name: len(file_versions.get(name, ())) for name in cell.get(OUTSIDE) or ()}
    return {OUTSIDE: ", ".join(f"{name} ({count} versions)" if count > 1 else name for name, count in counts.items())}


def _status(cell: Record, nodes: Nodes) -> tuple[str, str]:
    """Return the status of a cell and its reason: of a cell that is ``ok``, which measure failed, if one did."""
    evaluate = keys_of(cell, "evaluate")
    if evaluate and all(key in nodes.records for key in evaluate):
        failures = (_failure("measure", nodes.errors[key]) for key in keys_of(cell, "measure") if key in nodes.errors)
        return "ok", next(failures, "")
    if cell.get("skipped"):
        return "skipped", _line(cell["skipped"])
    for stage in STAGES:
        for key in keys_of(cell, stage):
            if key in nodes.errors:
                status = "blocked" if stage in SHARED else "failed"
                return status, _failure(stage, nodes.errors[key])
    return "missing", "not run yet"


def _failure(stage: str, error: Record) -> str:
    return f"{stage}: {_line(error.get('message') or NO_MESSAGE)}"


def total(values: Sequence[float | None]) -> float | None:
    """Return the sum of some values, None where one is unknown or there are no values."""
    numbers = [value for value in values if value is not None]
    return sum(numbers) if numbers and len(numbers) == len(values) else None


def known_mean(values: Iterable[float | None]) -> float | None:
    """Return the mean of the known ones of some values, None where none is known."""
    numbers = [value for value in values if value is not None]
    return fmean(numbers) if numbers else None


def total_cost(records: Sequence[Record], *path: str) -> float | None:
    """Return the sum of a cost over some records, None where one does not say; ``path`` as in `cost`."""
    return total([cost(record, *path) for record in records])


def cost(record: Record, *path: str) -> Any:
    """Return a cost of a record by its names, as in ``"bytes", "images"``; None where it is not recorded."""
    value: Any = record.get("cost")
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _checksums(distilled: list[Record]) -> Iterator[str]:
    return (facts["sha256"][:16] for record in distilled for facts in record.get("files", {}).values())


def params_of(record: Record) -> Mapping[str, Any]:
    """Return the hyperparameters of a node's component; {} where they are not recorded."""
    params: Mapping[str, Any] = (record.get("identity") or {}).get("component", {}).get("params") or {}
    return params


def _sent(records: Mapping[str, list[Record]]) -> dict[str, float | None]:
    """Return the bytes of images as PNG, of a teacher that labels online, and of all that a student needs."""
    raw, png = (total_cost(records["distill"], "bytes", name) for name in ("images", "images_png"))
    labels, teacher = total_cost(records["relabel"], "bytes", "labels"), 0.0
    for record in records["relabel"]:
        if params_of(record).get("storage") == "online":
            teacher += cost(record, "bytes", "teacher_if_online") or 0
    images = raw if png is None else png
    sent = total([images, labels, teacher])
    return {"images_png_bytes": png, "online_teacher_bytes": teacher, "total_bytes": sent}


def _steps(evaluated: list[Record], distilled: list[Record]) -> int | None:
    """Return the optimiser steps of a student; None where they are not known."""
    if not evaluated:
        return None
    metrics = evaluated[0].get("metrics", {})
    if "student_steps" in metrics:
        return int(metrics["student_steps"])
    # older records have none: epochs times batches
    schedule = params_of(evaluated[0]).get("schedule", {})
    images = metrics.get("images_shown") or sum(record.get("metrics", {}).get("images", 0) for record in distilled)
    if not images or not {"epochs", "batch_size"} <= schedule.keys():
        return None
    return int(schedule["epochs"]) * math.ceil(images / schedule["batch_size"])


def _json_text(value: Any) -> str:
    return json.dumps(value, sort_keys=True) if value else ""


def joined(names: Iterable[str]) -> str:
    """Return the distinct non-empty names in one text, sorted: ``A + B``."""
    return " + ".join(sorted({name for name in names if name}))


def _line(text: object) -> str:
    return " ".join(str(text).split())
