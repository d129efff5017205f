"""Heartbeats: a node writes its progress into the store, and checks whether it is alone on its machine."""

from __future__ import annotations

import contextlib
import json
import math
import os
import socket
import time
from collections.abc import Mapping
from typing import Any

from benchmark.errors import BenchmarkError
from benchmark.run.store import TIMEOUT, Store

CHECK_INTERVAL = 30.0  # seconds between two checks for other nodes
LOAD_PER_CORE = 1.5  # a higher load means other work: one node alone stays below it


class Heartbeat:
    """Writes the progress of a node at most once a second; a heartbeat that cannot be written is dropped.

    It also checks, at the first step, every 30 seconds and at the end, whether the machine does other work: another
    node of the store had a heartbeat within the last minute, or the load is above 1.5 per core. A smaller load of other
    programs is not noticed.
    """

    def __init__(self, store: Store, key: str) -> None:
        self.store, self.key, self.host = store, key, socket.gethostname()
        self.written_at, self.checked_at, self.alone = -math.inf, -math.inf, True

    def __call__(self, step: int, total: int, scalars: Mapping[str, float]) -> None:
        """Report a step; ``scalars`` are written with it."""
        now = time.monotonic()
        if now - self.written_at >= 1.0:
            self.written_at = now
            owner = {"when": time.time(), "host": self.host, "pid": os.getpid()}
            heartbeat = {**scalars, "step": step, "total": total, **owner}
            with contextlib.suppress(BenchmarkError):
                self.store.write_text(f".progress/{self.key}.json", json.dumps(heartbeat))
        if now - self.checked_at >= CHECK_INTERVAL:
            self.check_alone()

    def check_alone(self) -> bool:
        """Check for other work; return whether no check so far, this one included, has found any."""
        self.checked_at = time.monotonic()
        with contextlib.suppress(BenchmarkError):
            others = [heartbeat for key, heartbeat in self.store.heartbeats().items() if key != self.key]
            here = [heartbeat for heartbeat in others if heartbeat.get("host", self.host) == self.host]
            self.alone = self.alone and not any(map(is_recent, here)) and not overloaded()
        return self.alone


def is_recent(heartbeat: Mapping[str, Any]) -> bool:
    """Return whether a heartbeat came within the last minute; one that comes from the future did not."""
    return abs(time.time() - float(heartbeat["when"])) < TIMEOUT


def overloaded() -> bool:
    """Return whether the load of the machine is above `LOAD_PER_CORE`; False where the system does not tell."""
    if not hasattr(os, "getloadavg"):
        return False
    return os.getloadavg()[0] > LOAD_PER_CORE * (os.cpu_count() or 1)
