"""The processes of a machine: locks between them, whether one has ended, and how many processors one may use.

The system releases a lock when its process ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

Held = Literal["held", "taken", "unsupported"]  # by this process; by another one; the file system has no locks


@contextlib.contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[Held]:
    """Lock an existing file or folder for a block, and yield who holds the lock.

    Args:
        path: what is locked. The lock stays with a folder that is renamed.
        wait: wait for another process that holds the lock; False: yield "taken" at once.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        yield "unsupported"
        return
    state: Held = "held"
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            state = "taken"
        except OSError:
            state = "unsupported"
        yield state
    finally:
        os.close(descriptor)


def processors() -> int:
    """Return how many processors this process may use; they may be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine() -> str:
    """Return the name of this host and the number of the PID namespace: containers may share the first."""
    try:
        return f"{socket.gethostname()}+{Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:
        return socket.gethostname()


def has_ended(machine_name: object, pid: object) -> bool:
    """Return whether a process has certainly ended; False for a process of another machine, which cannot be asked.

    Args:
        machine_name: the name of its machine, as `machine` gives it there.
        pid: the number of the process.
    """
    if machine_name != machine() or not isinstance(pid, int) or not 0 < pid < 2**31:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def writer_of(name: str) -> int | None:
    """Return the process of this machine that is named in ``NAME.MACHINE@PID@RANDOM`` (`benchmark.files.tagged`)."""
    prefix, _, suffix = name.partition("@")
    pid = suffix.partition("@")[0]
    return int(pid) if prefix.endswith(f".{machine()}") and pid.isdigit() else None
