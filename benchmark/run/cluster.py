"""Connect to a cluster of Ray: start a private one on this machine, or use a running one; check that it answers."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmark import sources
from benchmark.errors import BenchmarkError, one_line
from benchmark.locks import processors

INSTALL = "pip install 'ray[tune]', or use --runner serial"
GRACE = 45.0  # seconds for a control store to come back; Ray itself ends the driver after 60, without a message
MARK = "BENCHMARK_CLUSTER"  # an environment variable that all processes of a private cluster have
GUARD = """
import os, signal, sys
mark = sys.argv[1].encode()
sys.stdin.buffer.read()  # until the driver has ended, however it ended
for name in os.listdir("/proc") if os.path.isdir("/proc") else ():
    try:
        if name.isdigit() and int(name) != os.getpid() and mark in open(f"/proc/{name}/environ", "rb").read():
            os.kill(int(name), signal.SIGKILL)
    except OSError:
        continue
"""


def connect(address: str, device: str, *, insecure: bool = False) -> Any:
    """Connect this process to a cluster and return the module ``ray``; see `RayRunner`.

    Raises:
        BenchmarkError: Ray is not installed, no cluster answers, or no token is set for a cluster that runs.
    """
    environment = {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_SCHEDULER_EVENTS": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",
    }
    for name, value in environment.items():
        os.environ.setdefault(name, value)
    options: dict[str, Any] = {"address": address, "log_to_driver": False, "logging_level": "ERROR"}
    if address == "local":
        _keep_to_this_machine()
        options |= {"include_dashboard": False, "object_store_memory": 100 * 2**20, "num_cpus": processors()}
        options |= {"num_gpus": 0} if device == "cpu" else {}
    elif folders := os.environ.get(sources.ENVIRONMENT):  # workers of a private cluster inherit the environment
        options |= {"runtime_env": {"env_vars": {sources.ENVIRONMENT: folders}}}
    try:
        _check_port(address)
        if address != "local" and not insecure:
            _refuse_without_token(address)
        import ray

        ray.init(**options)
    except BenchmarkError:
        raise
    except ImportError as error:
        raise BenchmarkError(f"--runner ray: Ray is not installed ({error}); {INSTALL}") from error
    except Exception as error:  # Ray raises many kinds, and a bare Exception where a private cluster is late
        raise BenchmarkError(f"--ray {address}: {_unreachable(address, error)}") from error
    return ray


def guard() -> subprocess.Popen[bytes]:
    """Start a process that ends the private cluster when this process has ended; called before the cluster starts.

    Ray's own processes end with their driver, except for its agents and for workers that are stopped.
    """
    os.environ[MARK] = secrets.token_hex(16)
    command = [sys.executable, "-S", "-c", GUARD, f"{MARK}={os.environ[MARK]}"]
    return subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)


class Pulse:
    """Whether a cluster still answers at its ports."""

    def __init__(self, address: str, ports: Mapping[str, tuple[str, int]]) -> None:
        """Start to watch.

        Args:
            address: of the cluster, as the user named it.
            ports: host and port of the control store and of this machine's raylet, by their names.
        """
        self.address, self.ports = address, ports
        self.silent_since = 0.0

    def check(self) -> bool:
        """Return whether all ports answer; the control store may be silent for a while.

        Raises:
            BenchmarkError: the raylet of this machine has died, or the control store does not come back.
        """
        silent = [name for name, (host, port) in self.ports.items() if not _listens(host, port)]
        if not silent:
            self.silent_since = 0.0
            return True
        self.silent_since = self.silent_since or time.monotonic()
        if silent != ["control store"] or time.monotonic() - self.silent_since >= GRACE:
            raise BenchmarkError(
                f"--ray {self.address}: the {silent[-1]} of the cluster has died; finished nodes are kept, "
                "run the same command again to continue"
            )
        return False


def ports_of(ray: Any) -> dict[str, tuple[str, int]]:
    """Return where the control store of a cluster and the raylet of this machine listen."""
    context = ray.get_runtime_context()
    host, _, port = context.gcs_address.rpartition(":")
    ports = {"control store": (host, int(port))}
    for machine in ray.nodes():
        if machine["NodeID"] == context.get_node_id():
            ports["raylet"] = (machine["NodeManagerAddress"], int(machine["NodeManagerPort"]))
    return ports


def _keep_to_this_machine() -> None:
    """Let a private cluster listen on the loopback only, and ask for a token; Ray reads both when it is imported."""
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # what it calls a cluster of one machine
    if "RAY_AUTH_MODE" not in os.environ and "ray" not in sys.modules:
        # With a token from the environment, a private cluster writes none below the home folder. A token that is set
        # after the import would lock out this process.
        os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(16))


def _refuse_without_token(address: str) -> None:
    """Ask for ``--insecure`` where this process has no token: then the cluster has none either, or refuses us."""
    token = os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH")
    has_token = token or (Path.home() / ".ray" / "auth_token").is_file()
    if os.environ.get("RAY_AUTH_MODE", "token").lower() == "token" and has_token:
        os.environ["RAY_AUTH_MODE"] = "token"
        return
    raise BenchmarkError(
        f"--ray {address}: no token is set, so whoever reaches the cluster can run code on it. Set RAY_AUTH_MODE=token "
        "and one secret RAY_AUTH_TOKEN on all machines before `ray start`, or accept it by --insecure"
    )


def _listens(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=10).close()
    except OSError:
        return False
    return True


def _check_port(address: str) -> None:
    """Raise OSError where no program listens at HOST:PORT; Ray would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if port.isdigit():
        socket.create_connection((host, int(port)), timeout=10).close()


def _unreachable(address: str, error: Exception) -> str:
    if address == "local":
        return f"the private cluster did not start ({one_line(error)}); try again, or use --runner serial"
    return f"no cluster answers ({one_line(error)}); --ray local starts one"
