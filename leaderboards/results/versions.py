"""Which version of the evaluation made the results of a dataset: results of two versions cannot be compared."""

from __future__ import annotations

from collections.abc import Iterable

from leaderboards.results.records import Record, Records, keys_of

CURRENT = 2  # version of the evaluators
SUPERSEDED = "networks started otherwise than those of the papers; do not cite these numbers"


def by_dataset(cells: Iterable[Record], records: Records) -> dict[str, int]:
    """Return the newest version of the evaluators whose results the cells of each dataset have."""
    versions = dict[str, int]()
    for cell in cells:
        for key in keys_of(cell, "evaluate"):
            if key in records:
                version = int(records[key]["identity"]["component"]["version"])
                versions[cell["dataset"]] = max(version, versions.get(cell["dataset"], 0))
    return versions


def text(cells: Iterable[Record], records: Records) -> str:
    """Return the versions as a sentence, and that those before `CURRENT` are superseded; "" without results."""
    versions = by_dataset(cells, records)
    old_versions = sorted({version for version in versions.values() if version < CURRENT})
    superseded = f" **Version {old_versions[0]} is superseded**: {SUPERSEDED}." if old_versions else ""
    if len(set(versions.values())) == 1:
        return f"Version {next(iter(versions.values()))} of the evaluation.{superseded}"
    parts = ", ".join(f"{version} on {dataset}" for dataset, version in versions.items())
    return f"Version of the evaluation: {parts}.{superseded}" if parts else ""
