"""The queue of a runner: which nodes can run now, which a failure blocks, and which other drivers run."""

from __future__ import annotations

import heapq
import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from graphlib import TopologicalSorter
from typing import Literal

from benchmark.identity import STAGES
from benchmark.plan.nodes import Needs, Node
from benchmark.run.claims import Watch
from benchmark.run.options import NodeOptions, Outcome

USUAL = {"teacher": 60.0, "prepare": 20.0, "distill": 60.0, "relabel": 5.0, "evaluate": 20.0, "measure": 5.0}  # seconds
URGENT = 0.25  # of the time that all remaining work takes: a longer chain of nodes cannot wait
RETRIES = 2  # of a node after a transient fault: its worker or its machine died, or memory ran out


@dataclass(frozen=True)
class Event:
    """A change of a node's status."""

    node: Node
    status: Literal["started", "retried", "done", "failed", "blocked", "theirs"]  # theirs: another driver runs it
    message: str = ""
    seconds: float = 0.0


class Queue:
    """The nodes that can run now: those whose parents are done. A failure blocks its dependants and no other node.

    Nodes with the longest remaining chain of work come first, if the chain is so long that all would wait for it in the
    end. Of the others, late stages come first: what is begun is finished, and results appear from the start.
    """

    def __init__(self, nodes: Mapping[str, Node], slots: int = 1) -> None:
        """Start with the nodes that have no parent in ``nodes``.

        Args:
            nodes: all nodes.
            slots: how many nodes run at the same time.
        """
        parents = {key: [parent for parent in node.parents if parent in nodes] for key, node in nodes.items()}
        self.nodes, self.retries, self.blocked = nodes, Counter[str](), set[str]()
        self.theirs: dict[str, str] = {}  # key -> message, of the nodes that other drivers run
        self.stopped: dict[str, str] = {}  # key -> fingerprint of a heartbeat of another driver that has stopped
        self.children = defaultdict[str, list[str]](list)
        for key, keys in parents.items():
            for parent in dict.fromkeys(keys):
                self.children[parent].append(key)
        self.slots, self.seconds = slots, {key: node.seconds or USUAL[node.stage] for key, node in nodes.items()}
        self.remaining = sum(self.seconds.values())  # seconds of the nodes that have not ended
        self.chains: dict[str, float] = {}  # seconds of a node and of the longest chain of nodes that wait for it
        for key in reversed(list(TopologicalSorter(parents).static_order())):
            self.chains[key] = self.seconds[key] + max((self.chains[child] for child in self.children[key]), default=0)
        self.sorter = TopologicalSorter(parents)
        self.sorter.prepare()
        self.heap: list[tuple[int, float, int, str]] = []  # (*rank, order of arrival, key)
        self.arrivals = itertools.count()
        self.ranked_at = self.remaining
        self._push(self.sorter.get_ready())

    def pop(self) -> Node | None:
        """Return the next node to run, or None where every other node waits for a parent."""
        return self.nodes[heapq.heappop(self.heap)[-1]] if self.heap else None

    def finish(self, node: Node, outcome: Outcome) -> Iterator[Event]:
        """Record how a node ended; yield its event and the events of the nodes that it blocks."""
        if outcome.transient and self.retries[node.key] < RETRIES:
            self.retries[node.key] += 1
            self._push([node.key])
            yield Event(node, "retried", outcome.message, outcome.seconds)
            return
        if outcome.status == "theirs":
            self.theirs[node.key] = outcome.message
        yield Event(node, outcome.status, outcome.message, outcome.seconds)
        if outcome.status == "theirs":
            return
        self._subtract(self.seconds[node.key])
        if outcome.status == "done":
            self.sorter.done(node.key)
            self._push(self.sorter.get_ready())
        else:
            yield from self._block(node)

    def look(self, watch: Watch) -> Iterator[Event]:
        """Finish the nodes that other drivers have done, and take over those whose heartbeat has stopped."""
        for key in list(self.theirs):
            verdict, stopped = watch.look(key)
            if verdict == "done":
                del self.theirs[key]
                yield from self.finish(self.nodes[key], Outcome(key, "done"))
            elif verdict == "free":
                del self.theirs[key]
                self.stopped[key] = stopped
                self._push([key])

    def options(self, node: Node, needs: Needs, options: NodeOptions) -> NodeOptions:
        """Return the options of one node; a node that needs no graphics card runs on the CPU: Ray hides the cards."""
        device: Literal["cpu", "cuda"] = options.device if needs.gpus else "cpu"
        stopped = self.stopped.get(node.key, "")
        return replace(options, threads=needs.cpus, device=device, gpu_share=needs.gpus, stopped=stopped)

    def _push(self, keys: Iterable[str]) -> None:
        for key in keys:
            heapq.heappush(self.heap, (*self._rank(key), next(self.arrivals), key))

    def _rank(self, key: str) -> tuple[int, float]:
        """Return what a node is sorted by; the smallest comes first."""
        if self.chains[key] > URGENT * self.remaining / self.slots:
            return 0, -self.chains[key]
        return 1, -STAGES.index(self.nodes[key].stage)

    def _subtract(self, seconds: float) -> None:
        """Count work that has ended; rank the waiting nodes anew whenever half of the work is done."""
        self.remaining -= seconds
        if self.remaining < self.ranked_at / 2:
            self.ranked_at = self.remaining
            self.heap = [(*self._rank(key), arrival, key) for _, _, arrival, key in self.heap]
            heapq.heapify(self.heap)

    def _block(self, node: Node) -> Iterator[Event]:
        """Block every node that depends on a failed or blocked one."""
        for child in self.children[node.key]:
            if child not in self.blocked:
                self.blocked.add(child)
                self._subtract(self.seconds[child])
                yield Event(self.nodes[child], "blocked", f"waits for {node.stage} {node.title}")
                yield from self._block(self.nodes[child])
