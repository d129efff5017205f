"""The queue of a runner: which nodes can run now, which a failure blocks, and which other drivers run."""

from __future__ import annotations

import heapq
import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from graphlib import TopologicalSorter
from statistics import fmean
from typing import Any, Literal

from benchmark.identity import STAGES
from benchmark.plan.nodes import Needs, Node
from benchmark.run.claims import Watch
from benchmark.run.options import NodeOptions, Outcome

USUAL = {"teacher": 60.0, "prepare": 20.0, "distill": 60.0, "relabel": 5.0, "evaluate": 20.0, "measure": 5.0}  # seconds
URGENT = 0.25  # a chain of nodes that takes a larger share of all remaining work cannot wait
TASK_SECONDS = 420.0  # the seconds of nodes that share a task, by what such nodes have taken
RETRIES = 2  # the retries of a node whose worker or machine died, or whose memory ran out


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
        self.foreign_nodes: dict[str, str] = {}  # key -> message, of the nodes that other drivers run
        self.stopped_beats: dict[str, str] = {}  # key -> fingerprint of a heartbeat of another driver that has stopped
        self.children = defaultdict[str, list[str]](list)
        for key, keys in parents.items():
            for parent in dict.fromkeys(keys):
                self.children[parent].append(key)
        self.durations = defaultdict[tuple[str, ...], list[float]](list)  # seconds of the nodes that are done, by group
        self.slots, self.seconds = slots, {key: node.seconds or USUAL[node.stage] for key, node in nodes.items()}
        self.seconds_left = sum(self.seconds.values())  # seconds of the nodes that have not ended
        self.chains: dict[str, float] = {}  # seconds of a node and of the longest chain of nodes that wait for it
        for key in reversed(list(TopologicalSorter(parents).static_order())):
            self.chains[key] = self.seconds[key] + max((self.chains[child] for child in self.children[key]), default=0)
        self.sorter = TopologicalSorter(parents)
        self.sorter.prepare()
        # (*rank, order of arrival, key), of nodes that use a graphics card (True) and of others
        self.heaps: dict[bool, list[tuple[int, float, int, str]]] = {True: [], False: []}
        self.arrivals = itertools.count()
        self.ranked_at = self.seconds_left
        self._push(self.sorter.get_ready())

    @property
    def has_ready_node(self) -> bool:
        """Whether a node can run now."""
        return any(self.heaps.values())

    def pop(self, *, cards: bool = True) -> Node | None:
        """Return the next node to run, or None where every other node waits for a parent.

        Args:
            cards: False leaves out the nodes that use a graphics card.
        """
        heaps = [heap for on_card, heap in self.heaps.items() if heap and (cards or not on_card)]
        return self.nodes[heapq.heappop(min(heaps))[-1]] if heaps else None

    def company(self, node: Node, places: float) -> list[Node]:
        """Pop the nodes that come next and may share a task with a node, which pays once for its process.

        They have the node's stage, dataset, teachers and needs, and with it take `TASK_SECONDS` at most. A node
        without known seconds shares no task. Nor does a node that is tried again: it may have ended its process.

        Args:
            node: the node that was popped last.
            places: how many such tasks run at the same time; each gets its part of the nodes that can run now.
        """
        companions, total, heap = list[Node](), self._expected(node), self.heaps[bool(node.needs.gpus)]
        most = (len(heap) + 1) / places
        while total and heap and len(companions) + 1 < most and not self.retries[node.key]:
            peer = self.nodes[heap[0][-1]]
            seconds = self._expected(peer)
            if not seconds or total + seconds > TASK_SECONDS or self.retries[peer.key] or not _alike(node, peer):
                break
            heapq.heappop(heap)
            companions.append(peer)
            total += seconds
        return companions

    def give_back(self, nodes: Iterable[Node]) -> None:
        """Put nodes back that were popped and have not started."""
        self._push(node.key for node in nodes)

    def _expected(self, node: Node) -> float:
        """Return the seconds that a node may take: as similar nodes in this run, else as past records; 0: unknown."""
        durations = self.durations[group_of(node.stage, node.identity)]
        return fmean(durations) if durations else node.seconds

    def finish(self, node: Node, outcome: Outcome) -> Iterator[Event]:
        """Record how a node ended; yield its event and the events of the nodes that it blocks."""
        if outcome.transient and self.retries[node.key] < RETRIES:
            self.retries[node.key] += 1
            self._push([node.key])
            yield Event(node, "retried", outcome.message, outcome.seconds)
            return
        if outcome.status == "theirs":
            self.foreign_nodes[node.key] = outcome.message
        yield Event(node, outcome.status, outcome.message, outcome.seconds)
        if outcome.status == "theirs":
            return
        self._subtract(self.seconds[node.key])
        if outcome.status == "done":
            if outcome.seconds:  # none: another process did it
                self.durations[group_of(node.stage, node.identity)].append(outcome.seconds)
            self.sorter.done(node.key)
            self._push(self.sorter.get_ready())
        else:
            yield from self._block(node)

    def look(self, watch: Watch) -> Iterator[Event]:
        """Finish the nodes that other drivers have done, and take over those whose heartbeat has stopped."""
        for key in list(self.foreign_nodes):
            verdict, stopped_beat = watch.look(key)
            if verdict == "done":
                del self.foreign_nodes[key]
                yield from self.finish(self.nodes[key], Outcome(key, "done"))
            elif verdict == "free":
                del self.foreign_nodes[key]
                self.stopped_beats[key] = stopped_beat
                self._push([key])

    def options(self, node: Node, needs: Needs, options: NodeOptions) -> NodeOptions:
        """Return the options of one node; a node that needs no graphics card runs on the CPU: Ray hides the cards."""
        device: Literal["cpu", "cuda"] = options.device if needs.gpus else "cpu"
        stopped_beat = self.stopped_beats.get(node.key, "")
        return replace(options, threads=needs.cpus, device=device, gpu_share=needs.gpus, stopped=stopped_beat)

    def _push(self, keys: Iterable[str]) -> None:
        for key in keys:
            on_card = bool(self.nodes[key].needs.gpus)
            heapq.heappush(self.heaps[on_card], (*self._rank(key), next(self.arrivals), key))

    def _rank(self, key: str) -> tuple[int, float]:
        """Return what a node is sorted by; the smallest comes first."""
        if self.chains[key] > URGENT * self.seconds_left / self.slots:
            return 0, -self.chains[key]
        return 1, -STAGES.index(self.nodes[key].stage)

    def _subtract(self, seconds: float) -> None:
        """Count work that has ended; rank the waiting nodes anew whenever half of the work is done."""
        self.seconds_left -= seconds
        if self.seconds_left < self.ranked_at / 2:
            self.ranked_at = self.seconds_left
            for on_card, heap in self.heaps.items():
                self.heaps[on_card] = [(*self._rank(key), arrival, key) for _, _, arrival, key in heap]
                heapq.heapify(self.heaps[on_card])

    def _block(self, node: Node) -> Iterator[Event]:
        """Block every node that depends on a failed or blocked one."""
        for child in self.children[node.key]:
            if child not in self.blocked:
                self.blocked.add(child)
                self._subtract(self.seconds[child])
                yield Event(self.nodes[child], "blocked", f"waits for {node.stage} {node.title}")
                yield from self._block(self.nodes[child])


def group_of(stage: str, identity: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what nodes of about equal length have in common: stage, dataset, component, student and IPC."""
    student, component = identity.get("student", {}).get("arch", ""), identity.get("component", {}).get("name", "")
    return stage, identity["dataset"]["name"], component, student, str(identity.get("ipc", ""))


def _alike(one: Node, other: Node) -> bool:
    """Return whether two nodes may share a task."""

    def shared(node: Node) -> tuple[object, ...]:
        teachers = node.identity["parents"].get("teachers", ())
        return node.stage, node.needs, node.identity["dataset"]["name"], tuple(teachers)

    return shared(one) == shared(other)
