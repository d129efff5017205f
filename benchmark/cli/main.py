"""The command line: parse, call, print.

What a command needs is imported when it runs: torch takes seconds, which reading records need not pay.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from benchmark.cli.data import data_app
from benchmark.cli.evaluate import evaluate_app
from benchmark.cli.options import (
    Data,
    Datasets,
    DeviceName,
    DeviceOption,
    Ipc,
    Methods,
    Protocols,
    RayOption,
    RunnerName,
    RunnerOption,
    Runs,
    Seeds,
    Students,
    SuiteName,
    out,
    words,
)
from benchmark.cli.results import results_app
from benchmark.cli.tune import tune_app
from benchmark.errors import BenchmarkError, Faults

if TYPE_CHECKING:
    from benchmark.plan.suite import Selection
    from benchmark.run.campaign import Campaign

app = typer.Typer(
    name="benchmark",
    help="Dataset-distillation methods under one interface, one protocol and one leaderboard.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(results_app)
app.add_typer(tune_app)
app.add_typer(evaluate_app)
app.add_typer(data_app, name="data")
INTERRUPTED = 130  # the exit status that Typer makes of a KeyboardInterrupt


class Kind(StrEnum):
    """What can be listed."""

    methods = "methods"
    datasets = "datasets"
    students = "students"
    protocols = "protocols"
    suites = "suites"
    searches = "searches"


@app.command()
def run(
    suite: SuiteName = "main",
    datasets: Datasets = "",
    methods: Methods = "",
    ipc: Ipc = "",
    students: Students = "",
    protocols: Protocols = "",
    seeds: Seeds = None,
    runs: Runs = "runs",
    data: Data = Path("data"),
    runner: RunnerOption = RunnerName.ray,
    ray: RayOption = "local",
    device: DeviceOption = DeviceName.auto,
) -> None:
    """Compute what of a suite is not computed yet, and print its leaderboard."""
    from benchmark.cli import display
    from benchmark.run import campaign
    from leaderboards import report as reporting

    selection = _selection(datasets, methods, ipc, students, protocols, seeds)
    options = campaign.RunOptions(runs, data, runner.value, ray, device.value)
    # A cluster elsewhere says itself whether it has graphics cards; a local one starts only if there is work for it.
    elsewhere = runner == RunnerName.ray and ray != "local"
    executor, has_gpu = campaign.connect(options) if elsewhere else (None, None)
    found = campaign.open_campaign(suite, selection, options, has_gpu=has_gpu)
    failed = 0
    if todo := found.todo:
        _say_corrupt(found)
        board = display.Board(todo, found.store, found.seconds_left()[0])
        display.follow(found.run(executor or campaign.connect(options)[0]), board, out)
        failed = board.counts["failed"].total()
    else:
        found.write_manifest()
    report = reporting.build(runs, found.plan.suite.name)
    out.print(reporting.render(report, found.selection()))
    raise typer.Exit(1 if failed else 0)


@app.command()
def plan(
    suite: SuiteName = "main",
    datasets: Datasets = "",
    methods: Methods = "",
    ipc: Ipc = "",
    students: Students = "",
    protocols: Protocols = "",
    seeds: Seeds = None,
    runs: Runs = "runs",
    data: Data = Path("data"),
    device: DeviceOption = DeviceName.auto,
) -> None:
    """Show what a run would do: cells, nodes, what is done, what is skipped and why, how long it may take."""
    from benchmark.cli import display
    from benchmark.plan.label_bytes import foreseen
    from benchmark.run import campaign

    selection = _selection(datasets, methods, ipc, students, protocols, seeds)
    options = campaign.RunOptions(runs, data, device=device.value)
    found = campaign.open_campaign(suite, selection, options, need_data=False)
    out.print(display.matrix(found.plan, found.todo))
    if sets := foreseen(found.plan, data):
        out.print(display.labels(sets))
    _say_corrupt(found)
    seconds, unknown = found.seconds_left()
    if found.todo:
        rest = f", and {unknown} nodes whose like has never run here" if unknown else ""
        out.print(f"To do: {len(found.todo)} nodes, {display.span(seconds)} of work by past records{rest}.")
    else:
        skipped = all(cell.skipped for cell in found.plan.cells)
        out.print("Nothing to do here: every cell is skipped." if skipped else "Nothing to do.")


@app.command("list")
def list_names(kind: Annotated[Kind, typer.Argument(help="What to list.")]) -> None:
    """List what exists, with a few words on each."""
    from benchmark.cli import display
    from benchmark.config_files import names
    from benchmark.plan.discovery import load_method, method_names
    from benchmark.plan.protocol import load_protocol
    from benchmark.plan.search import load_search
    from benchmark.plan.suite import load_suite
    from benchmark.vision import datasets as vision_data
    from benchmark.vision.models import list_models

    described: dict[Kind, Callable[[], dict[str, str]]] = {
        Kind.methods: lambda: {name: _first_line(load_method(name)) for name in method_names()},
        Kind.datasets: lambda: {name: vision_data.load_dataset(name).title for name in vision_data.list_datasets()},
        Kind.students: list_models,
        Kind.protocols: lambda: {name: load_protocol(name).title for name in names("protocols")},
        Kind.suites: lambda: {name: load_suite(name).title for name in names("suites")},
        Kind.searches: lambda: {name: load_search(name).title for name in names("searches")},
    }
    out.print(display.pairs(described[kind]()))


def main() -> None:
    """Run the command line; a user's mistake is a message and exit status 2, never a traceback."""
    for interruption in (signal.SIGINT, signal.SIGTERM):  # a shell lets what it starts in the background ignore SIGINT
        signal.signal(interruption, signal.default_int_handler)
    errors = Console(stderr=True, soft_wrap=True)
    try:
        app()
    except BenchmarkError as error:
        errors.print(str(error), style="red", markup=False, highlight=False)
        sys.exit(2)
    except SystemExit as ended:
        if ended.code == INTERRUPTED:
            errors.print("interrupted; what is finished is kept, the same command goes on from there")
        raise


def _selection(datasets: str, methods: str, ipc: str, students: str, protocols: str, seeds: int | None) -> Selection:
    from benchmark.plan.suite import Selection

    wrong = [word for word in words(ipc) if not word.isdigit()]
    if wrong:
        raise Faults(f"--ipc: {word!r} is not a number" for word in wrong)
    return Selection(
        datasets=words(datasets),
        methods=words(methods),
        ipc=tuple(int(word) for word in words(ipc)),
        students=words(students),
        protocols=words(protocols),
        seeds=seeds,
    )


def _say_corrupt(found: Campaign) -> None:
    for key in sorted(found.corrupt):
        node = found.plan.nodes[key]
        out.print(f"corrupted, will be computed anew: {node.stage} {node.title} ({key})", markup=False, highlight=False)


def _first_line(thing: type) -> str:
    return (thing.__doc__ or "").strip().partition("\n")[0]
