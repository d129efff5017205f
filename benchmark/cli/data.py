"""``benchmark data``: list, download and check datasets."""

from __future__ import annotations

from pathlib import Path

import typer

from benchmark.cli import options as opt
from benchmark.cli.options import out
from benchmark.config_files import display_path, files
from benchmark.errors import BenchmarkError, Faults

data_app = typer.Typer(help="List, download and check datasets.", no_args_is_help=True)


@data_app.command("list")
def list_datasets(data: opt.Data = Path("data"), extra: opt.Extra = None) -> None:
    """Print which datasets are on disk, and how to get the others."""
    from benchmark.cli import display
    from benchmark.vision import datasets

    configs = {name: datasets.load_dataset(name) for name in datasets.list_datasets()}
    states = {name: datasets.status(config, data) or "on disk" for name, config in configs.items()}
    out.print(display.description_table(states))


@data_app.command()
def fetch(name: opt.DatasetName, data: opt.Data = Path("data"), extra: opt.Extra = None) -> None:
    """Download a public dataset, or print how to get it. An interrupted download continues where it stopped."""
    from benchmark.cli import display
    from benchmark.vision import datasets

    config = datasets.load_dataset(name)
    with display.progress_bar(out, "bytes") as report:
        datasets.fetch(config, data, report)
    if datasets.status(config, data):
        raise BenchmarkError(
            f"{data / config.folder}: what was fetched holds no dataset '{config.name}'; remove it and look at the "
            f"address in {display_path(files('datasets')[config.name])}"
        )
    out.print(f"{config.name}: on disk")


@data_app.command()
def check(name: opt.DatasetName, data: opt.Data = Path("data"), extra: opt.Extra = None) -> None:
    """Open every image of a dataset; print the number of images per class and the files that cannot be read."""
    from benchmark.cli import display
    from benchmark.vision import datasets

    config = datasets.load_dataset(name)
    with display.progress_bar(out, "images") as report:
        result = datasets.check(config, data, report)
    for split, counts in (("train", result.train), ("test", result.test)):
        images = {f"{split} {folder}": f"{count} images" for folder, count in counts.items()}
        out.print(display.description_table(images))
    if result.unreadable:
        raise Faults(result.unreadable)
    train, test = sum(result.train.values()), sum(result.test.values())
    out.print(f"{train} training and {test} test images, all readable")
    if len(result.sizes) == 1:
        out.print("every file has {} x {} pixels".format(*next(iter(result.sizes))), highlight=False)
    if small := sum(count for size, count in result.sizes.items() if min(size) < config.resize):
        out.print(f"{small} files are smaller than {config.name} reads them ({config.resize} px): they are enlarged")
