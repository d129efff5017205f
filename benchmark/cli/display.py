"""What commands print: tables, a live table of a run, progress bars, sizes and times."""

from __future__ import annotations

import math
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from itertools import chain
from statistics import fmean
from typing import TYPE_CHECKING, Any, Literal

import humanize
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from benchmark.identity import STAGES
from benchmark.run.heartbeat import is_recent
from benchmark.run.store import TRACEBACK, Store, parse_heartbeat

if TYPE_CHECKING:
    import pandas as pd

    from benchmark.cli.scores import Scores
    from benchmark.plan.graph import Plan
    from benchmark.plan.label_bytes import LabelSize
    from benchmark.plan.nodes import Node
    from benchmark.run.campaign import Campaign
    from benchmark.run.queue import Event

MAX_LINES = 8  # running nodes that the live table lists
MAX_NAMES = 6  # methods that a line about skipped cells names
ENDS = ("done", "failed", "blocked")
CELL_STATES = ("ok", "failed", "blocked", "missing", "skipped")


class ProgressTable:
    """The state of a run as a table: how many nodes of each stage run, are done, have failed or are blocked."""

    def __init__(self, nodes: Mapping[str, Node], store: Store) -> None:
        """Start with all nodes waiting.

        Args:
            nodes: the nodes to run, with their estimated seconds.
            store: holds the heartbeats of running nodes.
        """
        self.total = Counter(node.stage for node in nodes.values())
        self.counts = {status: Counter[str]() for status in ENDS}
        self.unfinished_nodes = dict(nodes)  # the nodes that have not ended
        self.started_nodes: dict[str, tuple[Node, float]] = {}  # the nodes that a runner has taken, and when, by key
        self.store, self.started = store, time.monotonic()
        self.times = defaultdict[str, list[float]](list)  # seconds of the nodes that have run, by stage

    def update(self, event: Event) -> None:
        """Count an event."""
        if event.status == "started":
            self.started_nodes[event.node.key] = (event.node, time.monotonic())
            return
        self.started_nodes.pop(event.node.key, None)
        if event.seconds:
            self.times[event.node.stage].append(event.seconds)
        if event.status in self.counts:
            self.unfinished_nodes.pop(event.node.key, None)
            self.counts[event.status][event.node.stage] += 1

    def running(self) -> dict[str, tuple[Node, float]]:
        """Return the nodes that run: those that a runner has taken and that have a heartbeat; others are queued."""
        beating = {name.removesuffix(".json") for name in self.store.files.files(".progress")}
        return {key: value for key, value in self.started_nodes.items() if key in beating}

    @property
    def finished(self) -> int:
        """Number of nodes that are done, failed or blocked."""
        return sum(counts.total() for counts in self.counts.values())

    @property
    def failed(self) -> int:
        """Number of nodes that failed."""
        return self.counts["failed"].total()

    def time_left(self) -> str:
        """Return the estimated time left: the seconds of the nodes that have not ended, at the pace so far.

        A node takes as long as past records say, else as long as the nodes of its stage have taken in this run.
        """
        seconds = list(chain.from_iterable(self.times.values()))
        if not seconds:
            total_seconds = sum(node.seconds for node in self.unfinished_nodes.values())
            return f"about {time_span(total_seconds)} of work" if total_seconds else "unknown"
        means = {stage: fmean(times) for stage, times in self.times.items()}
        usual = fmean(seconds)
        work = sum(node.seconds or means.get(node.stage, usual) for node in self.unfinished_nodes.values())
        pace = (time.monotonic() - self.started) / sum(seconds)  # below 1 where nodes run in parallel
        return f"about {time_span(work * pace)}"

    def __rich__(self) -> RenderableType:
        """Return the table, and below it a line for every running node."""
        table = Table("stage", "running", *ENDS, "of", box=None, header_style="bold")
        running_nodes = self.running()
        active = Counter(node.stage for node, _ in running_nodes.values())
        for stage in STAGES:
            if self.total[stage]:
                numbers = (active[stage], *(self.counts[status][stage] for status in ENDS))
                table.add_row(stage, *(str(number) if number else "·" for number in numbers), str(self.total[stage]))
        lines = [self._line(node, start_time) for node, start_time in list(running_nodes.values())[:MAX_LINES]]
        elapsed = time_span(time.monotonic() - self.started)
        summary = f"{self.finished} of {self.total.total()} in {elapsed}, left: {self.time_left()}"
        return Group(table, *lines, Text(summary, style="bold"))

    def _line(self, node: Node, start_time: float) -> Text:
        heartbeat: dict[str, Any] = parse_heartbeat(self.store.files.read_file(f".progress/{node.key}.json")) or {}
        step = f"{heartbeat['step']}/{heartbeat['total']}" if heartbeat else time_span(time.monotonic() - start_time)
        scalars = {
            name: value
            for name, value in heartbeat.items()
            if name not in ("step", "total", "when", "pid") and isinstance(value, int | float)
        }
        values = "  ".join(f"{name} {value:.3g}" for name, value in scalars.items())
        return Text(f"  {node.stage} {node.title}  {step}  {values}", style="dim", no_wrap=True, overflow="ellipsis")


def show_progress(
    events: Iterable[Event],
    progress: ProgressTable,
    console: Console,
    scores: Scores | None = None,
    *,
    verbose: bool = False,
) -> None:
    """Show events as they come: in a live table on a terminal, else as one line for every node that has ended.

    Args:
        events: the events of a runner.
        progress: counts them.
        console: where they are shown.
        scores: gives a line for every row of the leaderboard that is complete.
        verbose: show a line for every node on a terminal too, and the full tracebacks of nodes that fail.
    """
    live = Live(progress, console=console, refresh_per_second=2, transient=True) if console.is_terminal else None
    with live or nullcontext():
        for event in events:
            progress.update(event)
            if event.status != "started" and (live is None or verbose or _is_notable(event)):
                style = "red" if live and event.status in ("failed", "retried", "theirs") else ""
                console.print(Text(_event_line(event, progress), style=style), soft_wrap=True)
            if event.status == "failed":
                _print_traceback(event, progress, console, verbose=verbose)
            for line in scores.lines(event) if scores else ():
                console.print(Text(f"  {line}", style="bold"), soft_wrap=True)


def _is_notable(event: Event) -> bool:
    """Return whether a live table shows an event as a line: a failure, or something damaged that has been mended."""
    return event.status in ("failed", "retried", "theirs") or (event.status == "done" and bool(event.message))


def _print_traceback(event: Event, progress: ProgressTable, console: Console, *, verbose: bool) -> None:
    name = f"{event.node.key}/{TRACEBACK}"
    text = progress.store.files.read_file(name)
    if text is None:
        return
    if verbose:
        console.print(Text(text.decode(errors="replace")), soft_wrap=True)
    console.print(Text(f"  full traceback: {progress.store.files.address(name)}"), soft_wrap=True)


def _event_line(event: Event, progress: ProgressTable) -> str:
    message = f": {event.message}" if event.message else ""
    seconds = f" in {event.seconds:.1f} s" if event.seconds else ""
    number = f"[{progress.finished}/{progress.total.total()}]"
    return f"{number} {event.node.stage} {event.node.title} {event.status}{seconds}{message}"


def time_span(seconds: float) -> str:
    """Return a time for people: ``42 seconds``, ``7 minutes``, ``3 hours and 25 minutes``."""
    unit = "seconds" if seconds < 60 else "minutes"
    return humanize.precisedelta(round(seconds), minimum_unit=unit, format="%d")


def print_corrupt(campaign: Campaign, console: Console) -> None:
    """Print the nodes whose files are damaged."""
    for key in sorted(campaign.corrupt):
        node = campaign.plan.nodes[key]
        line = f"damaged, will be computed again: {node.stage} {node.title} ({key})"
        console.print(line, markup=False, highlight=False)


def plan_table(plan: Plan, todo: Mapping[str, Node]) -> RenderableType:
    """Return the number of cells and nodes of each dataset, and below them the skipped cells, each with its reason."""
    table = Table("dataset", "cells", "skipped", *STAGES, box=None, header_style="bold", title="nodes: to do / all")
    for name in dict.fromkeys(planned.cell.dataset for planned in plan.cells):
        cells = [planned for planned in plan.cells if planned.cell.dataset == name]
        nodes = [node for node in plan.nodes.values() if node.identity["dataset"]["name"] == name]
        skipped = sum(planned.skipped is not None for planned in cells)
        table.add_row(name, str(len(cells)), str(skipped), *(_to_do(nodes, stage, todo) for stage in STAGES))
    return Group(table, *_skipped_lines(plan))


def _skipped_lines(plan: Plan) -> Iterator[Text]:
    """Yield a line for every dataset and every reason why cells of it are skipped, with the methods of these cells."""
    methods_by_dataset = defaultdict[str, dict[str, None]](dict)  # each method once, by dataset
    methods_by_reason = defaultdict[tuple[str, str], dict[str, None]](dict)  # the methods by dataset and reason
    for planned in plan.cells:
        cell = planned.cell
        methods_by_dataset[cell.dataset][cell.method] = None
        if planned.skipped:
            methods_by_reason[cell.dataset, planned.skipped][cell.method] = None
    for (dataset, why), methods in methods_by_reason.items():
        names = ", ".join(list(methods)[:MAX_NAMES])
        if len(methods) > MAX_NAMES:
            is_all = len(methods) == len(methods_by_dataset[dataset])
            names = f"all {len(methods)} methods" if is_all else f"{names} and {len(methods) - MAX_NAMES} more"
        yield Text(f"skipped {dataset} ({names}): {why}")


def _to_do(nodes: Sequence[Node], stage: str, todo: Mapping[str, Node]) -> str:
    is_to_do = [node.key in todo for node in nodes if node.stage == stage]
    return f"{sum(is_to_do)} / {len(is_to_do)}" if is_to_do else "·"


def label_size_table(sizes: Sequence[LabelSize]) -> RenderableType:
    """Return the bytes of labels by dataset, protocol and IPC: of the largest set, and of all sets together."""
    ipcs = sorted({size.ipc for size in sizes}, key=lambda ipc: ipc or math.inf)
    table = Table("dataset", "protocol", *(str(ipc or "all") for ipc in ipcs), "together", box=None)
    table.title, table.header_style = "labels of the largest set, by images per class", "bold"
    for dataset, protocol in dict.fromkeys((size.dataset, size.protocol) for size in sizes if size.bytes):
        row_sizes = [size for size in sizes if (size.dataset, size.protocol) == (dataset, protocol)]
        largest = [max((size.bytes for size in row_sizes if size.ipc == ipc), default=0) for ipc in ipcs]
        columns = (*largest, sum(size.bytes for size in row_sizes))
        table.add_row(dataset, protocol, *(humanize.naturalsize(count) if count else "·" for count in columns))
    return table


def status_table(
    cells: pd.DataFrame, heartbeats: Mapping[str, Mapping[str, Any]], names: Mapping[str, str]
) -> RenderableType:
    """Return how many cells of each dataset are in which state, and below them what runs and which measures failed.

    Args:
        cells: the cells, as `cells_table` returns them.
        heartbeats: the heartbeats of nodes, by key.
        names: the names of nodes, by key.
    """
    table = Table("dataset", *CELL_STATES, box=None, header_style="bold")
    for name, group in cells.groupby("dataset", sort=False):
        counts = group["status"].value_counts()
        table.add_row(str(name), *(str(counts.get(state, 0) or "·") for state in CELL_STATES))
    recent = {key: heartbeat for key, heartbeat in heartbeats.items() if is_recent(heartbeat)}
    lines = [
        Text(f"  running {names.get(key, key)}: {heartbeat['step']}/{heartbeat['total']}")
        for key, heartbeat in recent.items()
    ]
    if reasons := [reason for reason in cells["reason"][cells["status"] == "ok"] if reason]:
        first = reasons[0].removeprefix("measure: ")
        lines.append(Text(f"  a measure failed of {len(reasons)} of the ok cells: {first}"))
    return Group(table, *lines)


@contextmanager
def progress_bar(
    console: Console, unit: Literal["bytes", "images", "files hashed"]
) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar on a terminal, once the yielded function sets it to (done, total)."""
    if not console.is_terminal:
        yield lambda done, total: None
        return
    count = [DownloadColumn()] if unit == "bytes" else [MofNCompleteColumn(), TextColumn(unit)]
    columns = (BarColumn(), *count, TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
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
