"""The commands that read results and train nothing: status, report, publish, submit, export."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from benchmark.cli import options as opt
from benchmark.cli.options import out, split_words, suite_stem
from benchmark.config_files import names
from benchmark.errors import BenchmarkError, Faults, unknown

if TYPE_CHECKING:
    from leaderboards.publish.publication import Publication
    from leaderboards.results.records import Stored

results_app = typer.Typer()
Format = Literal["imagefolder", "dcbench", "huggingface"]


@results_app.command()
def status(
    suite: opt.SuiteName = "main", datasets: opt.Datasets = "", runs: opt.Runs = "runs", extra: opt.Extra = None
) -> None:
    """Print how many cells of a suite are done, failed, blocked, missing or skipped, and which nodes are running."""
    from benchmark.cli import display
    from benchmark.identity import STAGES
    from benchmark.run.store import Store
    from leaderboards.results import cells, records

    stored = records.read(runs, _suite_name(suite, runs))
    if dataset_names := _chosen(datasets, stored.cells):
        stored = replace(stored, cells=tuple(cell for cell in stored.cells if cell["dataset"] in dataset_names))
    names = {
        key: f"{stage} {cell['dataset']}/{cell['ipc'] or 'all'} {cell['method']}"
        for cell in stored.cells
        for stage in STAGES
        for key in records.keys_of(cell, stage)
    }
    out.print(display.status_table(cells.cells_table(stored), Store(runs).heartbeats(), names))


@results_app.command()
def report(
    suite: opt.SuiteName = "main",
    runs: opt.Runs = "runs",
    check: Annotated[
        bool, typer.Option("--check", help="Check that the published files are what the published records give.")
    ] = False,
    compare: Annotated[
        tuple[str, str],
        typer.Option(metavar="A B", help="Compare the results of the suite in two stores.", show_default=False),
    ] = ("", ""),
    csv: Annotated[
        Path | None, typer.Option(help="With --compare: write the comparison of every cell to this file.")
    ] = None,
    extra: opt.Extra = None,
) -> None:
    """Write the tables and plots of a suite again from its records, and print the leaderboard."""
    from benchmark.cli.running import print_changed_files
    from leaderboards import report as reports

    if csv and not any(compare):
        raise BenchmarkError("report: --csv writes a comparison; add --compare A B")
    if check and any(compare):
        raise BenchmarkError("report: --check and --compare are two commands; give one of them")
    if check:
        _check()
    elif any(compare):
        _compare(suite, *compare, csv)
    else:
        built = reports.build(runs, _suite_name(suite, runs))
        out.print(reports.render(built))
        print_changed_files(built)


@results_app.command()
def publish(
    suite: Annotated[
        str, typer.Option("--suite", "-s", help="Name of a suite. Default: all published suites.", show_default=False)
    ] = "",
    runs: Annotated[
        str,
        typer.Option(
            help="A store with results to add. Default: add none, only write the files again.", show_default=False
        ),
    ] = "",
    note: Annotated[str, typer.Option(help="A sentence that is printed below the results.", show_default=False)] = "",
    datasets: opt.Datasets = "",
    sets: Annotated[
        bool, typer.Option("--sets", help="Publish the distilled sets of the run too.", show_default=False)
    ] = False,
    extra: opt.Extra = None,
) -> None:
    """Add the checked records of a run to the published ones; write the published tables and the README's results."""
    from benchmark.files import Folder
    from leaderboards.publish import figures, publication, readme
    from leaderboards.publish import sets as distilled

    if not readme.is_clone():
        raise BenchmarkError("publish: works in a clone of the repository; `submit` packs results from anywhere")
    if (runs or note) and not suite:
        raise BenchmarkError("publish: --runs and --note belong to one suite; add --suite NAME")
    if sets and not runs:
        raise BenchmarkError("publish: --sets copies the sets of a run; add --runs")
    if datasets and not runs:
        raise BenchmarkError("publish: --datasets chooses among the results of a run; add --runs")
    for name in [suite] if suite else publication.suites():
        published = _publication(name, runs, note, datasets)
        changed_files = publication.write(published.suite, publication.files(published))
        changed_files += figures.write(published.results, publication.FOLDER / published.suite / figures.FOLDER)
        counts = f"{published.done} cells, {len(published.records)} records; {len(changed_files)} files changed"
        out.print(f"{published.suite}: {counts}", markup=False)
        if sets:
            out.print(f"{name}: {distilled.copy(published, Folder(runs))} files of distilled sets", markup=False)
        outside = dict.fromkeys(name for cell in published.cells for name in cell.get("outside") or ())
        if missing := [name for name in outside if not (readme.ROOT / name).is_file()]:
            line = f"not in the repository: {', '.join(missing)}; what needs them is shown as submitted"
            out.print(f"{published.suite}: {line}", markup=False, highlight=False)
    all_published = publication.read_all()
    for path in readme.PATHS:
        text = readme.filled(path.read_text(encoding="utf-8"), all_published, path.parent)
        path.write_text(text, encoding="utf-8")


@results_app.command()
def submit(
    suite: Annotated[str, typer.Option("--suite", "-s", help="The suite whose results you submit.")],
    destination: Annotated[Path, typer.Argument(metavar="DEST", help="The archive to write, NAME.zip.")],
    runs: opt.Runs = "runs",
    data: opt.Data = Path("data"),
    note: Annotated[str, typer.Option(help="A sentence that is printed below the results.", show_default=False)] = "",
    datasets: opt.Datasets = "",
    extra: opt.Extra = None,
) -> None:
    """Pack the results of a run, its distilled sets and your own files into an archive for a pull request."""
    from benchmark import sources
    from benchmark.cli import packing
    from benchmark.files import Folder
    from leaderboards.publish import submission
    from leaderboards.results import outside

    if destination.suffix != ".zip":
        raise BenchmarkError(f"submit: {str(destination)!r}: the name of the archive ends in .zip")
    published = _publication(suite, runs, note, datasets, submitted=True)
    packing.check_sets(published, runs)
    paths = packing.user_files(published, suite)
    packing.check_keys(published, suite, runs, data)
    changed_files = outside.changed(outside.versions(published.records.values()), sources.extra())
    for line in changed_files:
        out.print(line, markup=False, highlight=False, soft_wrap=True)
    remarks = packing.without_address(paths)
    archive_names = submission.pack(published, Folder(runs), paths, destination, changed_files, remarks)
    counts = f"{len(archive_names)} files, {published.done} cells, {len(published.records)} records"
    out.print(f"{destination}: {counts}; SUBMISSION.md in it says what to do", markup=False, highlight=False)


@results_app.command()
def export(
    destination: Annotated[
        Path,
        typer.Argument(metavar="DEST", help="The file to write (for dcbench, its name ends in .pt), or the folder."),
    ],
    dataset: Annotated[str, typer.Option(help="The dataset that was distilled, e.g. cifar10.")],
    ipc: Annotated[int, typer.Option(min=1, help="The images per class of the set.")],
    method: Annotated[str, typer.Option(help="The method that made it, by its name in tables.")],
    form: Annotated[Format, typer.Option("--format", help="The format.")] = "imagefolder",
    draw: Annotated[int, typer.Option(min=0, help="The draw: the seed of the set.")] = 0,
    teacher: Annotated[
        int | None, typer.Option(min=0, help="The teacher of the set, where several have one.", show_default=False)
    ] = None,
    suite: opt.SuiteName = "main",
    runs: opt.Runs = "runs",
    data: opt.Data = Path("data"),
    extra: opt.Extra = None,
) -> None:
    """Write a distilled set of a run in a format that other tools read."""
    from benchmark.formats import export
    from benchmark.run import find

    stored = find.find_set(runs, _suite_name(suite, runs), find.SetQuery(dataset, ipc, method, draw, teacher))
    lost_parts = export.export(stored.images, stored.info(data), form, destination, str(stored.query), stored.facts)
    out.print(f"{destination}: {len(stored.images)} images, {stored.query}", markup=False)
    for part in lost_parts:
        out.print(f"the format cannot hold {part}", markup=False)


def _check() -> None:
    """Print the published files that differ from what their records give; end with status 1 if there are any.

    Files of users that have changed since their records were made are printed, and do not count.
    """
    from leaderboards.publish import figures, publication, readme, sets, verify
    from leaderboards.results import outside

    if not readme.is_clone():
        raise BenchmarkError("report --check: works in a clone of the repository, where published results are")
    all_published = publication.read_all()
    faults = [fault for published in all_published.values() for fault in verify.mismatches(published.records)]
    for suite, published in all_published.items():
        differing = publication.differing(suite, publication.files(published))
        outdated = figures.outdated(published.results, publication.FOLDER / suite / figures.FOLDER)
        differing += [f"{figures.FOLDER}/{name}" for name in outdated]
        faults += [f"leaderboards/published/{suite}/{name}: differs from what the records give" for name in differing]
        faults += [f"leaderboards/{name}: not what its record names" for name in sets.damaged(published)]
        for line in outside.changed(outside.versions(published.records.values()), [readme.ROOT]):
            out.print(f"suite {suite}: {line}", markup=False, highlight=False, soft_wrap=True)
    for path in readme.PATHS:
        text = path.read_text(encoding="utf-8")
        if readme.filled(text, all_published, path.parent) != text:
            faults.append(f"{path.name}: its results differ from the published ones")
    for fault in faults:
        out.print(fault, markup=False, highlight=False, soft_wrap=True)
    if faults:
        out.print("`python -m benchmark publish` writes them again from the committed records; then check the changes")
        raise typer.Exit(1)
    suites = ", ".join(all_published) or "nothing"
    out.print(f"{suites} published: every file is what its records give")


def _compare(suite: str, a: str, b: str, csv: Path | None) -> None:
    from leaderboards.results import leaderboard, run_diff
    from leaderboards.tables import run_diff as run_diff_table

    difference = run_diff.compare(_stored(suite, a, b), _stored(suite, b, a))
    out.print(run_diff_table.render(difference, a, b))
    if csv:
        try:
            csv.write_bytes(leaderboard.to_csv(run_diff.table(difference)))
        except OSError as error:
            raise BenchmarkError(f"--csv {csv}: cannot be written ({error.strerror})") from error


def _chosen(datasets: str, cells: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return the datasets that an option names, () for all; those of some cells can be named."""
    words, all_names = split_words(datasets), {str(cell["dataset"]) for cell in cells}
    if faults := [f"--datasets: {unknown('dataset', name, all_names)}" for name in words if name not in all_names]:
        raise Faults(faults)
    return words


def _publication(suite: str, runs: str, note: str, datasets: str, *, submitted: bool = False) -> Publication:
    """Return the publication of a suite, with the results that a run adds to it."""
    from benchmark.files import Folder
    from benchmark.record import read_manifest
    from leaderboards.publish import publication, verify

    name = _suite_name(suite, runs) if runs else suite
    earlier = publication.read(name)
    if runs:
        dataset_names = _chosen(datasets, read_manifest(Folder(runs), name)["cells"])
        records = verify.verified(Folder(runs), publication.done(runs, name, dataset_names))
        run = publication.of_run(runs, name, records, dataset_names, submitted=submitted)
        return publication.merged(earlier, run, note)
    if earlier is None:
        raise BenchmarkError(f"suite '{name}' is not published; add --runs DIR to publish the results of a run")
    return publication.merged(earlier, earlier, note)


def _stored(suite: str, folder: str, other: str) -> Stored:
    """Return the results of a suite in a store or in a folder of publications, which are compared with another one."""
    from leaderboards.publish import publication
    from leaderboards.results import records

    published = publication.read(suite_stem(suite), Path(folder))
    return published.stored() if published else records.read(folder, _suite_name(suite, folder, other))


def _suite_name(suite: str, runs: str, other: str = "") -> str:
    """Return the name of a suite in a store; for the path of a suite file, its stem.

    Args:
        suite: its name, or the path of its file.
        runs: the store.
        other: a store or a folder of publications that may know the suite; "" for none.

    Raises:
        BenchmarkError: there is no such suite, or it has not been run into the store.
    """
    from benchmark.record import run_command
    from leaderboards.publish import publication
    from leaderboards.results import records

    name, stored = suite_stem(suite), records.suites(runs)
    if name in stored or name in names("suites"):
        return name
    known_elsewhere = [*records.suites(other), *publication.suites(Path(other))] if other else []
    if name != suite or name in known_elsewhere:
        raise BenchmarkError(f"suite '{name}' has not been run into {runs}; first run {run_command(suite, runs)}")
    raise BenchmarkError(unknown("suite", name, [*names("suites"), *stored]))
