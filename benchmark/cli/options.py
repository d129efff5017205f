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
    """The runners."""

    ray = "ray"
    serial = "serial"


class DeviceName(StrEnum):
    """The devices."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


SuiteName = Annotated[
    str, typer.Option("--suite", help="The suite: a name that `list suites` prints, or the path of a suite file.")
]
Datasets = Annotated[
    str, typer.Option(help="Only these datasets, e.g. digits,cifar10. Default: all of the suite.", show_default=False)
]
Methods = Annotated[
    str,
    typer.Option(
        help="Only these methods, e.g. random_real,wmdd. A method that the suite does not list is added to it."
        " Default: all of the suite.",
        show_default=False,
    ),
]
Ipc = Annotated[
    str, typer.Option(help="Only these images per class, e.g. 1,10. Default: all of the suite.", show_default=False)
]
Students = Annotated[
    str,
    typer.Option(
        help="Only these students, e.g. resnet18. A network that the suite does not list is added to it."
        " Default: all of the suite.",
        show_default=False,
    ),
]
Protocols = Annotated[
    str,
    typer.Option(
        help="Only these protocols (how sets are labelled and students are trained), e.g. standard,hard."
        " Default: all of the suite.",
        show_default=False,
    ),
]
Seeds = Annotated[
    int | None, typer.Option(min=1, help="The number of seeds. Default: as the suite says.", show_default=False)
]
DatasetName = Annotated[str, typer.Argument(metavar="NAME", help="A dataset that `data list` prints.")]
Runs = Annotated[str, typer.Option(help="The store of results: a folder, or a URL that fsspec understands.")]
Data = Annotated[Path, typer.Option(envvar="BENCHMARK_DATA", help="The folder of the datasets.")]
RunnerOption = Annotated[
    RunnerName, typer.Option("--runner", help="ray runs nodes in parallel; serial runs them in this process.")
]
RayOption = Annotated[
    str,
    typer.Option(
        "--ray",
        help="local starts a private cluster on this machine; auto takes the cluster that is running here; "
        "HOST:PORT is the address of a cluster.",
    ),
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
    typer.Option("--insecure", help="Use a cluster without a token, on which whoever reaches it can run code."),
]
DeviceOption = Annotated[DeviceName, typer.Option("--device", help="auto uses graphics cards if there are any.")]


def split_words(text: str) -> tuple[str, ...]:
    """Return the values of an option that takes several, separated by commas."""
    return tuple(word.strip() for word in text.split(",") if word.strip())
