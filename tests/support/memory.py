"""Resident memory of this process, from the Linux kernel."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

MEGABYTE = 1 << 20
needs_linux = pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="asks the Linux kernel for resident memory"
)


def resident(name: str) -> int:
    """Return a line of the kernel's facts about this process, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(name))


def peak(call: Callable[[], object]) -> int:
    """Return how many bytes a call adds to the resident memory, at its peak; what it returns is dropped after that."""
    Path("/proc/self/clear_refs").write_text("5")  # measure a new peak
    before = resident("VmRSS")
    call()
    return resident("VmHWM") - before
