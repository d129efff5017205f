"""``benchmark evaluate``: evaluate a distilled set that other code made."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from benchmark.cli import options as opt
from benchmark.cli.options import out, run_options, split_words
from benchmark.errors import BenchmarkError

if TYPE_CHECKING:
    from benchmark.formats.artifact import Artifact
    from benchmark.formats.pt import Normalisation
    from benchmark.vision.datasets import DatasetConfig

evaluate_app = typer.Typer()
ValueRange = Literal["auto", "0-1", "0-255", "normalised"]
Mean = Annotated[
    str, typer.Option(help="The mean that normalised the images, e.g. 0.4914,0.4822,0.4465.", show_default=False)
]
Std = Annotated[
    str,
    typer.Option(
        help="Their standard deviation, e.g. 0.2023,0.1994,0.2010 (DC, DSA and DM on CIFAR-10).", show_default=False
    ),
]


@evaluate_app.command()
def evaluate(
    path: Annotated[
        Path, typer.Argument(help="An ImageFolder, .parquet files, or a .safetensors, .pt, .npz or .npy file.")
    ],
    dataset: Annotated[str, typer.Option(help="The dataset that the set replaces, e.g. cifar10.")],
    ipc: Annotated[int, typer.Option(min=1, help="The images per class of the set.")],
    method_name: Annotated[str, typer.Option(help="The name of the method that made it, for the leaderboard.")],
    suite: opt.SuiteName = "main",
    students: opt.Students = "",
    protocols: opt.Protocols = "",
    seeds: opt.Seeds = None,
    value_range: Annotated[
        ValueRange, typer.Option(help="The scale of the images; auto guesses it from the values.")
    ] = "auto",
    mean: Mean = "",
    std: Std = "",
    runs: opt.Runs = "runs",
    data: opt.Data = Path("data"),
    runner: opt.RunnerOption = "ray",
    ray: opt.RayOption = "local",
    insecure: opt.InsecureOption = False,
    device: opt.DeviceOption = "auto",
    extra: opt.Extra = None,
) -> None:
    """Evaluate a distilled set as a suite evaluates its methods, and add it to the leaderboard of the suite.

    A student or protocol that the suite does not list is added to it.
    """
    from benchmark.cli import running
    from benchmark.formats import artifact as artifacts
    from benchmark.plan.suite import load_suite
    from benchmark.run import campaign as campaigns
    from benchmark.run import external
    from benchmark.vision import datasets

    config = datasets.load_dataset(dataset)
    normalisation = _normalisation(mean, std, config)
    info = datasets.info(config, data)
    user_set = artifacts.read(path, config, info)
    artifact = artifacts.of_set(user_set, str(path), info, ipc, value_range, normalisation)
    for note in (*artifact.notes, *_use_of_labels(artifact)):
        out.print(f"{path}: {note}", markup=False, highlight=False)
    entry = external.suite_entry(artifact, method_name, load_suite(suite))
    axes = {"students": split_words(students), "protocols": split_words(protocols), "seeds": seeds}
    selection = external.selection(entry, dataset, ipc, **axes)
    options = run_options(runs, data, runner, ray, insecure, device)
    node_runner, has_gpu = campaigns.connected(options)
    campaign = external.store_artifact(campaigns.open_campaign(suite, selection, options, has_gpu=has_gpu), artifact)
    rows_to_print = {axis: values for axis, values in campaign.selection().items() if axis != "method"}
    running.finish(campaign, options, node_runner, rows_to_print)


def _use_of_labels(artifact: Artifact) -> list[str]:
    is_soft = artifact.images.targets.dim() == 2
    return ["its soft labels are used under hard; protocols that ask a teacher replace them"] if is_soft else []


def _normalisation(mean: str, std: str, config: DatasetConfig) -> Normalisation | None:
    """Return the normalisation that the options name, None where they name none; the dataset gives what is left out."""
    from benchmark.formats.pt import Normalisation

    if not mean and not std:
        return None
    try:
        numbers = [tuple(float(word) for word in split_words(text)) for text in (mean, std)]
        return Normalisation(numbers[0] or config.mean, numbers[1] or config.std)
    except ValueError as error:
        raise BenchmarkError(f"--mean, --std: {error}") from error
