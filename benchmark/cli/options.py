"""The options that several commands share."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console

from benchmark import sources
from benchmark.errors import Faults
from benchmark.identity import MOST_SEEDS

if TYPE_CHECKING:
    from benchmark.plan.suite import Selection
    from benchmark.run.campaign import RunOptions

out = Console(width=None if sys.stdout.isatty() else 120)
RunnerName = Literal["ray", "serial"]
DeviceName = Literal["auto", "cpu", "cuda"]


def _add_folders(folders: list[Path] | None) -> list[Path]:
    sources.add(folders or [])
    return folders or []


def _only(values: str, *names: str) -> Any:
    """Return an option that selects some values of an axis of the suite."""
    return typer.Option(*names, help=f"Only these {values}. Default: all of the suite.", show_default=False)


Extra = Annotated[
    list[Path] | None,
    typer.Option(
        "--extra",
        "-e",
        callback=_add_folders,
        metavar="DIR",
        help="A folder with more methods/, evaluators/ and configs/; several are possible.",
        show_default=False,
    ),
]
SuiteName = Annotated[
    str, typer.Option("--suite", "-s", help="The suite: a name that `list suites` prints, or the path of a suite file.")
]
Datasets = Annotated[str, _only("datasets, e.g. digits,cifar10", "--datasets", "-d")]
Methods = Annotated[str, _only("methods, e.g. random_real,wmdd", "--methods", "-m")]
Ipc = Annotated[str, _only("images per class, e.g. 1,10", "--ipc", "-i")]
Students = Annotated[str, _only("students, e.g. resnet18", "--students")]
Protocols = Annotated[
    str, _only("protocols (how sets are labelled and students are trained), e.g. standard,hard", "--protocols", "-p")
]
Seeds = Annotated[
    int | None,
    typer.Option(
        parser=lambda word: whole(word, MOST_SEEDS),
        metavar="INTEGER",
        help="The number of seeds. Default: as the suite says.",
        show_default=False,
    ),
]
DatasetName = Annotated[str, typer.Argument(metavar="NAME", help="A dataset that `data list` prints.")]
Runs = Annotated[
    str, typer.Option("--runs", "-r", help="The store of results: a folder, or a URL that fsspec understands.")
]
Data = Annotated[Path, typer.Option(envvar="BENCHMARK_DATA", help="The folder of the datasets.")]
RunnerOption = Annotated[
    RunnerName, typer.Option("--runner", help="ray runs nodes in parallel; serial runs one at a time, in this process.")
]
RayOption = Annotated[
    str,
    typer.Option(
        "--ray",
        help="local starts a private cluster on this machine; auto uses the cluster that is running here; "
        "HOST:PORT is the address of a cluster.",
    ),
]
CardOption = Annotated[
    str,
    typer.Option(
        "--card",
        help="The graphics card whose hours are estimated: a name in configs/cards, e.g. H100, or the path of your "
        "gpu-check.yaml.",
        show_default=False,
    ),
]
MixedOption = Annotated[
    bool,
    typer.Option("--mixed", help="Estimate these hours as if all networks computed in mixed precision."),
]
PreflightOption = Annotated[
    str,
    typer.Option(
        "--ray",
        help="Check whether this cluster can run the nodes: auto, or HOST:PORT.",
        show_default=False,
    ),
]
InsecureOption = Annotated[
    bool,
    typer.Option("--insecure", help="Use a cluster that has no token: anyone who reaches it can run code on it."),
]
DeviceOption = Annotated[DeviceName, typer.Option("--device", help="auto uses graphics cards if there are any.")]

NoReport = Annotated[bool, typer.Option("--no-report", help="Write no tables and plots, and print no leaderboard.")]
Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", help="Print a line for every node, and the full tracebacks of failures.")
]


def split_words(text: str) -> tuple[str, ...]:
    """Return the values of an option that takes several, separated by commas.

    Raises:
        typer.BadParameter: there are commas only, as in ``"$A,$B"`` of variables that are not set.
    """
    words = tuple(word.strip() for word in text.split(",") if word.strip())
    if text and not words:
        raise typer.BadParameter(f"{text[:40]!r} names nothing; leave the option out to select everything")
    return words


def is_whole(word: str) -> bool:
    """Return whether a word is a whole number of at most nine digits; `int` would take ``٣`` and ``1_0`` too."""
    return word.isascii() and word.isdigit() and len(word) < 10


def whole(word: str | int, most: int = 10**9 - 1) -> int:
    """Return a word as a whole number from 1 to ``most``.

    Raises:
        typer.BadParameter: it is none.
    """
    if not is_whole(str(word)) or not 1 <= int(word) <= most:
        raise typer.BadParameter(f"{str(word)[:40]!r} is not a whole number from 1 to {most}")
    return int(word)


def suite_stem(suite: str) -> str:
    """Return the name of a suite: for the path of a suite file, its stem."""
    return Path(suite).stem if suite.endswith((".yaml", ".yml")) else suite


def run_options(runs: str, data: Path, runner: RunnerName, ray: str, insecure: bool, device: DeviceName) -> RunOptions:
    """Return the options of a command that say how nodes are run."""
    from benchmark.run.campaign import RunOptions

    return RunOptions(runs=runs, data=data, runner=runner, ray=ray, insecure=insecure, device=device)


def selected(
    datasets: str, methods: str, ipc: str, students: str = "", protocols: str = "", seeds: int | None = None
) -> Selection:
    """Return the selection that some options name.

    Raises:
        Faults: an IPC is no whole number.
    """
    from benchmark.plan.suite import Selection

    faulty_words = [word for word in split_words(ipc) if not is_whole(word)]
    if faulty_words:
        raise Faults(f"--ipc: {word[:40]!r} is not a whole number from 1" for word in faulty_words)
    return Selection(
        datasets=split_words(datasets),
        methods=split_words(methods),
        ipc=tuple(int(word) for word in split_words(ipc)),
        students=split_words(students),
        protocols=split_words(protocols),
        seeds=seeds,
    )
