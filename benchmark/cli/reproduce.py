"""The commands that run published results again: ``reproduce`` a suite, ``rescore`` distilled sets of a submission."""

from __future__ import annotations

import random
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from benchmark.cli import options as opt
from benchmark.cli.options import out, run_options, selected, suite_stem, whole
from benchmark.errors import BenchmarkError, Faults

if TYPE_CHECKING:
    from rich.table import Table

    from benchmark.plan.graph import PlannedCell
    from benchmark.run.campaign import Campaign
    from leaderboards.publish.publication import Publication
    from leaderboards.publish.reproduction import Axes, Reproduction
    from leaderboards.results.records import Record

reproduce_app = typer.Typer()
CHANCE = "An interval is where 95 % of further cells of its row lie: one cell in twenty may be outside by chance."


@reproduce_app.command()
def reproduce(
    suite: opt.SuiteName = "main",
    datasets: opt.Datasets = "",
    methods: opt.Methods = "",
    ipc: opt.Ipc = "",
    runs: opt.Runs = "reproduced",
    data: opt.Data = Path("data"),
    runner: opt.RunnerOption = "ray",
    ray: opt.RayOption = "local",
    insecure: opt.InsecureOption = False,
    device: opt.DeviceOption = "auto",
    extra: opt.Extra = None,
    verbose: opt.Verbose = False,
) -> None:
    """Run a published suite again, and say for every cell whether it is inside its interval, or else what differs."""
    from benchmark.cli import running
    from benchmark.run import campaign as campaigns
    from leaderboards.publish import reproduction

    selection = selected(datasets, methods, ipc)
    published = _published(suite)
    values_by_axis = {"dataset": selection.datasets, "method": selection.methods, "ipc": selection.ipc}
    cells = reproduction.finished(published, values_by_axis)
    if not cells:
        raise BenchmarkError(f"suite '{suite}': no published cell has a number under these options")
    options = run_options(runs, data, runner, ray, insecure, device)
    node_runner, has_gpu = campaigns.connected(options)
    campaign = campaigns.open_campaign(suite, selection, options, has_gpu=has_gpu, need_data=False)
    failures = running.compute(campaign.only(_planned(campaign, cells)), options, node_runner, verbose=verbose)
    _compare(campaign, published, cells, failures)


@reproduce_app.command()
def rescore(
    sets: Annotated[
        Path, typer.Argument(metavar="SETS", help="A folder with KEY/images.safetensors: sets/ of a submission.")
    ],
    suite: Annotated[str, typer.Option("--suite", "-s", help="The published suite that the sets belong to.")],
    cells: Annotated[int, typer.Option(parser=whole, metavar="INTEGER", help="How many cells to evaluate again.")] = 5,
    sample: Annotated[
        int | None,
        typer.Option(min=0, help="The number of an earlier sample, to draw the same cells.", show_default=False),
    ] = None,
    runs: opt.Runs = "rescored",
    data: opt.Data = Path("data"),
    runner: opt.RunnerOption = "ray",
    ray: opt.RayOption = "local",
    insecure: opt.InsecureOption = False,
    device: opt.DeviceOption = "auto",
    extra: opt.Extra = None,
    verbose: opt.Verbose = False,
) -> None:
    """Evaluate a random sample of published cells again, with the distilled sets of a folder."""
    from benchmark.cli import running
    from benchmark.run import campaign as campaigns
    from benchmark.run.store import Store
    from benchmark.run.taken import import_sets
    from leaderboards.publish import reproduction

    published = _published(suite)
    distilled = {key: record for key, record in published.records.items() if record["stage"] == "distill"}
    keys = import_sets(distilled, sets, Store(runs))
    options = run_options(runs, data, runner, ray, insecure, device)
    node_runner, has_gpu = campaigns.connected(options)
    campaign = campaigns.open_campaign(suite, selected("", "", ""), options, has_gpu=has_gpu, need_data=False)
    records = reproduction.finished(published)
    runnable_cells = [planned for planned in _planned(campaign, records) if set(planned.nodes["distill"]) <= keys]
    if not runnable_cells:
        reasons = (f"{cell.cell.dataset}: {cell.skipped}" for cell in campaign.plan.cells if cell.skipped)
        raise Faults([f"{sets}: of its sets, no cell of suite '{suite}' can run here", *reasons])
    number = secrets.randbelow(10**6) if sample is None else sample
    sampled_cells = random.Random(number).sample(runnable_cells, min(cells, len(runnable_cells)))
    out.print(
        f"Sample {number}: {len(sampled_cells)} of {len(runnable_cells)} cells whose sets are in {sets}.",
        highlight=False,
    )
    failures = running.compute(campaign.only(sampled_cells), options, node_runner, verbose=verbose)
    _compare(campaign, published, {axes: records[axes] for axes in map(_axes, sampled_cells)}, failures)


def _published(suite: str) -> Publication:
    from leaderboards.publish import publication

    name = suite_stem(suite)
    published = publication.read(name) if name in publication.suites() else None
    if published is None:
        names = ", ".join(publication.suites()) or "none (published results are in a clone of the repository)"
        raise BenchmarkError(f"suite '{name}' is not published; published are: {names}")
    return published


def _planned(campaign: Campaign, cells: Mapping[Axes, Record]) -> list[PlannedCell]:
    """Return the planned cells that can run here and are among the published ones."""
    return [cell for cell in campaign.plan.cells if cell.nodes and not cell.skipped and _axes(cell) in cells]


def _axes(planned: PlannedCell) -> tuple[Any, ...]:
    from leaderboards.results.axes import CELL, axis_values

    return axis_values(planned.cell.model_dump(), CELL)


def _compare(campaign: Campaign, published: Publication, cells: Mapping[Axes, Record], failures: int) -> None:
    """Print the comparison of a campaign that has run, and write it; end with status 1 if cells failed or are outside.

    ``failures`` is the number of nodes that failed.
    """
    from leaderboards.publish import reproduction
    from leaderboards.results import leaderboard, records

    comparison = reproduction.compare(published, records.read(campaign.node_options.runs, published.suite), cells)
    out.print(_table(comparison))
    out.print("\n".join(_lines(comparison)), markup=False, highlight=False, soft_wrap=True)
    for name, table in {"reproduction": comparison.table, "reproduction_verdicts": comparison.verdicts}.items():
        path = f"leaderboards/{published.suite}/{name}.csv"
        campaign.store.write_text(path, leaderboard.to_csv(table).decode())
        out.print(f"All numbers: {campaign.store.files.address(path)}", markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(1 if failures or comparison.counts[reproduction.OUTSIDE] else 0)


def _table(comparison: Reproduction) -> Table:
    """Return a line per cell that ran: the published number, its interval, the number here, the verdict, and why."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from leaderboards.publish.reproduction import NOT_RUN, OUTSIDE
    from leaderboards.results.records import rows_of
    from leaderboards.results.text import difference_text, ipc_text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("cell", "published", "interval", "here", "difference", "verdict", "why"):
        table.add_column(name, justify="left" if name in ("cell", "verdict", "why") else "right")
    for row in rows_of(comparison.table[comparison.table["verdict"] != NOT_RUN]):
        name = f"{row['dataset']}/{ipc_text(row['ipc'])} {row['method']} {row['protocol']} {row['student']}"
        table.add_row(
            Text(f"{name} seed {row['seed']}"),
            f"{row['published']:.1f}",
            f"{row['low']:.1f} to {row['high']:.1f}",
            f"{row['again']:.1f}",
            difference_text(row["difference"]),
            row["verdict"],
            Text(row["why"]),
            style="bold" if row["verdict"] == OUTSIDE else "",
        )
    return table


def _lines(comparison: Reproduction) -> Iterable[str]:
    from leaderboards.publish import survival
    from leaderboards.publish.reproduction import NOT_RUN

    cells_not_run = comparison.table[comparison.table["verdict"] == NOT_RUN]
    for (dataset, why), cells in cells_not_run.groupby(["dataset", "why"]):
        yield f"Not run: {len(cells)} cells of {dataset}: {why}"
    counts = ", ".join(f"{count} {verdict}" for verdict, count in comparison.counts.most_common())
    yield f"{len(comparison.table)} published cells: {counts}."
    differences = comparison.table["difference"].dropna()
    if len(differences):
        yield f"Mean difference, here minus published: {differences.mean():+.2f} points over {len(differences)} cells."
    yield CHANCE
    yield from survival.summary(comparison.verdicts)
    yield from (f"Differs: {text} ({count} cells)" for text, count in comparison.surroundings.most_common())
