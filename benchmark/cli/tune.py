"""``benchmark tune``: choose learning rates and hyperparameters on a hold-out of the training set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from benchmark.cli import options as opt
from benchmark.cli.options import out, run_options

if TYPE_CHECKING:
    from rich.table import Table

    from benchmark.run.runner import Runner
    from benchmark.run.tune import Tuning

tune_app = typer.Typer()
SearchName = Annotated[
    str, typer.Option("--search", help="The search: a name that `list searches` prints, or the path of a search file.")
]


@tune_app.command()
def tune(
    search: SearchName,
    runs: opt.Runs = "runs",
    data: opt.Data = Path("data"),
    runner: opt.RunnerOption = "ray",
    ray: opt.RayOption = "local",
    insecure: opt.InsecureOption = False,
    device: opt.DeviceOption = "auto",
    extra: opt.Extra = None,
) -> None:
    """Try the values of a search on a hold-out of the training set, and write a protocol with the best values."""
    from benchmark.plan.search import load_search
    from benchmark.run import campaign as campaigns
    from benchmark.run import tune

    config, options = load_search(search), run_options(runs, data, runner, ray, insecure, device)
    node_runner, has_gpu = campaigns.connected(options)
    tuning = tune.open_tuning(config, options, has_gpu=has_gpu)
    tuning.store.open()
    if tuning.unfinished:
        _run(tuning, node_runner or campaigns.connect(options)[0])
    winners = tune.write(tuning)
    out.print(_table(tuning))
    for line in tune.note_lines(config, winners):
        out.print(line, style="yellow", soft_wrap=True, markup=False, highlight=False)
    if len(winners) < len(config.methods):
        raise typer.Exit(1)
    file = tuning.store.files.address(f"tuning/{config.name}.yaml")
    out.print(
        f"\nA protocol with the best values: {file}. To use it, copy it to configs/protocols/ and add to a suite:\n"
    )
    out.print(tune.suite_lines(config, winners) + f"protocols: [{config.name}]", markup=False, highlight=False)


def _run(tuning: Tuning, runner: Runner) -> None:
    """Run what several trials share, and then the trials that are not done."""
    from benchmark.cli import display
    from benchmark.run import tune
    from benchmark.run.runner import RayRunner

    needs = runner.preflight(tuning.todo, tuning.node_options) if isinstance(runner, RayRunner) else None
    if shared_nodes := tuning.shared:
        out.print(f"{len(shared_nodes)} nodes that several trials share:")
        progress = display.ProgressTable(shared_nodes, tuning.store)
        display.show_progress(runner.run(shared_nodes, tuning.node_options), progress, out)
    if needs is None:
        tune.run_serially(tuning, _print_trial)
    else:
        tune.run_by_tune(tuning, needs.values(), _print_trial)


def _print_trial(number: int) -> None:
    out.print(f"trial {number + 1} has ended", highlight=False)


def _table(tuning: Tuning) -> Table:
    """Return all trials by method; the best trial of each method is marked."""
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
        top1 = "·" if result.top1 is None else f"{result.top1:.2f}"
        winner = winners.get(name)
        is_best = winner is not None and winner.trial is result.trial
        word = "best" if winner and winner.sharing == 1 else "taken"
        table.add_row(name, *values, top1, word if is_best else result.why, style="bold" if is_best else None)
    return table
