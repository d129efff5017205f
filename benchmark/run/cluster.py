"""Connecting to a cluster of Ray: a private one on this machine, or one that runs."""

from __future__ import annotations

import os
import secrets
import socket
import sys
from typing import Any

from benchmark import sources
from benchmark.errors import BenchmarkError

INSTALL = "pip install 'ray[tune]', or use --runner serial"


def _check_port(address: str) -> None:
    """Raise OSError where no program listens at HOST:PORT; Ray would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if port.isdigit():
        socket.create_connection((host, int(port)), timeout=10).close()


def connect(address: str, device: str) -> Any:
    """Connect this process to a cluster and return the module ``ray``; see `RayRunner`.

    Raises:
        BenchmarkError: Ray is not installed, or no cluster answers.
    """
    environment = {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_SCHEDULER_EVENTS": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",
    }
    for name, value in environment.items():
        os.environ.setdefault(name, value)
    if address == "local" and "RAY_AUTH_MODE" not in os.environ and "ray" not in sys.modules:
        # With a token from the environment, a private cluster writes none below the home folder. Ray reads the
        # environment when it is imported; a token that is set later would lock out this process.
        os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(16))
    options: dict[str, Any] = {"address": address, "log_to_driver": False, "logging_level": "ERROR"}
    if address == "local":
        options |= {"include_dashboard": False, "object_store_memory": 100 * 2**20}
        options |= {"num_cpus": len(os.sched_getaffinity(0))} if hasattr(os, "sched_getaffinity") else {}
        options |= {"num_gpus": 0} if device == "cpu" else {}
    elif folders := os.environ.get(sources.ENVIRONMENT):  # workers of a private cluster inherit the environment
        options |= {"runtime_env": {"env_vars": {sources.ENVIRONMENT: folders}}}
    try:
        _check_port(address)
        import ray

        ray.init(**options)
    except ImportError as error:
        raise BenchmarkError(f"--runner ray: Ray is not installed ({error}); {INSTALL}") from error
    except Exception as error:  # Ray raises many kinds, and a bare Exception where a private cluster is late
        raise BenchmarkError(f"--ray {address}: {_unreachable(address, error)}") from error
    return ray


def _unreachable(address: str, error: Exception) -> str:
    if address == "local":
        return f"the private cluster did not start ({line_of(error)}); try again, or use --runner serial"
    return f"no cluster answers ({line_of(error)}); --ray local starts one"


def line_of(error: BaseException) -> str:
    """Return the message of an error as one line."""
    return " ".join(str(error).split())[:300]
