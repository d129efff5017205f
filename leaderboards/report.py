"""A suite's report: CSVs and plots beside its manifest, made from records alone and the same from equal records."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from leaderboards import plots, records, references, tables
from leaderboards.folder import Folder
from leaderboards.terminal import render, text

__all__ = ["Report", "available", "build", "render", "text"]


@dataclass(frozen=True)
class Report:
    """What a suite's records say.

    Attributes:
        suite: its name.
        folder: where the files lie, as the user named the store.
        paths: the files that were written.
        cells: one row per expected cell, whatever became of it (`records.CELL_COLUMNS`).
        leaderboard: one row per dataset, IPC, method, protocol and student (`tables.LEADERBOARD_COLUMNS`).
    """

    suite: str
    folder: str
    paths: tuple[str, ...]
    cells: pd.DataFrame
    leaderboard: pd.DataFrame


def available(root: str) -> list[str]:
    """Return the suites that have been run into a store."""
    return records.suites(root)


def build(root: str, suite: str) -> Report:
    """Write ``cells.csv``, ``leaderboard.csv`` and the plots to ``ROOT/leaderboards/SUITE`` and return what they say.

    Args:
        root: the store, a folder or an address that fsspec understands.
        suite: the name of a suite that has been run into it, wholly or in part.

    Raises:
        BenchmarkError: the suite has no manifest there, or something cannot be read or written.
    """
    store = Folder(root)
    cells = records.read_cells(root, suite)
    board = tables.leaderboard(cells, references.load())
    files = {"leaderboard.csv": tables.to_csv(board), "cells.csv": tables.to_csv(cells)}
    for name, figure in plots.accuracy_against_ipc(board).items():
        files |= {f"{name}.{kind}": data for kind, data in plots.images(figure).items()}
    folder = f"leaderboards/{suite}"
    paths = tuple(store.write(f"{folder}/{name}", data) for name, data in files.items())
    return Report(suite, store.shown(folder), paths, cells, board)
