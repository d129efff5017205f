"""The costs of every row by stage, and with which rows they may be compared.

The seconds of a stage are summed over its nodes and averaged over the cells of the row. What a method *needed* are the
teachers and preparations that the control (random real images under the same protocol) did not need: networks that
images are recovered from, pretraining, statistics. The first set costs ``distill_seconds + needed_seconds``, each
further set ``distill_seconds``. Amortised, a set costs ``distill + needed / SETS``: `SETS` is a convention, so the
number does not depend on what else a suite has. Seconds may be compared between rows of one device model whose nodes
had the machine to themselves.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from benchmark.record import EXTERNAL
from leaderboards.results.axes import ROW, axis_values
from leaderboards.results.cells import cost, joined, known_mean, params_of, total, total_cost
from leaderboards.results.records import SHARED, STAGES, Record, Stored, keys_of
from leaderboards.results.roles import CONTROL

COLUMNS = [
    *("suite", *ROW, "cells"),
    *(f"{stage}_seconds" for stage in STAGES),
    *("needed_seconds", "amortised_seconds", "amortised_over"),  # about what the control does not need
    *("total_seconds", "gpu_seconds", "peak_memory_mb", "images_forwarded"),  # shared stages amortised
    *("images_bytes", "labels_bytes", "teacher_bytes", "device", "exclusive", "comparable"),
    *("transport_cost", "barycenter_seconds"),  # what the solver of a barycenter reached and took
]
TEXTS = ["suite", *ROW, "device", "exclusive", "comparable"]
BESIDE = ["needed_seconds", "amortised_seconds"]  # the columns that the leaderboard shows too
PLACE = ["dataset", "protocol", "student"]  # where the control of a row stands
SETS = 10  # distilled sets over which shared stages are amortised
INTEGERS = ["cells", "amortised_over", "images_forwarded", "images_bytes", "labels_bytes", "teacher_bytes"]


def table(stored: Stored, board: pd.DataFrame) -> pd.DataFrame:
    """Return `COLUMNS` for the rows of a leaderboard that have a finished cell, in the order of the leaderboard.

    A total is the sum of the row's own stages and of the shared ones, these divided by `SETS`. A number that
    is not recorded is empty, never 0. The seconds of a node that went on after an interruption are empty too. Peak
    memory, device and ``exclusive`` are those of all stages but the teacher's.
    """
    of_control = _of_control(stored.cells)
    rows = defaultdict[tuple[Any, ...], list[dict[str, Any]]](list)
    for cell in stored.cells:
        records = {stage: stored.records(cell, stage) for stage in STAGES}
        if records["evaluate"]:
            control_keys = of_control[axis_values(cell, PLACE)]
            row_costs = _costs(records, control_keys)
            unknown = {"needed_seconds": None} if cell["base"] == EXTERNAL else {}  # what others computed for their set
            rows[axis_values(cell, ROW)].append(row_costs | unknown)
    order = [axes for axes in board[ROW].itertuples(index=False, name=None) if axes in rows]
    lines = [
        {"suite": stored.suite, **dict(zip(ROW, axes, strict=True)), "cells": len(rows[axes]), **_row(rows[axes])}
        for axes in order
    ]
    frame = pd.DataFrame(lines, columns=COLUMNS)
    numbers = {name: pd.to_numeric(frame[name]) for name in COLUMNS if name not in TEXTS}
    counts = {name: numbers[name].round().astype("Int64") for name in INTEGERS}
    return frame.assign(**{**numbers, **counts})


def beside(board: pd.DataFrame, costs: pd.DataFrame) -> pd.DataFrame:
    """Return a leaderboard with the columns `BESIDE` of a `table`."""
    return board.merge(costs[[*ROW, *BESIDE]], on=ROW, how="left")


def _of_control(cells: Iterable[Record]) -> dict[tuple[Any, ...], set[str]]:
    """Return the keys of the shared nodes that the control uses, by `PLACE`."""
    keys = defaultdict[tuple[Any, ...], set[str]](set)
    for cell in cells:
        if cell["role"] == CONTROL:
            keys[axis_values(cell, PLACE)].update(key for stage in SHARED for key in keys_of(cell, stage))
    return keys


def _costs(stages: Mapping[str, Sequence[Record]], of_control: Collection[str]) -> dict[str, Any]:
    """Return the costs of one cell.

    Args:
        stages: the records of the cell by stage; [] for a stage that is not finished.
        of_control: keys of the shared nodes that the control uses too.
    """
    records = [record for stage in STAGES for record in stages[stage]]
    node_records = [record for stage in STAGES[1:] for record in stages[stage]]
    by_stage = {f"{stage}_seconds": total_cost(stages[stage], "seconds") for stage in STAGES}
    own_shared = [record for stage in SHARED for record in stages[stage] if record["key"] not in of_control]
    seconds = total_cost(own_shared, "seconds") if own_shared else 0.0
    peaks = [cost(record, "peak_memory_mb") for record in node_records]
    return {
        **by_stage,
        "needed_seconds": seconds,
        "amortised_seconds": total([by_stage["distill_seconds"], None if seconds is None else seconds / SETS]),
        "amortised_over": SETS,
        "total_seconds": total([_amortised(record, "seconds") for record in records]),
        "gpu_seconds": total([_gpu_seconds(record) for record in records]),
        "peak_memory_mb": max((peak for peak in peaks if peak is not None), default=None),
        "images_forwarded": total([_amortised(record, "images_forwarded") for record in records]),
        "images_bytes": total_cost(stages["distill"], "bytes", "images"),
        "labels_bytes": total_cost(stages["relabel"], "bytes", "labels"),
        "teacher_bytes": total([_file_bytes(record) for record in stages["teacher"]]),
        "device": joined(str(record["cost"].get("device") or "") for record in node_records),
        "exclusive": _exclusive(node_records),
        "resumed": any("resumed" in record["cost"] for record in records),
        "transport_cost": known_mean(_of_weights(record, "metrics", "transport_cost") for record in stages["distill"]),
        "barycenter_seconds": total(
            [_of_weights(record, "cost", "parts", "barycenter_") for record in stages["distill"]]
        ),
    }


def _row(cells: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the means over the cells of a row, and with which rows its timings may be compared."""
    words = {name: joined(cell[name] for cell in cells) for name in cells[0] if name in TEXTS}
    words["exclusive"] = _worst(cell["exclusive"] for cell in cells)
    means = {name: known_mean(cell[name] for cell in cells) for name in cells[0] if name not in words}
    resumed = any(cell["resumed"] for cell in cells)
    return {**means, **words, "comparable": _comparable(words["device"], words["exclusive"], resumed=resumed)}


def _comparable(device: str, exclusive: str, *, resumed: bool) -> str:
    """Return a text: with which rows the timings of a row may be compared, or why there are none."""
    if " + " in device:
        return "no: more than one device"
    if resumed:
        return "no: a node went on after an interruption; its time is not known"
    reasons = {
        "no": "no: other work ran on the machine",
        "": "unknown: the records do not say whether other work ran on the machine",
    }
    return reasons.get(exclusive, "with rows of the same device")


def _exclusive(records: Sequence[Record]) -> str:
    """Return "yes" if no other work ran beside any node, "no" if some ran beside one, "" if that is not recorded."""
    words = {True: "yes", False: "no"}
    return _worst(words.get(record["cost"].get("exclusive"), "") for record in records)


def _worst(words: Iterable[str]) -> str:
    different = set(words)
    return "no" if "no" in different else "" if "" in different else "yes"


def _gpu_seconds(record: Record) -> float | None:
    gpus, seconds = record["cost"].get("gpus"), _amortised(record, "seconds")
    return None if gpus is None or seconds is None else gpus * seconds


def _amortised(record: Record, name: str) -> float | None:
    """Return a cost of a node, that of a shared one divided by `SETS`; None where it is not recorded."""
    value = cost(record, name)
    return None if value is None else value * (1 / SETS if record["stage"] in SHARED else 1.0)


def _of_weights(record: Record, part: str, name: str, prefix: str = "") -> Any:
    """Return the number that a record has for the weights of its method (``uniform``, ``learned``), or None."""
    return (record.get(part, {}).get(name) or {}).get(f"{prefix}{params_of(record).get('weights')}")


def _file_bytes(record: Record) -> int | None:
    """Return the number of bytes of a node's files, None where they are not recorded."""
    files = record.get("files")
    return sum(file["bytes"] for file in files.values()) if files else None
