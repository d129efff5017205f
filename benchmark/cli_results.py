"""The commands that read records and compute nothing."""

from __future__ import annotations

from pathlib import Path

import typer

from benchmark.cli_options import Runs, SuiteName, out
from benchmark.errors import BenchmarkError, unknown
from benchmark.files import names

results_app = typer.Typer()


@results_app.command()
def status(suite: SuiteName = "main", runs: Runs = "runs") -> None:
    """Show what became of a suite's cells so far, and what is running."""
    from benchmark import display
    from benchmark.store import Store
    from leaderboards import report as reporting

    report = reporting.look(runs, _known(suite, runs))
    out.print(display.tally(report.cells, Store(runs).heartbeats()))


@results_app.command()
def report(suite: SuiteName = "main", runs: Runs = "runs") -> None:
    """Rebuild a suite's tables and plots from the records, and print its leaderboard."""
    from leaderboards import report as reporting

    out.print(reporting.render(reporting.build(runs, _known(suite, runs))))


def _known(suite: str, runs: str) -> str:
    """Return the name under which a suite's records lie: that of its file, where a path is given."""
    from leaderboards import report as reporting

    name = Path(suite).stem if suite.endswith((".yaml", ".yml")) else suite
    if name not in names("suites") and name not in (stored := reporting.available(runs)):
        raise BenchmarkError(unknown("suite", name, [*names("suites"), *stored]))
    return name
