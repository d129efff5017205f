"""The figures of a publication: ``figures/methods_DATASET.svg``, drawn from its leaderboard.

The bytes of a drawing depend on the version of matplotlib, so figures are not compared byte by byte. Each names the
checksum of the table that it was drawn from.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import pandas as pd

from benchmark.files import file_name
from leaderboards.report import Results
from leaderboards.results.axes import EVERY_IPC

FOLDER = "figures"


def names(leaderboard: pd.DataFrame) -> dict[str, str]:
    """Return the name of the file with the figure of every dataset, by dataset."""
    measured = leaderboard[leaderboard["top1_mean"].notna() & (leaderboard["ipc"] != EVERY_IPC)]
    return {str(dataset): f"methods_{file_name(str(dataset))}.svg" for dataset in measured["dataset"].unique()}


def outdated(results: Results, folder: Path) -> list[str]:
    """Return the names of the figures in a folder that are missing, of another leaderboard, or not part of it."""
    expected, source = set(names(results.report.leaderboard).values()), _source(results)
    current = {path.name for path in folder.glob("*") if source in path.read_text(encoding="utf-8", errors="replace")}
    return sorted(expected - current | {path.name for path in folder.glob("*")} - expected)


def write(results: Results, folder: Path) -> list[str]:
    """Draw the figures again that are not up to date, remove those that do not belong, and return their names."""
    changed = outdated(results, folder)
    if not changed:
        return []
    from leaderboards.plots import methods, style  # imported here, because the import takes seconds

    board = results.report.leaderboard
    drawn = methods.methods(board)
    for dataset, name in names(board).items():
        if name in changed:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(style.images(drawn[dataset], source=_source(results))["svg"])
    for name in set(changed) - set(names(board).values()):
        (folder / name).unlink()
    return changed


def _source(results: Results) -> str:
    return f"leaderboard.csv, sha256 {hashlib.sha256(results.files['leaderboard.csv']).hexdigest()}"
