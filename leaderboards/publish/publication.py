"""Publications: the committed records of a suite, and the tables that are made from them.

``leaderboards/published/SUITE/`` holds

* ``manifest.json``  the suite, notes, columns, pairs and cells, one cell per line, finished or not;
* ``records.jsonl``  the records of all nodes that finished cells depend on, one per line, sorted by key, without
  training curves, each with a checksum of itself;
* ``*.csv``, ``tables/``, ``figures/`` and ``README.md``  made from these two files alone.

Datasets without a finished cell are left out.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path

from benchmark.errors import BenchmarkError, Faults
from benchmark.files import Folder
from benchmark.identity import ancestors, parents_of
from benchmark.record import cell_fault, fault, sealed
from leaderboards import report
from leaderboards.publish import figures, tiers
from leaderboards.publish.agreement import disagreements, leaks, names_machine
from leaderboards.results import leaderboard, records, versions
from leaderboards.results.axes import CELL, axis_values
from leaderboards.results.cells import SUBMITTED, TIER
from leaderboards.results.columns import Columns, merged_columns, parse_columns
from leaderboards.results.records import STAGES, Nodes, Record, Records, Stored, keys_of

FOLDER = Path(__file__).parents[1] / "published"
MANIFEST, RECORDS = "manifest.json", "records.jsonl"
CURVES = ("curve_loss",)  # metrics that are not published
PAGE = "README.md"


@dataclass(frozen=True)
class Publication:
    """The published results of a suite.

    Attributes:
        suite: its name.
        version: the version of the suite; results of different versions are not mixed.
        title: the title of the suite.
        notes: sentences that the person who published added.
        columns: what the evaluators and measures of the suite declare.
        pairs: the methods that the suite compares two by two.
        cells: the cells, as in the manifest of a run; cells that are not finished have no nodes.
        records: the records of all nodes that finished cells depend on, by key.
    """

    suite: str
    version: int
    title: str
    notes: tuple[str, ...]
    columns: Columns
    pairs: tuple[tuple[str, str], ...]
    cells: tuple[Record, ...]
    records: Records

    def stored(self) -> Stored:
        """Return the suite as if it had been read from a store."""
        nodes = Nodes(self.records, {})
        folder = Folder(str(FOLDER))
        return Stored(folder, self.suite, self.version, self.title, self.cells, nodes, self.pairs, self.columns)

    @cached_property
    def results(self) -> report.Results:
        """The tables that its records give."""
        return report.results_of(self.stored())

    @property
    def done(self) -> int:
        """The number of finished cells."""
        return sum(bool(keys_of(cell, "evaluate")) for cell in self.cells)


def suites(folder: Path | None = None) -> list[str]:
    """Return the suites that have published results."""
    return sorted(path.parent.name for path in (folder or FOLDER).glob(f"*/{MANIFEST}"))


def read_all() -> dict[str, Publication]:
    """Return all published results by suite; raises the errors of `read`."""
    return {suite: publication for suite in suites() if (publication := read(suite))}


def read(suite: str, folder: Path | None = None) -> Publication | None:
    """Return the published results of a suite, or None where there are none.

    Raises:
        BenchmarkError: a file is damaged.
        Faults: records that were changed after they were written.
    """
    root = (folder or FOLDER) / suite
    if not (root / MANIFEST).exists():
        return None
    try:
        manifest = json.loads((root / MANIFEST).read_text(encoding="utf-8"))
        lines = (root / RECORDS).read_text(encoding="utf-8").splitlines()
        by_key = {record["key"]: record for record in map(json.loads, lines)}
        if reason := next(filter(None, map(cell_fault, manifest["cells"])), ""):
            raise ValueError(reason)
        publication = Publication(
            **{
                **manifest,
                "notes": tuple(manifest["notes"]),
                "columns": parse_columns(manifest["columns"]),
                "pairs": tuple((one, other) for one, other in manifest["pairs"]),
                "cells": tuple(manifest["cells"]),
            },
            records=by_key,
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OSError) as error:
        raise BenchmarkError(
            f"{root}: damaged ({error!r}); restore it by `git checkout {root}`, or remove it and publish again"
        ) from error
    remedy = f"restore it by `git checkout {root}`"
    texts = {key: fault(record, key).partition(";")[0] for key, record in by_key.items()}
    if faults := [f"{root / RECORDS}: {key}: {text}; {remedy}" for key, text in texts.items() if text]:
        raise Faults(faults)
    return publication


def of_run(
    runs: str, suite: str, verified: Records, datasets: Collection[str] = (), *, submitted: bool = False
) -> Publication:
    """Return the publication of a run.

    Args:
        runs: the store.
        suite: a suite that was run into the store.
        verified: the records of the nodes that `done` lists and of their ancestors.
        datasets: those to publish; () for all.
        submitted: mark all cells as submitted; else those that need files from outside of the benchmark.
    """
    stored = records.read(runs, suite)
    slim = {key: _without_curves(record) for key, record in verified.items()}
    cells = tuple(_published_cell(cell, slim, submitted) for cell in _of(datasets, stored.cells))
    return Publication(suite, stored.version, stored.title, (), stored.columns, stored.pairs, cells, slim)


def done(runs: str, suite: str, datasets: Collection[str] = ()) -> list[str]:
    """Return the keys of the finished nodes of all finished cells of a run.

    Args:
        runs: the store.
        suite: a suite that was run into the store.
        datasets: those to publish; () for all.

    Raises:
        BenchmarkError: no cell is finished.
        Faults: records that are damaged, or were changed after they were written.
    """
    stored = records.read(runs, suite)
    errors = [stored.nodes.errors.get(key, {}) for cell in _of(datasets, stored.cells) for key in _all_keys(cell)]
    if corrupt := [str(error["message"]) for error in errors if error.get("corrupt")]:
        raise Faults(corrupt)
    cells = [cell for cell in _of(datasets, stored.cells) if stored.records(cell, "evaluate")]
    if not cells:
        raise BenchmarkError(f"{runs}: no cell of suite '{suite}' is finished; run it first, then publish")
    keys = [key for cell in cells for key in _all_keys(cell)]
    return [key for key in dict.fromkeys(keys) if key in stored.nodes.records]


def _all_keys(cell: Record) -> list[str]:
    return [key for keys in (cell.get("nodes") or {}).values() for key in keys]


def _of(datasets: Collection[str], cells: Iterable[Record]) -> list[Record]:
    return [cell for cell in cells if not datasets or cell["dataset"] in datasets]


def merged(earlier: Publication | None, new: Publication, note: str = "") -> Publication:
    """Return an earlier publication with the results of a run added.

    If both have a cell, the run's is kept. If both have a record, the earlier one is kept, and the run's must agree
    with it. If the run has measured a dataset, its earlier cells of another version of the suite or of an older version
    of the evaluation are dropped; other datasets stay as they are.

    Raises:
        Faults: the results do not agree, or records name a path or the host of a machine.
    """
    old = earlier or replace(new, notes=(), cells=(), records={})
    new_versions = versions.by_dataset(new.cells, new.records)
    old_versions = versions.by_dataset(old.cells, old.records)
    kept_datasets = {
        dataset
        for dataset, version in old_versions.items()
        if dataset not in new_versions or (old.version == new.version and version == new_versions[dataset])
    }
    old_cells = {axis_values(cell, CELL): cell for cell in old.cells if cell["dataset"] in kept_datasets}
    new_cells = [cell for cell in new.cells if cell["dataset"] in new_versions or cell["dataset"] not in kept_datasets]
    pairs = [(cell, old_cells.pop(axis_values(cell, CELL), None)) for cell in new_cells]
    cells = [tiers.joined(cell, old_cell, new.records, old.records) for cell, old_cell in pairs]
    cells += old_cells.values()
    datasets = {cell["dataset"] for cell in cells if keys_of(cell, "evaluate")}
    cells = [cell for cell in cells if cell["dataset"] in datasets]
    pool = {**new.records, **old.records}
    own_records = closure(pool, (key for cell in cells for keys in cell["nodes"].values() for key in keys))
    faults = [*disagreements(old.records, new.records, old.cells), *leaks(own_records)]
    if faults:
        raise Faults(faults)
    notes = tuple(dict.fromkeys([*old.notes, *([note] if note else [])]))
    columns = merged_columns(old.columns, new.columns)
    sealed_records = {key: sealed(record) for key, record in own_records.items()}
    return replace(new, notes=notes, columns=columns, cells=tuple(cells), records=sealed_records)


def closure(pool: Records, keys: Iterable[str]) -> dict[str, Record]:
    """Return the records of some keys and of their ancestors, as far as the pool has them, sorted by key."""
    all_keys = ancestors(keys, lambda key: parents_of(pool[key]["identity"]) if key in pool else ())
    return {key: pool[key] for key in sorted(all_keys & pool.keys())}


def files(publication: Publication) -> dict[str, bytes]:
    """Return all files of a publication but its figures by name, made from its cells and records alone."""
    cells = publication.results.report.cells.drop(columns=["hyperparameters"])  # records.jsonl has these
    contents = {**publication.results.files, "cells.csv": leaderboard.to_csv(cells)}
    tables = [contents.pop(name).decode() for name in list(contents) if name.endswith(".md")]
    lines = (
        json.dumps(record, sort_keys=True, separators=(",", ":")) for _, record in sorted(publication.records.items())
    )
    data = "".join(f"{line}\n" for line in lines).encode()
    return {MANIFEST: _manifest(publication), RECORDS: data, **contents, PAGE: _page(publication, tables)}


def _page(publication: Publication, tables: Sequence[str]) -> bytes:
    """Return a page of Markdown with all figures and tables; code hosts show it beside the files."""
    made_by = versions.text(publication.cells, publication.records)
    facts = (
        f"Suite `{publication.suite}`, version {publication.version}. {' '.join([made_by, *publication.notes])}".strip()
    )
    pictures = [
        f"![{figures.TITLES[kind]}: {dataset}]({figures.FOLDER}/{name})\n"
        for (kind, dataset), name in figures.names(publication.results).items()
    ]
    return "\n".join([f"# {publication.title}\n", f"{facts}\n", *pictures, *tables]).encode()


def write(suite: str, data: Mapping[str, bytes], folder: Path | None = None) -> list[str]:
    """Write the files of a publication, remove all other files in its folder, and return the names that changed."""
    root = (folder or FOLDER) / suite
    changed_names = differing(suite, data, folder)
    for name in changed_names:
        path = root / name
        if name in data:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data[name])
        else:
            path.unlink()
    return changed_names


def differing(suite: str, data: Mapping[str, bytes], folder: Path | None = None) -> list[str]:
    """Return the names of the files in a publication's folder that are changed, missing, or not part of it.

    For figures see `figures.outdated`.
    """
    root = (folder or FOLDER) / suite
    paths = {str(path.relative_to(root)): path for path in root.rglob("*") if path.is_file()}
    paths = {name: path for name, path in paths.items() if not name.startswith(f"{figures.FOLDER}/")}
    return [name for name in sorted({*data, *paths}) if name not in paths or paths[name].read_bytes() != data.get(name)]


def _manifest(publication: Publication) -> bytes:
    head = {name: getattr(publication, name) for name in ("suite", "version", "title", "notes", "columns", "pairs")}
    texts = {name: json.dumps(value, ensure_ascii=False, default=asdict) for name, value in head.items()}
    lines = [f" {json.dumps(name)}: {text},\n" for name, text in texts.items()]
    cells = ",\n".join(f"  {json.dumps(cell, ensure_ascii=False)}" for cell in publication.cells)
    return f'{{\n{"".join(lines)} "cells": [\n{cells}\n ]\n}}\n'.encode()


def _without_curves(record: Record) -> Record:
    metrics = {name: value for name, value in record["metrics"].items() if name not in CURVES}
    return sealed({**record, "metrics": metrics})


def _published_cell(cell: Record, verified: Records, submitted: bool) -> Record:
    """Return a cell with those of its nodes that are verified, or without nodes where it is not finished."""
    nodes = {stage: keys_of(cell, stage) for stage in cell.get("nodes") or {}}
    cell = {**cell, TIER: SUBMITTED} if submitted or cell.get("outside") else cell
    if nodes.get("evaluate") and all(key in verified for stage in STAGES for key in nodes.get(stage, [])):
        nodes = {stage: [key for key in keys if key in verified] for stage, keys in nodes.items()}
        return {**cell, "skipped": None, "nodes": nodes}
    reason = cell.get("skipped")
    return {**cell, "skipped": None if reason is None or names_machine(reason) else reason, "nodes": {}}
