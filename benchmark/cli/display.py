"""What a user sees while a campaign runs: one live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pandas as pd
from rich import filesize
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from benchmark.identity import STAGES
from benchmark.run.heartbeat import is_recent
from benchmark.run.store import Store, parse_heartbeat

if TYPE_CHECKING:
    from benchmark.plan.graph import Plan
    from benchmark.plan.label_bytes import Foreseen
    from benchmark.plan.nodes import Node
    from benchmark.run.runner import Event

SHOWN = 8  # running nodes at most


class Board:
    """The state of a campaign, drawn anew whenever the terminal asks."""

    def __init__(self, nodes: Mapping[str, Node], store: Store, expected: float) -> None:
        """Start with everything waiting; ``expected`` is the estimated work in seconds, 0 where nothing is known."""
        self.total = Counter(node.stage for node in nodes.values())
        self.counts = {status: Counter[str]() for status in ("done", "failed", "blocked")}
        self.running: dict[str, tuple[Node, float]] = {}
        self.store, self.expected, self.begun = store, expected, time.monotonic()
        self.worked = 0.0

    def take(self, event: Event) -> None:
        """Note an event."""
        if event.status == "started":
            self.running[event.node.key] = (event.node, time.monotonic())
            return
        self.running.pop(event.node.key, None)
        self.worked += event.seconds
        if event.status in self.counts:
            self.counts[event.status][event.node.stage] += 1

    @property
    def finished(self) -> int:
        """Nodes that are done, failed or blocked."""
        return sum(counts.total() for counts in self.counts.values())

    def left(self) -> str:
        """Return the time left in words, from the share of nodes finished and from past records."""
        spent = time.monotonic() - self.begun
        if not self.finished:
            return f"about {span(self.expected)} of work" if self.expected else "unknown"
        pace = spent / max(self.worked, 1e-9)  # wall seconds per second of work: below 1 where nodes run side by side
        by_past = (self.expected - self.worked) * pace
        by_count = spent / self.finished * (self.total.total() - self.finished)
        return f"about {span(max(by_past, 0.0) if self.expected > self.worked else by_count)}"

    def __rich__(self) -> RenderableType:
        """Draw the table, and below it the nodes that run."""
        table = Table("stage", "running", "done", "failed", "blocked", "of", box=None, header_style="bold")
        active = Counter(node.stage for node, _ in self.running.values())
        for stage in STAGES:
            if self.total[stage]:
                numbers = (active[stage], *(self.counts[s][stage] for s in ("done", "failed", "blocked")))
                table.add_row(stage, *(str(n) if n else "·" for n in numbers), str(self.total[stage]))
        lines = [self._line(node, since) for node, since in list(self.running.values())[:SHOWN]]
        spent = span(time.monotonic() - self.begun)
        foot = Text(f"{self.finished} of {self.total.total()} in {spent}, left: {self.left()}", style="bold")
        return Group(table, *lines, foot)

    def _line(self, node: Node, since: float) -> Text:
        word: dict[str, Any] = parse_heartbeat(self.store.files.read_file(f".progress/{node.key}.json")) or {}
        share = f"{word['step']}/{word['total']}" if word else span(time.monotonic() - since)
        scalars = {
            k: v for k, v in word.items() if k not in ("step", "total", "when", "pid") and isinstance(v, int | float)
        }
        values = "  ".join(f"{name} {value:.3g}" for name, value in scalars.items())
        return Text(f"  {node.stage} {node.title}  {share}  {values}", style="dim", no_wrap=True, overflow="ellipsis")


def follow(events: Iterable[Event], board: Board, console: Console) -> None:
    """Show events as they come: a live table on a terminal, one line per finished node elsewhere."""
    if console.is_terminal:
        with Live(board, console=console, refresh_per_second=2, transient=True) as live:
            for event in events:
                board.take(event)
                if event.status in ("failed", "retried", "theirs"):
                    live.console.print(Text(_word(event, board), style="red"))
        return
    for event in events:
        board.take(event)
        if event.status != "started":
            console.print(_word(event, board), soft_wrap=True, markup=False, highlight=False)


def span(seconds: float) -> str:
    """Return a time span for people: ``42 s``, ``7 min``, ``3.4 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _word(event: Event, board: Board) -> str:
    reason = f": {event.message}" if event.message else ""
    took = f" in {event.seconds:.1f} s" if event.seconds else ""
    place = f"[{board.finished}/{board.total.total()}]"
    return f"{place} {event.node.stage} {event.node.title} {event.status}{took}{reason}"


def matrix(plan: Plan, todo: Mapping[str, Node]) -> RenderableType:
    """Draw a plan: per dataset its cells and nodes, what is done and to do; below, what is skipped and why."""
    table = Table("dataset", "cells", "skipped", *STAGES, box=None, header_style="bold", title="nodes: to do / all")
    for name in dict.fromkeys(planned.cell.dataset for planned in plan.cells):
        cells = [planned for planned in plan.cells if planned.cell.dataset == name]
        nodes = [node for node in plan.nodes.values() if node.identity["dataset"]["name"] == name]
        counts = [[node.key in todo for node in nodes if node.stage == stage] for stage in STAGES]
        skipped = sum(planned.skipped is not None for planned in cells)
        table.add_row(name, str(len(cells)), str(skipped), *(f"{sum(c)} / {len(c)}" if c else "·" for c in counts))
    reasons = Counter((p.cell.dataset, p.cell.method, p.skipped) for p in plan.cells if p.skipped)
    merged: dict[tuple[str, str], list[str]] = {}
    for dataset, method, reason in reasons:
        merged.setdefault((dataset, str(reason)), []).append(method)
    lines = [Text(f"skipped {dataset} ({', '.join(who)}): {why}") for (dataset, why), who in merged.items()]
    return Group(table, *lines)


def labels(sets: Sequence[Foreseen]) -> RenderableType:
    """Draw what the labels of one set will take, by images per class, and those of all sets of a protocol together."""
    counts = sorted({each.ipc for each in sets}, key=lambda ipc: ipc or math.inf)
    table = Table("dataset", "protocol", *(str(ipc or "all") for ipc in counts), "together", box=None)
    table.title, table.header_style = "labels of the largest set, by images per class", "bold"
    for dataset, protocol in dict.fromkeys((each.dataset, each.protocol) for each in sets if each.bytes):
        own = [each for each in sets if (each.dataset, each.protocol) == (dataset, protocol)]
        largest = [max((each.bytes for each in own if each.ipc == ipc), default=0) for ipc in counts]
        sizes = (*largest, sum(each.bytes for each in own))
        table.add_row(dataset, protocol, *(filesize.decimal(size) if size else "·" for size in sizes))
    return table


def tally(cells: pd.DataFrame, heartbeats: Mapping[str, Mapping[str, Any]]) -> RenderableType:
    """Draw how many cells of each dataset are in which state, and the nodes that have spoken in the last minute."""
    states = ("ok", "failed", "blocked", "missing", "skipped")
    table = Table("dataset", *states, box=None, header_style="bold")
    for name, group in cells.groupby("dataset", sort=False):
        counts = group["status"].value_counts()
        table.add_row(str(name), *(str(counts.get(state, 0) or "·") for state in states))
    fresh = {key: word for key, word in heartbeats.items() if is_recent(word)}
    lines = [Text(f"  running {key}: {word['step']}/{word['total']}") for key, word in fresh.items()]
    return Group(table, *lines)


@contextmanager
def counting(console: Console, unit: str, scale: float = 1.0) -> Iterator[Callable[[int, int], None]]:
    """Yield a function of (done, total) that draws a progress bar; nothing where there is no terminal."""
    columns = (BarColumn(), TextColumn("{task.completed:.0f} of {task.total:.0f} " + unit), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=1.0)
        yield lambda done, total: bar.update(task, completed=done / scale, total=total / scale)


def pairs(described: Mapping[str, str]) -> RenderableType:
    """Draw names with a few words on each."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True, style="bold")
    table.add_column()
    for name, words in described.items():
        table.add_row(name, Text(words))
    return table
