"""A report that is not made again, because records, pictures, code and libraries are the same.

``report.json`` says what the report was made from, as one checksum, and has a checksum of every file of the report.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from benchmark.files import Folder, parse_object
from leaderboards.results.records import Stored

NAME = "report.json"
ORDERED = ("dataset", "protocol", "student")  # axes in the order of the suite
LIBRARIES = ("matplotlib", "seaborn", "pandas", "numpy")
CODE = Path(__file__).parents[1]


def source(stored: Stored, pictures: Mapping[str, bytes]) -> str:
    """Return the checksum of all that a report is made from.

    These are the cells, whose order counts for the axes `ORDERED` only, the records with their training curves, the
    errors of nodes, what the suite declares, the pictures, our code, the published numbers, and the libraries.
    """
    declared = [stored.suite, stored.version, stored.title, stored.pairs, repr(stored.columns)]
    order = [list(dict.fromkeys(cell[axis] for cell in stored.cells)) for axis in ORDERED]
    cells = sorted(json.dumps(cell, sort_keys=True, default=str) for cell in stored.cells)
    parts = [declared, order, cells, stored.nodes.records, stored.nodes.errors, _sums(pictures)]
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode())
    for name in LIBRARIES:
        digest.update(f"{name} {version(name)}".encode())
    for path in _code():
        digest.update(path.read_bytes())
    return digest.hexdigest()


def read(folder: Folder, report: str, made_from: str) -> tuple[list[str], tuple[str, ...]] | None:
    """Return the names of the files of an earlier report and why some plots are missing.

    None where the report is of another source, or where a file of it is missing or changed.

    Args:
        folder: the store.
        report: the folder of the report in it.
        made_from: what it has to be made from, as `source` returns it.
    """
    facts = parse_object(folder.read_file(f"{report}/{NAME}")) or {}
    sums, notes = facts.get("files"), facts.get("notes")
    if facts.get("source") != made_from or not isinstance(sums, dict) or not isinstance(notes, list):
        return None
    contents = folder.read(f"{report}/{name}" for name in sums)
    equal = _sums({name: contents.get(f"{report}/{name}", b"") for name in sums}) == sums
    return (list(sums), tuple(map(str, notes))) if equal else None


def describe(files: Mapping[str, bytes], notes: Sequence[str], made_from: str) -> bytes:
    """Return the content of ``report.json``."""
    return json.dumps({"source": made_from, "notes": list(notes), "files": _sums(files)}, indent=1).encode()


def _sums(files: Mapping[str, bytes]) -> dict[str, str]:
    return {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}


def _code() -> Iterator[Path]:
    """Yield all files that make a report: our code, the template of the page, and the published numbers."""
    kinds = ("*.py", "page/**/*", "reference/*.csv")
    yield from sorted({path for kind in kinds for path in CODE.rglob(kind) if path.is_file() and path.suffix != ".pyc"})
