"""Reading a suite from a store: its manifest, and the records and errors of its nodes.

The engine writes ``leaderboards/SUITE/manifest.json``: all cells of the suite, each with the keys of its nodes. A
finished node has ``KEY/record.json``, a failed one ``KEY/error.json``; where both exist, the record counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from benchmark.files import Folder, parse_object
from benchmark.record import damaged_manifest, fault, read_manifest
from benchmark.record import keys_of as keys_of
from benchmark.record import suites as suites
from leaderboards.results.columns import Columns, parse_columns

STAGES = ("teacher", "prepare", "distill", "relabel", "evaluate")
SHARED = ("teacher", "prepare")
CUT = " (cut)"  # behind the name of a method whose recipe has less than those that it is compared with
NO_MESSAGE = "the error has no message"

Record = Mapping[str, Any]
Records = Mapping[str, Record]  # by key


@dataclass(frozen=True)
class Nodes:
    """The records of finished nodes and the errors of failed ones, both by key."""

    records: Records
    errors: Records


@dataclass(frozen=True)
class Stored:
    """A suite as a store holds it: the content of its manifest, and the records of its nodes.

    Attributes:
        folder: the root of the store.
        suite: its name.
        version: the version of the suite.
        title: the title of the suite.
        cells: the cells of the manifest.
        nodes: the nodes of the cells.
        pairs: the methods that the suite compares two by two.
        columns: what its evaluators and measures declare.
        class_names: the names of classes by dataset, for the datasets that were on disk, in the order of the labels.
    """

    folder: Folder
    suite: str
    version: int
    title: str
    cells: tuple[Record, ...]
    nodes: Nodes
    pairs: tuple[tuple[str, str], ...] = ()
    columns: Columns = field(default_factory=dict)
    class_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def records(self, cell: Record, stage: str) -> list[Record]:
        """Return the records of a cell's nodes of a stage; [] where one is missing, because sums need all of them."""
        keys = keys_of(cell, stage)
        records = [self.nodes.records[key] for key in keys if key in self.nodes.records]
        return records if len(records) == len(keys) else []

    def with_cut_named(self) -> Stored:
        """Return the suite with `CUT` behind the name of every method that is cut, wherever it will be shown."""
        cells = tuple(
            {**cell, "method": cell["method"].removesuffix(CUT) + CUT} if cell.get("cut") else cell
            for cell in self.cells
        )
        return replace(self, cells=cells)


def read(root: str, suite: str) -> Stored:
    """Read the manifest of a suite and the records of its nodes.

    Raises:
        BenchmarkError: there is no manifest, or it is damaged.
    """
    folder = Folder(root)
    manifest = read_manifest(folder, suite)
    try:
        columns = parse_columns(manifest.get("columns", {}))
        pairs = tuple((str(one), str(other)) for one, other in manifest.get("pairs", ()))
        class_names = {name: tuple(map(str, names)) for name, names in manifest.get("class_names", {}).items()}
        version, title = int(manifest["version"]), str(manifest.get("title") or suite)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise damaged_manifest(folder, suite) from error
    cells = tuple(manifest["cells"])
    return Stored(folder, suite, version, title, cells, _nodes(folder, cells), pairs, columns, class_names)


def rows_of(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a table as dictionaries."""
    names = [str(name) for name in frame.columns]
    return [dict(zip(names, row, strict=True)) for row in frame.itertuples(index=False, name=None)]


def flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values inside nested mappings with their dotted names."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from flat(item, f"{name}.{key}".lstrip("."))
    else:
        yield name, value


def _nodes(folder: Folder, cells: Iterable[Record]) -> Nodes:
    """Read all records, and the errors of the nodes without one."""
    keys = dict.fromkeys(key for cell in cells for stage in (*STAGES, "measure") for key in keys_of(cell, stage))
    records, errors = dict[str, Record](), dict[str, Record]()
    for name, data in folder.read(f"{key}/record.json" for key in keys).items():
        key = name.split("/")[0]
        record = parse_object(data)
        if reason := fault(record, key):
            errors[key] = {"message": f"{folder.address(name)}: {reason}", "corrupt": True}
        elif record is not None:
            records[key] = record
    absent_keys = [key for key in keys if key not in records and key not in errors]
    for name, data in folder.read(f"{key}/error.json" for key in absent_keys).items():
        errors[name.split("/")[0]] = parse_object(data) or {"message": NO_MESSAGE}
    return Nodes(records, errors)
