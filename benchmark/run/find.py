"""Find a distilled set of a run by dataset, IPC, method, draw and teacher."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmark.api import DatasetInfo
from benchmark.errors import BenchmarkError, unknown
from benchmark.identity import canonical
from benchmark.plan.discovery import load_method
from benchmark.record import keys_of, read_manifest, run_command
from benchmark.run.stages import IMAGES
from benchmark.run.store import Store
from benchmark.synthetic import SyntheticSet
from benchmark.vision import datasets


@dataclass(frozen=True)
class SetQuery:
    """Names a distilled set of a suite."""

    dataset: str
    ipc: int  # any number for a method that does not depend on it
    method: str  # its name in tables
    draw: int = 0
    teacher: int | None = None  # needed where several teachers have a set of this draw

    def __str__(self) -> str:
        """Return it as a title."""
        teacher = "" if self.teacher is None else f", teacher {self.teacher}"
        ipc = f"{self.ipc} images per class" if self.ipc else "for every IPC"
        return f"{self.method} on {self.dataset}, {ipc}, draw {self.draw}{teacher}"


@dataclass(frozen=True)
class StoredSet:
    """A distilled set of a run, all units together.

    Attributes:
        images: the set.
        query: its names.
        fingerprint: the fingerprint of the dataset that it was distilled from.
        facts: lines for a card: hyperparameters, keys, versions.
    """

    images: SyntheticSet
    query: SetQuery
    fingerprint: str
    facts: Mapping[str, str]

    def info(self, data: Path) -> DatasetInfo:
        """Return the facts about its dataset; exports need the names of classes and the mean of pixels.

        Raises:
            BenchmarkError: the dataset is not on disk, or is not the one that the set was distilled from.
        """
        config = datasets.load_dataset(self.query.dataset)
        if missing := datasets.status(config, data):
            raise BenchmarkError(f"dataset {config.name}, which gives the names of the classes, is {missing}")
        info = datasets.info(config, data)
        if info.fingerprint != self.fingerprint:
            raise BenchmarkError(f"dataset {config.name} in {data}: the set was distilled from other images")
        return info


def find_set(runs: str, suite: str, query: SetQuery) -> StoredSet:
    """Return a distilled set from a store; every checksum is checked.

    Args:
        runs: the store.
        suite: name of a suite that was run into the store.
        query: the names of the set.

    Raises:
        BenchmarkError: the suite has not been run into the store, or has no such set, or it is not distilled yet; or
            several teachers have a set of this draw, and the query names none.
    """
    store = Store(runs)
    cells = read_manifest(store.files, suite)["cells"]
    if all(cell["ipc"] == 0 for cell in cells if cell["method"] == query.method):
        query = replace(query, ipc=0)
    axes = {"dataset": query.dataset, "method": query.method, "ipc": query.ipc, "draw": query.draw}
    if query.teacher is not None:
        axes["teacher"] = query.teacher
    for axis, value in axes.items():
        if str(value) not in {str(cell[axis]) for cell in cells}:
            values = [str(cell[axis]) for cell in cells if _is_distilled(cell, store)]
            raise BenchmarkError(f"{unknown(axis, str(value), values)} (in suite {suite} of {runs})")
        cells = [cell for cell in cells if cell[axis] == value]
    teachers: dict[tuple[str, ...], int] = {}  # keys of a set -> the first teacher that has it
    for cell in cells:
        if keys_of_cell := keys_of(cell, "distill"):
            teachers.setdefault(tuple(keys_of_cell), cell["teacher"])
    if len(teachers) > 1 and query.teacher is None:
        choices = ", ".join(map(str, sorted(teachers.values())))
        raise BenchmarkError(f"{query}: each teacher has another set; name one (--teacher). Available: {choices}")
    keys = next(iter(teachers), ())
    records = [record for key in keys if (record := store.record(key))]
    if not records or len(records) != len(keys):
        raise BenchmarkError(f"{query}: is not distilled yet; run {run_command(suite, runs)}")
    images = SyntheticSet.merge([SyntheticSet.load(store.folder(key) / IMAGES) for key in keys])
    return StoredSet(images, query, records[0]["identity"]["dataset"]["fingerprint"], _facts(cells[0], records))


def _is_distilled(cell: Mapping[str, Any], store: Store) -> bool:
    keys = keys_of(cell, "distill")
    return bool(keys) and all(store.record(key) for key in keys)


def _facts(cell: Mapping[str, Any], records: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    component, provenance = records[0]["identity"]["component"], records[0]["provenance"]
    device = records[0]["cost"].get("device")  # not known of a set that was made elsewhere
    return {
        "dataset": cell["dataset"],
        "images per class": str(cell["ipc"] or "all"),
        "method": f"{cell['method']} ({getattr(load_method(component['name']), 'paper', 'no paper')})",
        "draw": str(cell["draw"]),
        "hyperparameters": f"`{canonical(component['params'])}`",
        "keys": ", ".join(record["key"] for record in records),
        "code": f"version {component['version']}, commit {provenance.get('commit', 'unknown')}",
        "made with": f"torch {provenance['versions']['torch']} on {device}" if device else "unknown",
    }
