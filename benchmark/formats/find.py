"""Find a distilled set of a run by dataset, IPC, method and draw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark.api import DatasetInfo
from benchmark.errors import BenchmarkError, unknown
from benchmark.identity import canonical
from benchmark.plan.discovery import load_method
from benchmark.record import read_manifest
from benchmark.run.stages import IMAGES
from benchmark.run.store import Store
from benchmark.synthetic import SyntheticSet
from benchmark.vision import datasets


@dataclass(frozen=True)
class SetQuery:
    """Names a distilled set of a suite."""

    dataset: str
    ipc: int
    method: str  # its name in tables
    draw: int = 0

    def __str__(self) -> str:
        """Return it as a title."""
        return f"{self.method} on {self.dataset}, {self.ipc} images per class, draw {self.draw}"


@dataclass(frozen=True)
class StoredSet:
    """A distilled set of a run, all units together.

    Attributes:
        images: the set.
        query: its names.
        fingerprint: of the dataset that it was distilled from.
        facts: lines for a card: hyperparameters, keys, versions.
    """

    images: SyntheticSet
    query: SetQuery
    fingerprint: str
    facts: Mapping[str, str]

    @property
    def title(self) -> str:
        """Its names in one line."""
        return str(self.query)

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
        query: which set.

    Raises:
        BenchmarkError: the suite has not been run into the store, or has no such set, or it is not distilled yet.
    """
    store = Store(runs)
    cells = read_manifest(store.files, suite)["cells"]
    axes = {"dataset": query.dataset, "ipc": query.ipc, "method": query.method, "draw": query.draw}
    for axis, value in axes.items():
        values = [str(cell[axis]) for cell in cells]
        if str(value) not in values:
            raise BenchmarkError(f"{unknown(axis, str(value), values)} (in suite {suite} of {runs})")
        cells = [cell for cell in cells if cell[axis] == value]
    keys: list[str] = next(filter(None, ((cell.get("nodes") or {}).get("distill") for cell in cells)), [])
    records = [record for key in keys if (record := store.record(key))]
    if not records or len(records) != len(keys):
        raise BenchmarkError(
            f"{query}: is not distilled yet; run `python -m benchmark run --suite {suite} --runs {runs}`"
        )
    images = SyntheticSet.merge([SyntheticSet.load(store.folder(key) / IMAGES) for key in keys])
    return StoredSet(images, query, records[0]["identity"]["dataset"]["fingerprint"], _facts(cells[0], records))


def _facts(cell: Mapping[str, Any], records: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    component, provenance = records[0]["identity"]["component"], records[0]["provenance"]
    device = records[0]["cost"].get("device")  # not known of a set that was made elsewhere
    return {
        "dataset": cell["dataset"],
        "images per class": str(cell["ipc"]),
        "method": f"{cell['method']} ({getattr(load_method(component['name']), 'paper', 'no paper')})",
        "draw": str(cell["draw"]),
        "hyperparameters": f"`{canonical(component['params'])}`",
        "keys": ", ".join(record["key"] for record in records),
        "code": f"version {component['version']}, commit {provenance.get('commit', 'unknown')}",
        "made with": f"torch {provenance['versions']['torch']} on {device}" if device else "unknown",
    }
