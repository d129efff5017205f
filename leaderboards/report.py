"""A suite's report beside its manifest, made from records alone and the same from equal records."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from benchmark.files import Folder
from leaderboards.page import page
from leaderboards.plots import images, neighbours
from leaderboards.results import (
    costs,
    distances,
    leaderboard,
    pairwise,
    records,
    references,
    robustness,
    scores,
    standings,
    variants,
)
from leaderboards.results.leaderboard import Report
from leaderboards.results.measures import DECLARED
from leaderboards.tables import layout, overview, paper, typeset
from leaderboards.tables.sheet import Sheet
from leaderboards.tables.terminal import render, text

__all__ = ["Report", "available", "build", "look", "render", "text"]
FOLDERS = ("tables", "plots", "pictures")  # of a report; they belong to it alone


def available(root: str) -> list[str]:
    """Return the suites that have been run into a store."""
    return records.suites(root)


def look(root: str, suite: str) -> Report:
    """Return what a suite's records say and write nothing; arguments and errors as those of `build`."""
    stored = records.read(root, suite)
    return _report(stored, references.load())


def build(root: str, suite: str) -> Report:
    """Write a suite's report to ``ROOT/leaderboards/SUITE`` and return what it says.

    ``leaderboard.csv`` and ``cells.csv``; ``scores.csv``, ``ablation.csv``, ``variance.csv`` and ``costs.csv``;
    ``distances.csv`` and ``distance_correlation.csv`` where sets were measured, ``robustness.csv`` where students were
    attacked; ``tables/`` as in a paper, each as CSV,
    Markdown and LaTeX; ``plots/`` as PNG and SVG; ``pictures/`` of the distilled sets; ``index.html`` with all of it.
    What an earlier report left in these three folders and this one does not have is removed.

    Args:
        root: the store, a folder or an address that fsspec understands.
        suite: the name of a suite that has been run into it, wholly or in part.

    Raises:
        BenchmarkError: the suite has no manifest there, or something cannot be read or written.
    """
    stored = records.read(root, suite)
    said, folder = plain(stored), f"leaderboards/{suite}"
    drawn, notes = _plots(said, records.curves_table(stored))
    sheets = _pictures(stored, folder)
    files = {**said.files, **drawn, **{f"pictures/{picture.name}": png for picture, png in sheets}}
    files["index.html"] = page.render(stored, said.report.leaderboard, said.overviews, said.tables, drawn, sheets)
    paths = tuple(stored.folder.write(f"{folder}/{name}", data) for name, data in files.items())
    _remove_stale(stored.folder, folder, files)
    return replace(said.report, paths=paths, notes=notes)


@dataclass(frozen=True)
class Said:
    """What a suite's records say in numbers.

    Attributes:
        report: its rows.
        sets: distances of distilled sets (`distances.table`).
        tables: as in a paper.
        attacked: accuracies under attack (`robustness.table`).
        overviews: tables of everything that judges a set.
        files: all of this as plain text, by name.
    """

    report: Report
    sets: pd.DataFrame
    tables: list[paper.Table]
    attacked: pd.DataFrame
    overviews: list[Sheet]
    files: dict[str, bytes]


def plain(stored: records.Stored) -> Said:
    """Return what a suite's records say in numbers."""
    published = references.load()
    report = _report(stored, published)
    board, sets = report.leaderboard, distances.table(stored, report.cells)
    paper_tables = paper.tables(board, published, pairwise.Pairwise(report.pairwise))
    attacked = robustness.table(stored)
    spent, scored = costs.table(stored, board), scores.table(board)
    facts = overview.facts(sets, [spent, scored, attacked], DECLARED, set(attacked["protocol"]))
    everything = overview.overviews(board, facts, pairwise.Pairwise(report.pairwise))
    frames = {
        "leaderboard": board,
        "cells": report.cells,
        "scores": scored,
        "pairwise": report.pairwise,
        "variance": pairwise.variances(report.cells),
        "costs": spent,
    }
    files = {f"{name}.csv": leaderboard.to_csv(frame) for name, frame in frames.items()}
    files |= {
        **distances.files(sets),
        **robustness.files(attacked),
        **overview.files(everything),
        **typeset.files(everything),
        **_typeset(paper_tables),
    }
    return Said(report, sets, paper_tables, attacked, everything, files)


def _report(stored: records.Stored, published: Sequence[references.Reference]) -> Report:
    cells = records.cells_table(stored)
    folder = stored.folder.address(f"leaderboards/{stored.suite}")
    differences = pairwise.table(cells)
    board = leaderboard.leaderboard(cells, published)
    board = standings.with_standings(board, cells, pairwise.Pairwise(differences))
    return Report(stored.suite, folder, (), cells, board, differences)


def _pictures(stored: records.Stored, folder: str) -> list[tuple[images.Picture, bytes]]:
    """Return the pictures of a suite's sets; those that exist are read, not drawn."""
    known = stored.folder.files(f"{folder}/pictures")
    found = [*images.draw(stored, known), *neighbours.draw(stored, known)]
    there = stored.folder.read(f"{folder}/pictures/{picture.name}" for picture, png in found if png is None)
    return [(picture, png or there[f"{folder}/pictures/{picture.name}"]) for picture, png in found]


def _remove_stale(store: Folder, folder: str, files: Collection[str]) -> None:
    """Remove what an earlier report left and this one does not have, from the folders that hold nothing else."""
    for part in FOLDERS:
        for name in store.files(f"{folder}/{part}"):
            if f"{part}/{name}" not in files:
                store.remove(f"{folder}/{part}/{name}")


def _typeset(tables: Sequence[paper.Table]) -> dict[str, bytes]:
    numbers = {f"tables/{table.name}.csv": layout.to_csv(table) for table in tables}
    return {**numbers, **typeset.files(map(layout.to_sheet, tables))}


def _plots(said: Said, curves: pd.DataFrame) -> tuple[dict[str, bytes], tuple[str, ...]]:
    """Return the files of all plots, and why some are not drawn."""
    # takes seconds, which a look need not pay
    from leaderboards.plots import ablation, accuracy, critical_difference, style
    from leaderboards.plots import distances as distance_plots

    board = said.report.leaderboard
    board = board[~board["protocol"].isin(said.attacked["protocol"])]  # trained as under a protocol beside them
    main = variants.contestants(board)
    main = main if main["method"].nunique() > 1 else main[:0]  # one method alone is compared with nothing
    named = {
        **accuracy.accuracy_against_ipc(main),
        **accuracy.accuracy_by_protocol(main),
        **accuracy.accuracy_against_bytes(main),
        **accuracy.accuracy_against_seconds(main),
        **critical_difference.critical_difference(board),
        **ablation.ablation(board),
        **ablation.distances(board),
        **ablation.networks(board),
        **ablation.sensitivity(board),
        **distance_plots.accuracy_against_distance(said.sets),
        **ablation.training(curves[curves["method"].isin(main["method"])]),
    }
    files: dict[str, bytes] = {}
    for name, figure in named.items():
        files |= {f"plots/{name}.{kind}": data for kind, data in style.images(figure).items()}
    return files, critical_difference.not_drawn(board)
