"""The report of a suite: made from its manifest and records alone, so that equal records give equal files."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from benchmark.files import Folder
from leaderboards.page import page
from leaderboards.plots import images, neighbours
from leaderboards.results import (
    components,
    correlations,
    costs,
    evaluations,
    kept,
    leaderboard,
    measures,
    networks,
    outside,
    pairwise,
    records,
    references,
    scores,
    standings,
    variants,
)
from leaderboards.results.cells import cells_table, curves_table
from leaderboards.results.correct_images import bits_by_key
from leaderboards.results.declared import declared as declared_values
from leaderboards.results.leaderboard import Report
from leaderboards.results.repeats import without_repeats
from leaderboards.tables import details, layout, overview, paper, typeset
from leaderboards.tables.sheet import Sheet
from leaderboards.tables.terminal import render, text

__all__ = ["Report", "build", "render", "summarise", "text"]
FOLDERS = ("tables", "plots", "pictures")  # the folders of a report; all files in them are its own


def summarise(root: str, suite: str) -> Report:
    """Return the tables of a suite and write no file; arguments and errors as in `build`."""
    return _report(records.read(root, suite).with_cut_named(), references.load())


def build(root: str, suite: str) -> Report:
    """Write the report of a suite to ``ROOT/leaderboards/SUITE`` and return its tables.

    The files are ``leaderboard.csv``, ``cells.csv``, ``scores.csv``, ``pairwise.csv``, ``variance.csv``, ``costs.csv``
    and ``networks.csv``; ``measures.csv`` and ``measure_correlation.csv`` where sets were measured; ``evaluations.csv``
    where evaluators return more than accuracies; ``tables/`` as CSV, Markdown and LaTeX; ``plots/`` as PNG and SVG;
    ``pictures/`` of the distilled sets; and ``index.html``, which shows all of it. Files of an earlier report in these
    three folders are removed. Nothing is made again where ``report.json`` says that records, pictures, code and
    libraries are the same.

    Args:
        root: the store, a folder or an address that fsspec understands.
        suite: the name of a suite that has been run into the store, completely or in part.

    Raises:
        BenchmarkError: the suite has no manifest in the store, or a file cannot be read or written.
    """
    stored = records.read(root, suite).with_cut_named()
    folder = f"leaderboards/{suite}"
    pictures = _pictures(stored, folder)
    painted = {f"pictures/{picture.name}": png for picture, png in pictures}
    made_from = kept.source(stored, painted)
    if earlier_report := kept.read(stored.folder, folder, made_from):
        names, notes = earlier_report
        _remove_stale(stored.folder, folder, names)
        paths = tuple(stored.folder.address(f"{folder}/{name}") for name in (*names, kept.NAME))
        return replace(_report(stored, references.load()), paths=paths, notes=notes)
    results = results_of(stored)
    plots, notes = _plots(stored, results)
    files = {**results.files, **plots, **painted}
    board = results.report.leaderboard
    files["index.html"] = page.render(stored, board, results.overviews, results.tables, plots, pictures)
    files[kept.NAME] = kept.describe(files, notes, made_from)
    paths = tuple(stored.folder.write(f"{folder}/{name}", data) for name, data in files.items())
    _remove_stale(stored.folder, folder, files)
    return replace(results.report, paths=paths, notes=notes)


@dataclass(frozen=True)
class Results:
    """The results of a suite, without plots and pictures.

    Attributes:
        report: the leaderboard and the tables that belong to it.
        tables: the tables, as in a paper.
        overviews: tables of all that is known of the sets of a dataset at an IPC.
        files: all tables as CSV, Markdown and LaTeX, by name of the file.
        compared: the comparisons that figures show (`pairwise.plotted`).
    """

    report: Report
    tables: list[paper.Table]
    overviews: list[Sheet]
    files: dict[str, bytes]
    compared: dict[str, pd.DataFrame]


def results_of(stored: records.Stored) -> Results:
    """Return the results of a suite, without plots and pictures."""
    stored, published = stored.with_cut_named(), references.load()
    report = _report(stored, published)
    board, blocks = report.leaderboard, report.blocks
    scores_of_rows, networks_of = scores.table(board, blocks), networks.table(stored)
    paper_tables = paper.tables(board, published, blocks, stored.pairs)
    main = report.costs[report.costs["protocol"] == scores.main_protocol(board)]
    overviews = overview.overviews(board, blocks, report.declared, [report.costs, main, scores_of_rows])
    variance = components.table(stored.suite, blocks)
    overviews += [*details.needed(networks_of), *details.variance(variance)]
    frames = {
        "leaderboard": board,
        "cells": report.cells,
        "scores": scores_of_rows,
        "pairwise": pairwise.table(stored.suite, blocks),
        "variance": variance,
        "costs": report.costs,
    }
    files = {f"{name}.csv": leaderboard.to_csv(frame) for name, frame in frames.items()}
    files |= {
        "networks.csv": measures.to_csv(networks_of),
        **correlations.files(stored, report.sets),
        **evaluations.files(report.evaluations),
        **overview.files(overviews),
        **typeset.files(overviews),
        **_typeset(paper_tables),
    }
    return Results(report, paper_tables, overviews, files, pairwise.plotted(blocks, stored.pairs))


def _report(stored: records.Stored, published: Sequence[references.Reference]) -> Report:
    cells = cells_table(stored)
    blocks = pairwise.blocks(cells, bits_by_key(stored))
    board = leaderboard.leaderboard(cells, published)
    costs_of_rows = costs.table(stored, board)
    board = costs.beside(standings.with_standings(board, blocks), costs_of_rows)
    folder = stored.folder.address(f"leaderboards/{stored.suite}")
    sets, evaluated = measures.table(stored, cells), evaluations.table(stored)
    values = declared_values(stored.columns, evaluated, measures.methods_of(sets))
    file_versions = outside.versions(stored.nodes.records.values())
    return Report(stored.suite, folder, (), cells, board, blocks, sets, evaluated, values, costs_of_rows, file_versions)


def _pictures(stored: records.Stored, folder: str) -> list[tuple[images.Picture, bytes]]:
    """Return the pictures of the distilled sets; a picture whose file exists is read and not painted again."""
    names = stored.folder.files(f"{folder}/pictures")
    pictures = [*images.paint(stored, names), *neighbours.paint(stored, names)]
    earlier_pngs = stored.folder.read(f"{folder}/pictures/{picture.name}" for picture, png in pictures if png is None)
    return [(picture, png or earlier_pngs[f"{folder}/pictures/{picture.name}"]) for picture, png in pictures]


def _remove_stale(store: Folder, folder: str, files: Collection[str]) -> None:
    """Remove the files of an earlier report that this one does not have, from the folders that are its own."""
    for part in FOLDERS:
        for name in store.files(f"{folder}/{part}"):
            if f"{part}/{name}" not in files:
                store.remove(f"{folder}/{part}/{name}")


def _typeset(tables: Sequence[paper.Table]) -> dict[str, bytes]:
    numbers = {f"tables/{table.name}.csv": layout.to_csv(table) for table in tables}
    return {**numbers, **typeset.files(map(layout.to_sheet, tables))}


def _plots(stored: records.Stored, results: Results) -> tuple[dict[str, bytes], tuple[str, ...]]:
    """Return the files of all plots, and the reasons why some are missing."""
    # imported here, because the import takes seconds and `summarise` plots nothing
    from leaderboards.plots import ablation, accuracy, critical_difference, declared, differences, regimes, style

    curves = curves_table(stored)
    board = results.report.leaderboard
    all_regimes = variants.contestants(results.report.declared.without_repeats(board))
    board = without_repeats(results.report.declared.without_repeats(board))
    main = variants.contestants(board)
    main = main if main["method"].nunique() > 1 else main[:0]  # a single method is not compared
    sets = correlations.contenders(stored, results.report.sets)
    figures = {
        **differences.differences(results.compared),
        **accuracy.accuracy_against_ipc(main),
        **accuracy.accuracy_by_protocol(main),
        **accuracy.accuracy_against_bytes(main),
        **accuracy.accuracy_against_seconds(main),
        **regimes.regimes(all_regimes),
        **critical_difference.critical_difference(board),
        **ablation.ablation(board),
        **ablation.networks(board),
        **ablation.sensitivity(board),
        **declared.accuracy_against_measures(sets, stored.columns.get(measures.STAGE, {})),
        **declared.numbers(results.report.evaluations, evaluations.columns(stored)),
        **ablation.training(curves[curves["method"].isin(main["method"])]),
    }
    files: dict[str, bytes] = {}
    for name, figure in figures.items():
        files |= {f"plots/{name}.{kind}": data for kind, data in style.images(figure).items()}
    return files, critical_difference.not_plotted(board)
