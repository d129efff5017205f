"""References: numbers from papers, the rows of ``reference/*.csv``, and which may stand beside a measured number.

To add a paper, add a file with the same columns. Two numbers are comparable only under the same kind of labels: a
student that learns from a teacher's outputs and one that learns from hard labels differ by tens of points on the same
images. A number under the other kind of labels is mentioned in words, and never stands in the column of numbers. The
words ``hard`` and ``teacher`` in the column ``protocol`` say which kind it is. Where neither is written, a paper has a
protocol of its own (NCFM, RFAD), and its number stands beside protocol ``native`` only.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from benchmark.errors import Faults
from leaderboards.results.axes import EVERY_IPC

FOLDER = Path(__file__).parents[1] / "reference"
COLUMNS = ["dataset", "ipc", "method", "student", "top1", "std", "protocol", "source", "note"]
PREFERRED = "WMDD poster, ICCV 2025, main table"  # the source whose number is shown where papers disagree


class Reference(NamedTuple):
    """One published accuracy, in percent."""

    dataset: str
    ipc: int  # 0 for the full training set
    method: str
    student: str
    top1: float
    std: float | None
    protocol: str
    source: str
    note: str

    @property
    def origin(self) -> str:
        """The source, the protocol and the note."""
        return "; ".join(part for part in (self.source, self.protocol, self.note) if part)


def load(folder: Path = FOLDER) -> tuple[Reference, ...]:
    """Return all published numbers, files in alphabetical order.

    Raises:
        Faults: every wrong value, with its file and line.
    """
    rows: list[Reference] = []
    faults: list[str] = []
    for path in sorted(folder.glob("*.csv")):
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            if reader.fieldnames != COLUMNS:
                faults.append(f"{path}: columns must be {','.join(COLUMNS)}")
                continue
            for row in reader:
                try:
                    rows.append(_parse(row))
                except ValueError as error:
                    faults.append(f"{path}, line {reader.line_num}: {error}")
    if faults:
        raise Faults(faults)
    return tuple(rows)


def comparable(references: Iterable[Reference], row: Mapping[str, Any]) -> list[Reference]:
    """Return the published accuracies that may stand beside a row of a leaderboard, the preferred source first.

    Dataset, IPC, method and kind of labels must be equal. So `imagenette64` is not `imagenette`, and a variant is not
    its base. A published ``convnet`` is every ``convnet_d*``.
    """
    return [number for number in _published(references, row) if _same_labels(number, row["protocol"])]


def beside(references: Iterable[Reference], row: Mapping[str, Any]) -> tuple[float | None, str]:
    """Return the first of the `comparable` numbers, and in words its source and all other numbers."""
    published = _published(references, row)
    same_labels = comparable(published, row)
    if not same_labels:
        numbers = " | ".join(f"{number.top1:g} ({number.origin})" for number in published)
        return None, f"only under another protocol: {numbers}" if numbers else ""
    first, *others = same_labels
    return first.top1, " | ".join([first.origin, *(f"also {other.top1:g} ({other.origin})" for other in others)])


def _published(references: Iterable[Reference], row: Mapping[str, Any]) -> list[Reference]:
    axes = (row["dataset"], row["ipc"], row["method"].casefold())
    numbers = [number for number in references if (number.dataset, number.ipc, number.method) == axes]
    numbers = [number for number in numbers if _same_student(number, row["student"])]
    return sorted(numbers, key=lambda number: number.source != PREFERRED)  # all others keep the order of the files


def _same_student(row: Reference, student: str) -> bool:
    return row.student == student or (row.student == "convnet" and re.fullmatch(r"convnet_d\d+", student) is not None)


def _same_labels(row: Reference, protocol: str) -> bool:
    """Whether both students learn from hard labels, or both from a teacher.

    Under protocol ``native`` a student learns as in the paper, and for the full training set every protocol counts.
    """
    always = protocol.startswith("native") or row.ipc == EVERY_IPC
    kind = "hard" if "hard" in protocol.casefold() else "teacher"
    return always or kind in row.protocol.casefold()


def _parse(row: dict[str, Any]) -> Reference:
    if None in row or None in row.values():
        raise ValueError(f"expected {len(COLUMNS)} fields")
    for column in ("dataset", "method", "student", "protocol", "source"):
        if not row[column].strip():
            raise ValueError(f"{column} is empty")
    top1 = _number(row["top1"], "top1")
    std = _number(row["std"], "std") if row["std"] else None
    if row["ipc"] and not (row["ipc"].isdecimal() and int(row["ipc"]) > 0):
        raise ValueError(f"ipc is '{row['ipc']}': a positive integer, or empty for the full training set")
    ipc, method = int(row["ipc"] or EVERY_IPC), row["method"].casefold()
    return Reference(**{**row, "ipc": ipc, "method": method, "top1": top1, "std": std})


def _number(text: str, column: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 100:
        raise ValueError(f"{column} is '{text}': a percentage from 0 to 100")
    return value
