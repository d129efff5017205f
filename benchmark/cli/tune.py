"""The command that tunes learning rates and hyperparameters on a hold-out of the training set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from benchmark.cli.options import Data, DeviceName, DeviceOption, RayOption, RunnerName, RunnerOption, Runs, out

if TYPE_CHECKING:
    from rich.table import Table

    from benchmark.run.tune import Tuning

tune_app = typer.Typer()
SearchName = Annotated[str, typer.Option("--search", help="Name of a search, or the path of a search file.")]


@tune_app.command()
def tune(
    search: SearchName,
    runs: Runs = "runs",
    data: Data = Path("data"),
    runner: RunnerOption = RunnerName.ray,
    ray: RayOption = "local",
    device: DeviceOption = DeviceName.auto,
) -> None:
    """Try the values of a search on a hold-out of the training set, and write a protocol with the best ones."""
    from benchmark.cli import display
    from benchmark.plan.search import load_search
    from benchmark.run import campaign, tune
    from benchmark.run.runner import RayRunner

    found, options = load_search(search), campaign.RunOptions(runs, data, runner.value, ray, device.value)
    executor, has_gpu = campaign.connect(options)
    tuning = tune.open_tuning(found, options, has_gpu=has_gpu)
    tuning.store.open()
    if shared := tuning.shared:
        out.print(f"{len(shared)} nodes that several trials share:")
        display.follow(executor.run(shared, tuning.node_options), display.Board(shared, tuning.store, 0), out)
    if isinstance(executor, RayRunner):
        tune.run_by_tune(tuning, max(machine.cpus for machine in executor.machines), _say)
    else:
        tune.run_serially(tuning, _say)
    winners = tune.write(tuning)
    out.print(_table(tuning))
    for line in tune.edge_lines(found, winners):
        out.print(line, style="yellow", soft_wrap=True, markup=False, highlight=False)
    if len(winners) < len(found.methods):
        raise typer.Exit(1)
    place = f"{tuning.store.root}/tuning/{found.name}.yaml"
    out.print(f"\nThe best values as a protocol: {place}. Copy it to configs/protocols/ and name it in a suite:\n")
    out.print(tune.suite_lines(found, winners) + f"protocols: [{found.name}]", markup=False, highlight=False)


def _say(number: int) -> None:
    out.print(f"trial {number + 1} has ended", highlight=False)


def _table(tuning: Tuning) -> Table:
    """Draw all trials, those of a method together; the best one of each is marked."""
    from rich.table import Table

    from benchmark.run import tune

    search, results = tuning.search, tuning.results()
    winners = tune.best(results)
    axes = list(dict.fromkeys(name for trial in tuning.trials for name in trial.values))
    title = f"{search.title}: {search.dataset}, IPC {search.ipc}, {search.student}, {search.protocol}, hold-out"
    table = Table("method", *axes, "top-1 %", "", box=None, header_style="bold", title=title)
    for result in results:
        name = result.trial.method.method
        values = [str(result.trial.values.get(axis, "·")) for axis in axes]
        score = "·" if result.top1 is None else f"{result.top1:.2f}"
        wins = winners.get(name) is result
        table.add_row(name, *values, score, "best" if wins else result.why, style="bold" if wins else None)
    return table
