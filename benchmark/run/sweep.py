"""Remove what interrupted runs left in a store, once it is certain that no process needs it.

Files of a process of this machine are removed as soon as the process has ended. This machine cannot ask whether a
process of another machine still runs, and clocks jump. So files of such a process are removed only if they are older
than a day, and if they and the heartbeat of their node do not change in a minute of this process's own clock.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from benchmark.errors import BenchmarkError
from benchmark.locks import has_ended, locked, machine, writer_of
from benchmark.run import copies
from benchmark.run.store import TIMEOUT, Store, parse_heartbeat

LEFTOVERS = (".staging/*", ".*.part", "*/.*.part", ".scratch/*/*/.*.part", "leaderboards/**/.*.part")


class Sweep:
    """The leftovers that lay in a store when a run began."""

    def __init__(self, store: Store) -> None:
        """Remove what has certainly no owner, and note the rest."""
        self.store, self.begun = store, time.monotonic()
        if not store.files.is_local:
            copies.sweep()
        beats = self._heartbeats()
        for name, data in beats.items():
            beat = parse_heartbeat(data)
            if beat is None or has_ended(beat.get("machine"), beat.get("pid")):
                self._remove_heartbeat(name)
        for path in self._leftovers():
            if has_ended(machine(), writer_of(path.name)):
                _remove(path)
        self.beats = self._heartbeats()
        paths = [path for path in self._leftovers() if writer_of(path.name) is None]
        self.signatures = {path: _signature(path, self.beats) for path in paths}
        self._sweep_scratch()

    def finish(self) -> None:
        """Remove what is old and has not changed since the run began."""
        if time.monotonic() - self.begun < TIMEOUT:
            return
        beats = self._heartbeats()
        for path, signature in self.signatures.items():
            if signature and signature == _signature(path, beats) and time.time() - path.stat().st_mtime > copies.AGE:
                _remove(path)
        for name in (name for name, data in self.beats.items() if beats.get(name) == data):
            self._remove_heartbeat(name)

    def _leftovers(self) -> Iterator[Path]:
        for pattern in LEFTOVERS:
            with contextlib.suppress(OSError):  # another driver removed a folder meanwhile
                yield from sorted(self.store.disk.glob(pattern))

    def _heartbeats(self) -> dict[str, bytes]:
        with contextlib.suppress(BenchmarkError):
            return self.store.heartbeat_files()
        return {}

    def _remove_heartbeat(self, name: str) -> None:
        with contextlib.suppress(BenchmarkError):
            self.store.files.remove(f".progress/{name}")

    def _sweep_scratch(self) -> None:
        """Remove what is saved of nodes that are done and have no heartbeat: their process ended in between."""
        with contextlib.suppress(OSError, BenchmarkError):
            for path in sorted((self.store.disk / ".scratch").iterdir()):
                if f"{path.name}.json" not in self.beats and self.store.record(path.name) is not None:
                    _remove(path)


def _signature(path: Path, beats: Mapping[str, bytes]) -> tuple[object, ...]:
    """Return what changes while the owner of a leftover works; () where it is gone."""
    try:
        facts = path.stat()
    except OSError:
        return ()
    return facts.st_mtime_ns, facts.st_size, beats.get(f"{path.name.partition('.')[0]}.json")


def _remove(path: Path) -> None:
    """Remove a file, or a folder that no process of this machine has locked."""
    if path.is_dir():
        with locked(path, wait=False) as state:
            if state != "taken":
                shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()
