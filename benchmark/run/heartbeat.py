"""How far a node is, where a driver on any machine can read it; and whether the node has its machine to itself."""

from __future__ import annotations

import contextlib
import json
import math
import os
import socket
import time
from collections.abc import Mapping

from benchmark.errors import BenchmarkError
from benchmark.run.store import Store

LOOK_EVERY = 30.0  # seconds between looks for other nodes
SILENT = 60.0  # seconds after which a node that says nothing counts as gone
CROWDED = 1.5  # processes per core; a node alone keeps every core and a reader busy


class Heartbeat:
    """Writes how far a node is, once a second at most; lossy.

    It also looks, first and last and now and then, whether this machine has other work: a node of the store that has
    spoken within the last minute, or more that wants to run than there are cores. Less of other work goes unnoticed.
    """

    def __init__(self, store: Store, key: str) -> None:
        self.store, self.key, self.host = store, key, socket.gethostname()
        self.spoke, self.looked, self.alone = -math.inf, -math.inf, True

    def __call__(self, step: int, total: int, scalars: Mapping[str, float]) -> None:
        """Report a step."""
        now = time.monotonic()
        if now - self.spoke >= 1.0:
            self.spoke = now
            word = {"step": step, "total": total, "when": time.time(), "host": self.host, **scalars}
            with contextlib.suppress(BenchmarkError):
                self.store.write_text(f".progress/{self.key}.json", json.dumps(word))
        if now - self.looked >= LOOK_EVERY:
            self.look_around()

    def look_around(self) -> bool:
        """Return whether the node has been alone on its machine whenever it looked, now included."""
        self.looked = time.monotonic()
        with contextlib.suppress(BenchmarkError):
            words = [word for key, word in self.store.heartbeats().items() if key != self.key]
            here = [word for word in words if word.get("host", self.host) == self.host]
            beside = any(time.time() - word.get("when", 0) < SILENT for word in here)
            self.alone = self.alone and not beside and not crowded()
        return self.alone


def crowded() -> bool:
    """Return whether clearly more processes want to run than this machine has cores; False where it does not tell."""
    if not hasattr(os, "getloadavg"):
        return False
    return os.getloadavg()[0] > CROWDED * (os.cpu_count() or 1)
