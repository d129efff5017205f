"""What commands print: tables, a live table of a run, progress bars, sizes and times."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import humanize
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from benchmark.identity import STAGES
from benchmark.run.heartbeat import is_recent
from benchmark.run.store import Store, parse_heartbeat

if TYPE_CHECKING:
    import pandas as pd

    from benchmark.plan.graph import Plan
    from benchmark.plan.label_bytes import LabelSize
    from benchmark.plan.nodes import Node
    from benchmark.run.queue import Event

MAX_LINES = 8  # running nodes that the live table lists
ENDS = ("done", "failed", "blocked")
CELL_STATES = ("ok", "failed", "blocked", "missing", "skipped")


class ProgressTable:
    """The state of a run as a table: how many nodes of each stage run, are done, have failed or are blocked."""

    def __init__(self, nodes: Mapping[str, Node], store: Store, expected_seconds: float) -> None:
        """Start with all nodes waiting.

        Args:
            nodes: the nodes to run.
            store: holds the heartbeats of running nodes.
            expected_seconds: the estimated sum of the seconds of all nodes; 0 if there is no estimate.
        """
        self.total = Counter(node.stage for node in nodes.values())
        self.counts = {status: Counter[str]() for status in ENDS}
        self.running: dict[str, tuple[Node, float]] = {}  # the node and when it started, by key
        self.store, self.expected_seconds, self.started = store, expected_seconds, time.monotonic()
        self.node_seconds = 0.0  # of the nodes that have ended, added up

    def update(self, event: Event) -> None:
        """Count an event."""
        if event.status == "started":
            self.running[event.node.key] = (event.node, time.monotonic())
            return
        self.running.pop(event.node.key, None)
        self.node_seconds += event.seconds
        if event.status in self.counts:
            self.counts[event.status][event.node.stage] += 1

    @property
    def finished(self) -> int:
        """Number of nodes that are done, failed or blocked."""
        return sum(counts.total() for counts in self.counts.values())

    @property
    def failed(self) -> int:
        """Number of nodes that failed."""
        return self.counts["failed"].total()

    def time_left(self) -> str:
        """Return the estimated time left, from past records, or else from the share of nodes that have ended."""
        elapsed = time.monotonic() - self.started
        if not self.finished:
            return f"about {time_span(self.expected_seconds)} of work" if self.expected_seconds else "unknown"
        if self.expected_seconds > self.node_seconds:
            pace = elapsed / max(self.node_seconds, 1e-9)  # below 1 where nodes run in parallel
            return f"about {time_span((self.expected_seconds - self.node_seconds) * pace)}"
        return f"about {time_span(elapsed / self.finished * (self.total.total() - self.finished))}"

    def __rich__(self) -> RenderableType:
        """Return the table, and below it a line for every running node."""
        table = Table("stage", "running", *ENDS, "of", box=None, header_style="bold")
        active = Counter(node.stage for node, _ in self.running.values())
        for stage in STAGES:
            if self.total[stage]:
                numbers = (active[stage], *(self.counts[status][stage] for status in ENDS))
                table.add_row(stage, *(str(number) if number else "·" for number in numbers), str(self.total[stage]))
        lines = [self._line(node, started) for node, started in list(self.running.values())[:MAX_LINES]]
        elapsed = time_span(time.monotonic() - self.started)
        summary = f"{self.finished} of {self.total.total()} in {elapsed}, left: {self.time_left()}"
        return Group(table, *lines, Text(summary, style="bold"))

    def _line(self, node: Node, started: float) -> Text:
        heartbeat: dict[str, Any] = parse_heartbeat(self.store.files.read_file(f".progress/{node.key}.json")) or {}
        step = f"{heartbeat['step']}/{heartbeat['total']}" if heartbeat else time_span(time.monotonic() - started)
        scalars = {
            name: value
            for name, value in heartbeat.items()
            if name not in ("step", "total", "when", "pid") and isinstance(value, int | float)
        }
        values = "  ".join(f"{name} {value:.3g}" for name, value in scalars.items())
        return Text(f"  {node.stage} {node.title}  {step}  {values}", style="dim", no_wrap=True, overflow="ellipsis")


def show_progress(events: Iterable[Event], progress: ProgressTable, console: Console) -> None:
    """Show events as they come: in a live table on a terminal, else as one line for every node that has ended."""
    if console.is_terminal:
        with Live(progress, console=console, refresh_per_second=2, transient=True) as live:
            for event in events:
                progress.update(event)
                if event.status in ("failed", "retried", "theirs"):
                    live.console.print(Text(_event_line(event, progress), style="red"))
                elif event.status == "done" and event.message:  # something was damaged and has been mended
                    live.console.print(Text(_event_line(event, progress)))
        return
    for event in events:
        progress.update(event)
        if event.status != "started":
            console.print(_event_line(event, progress), soft_wrap=True, markup=False, highlight=False)


def _event_line(event: Event, progress: ProgressTable) -> str:
    message = f": {event.message}" if event.message else ""
    seconds = f" in {event.seconds:.1f} s" if event.seconds else ""
    number = f"[{progress.finished}/{progress.total.total()}]"
    return f"{number} {event.node.stage} {event.node.title} {event.status}{seconds}{message}"


def time_span(seconds: float) -> str:
    """Return a time for people: ``42 seconds``, ``7 minutes``, ``3 hours and 25 minutes``."""
    unit = "seconds" if seconds < 60 else "minutes"
    return humanize.precisedelta(round(seconds), minimum_unit=unit, format="%d")


def plan_table(plan: Plan, todo: Mapping[str, Node]) -> RenderableType:
    """Return the number of cells and nodes of each dataset, and below them the skipped cells, each with its reason."""
    table = Table("dataset", "cells", "skipped", *STAGES, box=None, header_style="bold", title="nodes: to do / all")
    for name in dict.fromkeys(planned.cell.dataset for planned in plan.cells):
        cells = [planned for planned in plan.cells if planned.cell.dataset == name]
        nodes = [node for node in plan.nodes.values() if node.identity["dataset"]["name"] == name]
        skipped = sum(planned.skipped is not None for planned in cells)
        table.add_row(name, str(len(cells)), str(skipped), *(_to_do(nodes, stage, todo) for stage in STAGES))
    methods: dict[tuple[str, str], dict[str, None]] = {}  # by dataset and reason, each method once
    for planned in plan.cells:
        if planned.skipped:
            methods.setdefault((planned.cell.dataset, planned.skipped), {})[planned.cell.method] = None
    lines = [Text(f"skipped {dataset} ({', '.join(names)}): {why}") for (dataset, why), names in methods.items()]
    return Group(table, *lines)


def _to_do(nodes: Sequence[Node], stage: str, todo: Mapping[str, Node]) -> str:
    is_to_do = [node.key in todo for node in nodes if node.stage == stage]
    return f"{sum(is_to_do)} / {len(is_to_do)}" if is_to_do else "·"


def label_size_table(sizes: Sequence[LabelSize]) -> RenderableType:
    """Return the bytes of labels by dataset, protocol and IPC: of the largest set, and of all sets together."""
    ipcs = sorted({size.ipc for size in sizes}, key=lambda ipc: ipc or math.inf)
    table = Table("dataset", "protocol", *(str(ipc or "all") for ipc in ipcs), "together", box=None)
    table.title, table.header_style = "labels of the largest set, by images per class", "bold"
    for dataset, protocol in dict.fromkeys((size.dataset, size.protocol) for size in sizes if size.bytes):
        own = [size for size in sizes if (size.dataset, size.protocol) == (dataset, protocol)]
        largest = [max((size.bytes for size in own if size.ipc == ipc), default=0) for ipc in ipcs]
        columns = (*largest, sum(size.bytes for size in own))
        table.add_row(dataset, protocol, *(humanize.naturalsize(count) if count else "·" for count in columns))
    return table


def status_table(cells: pd.DataFrame, heartbeats: Mapping[str, Mapping[str, Any]]) -> RenderableType:
    """Return how many cells of each dataset are in which state, and below them the nodes that are running."""
    table = Table("dataset", *CELL_STATES, box=None, header_style="bold")
    for name, group in cells.groupby("dataset", sort=False):
        counts = group["status"].value_counts()
        table.add_row(str(name), *(str(counts.get(state, 0) or "·") for state in CELL_STATES))
    recent = {key: heartbeat for key, heartbeat in heartbeats.items() if is_recent(heartbeat)}
    lines = [Text(f"  running {key}: {heartbeat['step']}/{heartbeat['total']}") for key, heartbeat in recent.items()]
    return Group(table, *lines)


@contextmanager
def progress_bar(
    console: Console, unit: Literal["bytes", "images", "files hashed"]
) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar on a terminal, once the yielded function sets it to (done, total)."""
    count = [DownloadColumn()] if unit == "bytes" else [MofNCompleteColumn(), TextColumn(unit)]
    columns = (BarColumn(), *count, TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=1.0, visible=False)
        yield lambda done, total: progress.update(task, completed=done, total=total, visible=True)


def description_table(descriptions: Mapping[str, str]) -> RenderableType:
    """Return names, each with its description beside it."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True, style="bold")
    table.add_column()
    for name, description in descriptions.items():
        table.add_row(name, Text(description))
    return table
