"""The command that judges a finished artifact from elsewhere."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from benchmark.cli.options import (
    Data,
    DeviceName,
    DeviceOption,
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

evaluate_app = typer.Typer()


class ValueRange(StrEnum):
    """What the values of images mean."""

    auto = "auto"
    unit = "0-1"
    bytes = "0-255"
    normalised = "normalised"


@evaluate_app.command()
def evaluate(
    path: Annotated[Path, typer.Argument(help="An ImageFolder, .safetensors, .pt (images, labels), or .parquet.")],
    dataset: Annotated[str, typer.Option(help="The dataset that it stands for.")],
    ipc: Annotated[int, typer.Option(min=1, help="Its images per class.")],
    method_name: Annotated[str, typer.Option(help="How tables call it.")],
    suite: SuiteName = "main",
    students: Students = "",
    protocols: Protocols = "",
    seeds: Seeds = None,
    value_range: Annotated[
        ValueRange, typer.Option(help="Of its values; auto asks their statistics.")
    ] = ValueRange.auto,
    runs: Runs = "runs",
    data: Data = Path("data"),
    runner: RunnerOption = RunnerName.ray,
    ray: RayOption = "local",
    device: DeviceOption = DeviceName.auto,
) -> None:
    """Judge a finished distilled set as a suite judges its methods, and put it on the suite's leaderboard."""
    from benchmark.cli import display
    from benchmark.formats import artifact as artifacts
    from benchmark.plan.suite import load_suite
    from benchmark.run import campaign
    from benchmark.vision import datasets
    from leaderboards import report as reporting

    config = datasets.load_dataset(dataset)
    artifact = artifacts.read(path, config, datasets.info(config, data), ipc, value_range.value)
    for note in artifact.notes:
        out.print(f"{path}: {note}", markup=False, highlight=False)
    entry = artifacts.joining(artifact, method_name, load_suite(suite))
    axes = {"students": words(students), "protocols": words(protocols), "seeds": seeds}
    options = campaign.RunOptions(runs, data, runner.value, ray, device.value)
    executor, has_gpu = campaign.connect(options)
    chosen = artifacts.selection(entry, dataset, ipc, **axes)
    found = artifacts.admit(campaign.open_campaign(suite, chosen, options, has_gpu=has_gpu), artifact)
    board = display.Board(found.todo, found.store, found.seconds_left()[0])
    display.follow(found.run(executor), board, out)
    report = reporting.build(runs, found.plan.suite.name)
    shown = {axis: values for axis, values in found.selection().items() if axis != "method"}
    out.print(reporting.render(report, shown))
    raise typer.Exit(1 if board.counts["failed"].total() else 0)
