"""Heartbeats: a node writes its progress into the store, and checks whether it is alone on its machine."""

from __future__ import annotations

import contextlib
import json
import math
import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

from benchmark.errors import BenchmarkError
from benchmark.locks import machine
from benchmark.run.store import TIMEOUT, Store

BEAT_INTERVAL = 10.0  # seconds between two heartbeats of a node that reports nothing
CHECK_INTERVAL = 30.0  # seconds between two checks for other nodes
LOAD_PER_CORE = 1.5  # a higher load means other work: one node alone stays below it


class Heartbeat:
    """Writes the progress of a node at most once a second; a heartbeat that cannot be written is dropped.

    Within `beating`, one comes every ten seconds even where the node reports nothing.

    It also checks, at the first step, every 30 seconds and at the end, whether the machine does other work: another
    node of the store had a heartbeat within the last minute, or the load is above 1.5 per core. A smaller load of other
    programs is not noticed.
    """

    def __init__(self, store: Store, key: str, owner: str = "") -> None:
        self.store, self.key, self.owner, self.host = store, key, owner, socket.gethostname()
        self.latest_beat: dict[str, Any] = {"step": 0, "total": 1}
        self.written_at, self.checked_at, self.alone = -math.inf, -math.inf, True

    def __call__(self, step: int, total: int, scalars: Mapping[str, float]) -> None:
        """Report a step; ``scalars`` are written with it."""
        now = time.monotonic()
        if now - self.written_at >= 1.0:
            self.written_at = now
            numbers = {name: float(value) for name, value in scalars.items()}
            self.latest_beat = {**numbers, "step": step, "total": total}
            self._write()
        if now - self.checked_at >= CHECK_INTERVAL:
            self.check_alone()

    def now(self) -> dict[str, Any]:
        """Return the latest heartbeat with its process and the time."""
        process = {"host": self.host, "machine": machine(), "pid": os.getpid(), "owner": self.owner}
        return {**self.latest_beat, "when": time.time(), **process}

    @contextlib.contextmanager
    def beating(self) -> Iterator[None]:
        """Write the latest heartbeat now and then during a block, and remove it at its end."""
        end_event = threading.Event()

        def beat() -> None:
            while not end_event.wait(BEAT_INTERVAL):
                self._write()

        thread = threading.Thread(target=beat, daemon=True, name=f"heartbeat of {self.key}")
        thread.start()
        try:
            yield
        finally:
            end_event.set()
            thread.join()
            with contextlib.suppress(BenchmarkError):
                self.store.files.remove(f".progress/{self.key}.json")

    def _write(self) -> None:
        with contextlib.suppress(BenchmarkError):
            self.store.write_text(f".progress/{self.key}.json", json.dumps(self.now()))

    def check_alone(self) -> bool:
        """Check for other work; return whether no check so far, this one included, has found any."""
        self.checked_at = time.monotonic()
        with contextlib.suppress(BenchmarkError):
            other_beats = [heartbeat for key, heartbeat in self.store.heartbeats().items() if key != self.key]
            beats_here = [heartbeat for heartbeat in other_beats if heartbeat.get("host", self.host) == self.host]
            self.alone = self.alone and not any(map(is_recent, beats_here)) and not overloaded()
        return self.alone


def is_recent(heartbeat: Mapping[str, Any]) -> bool:
    """Return whether a heartbeat came within the last minute; one that comes from the future did not."""
    return abs(time.time() - float(heartbeat["when"])) < TIMEOUT


def overloaded() -> bool:
    """Return whether the load of the machine is above `LOAD_PER_CORE`; False where the system does not tell."""
    if not hasattr(os, "getloadavg"):
        return False
    return os.getloadavg()[0] > LOAD_PER_CORE * (os.cpu_count() or 1)  # the load is that of all cores
