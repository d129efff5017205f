"""The leaderboard: one row per dataset, IPC, method, protocol and student, made from cells; and tables as CSV."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from leaderboards.results import outside
from leaderboards.results.axes import ROW
from leaderboards.results.cells import (
    BYTES,
    DIFFERENCE,
    MARKS,
    OUTSIDE,
    REPRODUCED,
    SUBMITTED,
    TIER,
    in_order,
    joined,
)
from leaderboards.results.declared import Declared
from leaderboards.results.pairwise import Blocks
from leaderboards.results.records import rows_of
from leaderboards.results.references import Reference, beside
from leaderboards.results.repeats import repeats
from leaderboards.results.text import ipc_text

LEADERBOARD_COLUMNS = [
    *("suite", *ROW, "status", "reason"),
    *("top1_mean", "top1_std", "top5_mean", "seeds", "reference_top1", "reference_source"),
    *("images_bytes", "labels_bytes", "distill_seconds", "relabel_seconds", "evaluate_seconds", "peak_memory_mb"),
    *("device", "precision", "cells", "teachers", "sets", "teacher_top1", "teacher_seconds", "prepare_seconds"),
    *("role", "base", "overrides", "hyperparameters", "cut"),
    *("images_png_bytes", "online_teacher_bytes", "total_bytes", "student_steps", "repeats"),
]
TIERS = {
    SUBMITTED: "Submitted: run by their authors, with verified records; not run again here",
    REPRODUCED: "Reproduced: submitted by their authors, and run again here; with the difference, here minus submitted",
}
STATUSES = ("failed", "blocked", "missing", "skipped")  # the worst first
FROM_METHOD = ("role", "base", "overrides", "hyperparameters", "cut")  # columns that are equal in a method's cells
MEANS = [
    *("images_bytes", "labels_bytes", "images_png_bytes", "online_teacher_bytes", "total_bytes"),
    *("teacher_seconds", "prepare_seconds", "distill_seconds", "relabel_seconds", "evaluate_seconds"),
    *("peak_memory_mb", "teacher_top1", "student_steps"),
]
DIGITS = {
    **dict.fromkeys(("top1_mean", "top1_std", "top5_mean", "teacher_top1", "ci_low", "ci_high"), 2),
    "peak_memory_mb": 1,
}
INTEGERS = ["seeds", "teachers", "sets", "cells", "student_steps", *BYTES]


@dataclass(frozen=True)
class Report:
    """The results of a suite as tables.

    Attributes:
        suite: its name.
        folder: the folder of the report, as the user named the store.
        paths: the files that were written; () where none were.
        cells: one row per cell of the suite, also of those without a number (`cells.CELL_COLUMNS`).
        leaderboard: one row per dataset, IPC, method, protocol and student (`LEADERBOARD_COLUMNS`, then
            `standings.COLUMNS`).
        blocks: the verdicts on the rows of every block.
        sets: the numbers of measures (`measures.table`).
        evaluations: the numbers of evaluators beside accuracies (`evaluations.table`).
        declared: the values of the columns that evaluators and measures declare, by row of the leaderboard.
        costs: the costs of every row with a finished cell (`costs.table`).
        file_versions: the versions of the users' files that made the records (`outside.versions`).
        notes: the plots that could not be made, each with the reason.
    """

    suite: str
    folder: str
    paths: tuple[str, ...]
    cells: pd.DataFrame
    leaderboard: pd.DataFrame
    blocks: Blocks
    sets: pd.DataFrame
    evaluations: pd.DataFrame
    declared: Declared
    costs: pd.DataFrame
    file_versions: Mapping[str, Counter[str]]
    notes: tuple[str, ...] = ()


def leaderboard(cells: pd.DataFrame, references: Sequence[Reference]) -> pd.DataFrame:
    """Return one row per dataset, IPC, method, protocol and student with the columns `LEADERBOARD_COLUMNS`.

    Accuracies are means over the cells (draws and seeds) with status ``ok``, with the sample standard deviation, which
    is empty for a single cell; ``seeds`` counts these cells, ``cells`` all cells of the row, ``teachers`` the different
    teachers (0 where none is used), ``sets`` the different sets of images. ``repeats`` names a protocol with the same
    accuracy in every cell. Costs are means over cells. Rows are sorted by dataset (in the order of the suite), IPC,
    protocol, student and accuracy; skipped rows stand last.

    Args:
        cells: one row per cell, as `cells.cells_table` returns them.
        references: published numbers.
    """
    if cells.empty:
        return pd.DataFrame(columns=LEADERBOARD_COLUMNS)
    means = ["top1", "top5", *MEANS, *(name for name in (DIFFERENCE,) if name in cells)]
    numbers = cells.astype(dict.fromkeys(means, "float64"))
    groups = numbers.groupby(["suite", *ROW], sort=False)
    marks = [name for name in MARKS if name in cells]
    board = groups.agg(
        top1_mean=("top1", "mean"),
        top1_std=("top1", "std"),
        top5_mean=("top5", "mean"),
        seeds=("status", lambda statuses: (statuses == "ok").sum()),
        cells=("status", "size"),
        teachers=("teacher_keys", _teachers),
        sets=("set_sha256", lambda sums: sums[sums != ""].nunique()),
        **{name: (name, joined) for name in ("device", "precision")},
        **{name: (name, "mean" if name == DIFFERENCE else "max") for name in (*FROM_METHOD, *marks)},  # "": no record
        **{name: (name, "mean") for name in MEANS},
    ).reset_index()
    statuses = [_status(list(group["status"]), list(group["reason"])) for _, group in groups]
    published = pd.DataFrame([beside(references, row) for row in rows_of(board)], index=board.index)
    board[["status", "reason"]] = pd.DataFrame(statuses, index=board.index)
    board[["reference_top1", "reference_source"]] = published.astype({0: "float64"})
    repeated = repeats(cells)
    places = board[["dataset", "student", "protocol"]].itertuples(index=False, name=None)
    board["repeats"] = [repeated.get(place, "") for place in places]
    return _rounded(_ordered(board))[[*LEADERBOARD_COLUMNS, *marks]]


def to_csv(frame: pd.DataFrame) -> bytes:
    """Return a table as CSV in UTF-8: unknown values are empty, the IPC of a set for every IPC is ``all``."""
    rounded = frame.assign(ipc=[ipc_text(value) for value in frame["ipc"]])
    for column in rounded.columns[rounded.dtypes == "float64"]:
        rounded[column] = rounded[column].round(DIGITS.get(column, 4))
    return rounded.to_csv(index=False, lineterminator="\n").encode()


def absent(board: pd.DataFrame, suite: str = "NAME", *, options: bool = False) -> Iterator[tuple[str, list[str]]]:
    """Yield headings (skipped, failed, ...), each with the reasons why rows have no number, or cells of them have none.

    What rows need that is not part of the benchmark is listed too.

    Args:
        board: a leaderboard, or rows of one.
        suite: name of the suite, for the command that computes the missing rows.
        options: whether the run may have had options that this command needs too; a published suite needs none.
    """
    headings = {
        "skipped": "Skipped",
        "failed": "Failed",
        "blocked": "Blocked by the failure of a teacher or a preparation",
        "partial": "Incomplete",
    }
    for status, heading in headings.items():
        lines = _reasons(board, status)
        if lines:
            yield heading, lines
    if lines := _reasons(board[board["reason"] != ""], "ok"):
        yield "Measures that failed", lines
    if lines := _outside(board):
        yield "From outside of this benchmark", lines
    for tier, heading in TIERS.items():
        if TIER in board and (board[TIER] == tier).any():
            yield heading, [_listed(board.loc[board[TIER] == tier, "method"])]
    count = int((board["status"] == "missing").sum())
    if count:
        command = f"`python -m benchmark run --suite {suite}`"
        hint = ", with the options of your run," if options else ""
        yield "Not run yet", [f"{count} of {len(board)} rows; {command}{hint} computes them"]


def _outside(board: pd.DataFrame) -> list[str]:
    """Return a line for every file outside of the benchmark: the file, and the methods whose rows need it."""
    if OUTSIDE not in board:
        return []
    methods: dict[str, dict[str, None]] = {}
    for method, files in board[["method", OUTSIDE]].itertuples(index=False):
        for file in filter(None, files.split(", ")):
            methods.setdefault(file, {})[method] = None
    advice = {file: f"; {outside.ADVICE}" for file in methods if file.endswith(" versions)")}
    return [f"{file}: {', '.join(names)}{advice.get(file, '')}" for file, names in methods.items()]


def _reasons(board: pd.DataFrame, status: str) -> list[str]:
    """Return a line per dataset and reason: the dataset, the methods and IPC of the reason, the reason.

    Where all rows of a dataset have the status, its most frequent reason is given without methods and IPC.
    """
    lines = []
    for dataset, rows in board[board["status"] == status].groupby("dataset", sort=False):
        rows_of_dataset = board[board["dataset"] == dataset]
        common = rows["reason"].mode()[0] if len(rows) == len(rows_of_dataset) else None
        for reason, group in rows.groupby("reason", sort=False):
            rows_text = "" if reason == common else _methods_and_ipc(group, rows_of_dataset)
            lines.append(f"{dataset}{rows_text}: {reason}")
    return lines


def _methods_and_ipc(rows: pd.DataFrame, rows_of_dataset: pd.DataFrame) -> str:
    """Return the methods and IPC of some rows of a dataset; only the IPC where these rows are all that have it."""
    ipcs = f" at IPC {_listed(rows['ipc'].map(ipc_text))}"
    all_methods = rows_of_dataset["ipc"].isin(rows["ipc"]).sum() == len(rows)
    return ipcs if all_methods else f", {_listed(rows['method'])}{ipcs}"


def _listed(values: pd.Series) -> str:
    return ", ".join(dict.fromkeys(str(value) for value in values))


def _teachers(keys: pd.Series) -> int:
    """Return how many teachers the finished cells of a row have met: of its kinds of networks, that with the fewest."""
    networks = [text.split() for text in keys if text]
    return min((len(set(of_a_kind)) for of_a_kind in zip(*networks, strict=False)), default=0)


def _status(statuses: Sequence[str], reasons: Sequence[str]) -> tuple[str, str]:
    """Return the status and the reason of a row from those of its cells."""
    counts = Counter(zip(statuses, reasons, strict=True))
    different = set(statuses)
    if len(different) == 1:
        return different.pop(), "; ".join(sorted(reason for _, reason in counts if reason))
    status = "partial" if "ok" in different else next(name for name in STATUSES if name in different)
    parts = [f"{n} of {len(statuses)} {name} ({reason})" for (name, reason), n in counts.items() if name != "ok"]
    return status, "; ".join(sorted(parts))


def _ordered(board: pd.DataFrame) -> pd.DataFrame:
    rows = board.assign(skipped=board["status"] == "skipped", worst_last=-board["top1_mean"])
    return in_order(rows, ["skipped", "dataset", "ipc", "protocol", "student", "worst_last", "method"])


def _rounded(board: pd.DataFrame) -> pd.DataFrame:
    """Return a leaderboard with whole numbers and costs as in its file; texts round accuracies, once."""
    costs_of_rows = board.columns[board.dtypes == "float64"].difference([*DIGITS])
    rounded = board.round(dict.fromkeys(costs_of_rows, 2))
    return rounded.assign(**{name: rounded[name].round().astype("Int64") for name in INTEGERS})
