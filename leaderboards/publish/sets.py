"""The distilled sets of published tables: ``python -m benchmark rescore leaderboards/sets/SUITE`` scores them again.

A set lies in ``leaderboards/sets/SUITE/KEY/``, KEY being that of its record, and is the file that the run wrote.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from benchmark.files import Folder, checksum, write_atomically
from leaderboards.publish import publication
from leaderboards.publish.publication import Publication
from leaderboards.results.records import keys_of

FOLDER = publication.FOLDER.with_name("sets")


def copy(published: Publication, store: Folder, folder: Path = FOLDER) -> int:
    """Copy the sets of a publication that a store holds, and return their number.

    Args:
        published: the results, verified.
        store: holds the sets; those that it lacks stay as they are.
        folder: holds the sets of all suites; sets of cells that are no longer published are removed.
    """
    sums = checksums(published)
    copied = {name: data for name in sums if (data := store.read_file(name)) is not None}
    for name, data in copied.items():
        path = folder / published.suite / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with write_atomically(path) as temporary:
            temporary.write_bytes(data)
    for path in (folder / published.suite).glob("*"):
        if path.is_dir() and not any(name.startswith(f"{path.name}/") for name in sums):
            shutil.rmtree(path)
    return len(copied)


def damaged(published: Publication, folder: Path = FOLDER) -> list[str]:
    """Return the names of the files of a suite's sets that no record names, or that are not what it names."""
    sums, root = checksums(published), folder / published.suite
    paths = {str(path.relative_to(folder.parent)): path for path in sorted(root.rglob("*")) if path.is_file()}
    return [name for name, path in paths.items() if sums.get(str(path.relative_to(root))) != checksum(path)]


def checksums(published: Publication) -> dict[str, str]:
    """Return the SHA-256 of the files of all sets, by KEY/NAME."""
    keys = dict.fromkeys(key for cell in published.cells for key in keys_of(cell, "distill"))
    records = {key: published.records[key] for key in keys if key in published.records}
    return {
        f"{key}/{name}": facts["sha256"]
        for key, record in records.items()
        for name, facts in record.get("files", {}).items()
    }
