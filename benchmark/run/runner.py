"""Runners compute the nodes of a graph, in this process or by Ray, and yield an event for every change of a node.

Ray only executes tasks. A task gets keys, never tensors, and writes its results into the store. Both runners therefore
resume in the same way: nodes whose results are in the store are not run.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, Protocol

from benchmark.errors import BenchmarkError, one_line
from benchmark.locks import processors
from benchmark.plan.nodes import Needs, Node
from benchmark.run import provenance, visibility
from benchmark.run.claims import Watch
from benchmark.run.cluster import Pulse, connect, guard, ports_of
from benchmark.run.execution import execute, execute_in_turn
from benchmark.run.options import NodeOptions, Outcome
from benchmark.run.queue import Event, Queue
from benchmark.run.silence import Silence, end_process
from benchmark.run.store import Store

POLL = 1.0  # seconds between two looks at the nodes that other drivers run
MODEL_LABEL = "ray.io/accelerator-type"  # Ray gives it to every machine with graphics cards


class Runner(Protocol):
    """Runs nodes, parents first, and yields events."""

    def run(self, nodes: Mapping[str, Node], options: NodeOptions) -> Iterator[Event]:
        """Yield events until every node is done, failed or blocked; parents outside ``nodes`` count as done."""
        ...

    def close(self) -> None:
        """Give back what the runner holds; it can run nothing after it."""
        ...


class SerialRunner:
    """Runs every node in this process: for debugging, for tests, and where Ray is not installed."""

    def run(self, nodes: Mapping[str, Node], options: NodeOptions) -> Iterator[Event]:
        """See `Runner.run`."""
        queue, watch = Queue(nodes), Watch(Store(options.runs))
        while True:
            if (node := queue.pop()) is None:
                if not queue.foreign_nodes:
                    return
                time.sleep(POLL)
                yield from queue.look(watch)
                continue
            yield Event(node, "started")
            # As many threads as under Ray: the rounding of sums depends on their number.
            needs = replace(node.needs, cpus=min(node.needs.cpus, processors()))
            yield from queue.finish(node, execute(node.key, node.identity, queue.options(node, needs, options)))

    def close(self) -> None:
        """See `Runner.close`; it holds nothing."""


class RayRunner:
    """Runs nodes as Ray tasks, on a private cluster on this machine or on a cluster that is running."""

    def __init__(self, address: str, device: Literal["auto", "cpu", "cuda"], *, insecure: bool = False) -> None:
        """Connect to a cluster.

        Args:
            address: ``local`` starts a private cluster on this machine, ``auto`` takes the cluster that is running on
                this machine, and HOST:PORT is the address of a cluster elsewhere.
            device: ``cpu`` lets a private cluster use no graphics card.
            insecure: connect to a cluster that asks for no token.

        Raises:
            BenchmarkError: Ray is not installed, no cluster answers, or no token is set.
        """
        self.is_private = address == "local"
        self.guard = guard() if self.is_private else None
        self.ray = connect(address, device, insecure=insecure)
        self.address, self.pulse = address, Pulse(address, ports_of(self.ray))
        self.machines = [machine_of(machine) for machine in self.ray.nodes() if machine["Alive"]]
        # A process keeps its GPU memory until it ends, so it must end with its task; `options` takes no max_calls. Its
        # start takes seconds, so that nodes share a task, which gives their outcomes one after the other.
        self.cpu_task = self.ray.remote(num_cpus=1, max_retries=0)(execute)
        options = {"num_gpus": 1, "max_calls": 1, "num_returns": "streaming"}
        self.gpu_task = self.ray.remote(num_cpus=1, max_retries=0, **options)(execute_in_turn)

    @property
    def has_gpu(self) -> bool:
        """Whether any machine of the cluster has a graphics card."""
        return any(machine.gpus for machine in self.machines)

    def close(self) -> None:
        """Disconnect from the cluster; a private cluster ends."""
        self.ray.shutdown()
        if self.guard and self.guard.stdin:
            self.guard.stdin.close()
            self.guard.wait()

    def preflight(self, nodes: Mapping[str, Node], options: NodeOptions) -> dict[str, Needs]:
        """Return what every node asks for, once it is certain that the cluster can run it.

        Raises:
            BenchmarkError: no machine of the cluster has what a node needs, or one sees another store or other data
                than this process.
        """
        if not self.is_private and nodes:
            self._check_visibility(options)
        return {key: needs_here(node, self.machines) for key, node in nodes.items()}

    def run(self, nodes: Mapping[str, Node], options: NodeOptions) -> Iterator[Event]:
        """See `Runner.run`.

        Raises:
            BenchmarkError: see `preflight`; no node has started then. Or the cluster has died.
        """
        needs = self.preflight(nodes, options)
        slots, store = sum(max(machine.cpus, 1) for machine in self.machines), Store(options.runs)
        queue, tasks = Queue(nodes, slots), dict[Any, deque[Node]]()  # the nodes of each task, that which runs first
        watch, silence, window = Watch(store), Silence(store, options.owner), 2 * slots
        cards = sum(machine.gpus for machine in self.machines)
        while True:
            # No more than one task waits for a card: nodes that wait here can share one.
            while len(tasks) < window and (node := queue.pop(cards=_cards_in_use(tasks, needs) <= cards)) is not None:
                node_needs = needs[node.key]
                group = [node, *(queue.company(node, cards / node_needs.gpus) if node_needs.gpus else ())]
                task = self._submit(group, node_needs, [queue.options(member, node_needs, options) for member in group])
                tasks[task] = deque(group)
                yield Event(node, "started")
            yield from queue.look(watch)
            if not tasks:
                if not queue.foreign_nodes and not queue.has_ready_node:
                    return
                time.sleep(0 if queue.has_ready_node else POLL)
                continue
            ended_tasks, _ = self.ray.wait(list(tasks), num_returns=1, timeout=POLL if queue.foreign_nodes else 5.0)
            if not ended_tasks:
                self.pulse.check()
            for _, heartbeat in silence.look([group[0] for group in tasks.values() if group]):
                self._end(heartbeat)
            for task in ended_tasks:
                yield from self._advance(task, tasks, queue, store)

    def _advance(self, task: Any, tasks: dict[Any, deque[Node]], queue: Queue, store: Store) -> Iterator[Event]:
        """Finish the node of a task that has ended; the task's other nodes follow, or wait again if it has died."""
        group = tasks[task]
        outcome, has_ended = self._result(task, group, store)
        if outcome:
            yield from queue.finish(group.popleft(), outcome)
        if has_ended:
            del tasks[task]
            queue.give_back(group)
        elif group and outcome and outcome.status != "failed":
            yield Event(group[0], "started")

    def _check_visibility(self, options: NodeOptions) -> None:
        """Check that every machine of the cluster sees the store and the data of this process."""
        task, store = self.ray.remote(num_cpus=0, max_retries=0)(visibility.look), Store(options.runs)
        machines = [machine["NodeID"] for machine in self.ray.nodes() if machine["Alive"]]
        with visibility.marked(store, options.owner) as driver:
            tasks = {id: task.options(scheduling_strategy=self._on(id)) for id in machines}
            words = (options.runs, options.data, driver)
            try:
                sights = self.ray.get([tasks[id].remote(*words, f"{driver}-{id}") for id in tasks], timeout=120)
            except self.ray.exceptions.RayError as error:
                raise BenchmarkError(f"--ray: a machine of the cluster cannot look ({one_line(error)})") from error
            visibility.check(store, options.data, sights)

    def _on(self, machine: str) -> Any:
        """Return the strategy that runs a task on one machine."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        return NodeAffinitySchedulingStrategy(machine, soft=False)

    def _submit(self, group: Sequence[Node], needs: Needs, options: Sequence[NodeOptions]) -> Any:
        """Start a task for nodes that run one after the other."""
        node, task = group[0], self.gpu_task if needs.gpus else self.cpu_task
        resources: dict[str, Any] = {"num_cpus": needs.cpus}
        if needs.gpus:
            resources["num_gpus"] = needs.gpus
        if needs.gpu_model:
            resources["label_selector"] = {MODEL_LABEL: needs.gpu_model}
        if needs.memory_gb:
            resources["memory"] = int(needs.memory_gb * 2**30)
        suffix = f" and {len(group) - 1} more" if len(group) > 1 else ""
        named_task = task.options(name=f"{node.stage} {node.title}{suffix}", **resources)
        jobs = [(member.key, dict(member.identity), settings) for member, settings in zip(group, options, strict=True)]
        return named_task.remote(jobs) if needs.gpus else named_task.remote(*jobs[0])

    def _end(self, heartbeat: Mapping[str, Any]) -> None:
        """End the worker of a node that has stopped; its node is then tried again, as after every death of a worker."""
        host, pid = heartbeat.get("host"), heartbeat.get("pid")
        alive = [machine for machine in self.ray.nodes() if machine["Alive"]]
        for machine in alive:
            if machine["NodeManagerHostname"] == host and isinstance(pid, int):
                task = self.ray.remote(num_cpus=0, max_retries=0)(end_process)
                self.ray.wait([task.options(scheduling_strategy=self._on(machine["NodeID"])).remote(pid)], timeout=30)
                return

    def _result(self, task: Any, group: Sequence[Node], store: Store) -> tuple[Outcome | None, bool]:
        """Return how the first node of a task ended, and whether the task has ended.

        The outcome is None if the task has no node left. A failure that its worker could not record is recorded here.
        """
        shared = not isinstance(task, self.ray.ObjectRef)
        try:
            outcome: Outcome = self.ray.get(next(task) if shared else task)
            return outcome, not shared
        except StopIteration:
            return None, True
        except self.ray.exceptions.RayError as error:
            if not group:
                return None, True  # it has died after its last node
            if shared and store.state(group[0].key) == "done":
                return Outcome(group[0].key, "done"), True  # it has died before it could say so
            outcome = self._failure(error, group[0])
        with contextlib.suppress(BenchmarkError):
            facts = {"stage": group[0].stage, "message": outcome.message}
            store.fail(group[0].key, {**facts, "traceback": "", "when": provenance.now()})
        return outcome, True

    def _failure(self, error: Any, node: Node) -> Outcome:
        """Return how a node ended whose task raised an error."""
        if isinstance(error, self.ray.exceptions.RayTaskError):  # `execute` raises nothing: it could not start
            return Outcome(node.key, "failed", f"the worker cannot run it: {one_line(error.cause)}")
        self.pulse.check()  # the worker or its machine died, or memory ran out
        return Outcome(node.key, "failed", one_line(error), transient=True)


def _cards_in_use(tasks: Mapping[Any, Sequence[Node]], needs: Mapping[str, Needs]) -> float:
    """Return how many cards the tasks take that run, or wait for a card."""
    return sum(needs[group[0].key].gpus for group in tasks.values() if group)


def machine_of(machine: Mapping[str, Any]) -> Needs:
    """Return what a machine has, from Ray's description of it."""
    resources, model = machine["Resources"], machine.get("Labels", {}).get(MODEL_LABEL, "")
    memory = float(resources.get("memory", 0)) / 2**30
    return Needs(int(resources.get("CPU", 0)), float(resources.get("GPU", 0)), memory, model)


def needs_here(node: Node, machines: Sequence[Needs]) -> Needs:
    """Return what a node needs, with at most as many processors as the largest machine has.

    Raises:
        BenchmarkError: no machine has that.
    """
    largest = max((machine.cpus for machine in machines), default=1)
    needs = replace(node.needs, cpus=max(1, min(node.needs.cpus, largest)))
    if any(_satisfies(machine, needs) for machine in machines):
        return needs
    cards = f"{needs.gpus:g} GPUs{f' of the model {needs.gpu_model}' if needs.gpu_model else ''}"
    resources = f"{needs.cpus} CPUs, {cards} and {needs.memory_gb:g} GB of memory"
    where = f"configs/datasets/{node.identity['dataset']['name']}.yaml: resources"
    raise BenchmarkError(f"{where}: no machine of the cluster has {resources}; lower them or add a machine")


def _satisfies(machine: Needs, needs: Needs) -> bool:
    enough = machine.cpus >= needs.cpus and machine.gpus >= needs.gpus and machine.memory_gb >= needs.memory_gb
    return enough and needs.gpu_model in ("", machine.gpu_model)
