"""What the tests of the engine share: a suite of one cell that needs no teacher, and ways to plan and to run it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from benchmark.plan.graph import Place, Plan, build
from benchmark.plan.suite import Selection, Suite
from benchmark.run.campaign import Campaign, Machine, open_campaign
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
    """Return a suite of the tiny block with changes, one for each of ``blocks``."""
    whole = [{**BLOCK, **block} for block in blocks or ({},)]
    return Suite.model_validate({"name": "tiny", "version": 1, "title": "Tiny", "blocks": whole, **changes})


def suite_file(folder: Path, *blocks: dict[str, Any], **changes: Any) -> str:
    """Write such a suite as ``tiny.yaml`` and return its path."""
    whole = [{**BLOCK, **block} for block in blocks or ({},)]
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump({"version": 1, "title": "Tiny", "blocks": whole, **changes}))
    return str(path)


def plan(*blocks: dict[str, Any], place: Place | None = None, **changes: Any) -> Plan:
    """Return the plan of such a suite where no dataset is on disk."""
    return build(suite(*blocks, **changes), place or Place(Path("nowhere"), "cpu"))


def campaign(folder: Path, *blocks: dict[str, Any], selection: Selection | None = None, **changes: Any) -> Campaign:
    """Return the campaign of such a suite, everything of it below a folder."""
    machine = Machine(str(folder / "runs"), folder / "data", "serial", device="cpu")
    return open_campaign(suite_file(folder, *blocks, **changes), selection or Selection(), machine)


def finish(found: Campaign) -> list[Event]:
    """Run what is to do in this process."""
    return list(found.run(SerialRunner()))
