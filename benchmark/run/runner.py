"""Runners compute the nodes of a graph, in this process or by Ray, and yield an event for every change of a node.

Ray only executes tasks. A task gets keys, never tensors, and writes its results into the store. Both runners therefore
resume in the same way: nodes whose results are in the store are not run.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Literal, Protocol

from benchmark.errors import BenchmarkError
from benchmark.plan.nodes import Needs, Node
from benchmark.run import visibility
from benchmark.run.claims import Watch
from benchmark.run.cluster import connect, line_of
from benchmark.run.execution import execute
from benchmark.run.options import NodeOptions, Outcome
from benchmark.run.queue import Event, Queue
from benchmark.run.store import Store

POLL = 1.0  # seconds between two looks at the nodes that other drivers run


class Runner(Protocol):
    """Runs nodes, parents first, and yields events."""

    def run(self, nodes: Mapping[str, Node], options: NodeOptions) -> Iterator[Event]:
        """Yield events until every node is done, failed or blocked; parents outside ``nodes`` count as done."""
        ...


class SerialRunner:
    """Runs every node in this process: for debugging, for tests, and where Ray is not installed."""

    def run(self, nodes: Mapping[str, Node], options: NodeOptions) -> Iterator[Event]:
        """See `Runner.run`."""
        queue, watch = Queue(nodes), Watch(Store(options.runs))
        while True:
            if (node := queue.pop()) is None:
                if not queue.theirs:
                    return
                time.sleep(POLL)
                yield from queue.look(watch)
                continue
            yield Event(node, "started")
            # As many threads as under Ray: the rounding of sums depends on their number.
            needs = replace(node.needs, cpus=min(node.needs.cpus, os.cpu_count() or 1))
            yield from queue.finish(node, execute(node.key, node.identity, queue.options(node, needs, options)))


class RayRunner:
    """Runs nodes as Ray tasks, on a private cluster on this machine or on a cluster that is running."""

    def __init__(self, address: str, device: Literal["auto", "cpu", "cuda"]) -> None:
        """Connect to a cluster.

        Args:
            address: ``local`` starts a private cluster on this machine, ``auto`` takes the cluster that is running on
                this machine, and HOST:PORT is the address of a cluster elsewhere.
            device: ``cpu`` lets a private cluster use no graphics card.

        Raises:
            BenchmarkError: Ray is not installed, or no cluster answers.
        """
        self.ray, self.is_private = connect(address, device), address == "local"
        nodes = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        self.machines = [
            Needs(int(r.get("CPU", 0)), float(r.get("GPU", 0)), float(r.get("memory", 0)) / 2**30) for r in nodes
        ]
        # A process keeps its GPU memory until it ends, so it must end with its task; `options` takes no max_calls.
        self.cpu_task = self.ray.remote(num_cpus=1, max_retries=0)(execute)
        self.gpu_task = self.ray.remote(num_cpus=1, num_gpus=1, max_calls=1, max_retries=0)(execute)

    @property
    def has_gpu(self) -> bool:
        """Whether any machine of the cluster has a graphics card."""
        return any(machine.gpus for machine in self.machines)

    def close(self) -> None:
        """Disconnect from the cluster; a private cluster ends."""
        self.ray.shutdown()

    def run(self, nodes: Mapping[str, Node], options: NodeOptions) -> Iterator[Event]:
        """See `Runner.run`.

        Raises:
            BenchmarkError: no machine of the cluster has what a node needs, or one sees another store or other data
                than this process; no node has started then.
        """
        if not self.is_private and nodes:
            self._check_visibility(options)
        needs = {key: self._needs_here(node) for key, node in nodes.items()}
        slots = sum(max(machine.cpus, 1) for machine in self.machines)
        queue, running, watch = Queue(nodes, slots), dict[Any, Node](), Watch(Store(options.runs))
        window = 2 * slots
        while True:
            while len(running) < window and (node := queue.pop()) is not None:
                own = queue.options(node, needs[node.key], options)
                running[self._submit(node, needs[node.key], own)] = node
                yield Event(node, "started")
            yield from queue.look(watch)
            if not running:
                if not queue.theirs and not queue.heap:
                    return
                time.sleep(0 if queue.heap else POLL)
                continue
            ready, _ = self.ray.wait(list(running), num_returns=1, timeout=POLL if queue.theirs else 5.0)
            for reference in ready:
                node = running.pop(reference)
                yield from queue.finish(node, self._result(reference, node))

    def _check_visibility(self, options: NodeOptions) -> None:
        """Check that every machine of the cluster sees the store and the data of this process."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        task, store = self.ray.remote(num_cpus=0, max_retries=0)(visibility.look), Store(options.runs)
        machines = [machine["NodeID"] for machine in self.ray.nodes() if machine["Alive"]]
        with visibility.marked(store, options.owner) as driver:
            named = {id: NodeAffinitySchedulingStrategy(id, soft=False) for id in machines}
            tasks = {id: task.options(scheduling_strategy=strategy) for id, strategy in named.items()}
            words = (options.runs, options.data, driver)
            try:
                sights = self.ray.get([tasks[id].remote(*words, f"{driver}-{id}") for id in tasks], timeout=120)
            except self.ray.exceptions.RayError as error:
                raise BenchmarkError(f"--ray: a machine of the cluster cannot look ({line_of(error)})") from error
            visibility.check(store, options.data, sights)

    def _submit(self, node: Node, needs: Needs, options: NodeOptions) -> Any:
        task = self.gpu_task if needs.gpus else self.cpu_task
        resources: dict[str, Any] = {"num_cpus": needs.cpus}
        if needs.gpus:
            resources["num_gpus"] = needs.gpus
        if needs.memory_gb:
            resources["memory"] = int(needs.memory_gb * 2**30)
        named = task.options(name=f"{node.stage} {node.title}", **resources)
        return named.remote(node.key, dict(node.identity), options)

    def _result(self, reference: Any, node: Node) -> Outcome:
        try:
            outcome: Outcome = self.ray.get(reference)
            return outcome
        except self.ray.exceptions.RayTaskError as error:  # `execute` raises nothing, so the worker could not start it
            return Outcome(node.key, "failed", f"the worker cannot run it: {line_of(error.cause)}")
        except self.ray.exceptions.RayError as error:  # the worker or its machine died, or memory ran out
            return Outcome(node.key, "failed", f"{type(error).__name__}: {line_of(error)}", transient=True)

    def _needs_here(self, node: Node) -> Needs:
        """Return what a node needs, with at most as many processors as the largest machine of the cluster has.

        Raises:
            BenchmarkError: no machine of the cluster has that.
        """
        largest = max((machine.cpus for machine in self.machines), default=1)
        needs = replace(node.needs, cpus=max(1, min(node.needs.cpus, largest)))
        if any(_satisfies(machine, needs) for machine in self.machines):
            return needs
        resources = f"{needs.cpus} CPUs, {needs.gpus:g} GPUs and {needs.memory_gb:g} GB of memory"
        where = f"configs/datasets/{node.identity['dataset']['name']}.yaml: resources"
        raise BenchmarkError(f"{where}: no machine of the cluster has {resources}; lower them or add a machine")


def _satisfies(machine: Needs, needs: Needs) -> bool:
    return machine.cpus >= needs.cpus and machine.gpus >= needs.gpus and machine.memory_gb >= needs.memory_gb
