"""From cells to the leaderboard, and from either to CSV."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pandas as pd

from leaderboards.results.records import EVERY_IPC, appearance, ipc_order, joined, rows_of
from leaderboards.results.references import Reference, beside

ROW = ["suite", "dataset", "ipc", "method", "protocol", "student"]  # what makes a row of the leaderboard
LEADERBOARD_COLUMNS = [
    *ROW,
    "status",
    "reason",
    "top1_mean",
    "top1_std",
    "top5_mean",
    "seeds",
    "reference_top1",
    "reference_source",
    "images_bytes",
    "labels_bytes",
    "distill_seconds",
    "relabel_seconds",
    "evaluate_seconds",
    "peak_memory_mb",
    "device",
    "precision",
    "cells",
    "teacher_top1",
    "teacher_seconds",
    "prepare_seconds",
    "base",
    "overrides",
    "hyperparameters",
]
STATUSES = ("failed", "blocked", "missing", "skipped")  # the gravest first
WORDS = {"failed": "failed", "blocked": "blocked", "missing": "not run", "skipped": "skipped"}  # in place of a number
MEANS = [
    "images_bytes",
    "labels_bytes",
    "teacher_seconds",
    "prepare_seconds",
    "distill_seconds",
    "relabel_seconds",
    "evaluate_seconds",
    "peak_memory_mb",
    "teacher_top1",
]
DIGITS = {
    **dict.fromkeys(("top1_mean", "top1_std", "top5_mean", "teacher_top1", "ci_low", "ci_high"), 2),
    "peak_memory_mb": 1,
}
INTEGERS = ["seeds", "cells", "images_bytes", "labels_bytes"]


@dataclass(frozen=True)
class Report:
    """What a suite's records say.

    Attributes:
        suite: its name.
        folder: where the files lie, as the user named the store.
        paths: the files that were written.
        cells: one row per expected cell, whatever became of it (`records.CELL_COLUMNS`).
        leaderboard: one row per dataset, IPC, method, protocol and student (`tables.LEADERBOARD_COLUMNS`, then
            `standings.COLUMNS`).
        compared: every pair of rows that competes (`ranking.COMPARISON_COLUMNS`).
        notes: what could not be drawn, and why.
    """

    suite: str
    folder: str
    paths: tuple[str, ...]
    cells: pd.DataFrame
    leaderboard: pd.DataFrame
    compared: pd.DataFrame
    notes: tuple[str, ...] = ()


def leaderboard(cells: pd.DataFrame, references: Sequence[Reference]) -> pd.DataFrame:
    """Return one row per (dataset, IPC, method, protocol, student) with the columns `LEADERBOARD_COLUMNS`.

    Accuracies are means over the cells (draws and seeds) that are ok, with the sample standard deviation, empty for a
    single cell; ``seeds`` counts them and ``cells`` those that were expected. Costs are means over cells. Rows keep the
    order of the datasets, then IPC, protocol, student and accuracy; what was skipped comes last.
    """
    if cells.empty:
        return pd.DataFrame(columns=LEADERBOARD_COLUMNS)
    numbers = cells.astype(dict.fromkeys(["top1", "top5", *MEANS], "float64"))
    groups = numbers.groupby(ROW, sort=False)
    table = groups.agg(
        top1_mean=("top1", "mean"),
        top1_std=("top1", "std"),
        top5_mean=("top5", "mean"),
        seeds=("status", lambda statuses: (statuses == "ok").sum()),
        cells=("status", "size"),
        **{name: (name, joined) for name in ("device", "precision")},
        **{
            name: (name, "max") for name in ("base", "overrides", "hyperparameters")
        },  # "" as long as nothing is recorded
        **{name: (name, "mean") for name in MEANS},
    ).reset_index()
    verdicts = [_verdict(list(group["status"]), list(group["reason"])) for _, group in groups]
    published = [
        beside(references, row["dataset"], int(row["ipc"]), row["method"], row["student"], row["protocol"])
        for row in rows_of(table)
    ]
    table[["status", "reason"]] = pd.DataFrame(verdicts, index=table.index)
    table["reference_top1"] = pd.Series([top1 for top1, _ in published], index=table.index, dtype="float64")
    table["reference_source"] = [source for _, source in published]
    return _rounded(_ordered(table))[LEADERBOARD_COLUMNS]


def to_csv(frame: pd.DataFrame) -> bytes:
    """Return a table as CSV in UTF-8: what is unknown is empty, and an IPC that means every IPC reads ``all``."""
    shown = frame.assign(ipc=[ipc_text(value) for value in frame["ipc"]])
    for column in shown.columns[shown.dtypes == "float64"]:
        shown[column] = shown[column].round(DIGITS.get(column, 4))
    return shown.to_csv(index=False, lineterminator="\n").encode()


def ipc_text(ipc: int) -> str:
    """Return an IPC as it is shown."""
    return "all" if ipc == EVERY_IPC else str(ipc)


def absent(board: pd.DataFrame, suite: str = "NAME") -> Iterator[tuple[str, list[str]]]:
    """Yield headings, each with a line for every reason for which rows of a leaderboard have no number, or half of one.

    Args:
        board: a leaderboard, or rows of one.
        suite: its name, for the command that computes what is missing.
    """
    headings = {
        "skipped": "Skipped",
        "failed": "Failed",
        "blocked": "Blocked by a failure further up",
        "partial": "Incomplete",
    }
    for status, heading in headings.items():
        lines = _reasons(board, status)
        if lines:
            yield heading, lines
    missing = int((board["status"] == "missing").sum())
    if missing:
        again = f"`python -m benchmark run --suite {suite}` computes what is missing"
        yield "Not run yet", [f"{missing} of {len(board)} rows; {again}"]


def _reasons(board: pd.DataFrame, status: str) -> list[str]:
    """Return a line per dataset and reason, which names methods and IPC where it does not hold for the whole dataset.

    Where no row of a dataset has another status, its commonest reason speaks for the dataset.
    """
    lines = []
    for dataset, rows in board[board["status"] == status].groupby("dataset", sort=False):
        every = board[board["dataset"] == dataset]
        common = rows["reason"].mode()[0] if len(rows) == len(every) else None
        for reason, group in rows.groupby("reason", sort=False):
            which = "" if reason == common else _which(group, every)
            lines.append(f"{dataset}{which}: {reason}")
    return lines


def _which(rows: pd.DataFrame, every: pd.DataFrame) -> str:
    """Return the methods and IPC of some rows of a dataset; only the IPC where they are all that it has at these."""
    ipcs = f" at IPC {_listed(rows['ipc'].map(ipc_text))}"
    return ipcs if every["ipc"].isin(rows["ipc"]).sum() == len(rows) else f", {_listed(rows['method'])}{ipcs}"


def _listed(values: pd.Series) -> str:
    return ", ".join(dict.fromkeys(str(value) for value in values))


def _verdict(statuses: Sequence[str], reasons: Sequence[str]) -> tuple[str, str]:
    """Return the status and the reason of a row from those of its cells."""
    counts = Counter(zip(statuses, reasons, strict=True))
    found = set(statuses)
    if len(found) == 1:
        return found.pop(), "; ".join(sorted(reason for _, reason in counts if reason))
    status = "partial" if "ok" in found else next(name for name in STATUSES if name in found)
    parts = [f"{n} of {len(statuses)} {name} ({reason})" for (name, reason), n in counts.items() if name != "ok"]
    return status, "; ".join(sorted(parts))


def _ordered(table: pd.DataFrame) -> pd.DataFrame:
    keys = table.assign(
        skipped=table["status"] == "skipped",
        dataset=appearance(table["dataset"]),
        protocol=appearance(table["protocol"]),
        ipc=ipc_order(table["ipc"]),
        worst_last=-table["top1_mean"],
    )
    order = ["skipped", "dataset", "ipc", "protocol", "student", "worst_last", "method"]
    return table.loc[keys.sort_values(order).index].reset_index(drop=True)


def _rounded(table: pd.DataFrame) -> pd.DataFrame:
    table = table.round({name: DIGITS.get(name, 2) for name in table.columns[table.dtypes == "float64"]})
    return table.assign(**{name: table[name].round().astype("Int64") for name in INTEGERS})
