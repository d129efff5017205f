"""The commands that read records and compute nothing."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from benchmark.cli.options import Data, Datasets, Runs, SuiteName, out, words
from benchmark.config_files import names
from benchmark.errors import BenchmarkError, unknown

if TYPE_CHECKING:
    from leaderboards.publish.publication import Publication
    from leaderboards.results.records import Stored

results_app = typer.Typer()


class Format(StrEnum):
    """Formats of other people's tools."""

    imagefolder = "imagefolder"
    dcbench = "dcbench"
    huggingface = "huggingface"


@results_app.command()
def status(suite: SuiteName = "main", runs: Runs = "runs") -> None:
    """Show what became of a suite's cells so far, and what is running."""
    from benchmark.cli import display
    from benchmark.run.store import Store
    from leaderboards import report as reporting

    report = reporting.summarise(runs, _known(suite, runs))
    out.print(display.tally(report.cells, Store(runs).heartbeats()))


@results_app.command()
def report(
    suite: SuiteName = "main",
    runs: Runs = "runs",
    check: Annotated[bool, typer.Option("--check", help="Compare what is published with its records instead.")] = False,
    compare: Annotated[
        tuple[str, str],
        typer.Option(metavar="A B", help="Compare the suite in two stores instead.", show_default=False),
    ] = ("", ""),
    csv: Annotated[Path | None, typer.Option(help="With --compare: a file for every cell of both.")] = None,
) -> None:
    """Rebuild a suite's tables and plots from the records, and print its leaderboard."""
    from leaderboards import report as reporting

    if check:
        _check()
    elif any(compare):
        _compare(suite, *compare, csv)
    else:
        out.print(reporting.render(reporting.build(runs, _known(suite, runs))))


@results_app.command()
def publish(
    suite: Annotated[str, typer.Option(help="Name of a suite; without it, all that are published.")] = "",
    runs: Annotated[str, typer.Option(help="A store with results to add; without it, only files are made anew.")] = "",
    note: Annotated[str, typer.Option(help="A sentence to keep beside the results.")] = "",
    datasets: Datasets = "",
) -> None:
    """Add a run's verified records to the published ones, and make the tables and the README's results anew."""
    from leaderboards.publish import publication, readme

    if (runs or note) and not suite:
        raise BenchmarkError("publish: --runs and --note want to know of which suite; add --suite NAME")
    for name in [suite] if suite else publication.suites():
        found = _publication(name, runs, note, words(datasets))
        changed = publication.write(found.suite, publication.files(found))
        counts = f"{found.done} cells, {len(found.records)} records; {len(changed)} files changed"
        out.print(f"{found.suite}: {counts}", markup=False)
    text = readme.PATH.read_text(encoding="utf-8")
    readme.PATH.write_text(readme.filled(text, _all_published()), encoding="utf-8")


@results_app.command()
def export(
    destination: Annotated[Path, typer.Argument(metavar="DEST", help="Where to: a file for dcbench, else a folder.")],
    dataset: Annotated[str, typer.Option(help="The dataset that the set stands for.")],
    ipc: Annotated[int, typer.Option(min=1, help="Its images per class.")],
    method: Annotated[str, typer.Option(help="The method that made it, as tables name it.")],
    form: Annotated[Format, typer.Option("--format", help="The format.")] = Format.imagefolder,
    draw: Annotated[int, typer.Option(min=0, help="Which of its draws.")] = 0,
    suite: SuiteName = "main",
    runs: Runs = "runs",
    data: Data = Path("data"),
) -> None:
    """Write a distilled set in a format that other tools read."""
    from benchmark.formats import export, find

    found = find.find(runs, _known(suite, runs), find.Wanted(dataset, ipc, method, draw))
    lost = export.export(found.images, found.info(data), form.value, destination, found.title, found.facts)
    out.print(f"{destination}: {len(found.images)} images, {found.title}", markup=False)
    for part in lost:
        out.print(f"the format has no place for {part}", markup=False)


def _check() -> None:
    """Say which published files are not what their records make, and end with status 1 if there are any."""
    from leaderboards.publish import publication, readme, verify

    found = _all_published()
    faults = [fault for each in found.values() for fault in verify.mismatches(each.records)]
    for suite, each in found.items():
        differing = publication.differing(suite, publication.files(each))
        faults += [f"leaderboards/published/{suite}/{name}: not what the records make" for name in differing]
    text = readme.PATH.read_text(encoding="utf-8")
    if readme.filled(text, found) != text:
        faults.append("README.md: its results are not the published ones")
    for fault in faults:
        out.print(fault, markup=False, highlight=False, soft_wrap=True)
    if faults:
        out.print("`python -m benchmark publish` makes them anew from the committed records; look at what changes")
        raise typer.Exit(1)
    out.print(f"{', '.join(found) or 'nothing'} published: every file is what its records make")


def _compare(suite: str, a: str, b: str, csv: Path | None) -> None:
    from leaderboards.results import leaderboard, run_diff
    from leaderboards.tables import run_diff as run_diff_table

    found = run_diff.compare(_stored(suite, a), _stored(suite, b))
    out.print(run_diff_table.render(found, a, b))
    if csv:
        csv.write_bytes(leaderboard.to_csv(run_diff.table(found)))


def _publication(suite: str, runs: str, note: str, datasets: Sequence[str]) -> Publication:
    """Return what is published of a suite with what a run adds to it."""
    from benchmark.files import Folder
    from leaderboards.publish import publication, verify

    name = _known(suite, runs) if runs else suite
    earlier = publication.read(name)
    if runs:
        found = verify.verified(Folder(runs), publication.done(runs, name, datasets))
        return publication.merged(earlier, publication.of_run(runs, name, found, datasets), note)
    if earlier is None:
        raise BenchmarkError(f"nothing is published of suite '{name}'; add --runs DIR to publish what a run has of it")
    return publication.merged(earlier, earlier, note)


def _all_published() -> dict[str, Publication]:
    from leaderboards.publish import publication

    return {suite: found for suite in publication.suites() if (found := publication.read(suite))}


def _stored(suite: str, place: str) -> Stored:
    """Return what a store says of a suite; a folder of published results is one too."""
    from leaderboards.publish import publication
    from leaderboards.results import records

    found = publication.read(suite, Path(place))
    return found.stored() if found else records.read(place, _known(suite, place))


def _known(suite: str, runs: str) -> str:
    """Return the name under which a suite's records lie: that of its file, where a path is given."""
    from leaderboards import report as reporting

    name = Path(suite).stem if suite.endswith((".yaml", ".yml")) else suite
    if name not in names("suites") and name not in (stored := reporting.available(runs)):
        raise BenchmarkError(unknown("suite", name, [*names("suites"), *stored]))
    return name
