"""A store as the engine would leave it, for tests of what is made from records."""

from __future__ import annotations

import hashlib
import itertools
import json

import fsspec
import numpy as np

from leaderboards import report
from leaderboards.records import STAGES


class FakeStore:
    """Writes what the engine writes: a manifest, and records or errors of nodes."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.cells: list[dict] = []

    def cell(self, dataset="digits", ipc=10, method="wmdd", seed=0, **changes) -> dict:
        """Add a cell whose nodes have not run."""
        cell = {
            "dataset": dataset,
            "ipc": ipc,
            "method": method,
            "label": method,
            "params": {},
            "protocol": "standard",
            "student": "test_resnet",
            "draw": seed,
            "seed": seed,
            "skipped": None,
            **changes,
        }
        made = [cell["label"], dataset, ipc, cell["draw"]]
        labelled = [*made, cell["protocol"], seed]
        cell.setdefault(
            "nodes",
            {
                "teacher": [key("teacher", dataset)],
                "prepare": [key("prepare", dataset, method)],
                "distill": [key("distill", *made, unit) for unit in range(2)],
                "relabel": [key("relabel", *labelled)],
                "evaluate": [key("evaluate", *labelled, cell["student"])],
            },
        )
        self.cells.append(cell)
        return cell

    def done(self, cell: dict, top1: float = 50.0, stages=STAGES, **cost) -> None:
        """Record the nodes of a cell."""
        metrics = {"teacher": {"top1": 99.0, "top5": 100.0}, "evaluate": {"top1": top1, "top5": min(100, top1 + 30)}}
        sizes = {"distill": {"images": 3000}, "relabel": {"labels": 1000}}
        for stage in stages:
            for node in cell["nodes"][stage]:
                spent = {"seconds": 2.0, "peak_memory_mb": 100.0, "device": "a GPU", "bytes": sizes.get(stage, {})}
                record = {"key": node, "stage": stage, "metrics": metrics.get(stage, {}), "cost": {**spent, **cost}}
                self.write(f"{node}/record.json", record)

    def failed(self, cell: dict, stage: str, message: str = "out of memory") -> None:
        node = cell["nodes"][stage][-1]
        self.write(f"{node}/error.json", {"key": node, "stage": stage, "message": message, "traceback": "", "when": ""})

    def write(self, name: str, value: object) -> None:
        with fsspec.open(f"{self.root}/{name}", "w", auto_mkdir=True) as file:
            file.write(value if isinstance(value, str) else json.dumps(value))

    def build(self, suite: str = "main") -> report.Report:
        manifest = {"suite": suite, "version": 1, "cells": self.cells}
        self.write(f"leaderboards/{suite}/manifest.json", manifest)
        return report.build(self.root, suite)


def key(*axes: object) -> str:
    return hashlib.sha256(repr(axes).encode()).hexdigest()[:32]


def measured(store: FakeStore, ipcs=(1, 10, 50), datasets=("digits", "imagenette64"), seeds=2) -> None:
    """Fill a store with a plausible leaderboard."""
    noise = np.random.default_rng(0)
    levels = {"random_real": 60, "sre2l": 44, "mmd": 55, "wmdd": 62, "wmdd+bn": 58}
    for dataset, (method, level) in itertools.product(datasets, levels.items()):
        for ipc, seed in itertools.product(ipcs, range(seeds)):
            file, _, variant = method.partition("+")
            params = {"regulariser": variant} if variant else {}
            cell = store.cell(dataset, ipc, file, seed, label=method, params=params)
            store.done(cell, top1=level + 12 * float(np.log10(ipc)) + noise.normal(scale=1.5))
    for dataset, seed in itertools.product(datasets, range(seeds)):
        store.done(store.cell(dataset, 0, "full", seed), top1=96 + noise.normal(scale=0.2))
