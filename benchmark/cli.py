"""The command line: parse, call, print."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmark import campaign, display
from benchmark.campaign import Campaign, Machine
from benchmark.discovery import load_method, method_names
from benchmark.errors import BenchmarkError, Faults, unknown
from benchmark.files import load, names
from benchmark.graph import Protocol
from benchmark.store import Store
from benchmark.suite import Selection, load_suite
from benchmark.vision import datasets as vision_data
from benchmark.vision.models import list_models
from leaderboards import report as reporting

app = typer.Typer(
    name="benchmark",
    help="Dataset-distillation methods under one interface, one protocol and one leaderboard.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
data_app = typer.Typer(help="Look at, download and check datasets.", no_args_is_help=True)
app.add_typer(data_app, name="data")
out = Console(width=None if sys.stdout.isatty() else 120)
INTERRUPTED = 130  # the exit status that Typer makes of a KeyboardInterrupt


class RunnerName(StrEnum):
    """Who runs the nodes."""

    ray = "ray"
    serial = "serial"


class DeviceName(StrEnum):
    """Where they run."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class Kind(StrEnum):
    """What can be listed."""

    methods = "methods"
    datasets = "datasets"
    students = "students"
    protocols = "protocols"
    suites = "suites"


SuiteName = Annotated[str, typer.Option("--suite", help="Name of a suite, or the path of a suite file.")]
Datasets = Annotated[str, typer.Option(help="Only these datasets, comma-separated.", show_default=False)]
Methods = Annotated[str, typer.Option(help="Only these methods; any method, listed in the suite or not.")]
Ipc = Annotated[str, typer.Option(help="Only these images per class.")]
Students = Annotated[str, typer.Option(help="Only these students; any network, listed in the suite or not.")]
Protocols = Annotated[str, typer.Option(help="Only these protocols.")]
Seeds = Annotated[int | None, typer.Option(min=1, help="Number of seeds, in place of the suite's.")]
DatasetName = Annotated[str, typer.Argument(metavar="NAME", help="Name of a dataset.")]
Runs = Annotated[str, typer.Option(help="The store: a folder, or a URL that fsspec understands.")]
Data = Annotated[Path, typer.Option(envvar="BENCHMARK_DATA", help="Where datasets lie.")]
RunnerOption = Annotated[RunnerName, typer.Option("--runner", help="Who runs the nodes.")]
RayOption = Annotated[
    str, typer.Option("--ray", help="local: a private cluster; auto: the one that runs; or an address.")
]
DeviceOption = Annotated[DeviceName, typer.Option("--device", help="auto takes graphics cards where there are any.")]


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
    selection = _selection(datasets, methods, ipc, students, protocols, seeds)
    machine = Machine(runs, data, runner.value, ray, device.value)
    # A cluster elsewhere says itself whether it has graphics cards; a local one starts only if there is work for it.
    elsewhere = runner == RunnerName.ray and ray != "local"
    executor, has_gpu = campaign.connect(machine) if elsewhere else (None, None)
    found = campaign.open_campaign(suite, selection, machine, has_gpu=has_gpu)
    failed = 0
    if todo := found.todo:
        _say_corrupt(found)
        board = display.Board(todo, found.store, found.seconds_left()[0])
        display.follow(found.run(executor or campaign.connect(machine)[0]), board, out)
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
    selection = _selection(datasets, methods, ipc, students, protocols, seeds)
    found = campaign.open_campaign(suite, selection, Machine(runs, data, device=device.value))
    out.print(display.matrix(found.plan, found.todo))
    _say_corrupt(found)
    seconds, unknown = found.seconds_left()
    if found.todo:
        rest = f", and {unknown} nodes whose like has never run here" if unknown else ""
        out.print(f"To do: {len(found.todo)} nodes, {display.span(seconds)} of work by past records{rest}.")
    else:
        out.print("Nothing to do.")


@app.command()
def status(suite: SuiteName = "main", runs: Runs = "runs") -> None:
    """Show what became of a suite's cells so far, and what is running."""
    report = reporting.look(runs, _known_suite(suite))
    out.print(display.tally(report.cells, Store(runs).heartbeats()))


@app.command()
def report(suite: SuiteName = "main", runs: Runs = "runs") -> None:
    """Rebuild a suite's tables and plots from the records, and print its leaderboard."""
    out.print(reporting.render(reporting.build(runs, _known_suite(suite))))


@app.command("list")
def list_names(kind: Annotated[Kind, typer.Argument(help="What to list.")]) -> None:
    """List what exists, with a few words on each."""
    described: dict[Kind, Callable[[], dict[str, str]]] = {
        Kind.methods: lambda: {name: _first_line(load_method(name)) for name in method_names()},
        Kind.datasets: lambda: {name: vision_data.load_dataset(name).title for name in vision_data.list_datasets()},
        Kind.students: list_models,
        Kind.protocols: lambda: {name: load(Protocol, "protocols", name).title for name in names("protocols")},
        Kind.suites: lambda: {name: load_suite(name).title for name in names("suites")},
    }
    out.print(display.pairs(described[kind]()))


@data_app.command("list")
def data_list(data: Data = Path("data")) -> None:
    """Show which datasets are on disk, and how to get the others."""
    found = {name: vision_data.load_dataset(name) for name in vision_data.list_datasets()}
    out.print(display.pairs({name: vision_data.status(config, data) or "on disk" for name, config in found.items()}))


@data_app.command("fetch")
def data_fetch(name: DatasetName, data: Data = Path("data")) -> None:
    """Download a public dataset, or say how to get it; an interrupted download is resumed."""
    config = _dataset(name)
    with display.counting(out, "MB", 1e6) as count:
        vision_data.fetch(config, data, count)
    out.print(f"{config.name}: {vision_data.status(config, data) or 'on disk'}")


@data_app.command("check")
def data_check(name: DatasetName, data: Data = Path("data")) -> None:
    """Open every image of a dataset and report what is there and what is broken."""
    config = _dataset(name)
    with display.counting(out, "images") as count:
        found = vision_data.check(config, data, count)
    out.print(display.pairs({f"train {n}": f"{c} images" for n, c in found.train.items()}))
    out.print(display.pairs({f"test {n}": f"{c} images" for n, c in found.test.items()}))
    if found.unreadable:
        raise Faults(found.unreadable)
    out.print(f"{sum(found.train.values())} training and {sum(found.test.values())} test images, all readable")


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
    wrong = [word for word in _words(ipc) if not word.isdigit()]
    if wrong:
        raise Faults(f"--ipc: {word!r} is not a number" for word in wrong)
    return Selection(
        datasets=_words(datasets),
        methods=_words(methods),
        ipc=tuple(int(word) for word in _words(ipc)),
        students=_words(students),
        protocols=_words(protocols),
        seeds=seeds,
    )


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _say_corrupt(found: Campaign) -> None:
    for key in sorted(found.corrupt):
        node = found.plan.nodes[key]
        out.print(f"corrupted, will be computed anew: {node.stage} {node.title} ({key})", markup=False, highlight=False)


def _known_suite(name: str) -> str:
    return load_suite(name).name


def _dataset(name: str) -> vision_data.DatasetConfig:
    if name not in vision_data.list_datasets():
        raise BenchmarkError(unknown("dataset", name, vision_data.list_datasets()))
    return vision_data.load_dataset(name)


def _first_line(thing: type) -> str:
    return (thing.__doc__ or "").strip().partition("\n")[0]
