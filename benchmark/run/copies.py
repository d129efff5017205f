"""This machine's copies of a bucket's files: a folder for each bucket below the temporary folder, bounded and swept."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmark.files import checksum

PREFIX = "benchmark-store-"
LIMIT = 20 * 2**30  # bytes of copies of one bucket
IDLE = 6 * 3600.0  # seconds without a use, after which a copy may go
AGE = 86_400.0  # seconds without a use, after which a copy goes, or what another machine has left


def used(disk: Path, key: str) -> None:
    """Note that the copies of a node are in use, and remove the oldest others where there are too many."""
    os.utime(disk / key)
    folders = _copies(disk)
    sizes = {folder: _size(folder) for folder in folders}
    total = sum(sizes.values())
    for folder in folders:
        if total > LIMIT and _idle(folder) > IDLE:
            shutil.rmtree(folder, ignore_errors=True)
            total -= sizes[folder]


def sweep() -> None:
    """Remove the copies of all buckets that this user has not used for a day; saved progress stays."""
    for disk in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            if disk.stat().st_uid == os.getuid():
                for folder in _copies(disk):
                    if _idle(folder) > AGE:
                        shutil.rmtree(folder, ignore_errors=True)


def matches(path: Path, facts: Mapping[str, Any]) -> bool:
    """Return whether a local file has the recorded size and checksum."""
    return path.exists() and path.stat().st_size == facts["bytes"] and checksum(path) == facts["sha256"]


def _copies(disk: Path) -> list[Path]:
    """Return the folders of copies, the least recently used first."""
    folders = [path for path in disk.iterdir() if path.is_dir() and not path.name.startswith(".")]
    return sorted(folders, key=lambda folder: -_idle(folder))


def _size(folder: Path) -> int:
    """Return the bytes of a copy; 0 where another process removes it meanwhile."""
    try:
        return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    except OSError:
        return 0


def _idle(folder: Path) -> float:
    """Return the seconds since a copy was used; 0 where it is gone."""
    try:
        return time.time() - folder.stat().st_mtime
    except OSError:
        return 0.0
