"""``benchmark data``: look at, download and check datasets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from benchmark.cli.options import Data, DatasetName, out
from benchmark.errors import BenchmarkError, Faults, unknown

if TYPE_CHECKING:
    from benchmark.vision.datasets import DatasetConfig

data_app = typer.Typer(help="Look at, download and check datasets.", no_args_is_help=True)


@data_app.command("list")
def data_list(data: Data = Path("data")) -> None:
    """Show which datasets are on disk, and how to get the others."""
    from benchmark.cli import display
    from benchmark.vision import datasets as vision_data

    found = {name: vision_data.load_dataset(name) for name in vision_data.list_datasets()}
    out.print(display.pairs({name: vision_data.status(config, data) or "on disk" for name, config in found.items()}))


@data_app.command("fetch")
def data_fetch(name: DatasetName, data: Data = Path("data")) -> None:
    """Download a public dataset, or say how to get it; an interrupted download is resumed."""
    from benchmark.cli import display
    from benchmark.vision import datasets as vision_data

    config = _dataset(name)
    with display.counting(out, "MB", 1e6) as count:
        vision_data.fetch(config, data, count)
    out.print(f"{config.name}: {vision_data.status(config, data) or 'on disk'}")


@data_app.command("check")
def data_check(name: DatasetName, data: Data = Path("data")) -> None:
    """Open every image of a dataset and report what is there and what is broken."""
    from benchmark.cli import display
    from benchmark.vision import datasets as vision_data

    config = _dataset(name)
    with display.counting(out, "images") as count:
        found = vision_data.check(config, data, count)
    out.print(display.pairs({f"train {n}": f"{c} images" for n, c in found.train.items()}))
    out.print(display.pairs({f"test {n}": f"{c} images" for n, c in found.test.items()}))
    if found.unreadable:
        raise Faults(found.unreadable)
    out.print(f"{sum(found.train.values())} training and {sum(found.test.values())} test images, all readable")


def _dataset(name: str) -> DatasetConfig:
    from benchmark.vision import datasets as vision_data

    if name not in vision_data.list_datasets():
        raise BenchmarkError(unknown("dataset", name, vision_data.list_datasets()))
    return vision_data.load_dataset(name)
