"""The options that several commands share."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

out = Console(width=None if sys.stdout.isatty() else 120)


class RunnerName(StrEnum):
    """Who runs the nodes."""

    ray = "ray"
    serial = "serial"


class DeviceName(StrEnum):
    """Where they run."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


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


def words(text: str) -> tuple[str, ...]:
    """Return the words of an option that takes several, separated by commas."""
    return tuple(word.strip() for word in text.split(",") if word.strip())
