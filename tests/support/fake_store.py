"""A store as the engine writes it, for tests of tables, plots and pages."""

from __future__ import annotations

import hashlib
import itertools
import json

import fsspec
import numpy as np

from benchmark.record import sealed
from leaderboards import report
from leaderboards.results import records
from leaderboards.results.records import STAGES

ROLES = {"random_real": "control", "noise": "floor", "full": "bound"}  # of all other methods: method
PAIRS = [["wmdd", "mmd"], ["wasserstein+bn", "mmd+bn"]]
COLUMNS = {
    "evaluate": {
        "accuracy": [
            {"name": "top1", "heading": "top-1", "unit": "%", "digits": 1},
            {"name": "top5", "heading": "top-5", "unit": "%", "digits": 1},
            {"name": "fgsm_top1", "heading": "FGSM", "unit": "%", "digits": 1},
            {"name": "pgd_top1", "heading": "PGD", "unit": "%", "digits": 1},
            {"name": "corruption_top1", "heading": "corrupted", "unit": "%", "digits": 1},
            {"name": "jpeg_top1", "heading": "JPEG", "unit": "%", "digits": 1},
        ]
    },
    "measure": {
        "distances": [
            {"name": name, "heading": heading, "better": "lower", "floor": f"{name}_floor"}
            for name, heading in {
                "teacher.w2": "W2, teacher",
                "neutral.w2": "W2, neutral",
                "teacher.mmd_rbf": "MMD², teacher",
            }.items()
        ]
    },
}


class FakeStore:
    """Writes the files of the engine: a manifest, and records or errors of nodes."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.cells: list[dict] = []
        self.columns: dict = COLUMNS

    def cell(self, dataset="digits", ipc=10, method="wmdd", seed=0, **changes) -> dict:
        """Add a cell whose nodes have not run."""
        cell = {
            "dataset": dataset,
            "ipc": ipc,
            "method": method,
            "base": method,
            "overrides": {},
            "role": ROLES.get(changes.get("base", method), "method"),
            "protocol": "standard",
            "student": "test_resnet",
            "teacher": 0,
            "draw": seed,
            "seed": seed,
            "skipped": None,
            **changes,
        }
        distilled = [cell["method"], dataset, ipc, cell["draw"]]
        labelled = [*distilled, cell["protocol"], seed]
        cell.setdefault(
            "nodes",
            {
                "teacher": [key("teacher", dataset)],
                "prepare": [key("prepare", dataset, cell["base"])],
                "distill": [key("distill", *distilled, unit) for unit in range(2)],
                "relabel": [key("relabel", *labelled)],
                "evaluate": [key("evaluate", *labelled, cell["student"])],
            },
        )
        self.cells.append(cell)
        return cell

    def done(self, cell: dict, top1: float = 50.0, stages=STAGES, images: str = "", **cost) -> None:
        """Record the nodes of a cell; `images` is the checksum of its images, another one for each node by default."""
        curve = [3.0 / (1 + epoch) + (100 - top1) / 100 for epoch in range(20)]
        evaluated = {"top1": top1, "top5": min(100, top1 + 30), "curve_loss": curve}
        metrics = {"teacher": {"top1": 99.0, "top5": 100.0}, "evaluate": evaluated}
        sizes = {"distill": {"images": 3000}, "relabel": {"labels": 1000}}
        for stage in stages:
            for node in cell["nodes"][stage]:
                files = {"images.safetensors": {"bytes": 0, "sha256": images or node}} if stage == "distill" else {}
                costs = {"seconds": 2.0, "peak_memory_mb": 100.0, "device": "a GPU", "bytes": sizes.get(stage, {})}
                record = {
                    "key": node,
                    "stage": stage,
                    "identity": identity(cell, stage),
                    "files": files,
                    "metrics": metrics.get(stage, {}),
                    "cost": {**costs, **cost},
                    "provenance": PROVENANCE,
                }
                self.write(f"{node}/record.json", record)

    def failed(self, cell: dict, stage: str, message: str = "out of memory") -> None:
        node = cell["nodes"][stage][-1]
        self.write(f"{node}/error.json", {"key": node, "stage": stage, "message": message, "traceback": "", "when": ""})

    def write(self, name: str, value: str | dict) -> None:
        """Write a text as it is, or a dictionary as JSON; records and manifests get the checksum of their values."""
        if isinstance(value, dict):
            value = json.dumps(sealed(value) if name.endswith(("/record.json", "/manifest.json")) else value)
        with fsspec.open(f"{self.root}/{name}", "w", auto_mkdir=True) as file:
            file.write(value)

    def read(self, name: str) -> dict:
        with fsspec.open(f"{self.root}/{name}") as file:
            return json.load(file)

    def build(self, suite: str = "main") -> report.Report:
        self.write_manifest(suite)
        return report.build(self.root, suite)

    def summarise(self, suite: str = "main") -> report.Report:
        """Return the report without its files and its plots, which take most of the time."""
        self.write_manifest(suite)
        return report.summarise(self.root, suite)

    def results(self, suite: str = "main") -> report.Results:
        """Return the tables as the report writes them; `rows` reads them."""
        self.write_manifest(suite)
        return report.results_of(records.read(self.root, suite))

    def write_manifest(self, suite: str = "main", **changes: object) -> None:
        manifest = {"suite": suite, "version": 1, "columns": self.columns, "pairs": PAIRS, "cells": self.cells}
        self.write(f"leaderboards/{suite}/manifest.json", {**manifest, **changes})


PROVENANCE = {
    "started": "2026-01-01T00:00:00+00:00",
    "finished": "2026-01-01T00:01:00+00:00",
    "versions": {"python": "3.11.7", "torch": "2.15.0"},
    "commit": "0123456789ab",
}


def identity(cell: dict, stage: str) -> dict:
    """Return the identity in the record of a cell's node."""
    params = {"distill": {"iterations": 1000, "regulariser_weight": 10.0, **cell["overrides"]}}
    component = {
        "name": cell["base"] if stage == "distill" else "accuracy",
        "version": cell.get("evaluation", 1) if stage == "evaluate" else 1,
        "params": params.get(stage, {"schedule": {"epochs": 300}}),
    }
    return {"stage": stage, "component": component, "dataset": {"name": cell["dataset"]}, "seed": cell["seed"]}


def key(*axes: object) -> str:
    return hashlib.sha256(repr(axes).encode()).hexdigest()[:32]


def measured(store: FakeStore, ipcs=(1, 10, 50), datasets=("digits", "imagenette64"), seeds=2) -> None:
    """Fill a store with a plausible leaderboard."""
    noise = np.random.default_rng(0)
    levels = {"random_real": 60, "sre2l": 44, "mmd": 55, "wmdd": 62, "wmdd+bn": 58}
    for dataset, (method, level) in itertools.product(datasets, levels.items()):
        for ipc, seed in itertools.product(ipcs, range(seeds)):
            base, _, variant = method.partition("+")
            overrides = {"regulariser": variant} if variant else {}
            cell = store.cell(dataset, ipc, method, seed, base=base, overrides=overrides)
            store.done(cell, top1=level + 12 * float(np.log10(ipc)) + noise.normal(scale=1.5))
    for dataset, seed in itertools.product(datasets, range(seeds)):
        store.done(store.cell(dataset, 0, "full", seed), top1=96 + noise.normal(scale=0.2))


def paper(store: FakeStore, seeds=3) -> None:
    """Fill a store for every table and plot of a paper: three datasets, two students, variants, skipped cells."""
    noise = np.random.default_rng(1)
    levels = {"random_real": 52, "sre2l": 40, "mmd": 55, "wmdd": 62, "rded": 61.5}
    variants = {
        "wasserstein+bn": ("wmdd", {"regulariser": "bn"}, 58),
        "mmd+bn": ("mmd", {"regulariser": "bn"}, 50),
        "ce+pcbn": ("sre2l", {"regulariser": "pcbn"}, 57),
        **{
            f"wmdd[lambda={v:g}]": ("wmdd", {"regulariser_weight": v}, 62 - abs(i - 2) * 3)
            for i, v in enumerate(WEIGHTS)
        },
    }
    lines = {**{name: (name, {}, level) for name, level in levels.items()}, **variants}
    sizes = {"digits": 1, "imagenette": 4, "tiny_imagenet": 9}
    for (dataset, size), (method, (base, overrides, level)) in itertools.product(sizes.items(), lines.items()):
        for ipc, student, seed in itertools.product((1, 10, 50), ("resnet18", "vit_tiny"), range(seeds)):
            if overrides and (student != "resnet18" or dataset == "tiny_imagenet"):
                continue
            cell = store.cell(dataset, ipc, method, seed, base=base, overrides=overrides, student=student)
            harder = 6 * (student == "vit_tiny") + 2 * size
            top1 = level + 14 * float(np.log10(ipc)) - harder + noise.normal(scale=1.2)
            images, labels = ipc * 30000 * size, 0 if method == "random_real" else ipc * 9000 * size
            stages = STAGES if method != "rded" or dataset != "tiny_imagenet" else STAGES[:2]
            store.done(cell, top1, stages, seconds=2.0 * ipc * size, bytes={"images": images, "labels": labels})
            if stages != STAGES:
                store.failed(cell, "distill", "out of memory")
    for dataset, student, seed in itertools.product(sizes, ("resnet18", "vit_tiny"), range(seeds)):
        cell = store.cell(dataset, 0, "full", seed, student=student)
        store.done(cell, 93 + noise.normal(scale=0.2), bytes={"images": 5_000_000, "labels": 0})
    for method in ("wmdd", "mmd"):
        reason = "not on disk: python -m benchmark data fetch imagenet1k"
        store.cell("imagenet1k", 10, method, student="resnet18", skipped=reason, nodes={})


WEIGHTS = (0.1, 1.0, 5.0, 50.0, 500.0)


def measure(store: FakeStore, cell: dict, w2: float, **metrics) -> str:
    """Record a measure of a cell's set, and return the key of its node."""
    node = key("measure", cell["dataset"], cell["method"], cell["ipc"], cell["draw"])
    cell["nodes"]["measure"] = [node]
    numbers = {"teacher.w2": w2, "teacher.w2_floor": 1.1, "neutral.w2": -w2, "neutral.w2_floor": 1.1, **metrics}
    named = {**identity(cell, "distill"), "component": {"name": "distances", "version": 1, "params": {}}}
    store.write(f"{node}/record.json", {"key": node, "stage": "measure", "identity": named, "metrics": numbers})
    return node
