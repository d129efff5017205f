"""Plots of an earlier report that are not drawn again, because records, code and libraries are the same.

``plots.json`` beside the tables says what the plots were made from, as one checksum, and has a checksum of every file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from benchmark.files import Folder, parse_object
from leaderboards.results.records import Stored

NAME = "plots.json"
LIBRARIES = ("matplotlib", "seaborn", "pandas", "numpy")
CODE = Path(__file__).parents[1]
Plots = tuple[dict[str, bytes], tuple[str, ...]]  # files by name, and the reasons why some plots are missing


def source(stored: Stored, tables: Mapping[str, bytes]) -> str:
    """Return the checksum of all that plots are made from.

    These are the records with their training curves, the tables in the order of the suite, what the suite declares,
    our code, and the libraries.
    """
    declared = [stored.suite, stored.title, stored.pairs, repr(stored.columns)]
    parts = [declared, stored.nodes.records, _sums(tables)]
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode())
    for name in LIBRARIES:
        digest.update(f"{name} {version(name)}".encode())
    for path in _code():
        digest.update(path.read_bytes())
    return digest.hexdigest()


def read(folder: Folder, report: str, made_from: str) -> Plots | None:
    """Return the plots of an earlier report, or None where they are of another source, incomplete or changed.

    Args:
        folder: the store.
        report: the folder of the report in it.
        made_from: what they have to be made from, as `source` returns it.
    """
    facts = parse_object(folder.read_file(f"{report}/{NAME}")) or {}
    sums, notes = facts.get("files"), facts.get("notes")
    if facts.get("source") != made_from or not isinstance(sums, dict) or not isinstance(notes, list):
        return None
    found = folder.read(f"{report}/{name}" for name in sums)
    files = {name: found.get(f"{report}/{name}", b"") for name in sums}
    return (files, tuple(map(str, notes))) if _sums(files) == sums else None


def describe(files: Mapping[str, bytes], notes: Sequence[str], made_from: str) -> bytes:
    """Return the content of ``plots.json``."""
    return json.dumps({"source": made_from, "notes": list(notes), "files": _sums(files)}, indent=1).encode()


def _sums(files: Mapping[str, bytes]) -> dict[str, str]:
    return {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}


def _code() -> Iterator[Path]:
    """Yield all files of this package that are not published results."""
    yield from sorted(path for path in CODE.rglob("*.py") if path.is_file())
