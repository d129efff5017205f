"""How a node is run, and how its run ended."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class NodeOptions:
    """How a node is run; no option is part of its identity.

    Attributes:
        runs: the store, a folder or an address.
        data: the data directory.
        device: ``cpu`` or ``cuda``.
        threads: number of CPU threads; None: torch's own default.
        owner: the driver; it leaves alone what another driver runs.
        gpu_share: share of a graphics card; its memory is shared in the same way.
        stopped: fingerprint of another driver's heartbeat of the node that has stopped; see `claims`.
    """

    runs: str
    data: str
    device: Literal["cpu", "cuda"] = "cpu"
    threads: int | None = None
    owner: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    gpu_share: float = 1.0
    stopped: str = ""


@dataclass(frozen=True)
class Outcome:
    """How the run of a node ended."""

    key: str
    status: Literal["done", "failed", "theirs"]  # theirs: another driver runs it
    message: str = ""  # one line
    transient: bool = False  # another attempt may succeed
    seconds: float = 0.0
