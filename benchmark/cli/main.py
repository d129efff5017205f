"""The command line: parse options, call the other packages, print.

A command imports what it needs when it runs: torch takes seconds to import, and commands that only read records do not
need it.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from benchmark import __version__
from benchmark.cli import options as opt
from benchmark.cli.data import data_app
from benchmark.cli.evaluate import evaluate_app
from benchmark.cli.options import out, run_options, selected
from benchmark.cli.reproduce import reproduce_app
from benchmark.cli.results import results_app
from benchmark.cli.tune import tune_app
from benchmark.errors import BenchmarkError

app = typer.Typer(
    name="benchmark",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(results_app)
app.add_typer(reproduce_app)
app.add_typer(tune_app)
app.add_typer(evaluate_app)
app.add_typer(data_app, name="data")


def _print_version(value: bool) -> None:
    if value:
        out.print(f"distillation-benchmark {__version__}", highlight=False)
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Dataset-distillation methods under one interface, one protocol and one leaderboard."""


INTERRUPTED = 130  # the exit status of Typer after a KeyboardInterrupt
Kind = Literal["methods", "datasets", "students", "protocols", "suites", "searches"]


@app.command()
def run(
    suite: opt.SuiteName = "main",
    datasets: opt.Datasets = "",
    methods: opt.Methods = "",
    ipc: opt.Ipc = "",
    students: opt.Students = "",
    protocols: opt.Protocols = "",
    seeds: opt.Seeds = None,
    runs: opt.Runs = "runs",
    data: opt.Data = Path("data"),
    runner: opt.RunnerOption = "ray",
    ray: opt.RayOption = "local",
    insecure: opt.InsecureOption = False,
    device: opt.DeviceOption = "auto",
    extra: opt.Extra = None,
    no_report: opt.NoReport = False,
    verbose: opt.Verbose = False,
) -> None:
    """Compute the results of a suite that are missing in the store, and print the leaderboard.

    A dataset, method, IPC, student or protocol that the suite does not list is added to it.
    """
    from benchmark.cli import running
    from benchmark.cli.display import progress_bar
    from benchmark.run import campaign as campaigns

    selection = selected(datasets, methods, ipc, students, protocols, seeds)
    options = run_options(runs, data, runner, ray, insecure, device)
    node_runner, has_gpu = campaigns.connected(options)
    with progress_bar(out, "files hashed") as report_files:
        campaign = campaigns.open_campaign(suite, selection, options, has_gpu=has_gpu, report=report_files)
    running.finish(campaign, options, node_runner, campaign.selection(), verbose=verbose, with_report=not no_report)


@app.command()
def plan(
    suite: opt.SuiteName = "main",
    datasets: opt.Datasets = "",
    methods: opt.Methods = "",
    ipc: opt.Ipc = "",
    students: opt.Students = "",
    protocols: opt.Protocols = "",
    seeds: opt.Seeds = None,
    runs: opt.Runs = "runs",
    data: opt.Data = Path("data"),
    ray: opt.PreflightOption = "",
    insecure: opt.InsecureOption = False,
    device: opt.DeviceOption = "auto",
    card: opt.CardOption = "",
    mixed: opt.MixedOption = False,
    extra: opt.Extra = None,
) -> None:
    """Show what a run would do: cells, nodes, results that exist, skipped cells with reasons, and the expected time.

    A dataset, method, IPC, student or protocol that the suite does not list is added to it. With --datasets, --card or
    --mixed, the hours of a graphics card are shown too, even for datasets that are not on disk.
    """
    from benchmark.cli import costs, display, running
    from benchmark.config_files import load_named
    from benchmark.plan.cost import Card
    from benchmark.plan.label_bytes import planned_label_sizes
    from benchmark.run import campaign as campaigns

    selection = selected(datasets, methods, ipc, students, protocols, seeds)
    options = run_options(runs, data, "ray", ray, insecure, device)
    shown_card = load_named(Card, "cards", card or "H100") if datasets or card or mixed else None
    runner, has_gpu = campaigns.connect(options) if ray else (None, None)
    with display.progress_bar(out, "files hashed") as report_files:
        campaign = campaigns.open_campaign(
            suite, selection, options, has_gpu=has_gpu, need_data=False, report=report_files
        )
    out.print(display.plan_table(campaign.plan, campaign.todo))
    if sizes := [size for size in planned_label_sizes(campaign.plan, campaign.planner) if size.bytes]:
        out.print(display.label_size_table(sizes))
    if shown_card:
        costs.print_costs(campaign.plan, data, shown_card, campaign.todo, mixed=mixed)
    display.print_corrupt(campaign, out)
    if runner:
        out.print(campaigns.preflight(campaign, runner))
    if campaign.todo:
        out.print(f"To do: {len(campaign.todo)} nodes, {running.expected_time(campaign)}.")
    else:
        all_skipped = all(planned.skipped for planned in campaign.plan.cells)
        out.print("Nothing to do here: every cell is skipped." if all_skipped else "Nothing to do.")


@app.command("list")
def list_names(kind: Annotated[Kind, typer.Argument(help="The kind of names.")], extra: opt.Extra = None) -> None:
    """Print the names of all methods, datasets, students, protocols, suites or searches, each with a description."""
    from benchmark.cli import display
    from benchmark.plan import contents

    out.print(display.description_table(contents.descriptions(kind)))
    if kind == "students":
        out.print("and every network of timm, by its name there")


def main() -> None:
    """Run the command line. A mistake of the user gives a message and exit status 2, without a traceback."""
    for interruption in (signal.SIGINT, signal.SIGTERM):  # a background process of a shell ignores SIGINT otherwise
        signal.signal(interruption, signal.default_int_handler)
    errors = Console(stderr=True, soft_wrap=True)
    try:
        app()
    except BenchmarkError as error:
        errors.print(str(error), style="red", markup=False, highlight=False)
        sys.exit(2)
    except SystemExit as error:
        if error.code == INTERRUPTED:
            errors.print("interrupted; finished nodes are kept, run the same command again to continue")
        raise
