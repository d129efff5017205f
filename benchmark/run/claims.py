"""Who runs a node if several drivers use one store: the driver that wrote the node's heartbeat first, until it stops.

A driver does not run what another one runs. It waits, and takes the node over when the heartbeat stops. The clocks of
different machines are never compared: a heartbeat has stopped when its process has ended, or when it has not changed
for a minute of the waiting driver's own clock. A mistake costs work but never a result: the first commit of a node
stays.
"""

from __future__ import annotations

import hashlib
import json
import time
from typing import Any, Literal

from benchmark.locks import has_ended
from benchmark.run.store import TIMEOUT, Store, parse_heartbeat

SETTLE = 0.5  # seconds: a bucket has no locks, so that a second writer is noticed after the first one has written
Verdict = Literal["done", "free", "theirs"]


def claim(store: Store, key: str, heartbeat: dict[str, Any], stopped_beat: str) -> dict[str, Any] | None:
    """Write the first heartbeat of a node, unless another driver runs it; return that driver's heartbeat, else None.

    Args:
        store: the store.
        key: the key of the node.
        heartbeat: the first heartbeat; ``owner`` is the driver.
        stopped_beat: the fingerprint of a heartbeat that is known to have stopped, "" for none.
    """
    name = f".progress/{key}.json"
    with store.locked():
        data = store.files.read_file(name)
        beat = parse_heartbeat(data)
        if beat and beat.get("owner") != heartbeat["owner"] and fingerprint(data) != stopped_beat and not _ended(beat):
            return beat
        store.write_text(name, json.dumps(heartbeat))
    if not store.files.is_local:
        time.sleep(SETTLE)
        beat = parse_heartbeat(store.files.read_file(name))
        if beat and beat.get("owner") != heartbeat["owner"]:
            return beat
    return None


class Watch:
    """Watches the nodes that other drivers run."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.heartbeats: dict[str, tuple[bytes, float]] = {}  # the latest heartbeat, and since when it has not changed

    def look(self, key: str) -> tuple[Verdict, str]:
        """Return what became of a node, and the fingerprint of its heartbeat where that has stopped."""
        if self.store.state(key) == "done":
            return "done", ""
        data = self.store.files.read_file(f".progress/{key}.json")
        beat = parse_heartbeat(data)
        if data is None or beat is None:
            return "free", ""
        if _ended(beat):
            return "free", fingerprint(data)
        last_data, since = self.heartbeats.get(key, (b"", 0.0))
        if last_data != data:
            self.heartbeats[key] = (data, time.monotonic())
        elif time.monotonic() - since >= TIMEOUT:
            return "free", fingerprint(data)
        return "theirs", ""


def fingerprint(data: bytes | None) -> str:
    """Return what tells a heartbeat from the next one."""
    return hashlib.sha256(data or b"").hexdigest()[:16]


def _ended(heartbeat: dict[str, Any]) -> bool:
    return has_ended(heartbeat.get("machine"), heartbeat.get("pid"))
