"""A distilled set of a run, found by what it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark.api import DatasetInfo
from benchmark.errors import BenchmarkError, unknown
from benchmark.identity import canonical
from benchmark.plan.discovery import load_method
from benchmark.run.store import Store
from benchmark.synthetic import SyntheticSet
from benchmark.vision import datasets

IMAGES = "images.safetensors"


@dataclass(frozen=True)
class Wanted:
    """Which distilled set of a suite: the method as tables name it, and the draw."""

    dataset: str
    ipc: int
    method: str
    draw: int = 0

    def __str__(self) -> str:
        """Return it as a title reads."""
        return f"{self.method} on {self.dataset}, {self.ipc} images per class, draw {self.draw}"


@dataclass(frozen=True)
class Found:
    """A distilled set of a run, its units joined, and what a reader should know of it."""

    images: SyntheticSet
    wanted: Wanted
    fingerprint: str  # of the dataset that it was distilled from
    facts: Mapping[str, str]

    @property
    def title(self) -> str:
        """What it is, in one line."""
        return str(self.wanted)

    def info(self, data: Path) -> DatasetInfo:
        """Return the facts of the dataset that it stands for: its class names, and the moments of its pixels.

        Raises:
            BenchmarkError: the dataset is not on disk, or not the one that the set was distilled from.
        """
        config = datasets.load_dataset(self.wanted.dataset)
        if missing := datasets.status(config, data):
            raise BenchmarkError(f"dataset {config.name} gives the names of classes, and is {missing}")
        info = datasets.info(config, data)
        if info.fingerprint != self.fingerprint:
            raise BenchmarkError(f"dataset {config.name} in {data}: not the one that the set was distilled from")
        return info


def find(runs: str, suite: str, wanted: Wanted) -> Found:
    """Return a distilled set of a suite that was run into a store, every checksum verified.

    Raises:
        BenchmarkError: the suite has no such set, or it is not distilled yet.
    """
    store = Store(runs)
    cells = (store.read_json(f"leaderboards/{suite}/manifest.json") or {}).get("cells", [])
    axes = {"dataset": wanted.dataset, "ipc": wanted.ipc, "method": wanted.method, "draw": wanted.draw}
    for axis, value in axes.items():
        there = [str(cell[axis]) for cell in cells]
        if str(value) not in there:
            raise BenchmarkError(f"{unknown(axis, str(value), there)} (in suite {suite} of {runs})")
        cells = [cell for cell in cells if cell[axis] == value]
    keys: list[str] = next((cell["nodes"]["distill"] for cell in cells if cell["nodes"].get("distill")), [])
    found = [store.record(key) for key in keys]
    known = [record for record in found if record]
    if not known or len(known) != len(keys):
        raise BenchmarkError(
            f"{wanted}: not distilled yet; `python -m benchmark run --suite {suite} --runs {runs}` does it"
        )
    images = SyntheticSet.merge([SyntheticSet.load(store.folder(key) / IMAGES) for key in keys])
    return Found(images, wanted, known[0]["identity"]["dataset"]["fingerprint"], _facts(cells[0], known))


def _facts(cell: Mapping[str, Any], made: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return the lines of a card."""
    component, history = made[0]["identity"]["component"], made[0]["provenance"]
    return {
        "dataset": cell["dataset"],
        "images per class": str(cell["ipc"]),
        "method": f"{cell['method']} ({load_method(component['name']).paper})",
        "draw": str(cell["draw"]),
        "hyperparameters": f"`{canonical(component['params'])}`",
        "keys": ", ".join(record["key"] for record in made),
        "code": f"version {component['version']}, commit {history['commit']}",
        "made by": f"torch {history['versions']['torch']} on {made[0]['cost']['device']}",
    }
