"""Published results: the records that stand behind a suite's numbers, committed, and what is made from them.

``leaderboards/published/SUITE/`` holds

* ``manifest.json``  the suite, notes, and its cells, one per line: all that are done, and the gaps between them;
* ``records.jsonl``  the record of every node that a done cell stands on, one per line, sorted by key; no tensors, and
  without training curves; each with a checksum of what is published of it;
* ``*.csv`` and ``tables/``  made from these two files alone, as from a run.

Datasets of which nothing is measured are left out.
"""

from __future__ import annotations

import json
import math
import re
import socket
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmark.errors import BenchmarkError, Faults
from benchmark.files import Folder
from benchmark.identity import ancestors, parents_of
from benchmark.record import fault, sealed
from leaderboards import report
from leaderboards.results import leaderboard, records
from leaderboards.results.records import STAGES, Nodes, Record, Stored, keys_of

PLACE = Path(__file__).parents[1] / "published"
MANIFEST, RECORDS = "manifest.json", "records.jsonl"
CURVES = ("curve_loss",)  # metrics that stay in the run
PAGE = "README.md"
LEFT_OUT = ("comparisons.csv",)  # grows with the square of the methods
TOLERANCE = 0.02  # relative, of one metric computed twice: what rounding on another machine may do to an accuracy
PATHS = re.compile(r"(?:^|[\s'\"=(:,])(?:/(?!/)|~/|[A-Za-z]:\\|file:)\S")
Records = Mapping[str, Record]


@dataclass(frozen=True)
class Publication:
    """What is published of a suite.

    Attributes:
        suite: its name.
        version: of the suite; results of different versions are not mixed.
        title: of the suite.
        notes: what whoever published says.
        cells: as in a run's manifest; those that are not done have no nodes.
        records: by key, all that done cells stand on.
    """

    suite: str
    version: int
    title: str
    notes: tuple[str, ...]
    cells: tuple[Record, ...]
    records: Records

    def stored(self) -> Stored:
        """Return the same as what is read from a run."""
        return Stored(Folder(str(PLACE)), self.suite, self.title, self.cells, Nodes(self.records, {}))

    @cached_property
    def said(self) -> report.Said:
        """What its records say."""
        return report.plain(self.stored())

    @property
    def done(self) -> int:
        """The number of cells that have a number."""
        return sum(bool(keys_of(cell, "evaluate")) for cell in self.cells)


def suites(place: Path | None = None) -> list[str]:
    """Return the suites of which something is published."""
    return sorted(path.parent.name for path in (place or PLACE).glob(f"*/{MANIFEST}"))


def read(suite: str, place: Path | None = None) -> Publication | None:
    """Return what is published of a suite, or None.

    Raises:
        BenchmarkError: a file that cannot be understood.
        Faults: records that were changed after they were written.
    """
    folder = (place or PLACE) / suite
    if not (folder / MANIFEST).exists():
        return None
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        lines = (folder / RECORDS).read_text(encoding="utf-8").splitlines()
        found = {record["key"]: record for record in map(json.loads, lines)}
        lists = {name: tuple(manifest[name]) for name in ("notes", "cells")}
        publication = Publication(**{**manifest, **lists}, records=found)
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise BenchmarkError(
            f"{folder}: damaged ({error!r}); restore it by `git checkout {folder}`, or remove it and publish again"
        ) from error
    remedy = f"restore it by `git checkout {folder}`"
    wrong = {key: fault(record, key).partition(";")[0] for key, record in found.items()}
    if faults := [f"{folder / RECORDS}: {key}: {text}; {remedy}" for key, text in wrong.items() if text]:
        raise Faults(faults)
    return publication


def of_run(runs: str, suite: str, found: Records, datasets: Collection[str] = ()) -> Publication:
    """Return what a run has to publish.

    Args:
        runs: the store.
        suite: a suite that was run into it.
        found: the verified records of its done cells, as `done` lists their keys, and of all that these stand on.
        datasets: those to publish; () for all.
    """
    stored = records.read(runs, suite)
    manifest = json.loads(stored.folder.read([f"leaderboards/{suite}/manifest.json"]).popitem()[1])
    slim = {key: _slim(record) for key, record in found.items()}
    cells = tuple(_published_cell(cell, slim) for cell in _of(datasets, stored.cells))
    return Publication(suite, int(manifest["version"]), stored.title, (), cells, slim)


def done(runs: str, suite: str, datasets: Collection[str] = ()) -> list[str]:
    """Return the keys of the nodes of all cells of a run that are done, of some datasets or () for all.

    Raises:
        BenchmarkError: none is.
        Faults: records that were changed after they were written, or are damaged.
    """
    stored = records.read(runs, suite)
    known = stored.nodes.records
    errors = [stored.nodes.errors.get(key, {}) for cell in _of(datasets, stored.cells) for key in _all_keys(cell)]
    if corrupt := [str(error["message"]) for error in errors if error.get("corrupt")]:
        raise Faults(corrupt)
    cells = [cell for cell in _of(datasets, stored.cells) if stored.records(cell, "evaluate")]
    if not cells:
        raise BenchmarkError(f"{runs}: no cell of suite '{suite}' is done; run it first, then publish")
    keys = [key for cell in cells for key in _all_keys(cell)]
    return [key for key in dict.fromkeys(keys) if key in known]


def _all_keys(cell: Record) -> list[str]:
    return [key for keys in (cell.get("nodes") or {}).values() for key in keys]


def _of(datasets: Collection[str], cells: Iterable[Record]) -> list[Record]:
    return [cell for cell in cells if not datasets or cell["dataset"] in datasets]


def merged(earlier: Publication | None, new: Publication, note: str = "") -> Publication:
    """Return an earlier publication with a run's results added.

    A cell that both have is the run's; a record that both have is the earlier one, with which the run's must agree.

    Raises:
        Faults: results that do not agree, and records that name a path or the host of a machine.
    """
    same = earlier is not None and earlier.version == new.version
    old = earlier if earlier and same else replace(new, notes=(), cells=(), records={})
    known = {_axes(cell): cell for cell in old.cells}
    cells = [_better(cell, known.pop(_axes(cell), None)) for cell in new.cells]
    cells += known.values()
    measured = {cell["dataset"] for cell in cells if keys_of(cell, "evaluate")}
    cells = [cell for cell in cells if cell["dataset"] in measured]
    pool = {**new.records, **old.records}
    needed = closure(pool, (key for cell in cells for keys in cell["nodes"].values() for key in keys))
    faults = [*disagreements(old.records, new.records), *leaks(needed)]
    if faults:
        raise Faults(faults)
    notes = tuple(dict.fromkeys([*old.notes, *([note] if note else [])]))
    return replace(new, notes=notes, cells=tuple(cells), records={key: sealed(needed[key]) for key in needed})


def closure(pool: Records, keys: Iterable[str]) -> dict[str, Record]:
    """Return the records of some keys and of all that they stand on, sorted by key."""
    wanted = ancestors(keys, lambda key: parents_of(pool[key]["identity"]) if key in pool else ())
    return {key: pool[key] for key in sorted(wanted & pool.keys())}


def disagreements(earlier: Records, new: Records) -> Iterator[str]:
    """Yield every metric that was published under a key and that a run computed anew to be something else."""
    for key in sorted(earlier.keys() & new.keys()):
        old, found = earlier[key], new[key]
        for name in sorted(old["metrics"].keys() & found["metrics"].keys()):
            one, two = old["metrics"][name], found["metrics"][name]
            if not _close(one, two):
                what = f"{old['stage']} {old['identity']['component']['name']} ({key})"
                yield (
                    f"{what}: {name} is published as {one}, and here it is {two}, of the same identity; find out why, "
                    f"or remove its line from {RECORDS} to publish this one"
                )


def leaks(found: Records) -> Iterator[str]:
    """Yield what of some records names a path or the host of a machine."""
    for key, record in found.items():
        for place, text in _texts(record):
            if _of_a_machine(text):
                yield f"{key}: {place} holds {text!r}, a path or a host; it cannot be published, run it again without"


def files(found: Publication) -> dict[str, bytes]:
    """Return every file of a publication by name, made from its cells and records alone."""
    made = found.said.files
    slim = found.said.report.cells.drop(columns=["hyperparameters"])  # records.jsonl has the recipes
    kept = {
        name: data for name, data in {**made, "cells.csv": leaderboard.to_csv(slim)}.items() if name not in LEFT_OUT
    }
    shown = [kept.pop(name).decode() for name in list(kept) if name.endswith(".md")]
    kept[PAGE] = _page(found, shown)
    lines = [json.dumps(found.records[key], sort_keys=True, separators=(",", ":")) for key in sorted(found.records)]
    return {MANIFEST: _manifest(found), RECORDS: "".join(f"{line}\n" for line in lines).encode(), **kept}


def _page(found: Publication, shown: Sequence[str]) -> bytes:
    """Return all tables of a publication, as Markdown, on one page, which code hosts show beside its files."""
    facts = f"Suite `{found.suite}`, version {found.version}. {' '.join(found.notes)}".strip()
    return "\n".join([f"# {found.title}\n", f"{facts}\n", *shown]).encode()


def write(suite: str, made: Mapping[str, bytes], place: Path | None = None) -> list[str]:
    """Write the files of a publication, remove what else lies there, and return the names of those that changed."""
    root = (place or PLACE) / suite
    changed = differing(suite, made, place)
    for name in changed:
        path = root / name
        if name in made:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(made[name])
        else:
            path.unlink()
    return changed


def differing(suite: str, made: Mapping[str, bytes], place: Path | None = None) -> list[str]:
    """Return the names of files that are not as they were made, are not there, or do not belong there."""
    root = (place or PLACE) / suite
    there = {str(path.relative_to(root)): path for path in root.rglob("*") if path.is_file()}
    return [name for name in sorted({*made, *there}) if name not in there or there[name].read_bytes() != made.get(name)]


def _manifest(found: Publication) -> bytes:
    head = {"suite": found.suite, "version": found.version, "title": found.title, "notes": list(found.notes)}
    lines = [f" {json.dumps(name)}: {json.dumps(value, ensure_ascii=False)},\n" for name, value in head.items()]
    cells = ",\n".join(f"  {json.dumps(cell, ensure_ascii=False)}" for cell in found.cells)
    return f'{{\n{"".join(lines)} "cells": [\n{cells}\n ]\n}}\n'.encode()


def _slim(record: Record) -> Record:
    metrics = {name: value for name, value in record["metrics"].items() if name not in CURVES}
    return sealed({**record, "metrics": metrics})


def _published_cell(cell: Record, known: Records) -> Record:
    """Return a cell with the nodes that are known if it is done, else as a gap."""
    nodes = {stage: keys_of(cell, stage) for stage in cell.get("nodes") or {}}
    if nodes.get("evaluate") and all(key in known for stage in STAGES[:5] for key in nodes.get(stage, [])):
        return {**cell, "skipped": None, "nodes": {s: [k for k in keys if k in known] for s, keys in nodes.items()}}
    reason = cell.get("skipped")
    return {**cell, "skipped": None if reason is None or _of_a_machine(reason) else reason, "nodes": {}}


def _better(new: Record, old: Record | None) -> Record:
    """Return the newer of two cells, but never a gap in place of a number."""
    return old if old and not keys_of(new, "evaluate") else new


def _axes(cell: Record) -> tuple[Any, ...]:
    return tuple(cell[name] for name in ("dataset", "ipc", "method", "protocol", "student", "draw", "seed"))


def _close(one: Any, two: Any) -> bool:
    if isinstance(one, int | float) and isinstance(two, int | float):
        return math.isclose(one, two, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    return True  # what is no number is no result


def _texts(value: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """Yield every text inside plain values, with its place."""
    if isinstance(value, str):
        yield place, value
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _texts(item, f"{place}.{name}".lstrip("."))
    if isinstance(value, Sequence) and not isinstance(value, str):
        for item in value:
            yield from _texts(item, place)


def _of_a_machine(text: str) -> bool:
    host = socket.gethostname()
    return bool(PATHS.search(text)) or (len(host) > 3 and host != "localhost" and host in text)
