"""What `run` and `evaluate` share: say what will happen, run, show how far it is, and print the leaderboard."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

import typer

from benchmark.cli import display
from benchmark.cli.options import out
from benchmark.identity import precision_of

if TYPE_CHECKING:
    from benchmark.run.campaign import Campaign, RunOptions
    from benchmark.run.runner import Runner
    from leaderboards.results.leaderboard import Report

Shown = Mapping[str, Collection[object]]  # column of the leaderboard -> the values to print


def finish(
    campaign: Campaign,
    options: RunOptions,
    runner: Runner | None,
    rows: Shown,
    *,
    verbose: bool = False,
    with_report: bool = True,
) -> None:
    """Run the nodes of a campaign that are not done, and print the leaderboard; never returns.

    Args:
        campaign: the campaign.
        options: how it is run.
        runner: is connected already; None: connect where there is work.
        rows: the rows of the leaderboard to print.
        verbose: print a line for every node, and full tracebacks.
        with_report: write tables, plots and page, and print the leaderboard.

    Raises:
        typer.Exit: with the status of the command.
        KeyboardInterrupt: after an interruption; the leaderboard is printed as far as it is.
    """
    try:
        failures = compute(campaign, options, runner, verbose=verbose)
    except KeyboardInterrupt:
        _print_leaderboard(campaign, options.runs, rows, write=False)
        raise
    if with_report:
        _print_leaderboard(campaign, options.runs, rows, write=True)
    raise typer.Exit(1 if failures else 0)


def compute(campaign: Campaign, options: RunOptions, runner: Runner | None, *, verbose: bool = False) -> int:
    """Run the nodes of a campaign that are not done, show how far it is, and return how many failed.

    Arguments as in `finish`.

    Raises:
        KeyboardInterrupt: after an interruption.
    """
    from benchmark.cli.scores import Scores
    from benchmark.run import campaign as campaigns

    _print_line(first_line(campaign))
    display.print_corrupt(campaign, out)
    if not (todo := campaign.todo):
        _print_line(campaign.write_manifest())
        return 0
    progress = display.ProgressTable(todo, campaign.store)
    try:
        events = campaign.run(runner or campaigns.connect(options)[0], _print_line)
        display.show_progress(events, progress, out, Scores(campaign), verbose=verbose)
    except KeyboardInterrupt:
        out.print(f"\ninterrupted: {progress.finished} of {len(todo)} nodes are done")
        raise
    return progress.failed


def first_line(campaign: Campaign) -> str:
    """Return what will happen: suite, datasets, device and precision, cells and nodes, and how long it may take."""
    plan, suite = campaign.plan, campaign.plan.suite
    reasons = {planned.cell.dataset: planned.skipped for planned in plan.cells if not planned.nodes}
    datasets = dict.fromkeys(planned.cell.dataset for planned in plan.cells if planned.nodes)
    skipped = [name for name in reasons if name not in datasets]
    cells = sum(not planned.skipped for planned in plan.cells)
    precisions = sorted({precision_of(node.identity) for node in plan.nodes.values()})
    todo = f"{len(campaign.todo)} of {len(plan.nodes)} nodes to do"
    parts = [
        f"suite {suite.name} version {suite.version}",
        f"datasets: {', '.join(datasets) or 'none'}" + (f" (skipped: {', '.join(skipped)})" if skipped else ""),
        f"{campaign.node_options.device}, {', '.join(precisions) or 'float32'}",
        f"{cells} of {len(plan.cells)} cells, {todo}{f', {expected_time(campaign)}' if campaign.todo else ''}",
    ]
    return " · ".join(parts)


def expected_time(campaign: Campaign) -> str:
    """Return the sum of what nodes like those to do took, on machines that may have been slower or shared."""
    seconds, unknown_count = campaign.seconds_left()
    note = f" ({unknown_count} nodes have none)" if unknown_count else ""
    text = f"such nodes took {display.time_span(seconds)} one after the other in past records{note}"
    return text if seconds else "time unknown"


def _print_line(line: str) -> None:
    if line:
        out.print(line, markup=False, highlight=False, soft_wrap=True)


def _print_leaderboard(campaign: Campaign, runs: str, rows: Shown, *, write: bool) -> None:
    from leaderboards import report as reports

    report = (reports.build if write else reports.summarise)(runs, campaign.plan.suite.name)
    out.print(reports.render(report, rows))
    print_changed_files(report)


def print_changed_files(report: Report) -> None:
    """Print which files of the user have changed since results of a report were made."""
    from benchmark import sources
    from leaderboards.results import outside

    for line in outside.changed(report.file_versions, sources.extra()):
        _print_line(line)
