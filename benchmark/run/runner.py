"""Running a graph: one process after the other, or by Ray on a machine or a cluster, behind one generator of events.

Ray serves as an executor of tasks and nothing more: keys are passed, never tensors, and what is durable is the store.
Resuming is therefore the same for both runners and needs neither of them: what the store holds is not run.
"""

from __future__ import annotations

import heapq
import itertools
import os
import secrets
import socket
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

from benchmark.errors import BenchmarkError
from benchmark.identity import STAGES
from benchmark.plan.nodes import Needs, Node
from benchmark.run.stages import Outcome, Settings, execute

RETRIES = 2  # of a node after a transient fault: its worker or machine died, or memory ran out
INSTALL = "pip install 'ray[tune]', or use --runner serial"


@dataclass(frozen=True)
class Event:
    """What became of a node just now."""

    node: Node
    status: Literal["started", "retried", "done", "failed", "blocked"]
    message: str = ""
    seconds: float = 0.0


class Runner(Protocol):
    """Runs nodes, parents first, and yields what becomes of each, in any order."""

    def run(self, nodes: Mapping[str, Node], settings: Settings) -> Iterator[Event]:
        """Yield events until every node is done, failed or blocked; parents outside ``nodes`` count as done."""
        ...


class Queue:
    """Which nodes may run: those whose parents are done; what depends on a failure is blocked, all else goes on."""

    def __init__(self, nodes: Mapping[str, Node]) -> None:
        """Order the nodes: early stages first, so that what many wait for is not kept waiting."""
        self.nodes, self.attempts = nodes, defaultdict[str, int](int)
        self.waits = {key: {p for p in node.parents if p in nodes} for key, node in nodes.items()}
        self.children = defaultdict[str, list[str]](list)
        for key, parents in self.waits.items():
            for parent in parents:
                self.children[parent].append(key)
        self.count, self.blocked = itertools.count(), set[str]()
        self.ready: list[tuple[int, int, str]] = []
        for key, parents in self.waits.items():
            if not parents:
                self._push(key)

    def pop(self) -> Node | None:
        """Return the next node that may run, or None for now."""
        return self.nodes[heapq.heappop(self.ready)[2]] if self.ready else None

    def finish(self, node: Node, outcome: Outcome) -> Iterator[Event]:
        """Take note of how a node ended; yield that, and what follows from it."""
        if outcome.transient and self.attempts[node.key] < RETRIES:
            self.attempts[node.key] += 1
            self._push(node.key)
            yield Event(node, "retried", outcome.message, outcome.seconds)
            return
        yield Event(node, outcome.status, outcome.message, outcome.seconds)
        if outcome.status == "done":
            for child in self.children[node.key]:
                self.waits[child].discard(node.key)
                if not self.waits[child]:
                    self._push(child)
        else:
            yield from self._block(node)

    def _push(self, key: str) -> None:
        heapq.heappush(self.ready, (STAGES.index(self.nodes[key].stage), next(self.count), key))

    def _block(self, node: Node) -> Iterator[Event]:
        for child in self.children[node.key]:
            if child not in self.blocked:
                self.blocked.add(child)
                yield Event(self.nodes[child], "blocked", f"waits for {node.stage} {node.title}")
                yield from self._block(self.nodes[child])


class SerialRunner:
    """Runs everything in this process: for debugging, for tests, and where Ray is not wanted."""

    def run(self, nodes: Mapping[str, Node], settings: Settings) -> Iterator[Event]:
        """See `Runner.run`."""
        queue = Queue(nodes)
        while (node := queue.pop()) is not None:
            yield Event(node, "started")
            cpus = min(node.needs.cpus, os.cpu_count() or 1)  # as by Ray: sums depend on the number of threads
            where = _placed(settings, replace(node.needs, cpus=cpus))
            yield from queue.finish(node, execute(node.key, node.identity, where))


class RayRunner:
    """Runs nodes as Ray tasks on a private local cluster or on a running one."""

    def __init__(self, address: str, device: Literal["auto", "cpu", "cuda"]) -> None:
        """Connect.

        Args:
            address: ``local`` for a private cluster on this machine, ``auto`` for the one that is running here, or the
                address of one elsewhere.
            device: ``cpu`` keeps a private cluster off the graphics cards.

        Raises:
            BenchmarkError: Ray is not installed, or no cluster answers.
        """
        self.ray = _connect(address, device)
        nodes = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        self.machines = [
            Needs(int(r.get("CPU", 0)), float(r.get("GPU", 0)), float(r.get("memory", 0)) / 2**30) for r in nodes
        ]
        # On a GPU the process must end with the task, or its memory stays taken: only the decorator can say so.
        self.cpu_task = self.ray.remote(num_cpus=1, max_retries=0)(execute)
        self.gpu_task = self.ray.remote(num_cpus=1, num_gpus=1, max_calls=1, max_retries=0)(execute)

    @property
    def has_gpu(self) -> bool:
        """Whether any machine of the cluster has a graphics card."""
        return any(machine.gpus for machine in self.machines)

    def close(self) -> None:
        """Leave the cluster; a private one ends."""
        self.ray.shutdown()

    def run(self, nodes: Mapping[str, Node], settings: Settings) -> Iterator[Event]:
        """See `Runner.run`.

        Raises:
            BenchmarkError: what no machine of the cluster can satisfy, before anything starts.
        """
        needs = {key: self._fitted(node) for key, node in nodes.items()}
        queue, running = Queue(nodes), dict[Any, Node]()
        window = 2 * sum(max(machine.cpus, 1) for machine in self.machines)
        while True:
            while len(running) < window and (node := queue.pop()) is not None:
                running[self._submit(node, needs[node.key], settings)] = node
                yield Event(node, "started")
            if not running:
                return
            ready, _ = self.ray.wait(list(running), num_returns=1, timeout=5.0)
            for reference in ready:
                node = running.pop(reference)
                yield from queue.finish(node, self._result(reference, node))

    def _submit(self, node: Node, needs: Needs, settings: Settings) -> Any:
        task = self.gpu_task if needs.gpus else self.cpu_task
        options: dict[str, Any] = {"num_cpus": needs.cpus, "name": f"{node.stage} {node.title}"}
        if needs.gpus:
            options["num_gpus"] = needs.gpus
        if needs.memory_gb:
            options["memory"] = int(needs.memory_gb * 2**30)
        return task.options(**options).remote(node.key, dict(node.identity), _placed(settings, needs))

    def _result(self, reference: Any, node: Node) -> Outcome:
        try:
            outcome: Outcome = self.ray.get(reference)
            return outcome
        except self.ray.exceptions.RayTaskError as error:  # `execute` raises nothing, so it was never reached
            return Outcome(node.key, "failed", f"the worker cannot run it: {_line(error.cause)}")
        except self.ray.exceptions.RayError as error:  # the worker, its machine or its memory
            return Outcome(node.key, "failed", f"{type(error).__name__}: {_line(error)}", transient=True)

    def _fitted(self, node: Node) -> Needs:
        """Return what a node asks for, with no more processors than the largest machine has; else say what is short."""
        most = max((machine.cpus for machine in self.machines), default=1)
        fitted = replace(node.needs, cpus=max(1, min(node.needs.cpus, most)))
        if any(_holds(machine, fitted) for machine in self.machines):
            return fitted
        asked = f"{fitted.cpus} CPUs, {fitted.gpus:g} GPUs and {fitted.memory_gb:g} GB of memory"
        where = f"configs/datasets/{node.identity['dataset']['name']}.yaml: resources"
        raise BenchmarkError(f"{where}: no machine of the cluster has {asked}; lower them or add a machine")


def _placed(settings: Settings, needs: Needs) -> Settings:
    """Return where a node runs: what takes no share of a graphics card, from which Ray hides them all, on the CPU."""
    return replace(settings, threads=needs.cpus, device=settings.device if needs.gpus else "cpu")


def _holds(machine: Needs, asked: Needs) -> bool:
    return machine.cpus >= asked.cpus and machine.gpus >= asked.gpus and machine.memory_gb >= asked.memory_gb


def _knock(address: str) -> None:
    """Raise OSError where nobody listens at HOST:PORT; Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if port.isdigit():
        socket.create_connection((host, int(port)), timeout=10).close()


def _connect(address: str, device: str) -> Any:
    quiet = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_SCHEDULER_EVENTS": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1"}
    for name, value in quiet.items():
        os.environ.setdefault(name, value)
    if address == "local" and "RAY_AUTH_MODE" not in os.environ and "ray" not in sys.modules:
        # A token of its own, for this process and its workers: a private cluster writes nothing below the home folder.
        # Ray reads it when it is imported; set later, it would lock out the process that set it.
        os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(16))
    options: dict[str, Any] = {"address": address, "log_to_driver": False, "logging_level": "ERROR"}
    if address == "local":
        options |= {"include_dashboard": False, "object_store_memory": 100 * 2**20}
        options |= {"num_cpus": len(os.sched_getaffinity(0))} if hasattr(os, "sched_getaffinity") else {}
        options |= {"num_gpus": 0} if device == "cpu" else {}
    try:
        _knock(address)
        import ray

        ray.init(**options)
    except ImportError as error:
        raise BenchmarkError(f"--runner ray: Ray is not installed ({error}); {INSTALL}") from error
    except Exception as error:  # of many kinds, and a bare Exception where a private cluster does not start in time
        raise BenchmarkError(f"--ray {address}: {_unreachable(address, error)}") from error
    return ray


def _unreachable(address: str, error: Exception) -> str:
    if address == "local":
        return f"the private cluster did not start ({_line(error)}); try again, or use --runner serial"
    return f"no cluster answers ({_line(error)}); --ray local starts one"


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
