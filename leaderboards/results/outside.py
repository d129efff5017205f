"""The files of users by which records were made: which versions, and whether they have changed since."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from benchmark.files import checksum
from leaderboards.results.records import Record

ADVICE = "if results change with it, raise its version, or those of the files that import it, and run again"


def versions(records: Iterable[Record]) -> dict[str, Counter[str]]:
    """Return how many records each version of a file has made: by name of the file and by checksum."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for record in records:
        for name, recorded in record.get("provenance", {}).get("outside", {}).items():
            counts[name][recorded] += 1
    return dict(counts)


def changed(counts_by_file: Mapping[str, Counter[str]], folders: Iterable[Path]) -> list[str]:
    """Return a line for every file that has changed since some of its records were made.

    Args:
        counts_by_file: as `versions` returns them.
        folders: where the files are now; a file that is in none of them is left out.
    """
    lines, folders = [], tuple(folders)
    for name, counts in sorted(counts_by_file.items()):
        path = next((folder / name for folder in folders if (folder / name).is_file()), None)
        if path and (count := counts.total() - counts[checksum(path)[:16]]):
            lines.append(f"{name} has changed since {count} of its {counts.total()} records were made; {ADVICE}")
    return lines
