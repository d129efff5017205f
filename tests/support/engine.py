"""Helpers for the tests of the engine: a suite of one cell that needs no teacher; plan it, open it, run it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml

from benchmark.plan.graph import Plan, Planner, PlanOptions
from benchmark.plan.suite import Selection, Suite
from benchmark.run.campaign import Campaign, RunOptions, open_campaign
from benchmark.run.runner import Event, SerialRunner

BLOCK = {
    "datasets": ["digits"],
    "ipc": [1],
    "methods": ["random_real"],
    "students": ["test_resnet"],
    "protocols": ["hard"],
    "seeds": 1,
}


def suite(*blocks: dict[str, Any], **changes: Any) -> Suite:
    """Return a suite with one block for each of ``blocks``: `BLOCK` with these changes."""
    complete = [{**BLOCK, **block} for block in blocks or ({},)]
    return Suite.model_validate({"name": "tiny", "version": 1, "title": "Tiny", "blocks": complete, **changes})


def suite_file(folder: Path, *blocks: dict[str, Any], **changes: Any) -> str:
    """Write the same suite as ``tiny.yaml`` and return its path."""
    complete = [{**BLOCK, **block} for block in blocks or ({},)]
    path = folder / "tiny.yaml"
    part = path.with_suffix(f".{os.getpid()}")  # several drivers write and read it at once
    part.write_text(yaml.safe_dump({"version": 1, "title": "Tiny", "blocks": complete, **changes}))
    part.replace(path)
    return str(path)


def plan(
    *blocks: dict[str, Any], options: PlanOptions | None = None, required: tuple[str, ...] = (), **changes: Any
) -> Plan:
    """Return the plan of the same suite where no dataset is on disk; digits need no files."""
    return Planner(options or PlanOptions(Path("nowhere"), "cpu")).plan(suite(*blocks, **changes), required)


def campaign(folder: Path, *blocks: dict[str, Any], selection: Selection | None = None, **changes: Any) -> Campaign:
    """Return the campaign of the same suite, with its store and its data below a folder."""
    options = RunOptions(runs=str(folder / "runs"), data=folder / "data", runner="serial", device="cpu")
    return open_campaign(suite_file(folder, *blocks, **changes), selection or Selection(), options)


def finish(opened: Campaign) -> list[Event]:
    """Run a campaign in this process and return its events."""
    return list(opened.run(SerialRunner()))
