"""What is recorded beside a number but is not part of its identity: versions, commit, device, seconds, peak memory."""

from __future__ import annotations

import functools
import importlib.metadata
import platform
import resource
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

PACKAGES = ("torch", "torchvision", "timm", "numpy", "POT", "geomloss", "ray", "scikit-learn", "safetensors")


@functools.cache
def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that can move a number."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


@functools.cache
def commit() -> str:
    """Return the checkout's commit, with "+" when files differ from it; "unknown" outside a checkout."""

    def git(*words: str) -> str:
        where = Path(__file__).parent
        return subprocess.run(["git", "-C", str(where), *words], capture_output=True, text=True, check=True).stdout

    try:
        return git("rev-parse", "--short=12", "HEAD").strip() + ("+" if git("status", "--porcelain").strip() else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


@functools.cache
def device_name(device: str) -> str:
    """Return the model of a device: the graphics card's name, or the processor's with its number of threads."""
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        model = platform.processor() or platform.machine()
    return model


@contextmanager
def measured(device: torch.device) -> Iterator[dict[str, Any]]:
    """Measure a block; the yielded mapping is filled at its end.

    It then holds ``seconds``, ``peak_memory_mb`` (allocated on the graphics card, or resident on the CPU, in 10**6
    bytes), ``device`` and ``threads``.
    """
    cost: dict[str, Any] = {"device": device_name(str(device)), "threads": torch.get_num_threads()}
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        _reset_peak()
    start = time.perf_counter()
    yield cost
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    cost["seconds"] = round(time.perf_counter() - start, 3)
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else _peak()
    cost["peak_memory_mb"] = round(peak / 1e6, 1)


def now() -> str:
    """Return the time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _reset_peak() -> None:
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the kernel's high-water mark starts anew
    except OSError:
        return


def _peak() -> float:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024.0 * next(float(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        scale = 1.0 if platform.system() == "Darwin" else 1024.0
        return scale * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
