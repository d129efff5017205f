"""Facts in a record that are not part of the identity: versions, commit, device, seconds, peak memory."""

from __future__ import annotations

import functools
import importlib.metadata
import platform
import resource
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from benchmark.files import checksum
from benchmark.plan.outside import outside_files
from benchmark.sources import checksum_at_import

PACKAGES = ("torch", "torchvision", "timm", "numpy", "POT", "geomloss", "ray", "scikit-learn", "safetensors")
SUMS = ("seconds", "images_forwarded", "parts")  # costs that grow while a node runs


def facts(start_time: str, identity: Mapping[str, Any]) -> dict[str, Any]:
    """Return when a node has run, on which versions, and which files outside of the benchmark it used.

    Args:
        start_time: the time at which it started, as `now` gives it.
        identity: the identity of the node.
    """
    component = (identity["stage"], identity["component"]["name"])
    files = outside_files("datasets", identity["dataset"]["name"], [component]).items()
    outside = {name: (checksum_at_import if path.suffix == ".py" else checksum)(path)[:16] for name, path in files}
    history = {"started": start_time, "finished": now(), "versions": versions(), "commit": commit()}
    return history | ({"outside": outside} if outside else {})


@functools.cache
def versions() -> dict[str, str]:
    """Return the versions of Python and of the installed packages that can change a number."""
    installed = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            installed[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return installed


@functools.cache
def commit() -> str:
    """Return the commit of this code, with "+" if files differ from it; "unknown" where it is not a git checkout."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(Path(__file__).parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    try:
        git("ls-files", "--error-unmatch", __file__)  # an error where it is installed inside another project
        return git("rev-parse", "--short=12", "HEAD").strip() + ("+" if git("status", "--porcelain").strip() else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


@functools.cache
def device_name(device: str) -> str:
    """Return the model name of the graphics card or of the processor."""
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
    """Measure a block; when it ends, the yielded mapping holds the cost.

    The keys are ``seconds``, ``peak_memory_mb`` (10**6 bytes: allocated on the graphics card, or resident on the CPU),
    ``device``, ``device_class`` (``cpu``, ``cuda``) and ``threads``. On a processor, ``instructions`` is the set that
    torch uses (``AVX2``, ``AVX512``), on which rounding depends. On a graphics card, ``tf32`` says whether float32 is
    rounded to TF32 in ``convolutions`` and in ``products``.
    """
    cost: dict[str, Any] = {"device": device_name(str(device)), "device_class": device.type}
    cost["threads"] = torch.get_num_threads()
    if device.type == "cuda":
        backends = torch.backends
        cost["tf32"] = {"convolutions": backends.cudnn.allow_tf32, "products": backends.cuda.matmul.allow_tf32}
        torch.cuda.reset_peak_memory_stats(device)
    else:
        cost["instructions"] = torch.backends.cpu.get_cpu_capability()
        _reset_peak()
    start = time.perf_counter()
    yield cost
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    cost["seconds"] = round(time.perf_counter() - start, 3)
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else _peak()
    cost["peak_memory_mb"] = round(peak / 1e6, 1)


def of_last_attempt(cost: Mapping[str, Any]) -> dict[str, Any]:
    """Return the cost of a node that went on from what an earlier attempt had saved.

    What that attempt has spent is not known. So the sums of the last attempt stand in ``resumed``, where no report
    takes them for those of the whole node.
    """
    node_facts = {name: value for name, value in cost.items() if name not in SUMS}
    return {**node_facts, "resumed": {name: cost[name] for name in SUMS}}


def now() -> str:
    """Return the time in UTC, rounded to seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _reset_peak() -> None:
    """Reset the peak of resident memory, where the system can."""
    try:
        Path("/proc/self/clear_refs").write_text("5")  # Linux then measures a new peak
    except OSError:
        return


def _peak() -> float:
    """Return the peak of resident memory in bytes."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024.0 * next(float(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        scale = 1.0 if platform.system() == "Darwin" else 1024.0
        return scale * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
