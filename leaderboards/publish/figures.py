"""The figures of a publication, by dataset: ``figures/KIND_DATASET.svg``, with a KIND of `TITLES`.

The bytes of a drawing depend on the version of matplotlib, so figures are not compared byte by byte. Each names the
checksum of the table that it was drawn from.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from benchmark.files import file_name
from leaderboards.report import Results
from leaderboards.results import leaderboard, pairwise
from leaderboards.results.axes import EVERY_IPC

FOLDER = "figures"
METHODS = "methods"
TITLES = {
    pairwise.DIFFERENCES: "Differences from the control",
    pairwise.PAIRS: "Differences of pairs",
    METHODS: "All methods",
}


def names(results: Results) -> dict[tuple[str, str], str]:
    """Return the name of the file of every figure, by kind and dataset, in the order of `TITLES`."""
    board = results.report.leaderboard
    rows = {**results.compared, METHODS: board[board["top1_mean"].notna() & (board["ipc"] != EVERY_IPC)]}
    return {(kind, name): f"{kind}_{file_name(name)}.svg" for kind in TITLES for name in rows[kind]["dataset"].unique()}


def outdated(results: Results, folder: Path) -> list[str]:
    """Return the names of the figures in a folder that are missing, of another table, or not part of it."""
    sources, present = _sources(results), {path.name for path in folder.glob("*")}
    targets = {name: sources[kind] for (kind, _), name in names(results).items()}
    current = {
        name for name, source in targets.items() if name in present and source in (folder / name).read_text("utf-8")
    }
    return sorted(targets.keys() - current | present - targets.keys())


def write(results: Results, folder: Path) -> list[str]:
    """Draw the figures again that are not up to date, remove those that do not belong, and return their names."""
    changed_names = outdated(results, folder)
    if not changed_names:
        return []
    from leaderboards.plots import differences, methods, style  # imported here, because the import takes seconds

    sources, figure_names = _sources(results), names(results)
    plots = {**methods.methods(results.report.leaderboard), **differences.differences(results.compared)}
    for (kind, _), name in figure_names.items():
        if name in changed_names:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(style.images(plots[Path(name).stem], source=sources[kind])["svg"])
    for name in set(changed_names) - set(figure_names.values()):
        (folder / name).unlink()
    return changed_names


def _sources(results: Results) -> dict[str, str]:
    """Return the name and the checksum of the table of each kind of figure."""
    tables = {kind: (kind, leaderboard.to_csv(rows.round(4))) for kind, rows in results.compared.items()}
    tables[METHODS] = ("leaderboard.csv", results.files["leaderboard.csv"])
    return {kind: f"{name}, sha256 {hashlib.sha256(table).hexdigest()}" for kind, (name, table) in tables.items()}
