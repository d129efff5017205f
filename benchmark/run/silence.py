"""Workers of this driver that have stopped: their process is alive, but their heartbeat no longer changes."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterable, Iterator
from typing import Any

from benchmark.errors import BenchmarkError
from benchmark.plan.nodes import Node
from benchmark.run.store import Store, parse_heartbeat

LOOK = 10.0  # seconds between two looks at the heartbeats


class Silence:
    """Watches the heartbeats of the nodes that this driver runs, by its own clock."""

    def __init__(self, store: Store, owner: str) -> None:
        self.store, self.owner = store, owner
        self.heartbeats: dict[str, tuple[bytes, float]] = {}  # the latest heartbeat, and since when it has not changed
        self.looked = time.monotonic()

    def look(self, nodes: Iterable[Node]) -> Iterator[tuple[Node, dict[str, Any]]]:
        """Yield the nodes whose heartbeat has not changed for their limit, each with its heartbeat."""
        now = time.monotonic()
        if now - self.looked < LOOK:
            return
        self.looked = now
        for node in nodes:
            with contextlib.suppress(BenchmarkError):
                data = self.store.files.read_file(f".progress/{node.key}.json") or b""
                beat = parse_heartbeat(data)
                last_data, since = self.heartbeats.get(node.key, (b"", now))
                if last_data != data:
                    self.heartbeats[node.key] = (data, now)
                elif beat and beat.get("owner") == self.owner and now - since >= node.needs.silent_seconds:
                    del self.heartbeats[node.key]
                    yield node, beat


def end_process(pid: int) -> None:
    """End a process of this machine, even one that is stopped; runs where the process runs."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
