"""Hostile stores: broken manifests and records, as the commands that read results meet them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from engine import plan, suite_file
from fake_store import FakeStore
from hostile import Case

from benchmark.errors import BenchmarkError
from benchmark.plan.suite import Selection
from benchmark.record import SEAL, sealed
from benchmark.run import find
from benchmark.run.campaign import RunOptions, open_campaign
from leaderboards.publish import publication, verify
from leaderboards.results import records, run_diff
from leaderboards.results.cells import cells_table

DEEP = "[" * 100_000 + "]" * 100_000


def store(folder: Path, name: str = "runs") -> FakeStore:
    """Return a store with four finished cells."""
    made = FakeStore(str(folder / name))
    for method, top1 in {"wmdd": 60.0, "random_real": 50.0}.items():
        for seed in range(2):
            made.done(made.cell(method=method, seed=seed), top1 + seed)
    made.write_manifest("tiny", title="Tiny")
    return made


TEXTS: dict[str, str] = {
    "empty": "",
    "cut off": '{"key": "a", "metr',
    "a list": "[1, 2]",
    "null": "null",
    "a text": '"record"',
    "no JSON": "{key: 1}",
    "nested 100,000 deep": DEEP,
    "a mapping nested 100,000 deep": '{"a":' * 100_000 + "1" + "}" * 100_000,
    "a number of 5,000 digits": '{"metrics": ' + "1" * 5000 + "}",
    "a web page": "<!DOCTYPE html>",
}
PLACES: dict[str, Callable[[Path], object]] = {
    "a folder": Path.mkdir,
    "a pipe": os.mkfifo,
    "bytes": lambda path: path.write_bytes(bytes(range(128, 256))),
    "UTF-16": lambda path: path.write_text("{}", encoding="utf-16"),
}


def record_changes() -> dict[str, Callable[[dict[str, Any]], dict[str, Any]]]:
    """Return changes of a record by name, those that keep its checksum and those that lack one."""

    def typed(value: Any, record: dict[str, Any]) -> dict[str, Any]:
        return {**record, "metrics": {**record["metrics"], "top1": value}}

    def unsealed(change: Callable[[dict[str, Any]], dict[str, Any]], record: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in change(record).items() if name != SEAL}

    def resealed(change: Callable[[dict[str, Any]], dict[str, Any]], record: dict[str, Any]) -> dict[str, Any]:
        return sealed(change(record))

    def field(name: str, value: Any, record: dict[str, Any]) -> dict[str, Any]:
        return {**record, name: value}

    numbers = {
        "99.9": 99.9,
        "NaN": float("nan"),
        "-500": -500.0,
        "infinity": float("inf"),
        "a text": "60",
        "null": None,
    }
    changes: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
        f"top1 {name} typed in": partial(typed, value) for name, value in numbers.items()
    }
    changes |= {
        f"top1 {name}, no checksum": partial(unsealed, partial(typed, value))
        for name, value in {**numbers, "a list": [60.0], "true": True}.items()
    }
    for name in ("metrics", "identity", "cost", "provenance", "files"):
        for kind, value in {"a list": [1], "null": None, "a text": "x"}.items():
            changes[f"{name} is {kind}"] = partial(resealed, partial(field, name, value))
    changes["another key"] = partial(resealed, partial(field, "key", "0" * 32))
    changes["no key"] = partial(resealed, lambda record: {n: v for n, v in record.items() if n != "key"})
    changes["a checksum of nothing"] = partial(field, SEAL, "")
    changes["a file without a size"] = partial(resealed, partial(field, "files", {"a": {}}))
    return changes


def changed_record(folder: Path, change: Callable[[dict[str, Any]], Any] | str) -> FakeStore:
    """Return a store in which the first evaluation is changed."""
    made = store(folder)
    name = f"{made.cells[0]['nodes']['evaluate'][0]}/record.json"
    made.write(name, change if isinstance(change, str) else json.dumps(change(made.read(name))))
    return made


def placed_record(folder: Path, place: Callable[[Path], object]) -> FakeStore:
    made = store(folder)
    path = Path(made.root) / made.cells[0]["nodes"]["evaluate"][0] / "record.json"
    path.unlink()
    place(path)
    return made


def report(made: FakeStore) -> None:
    """Make the table of cells: the changed cell must be a failure with a reason."""
    cells = cells_table(records.read(made.root, "tiny")).set_index(["method", "seed"])
    if cells.loc[("wmdd", 0), "status"] == "failed":
        raise BenchmarkError(str(cells.loc[("wmdd", 0), "reason"]))


def publish(made: FakeStore) -> None:
    """Collect what would be published, and check it."""
    keys = publication.done(made.root, "tiny")
    first = made.cells[0]["nodes"]["evaluate"][0]
    if first not in keys:  # it is a gap, as what failed is
        raise BenchmarkError("the cell is not published")
    verify.verified(records.read(made.root, "tiny").folder, [first])


def compare(made: FakeStore) -> None:
    """Compare with a sound store: the changed cell must not be in the comparison."""
    sound = store(Path(made.root).parent, "sound")
    changes = run_diff.compare(records.read(made.root, "tiny"), records.read(sound.root, "tiny"))
    if sum(len(change.cells) for change in changes.changes) == 3:
        raise BenchmarkError("the cell is left out")


def planned(folder: Path, text: str | Callable[[Path], object]) -> None:
    """Plan a suite in whose store a record is broken: its node must count as damaged or as absent."""
    node = next(iter(plan().nodes.values()))
    path = folder / "runs" / node.key / "record.json"
    path.parent.mkdir(parents=True)
    if callable(text):
        text(path)
    else:
        path.write_text(text)
    options = RunOptions(runs=str(folder / "runs"), data=folder / "data", runner="serial", device="cpu")
    campaign = open_campaign(suite_file(folder), Selection(), options)
    campaign.seconds_left()
    if node.key not in campaign.done:
        raise BenchmarkError(f"damaged, will be computed again: {node.title}")


def record_cases() -> Iterator[Case]:
    readers = {"report and status": report, "publish": publish, "--compare": compare}
    for command, read in readers.items():
        group = f"record: {command}"
        for name, change in record_changes().items():
            yield Case(group, name, lambda folder, change=change, read=read: read(changed_record(folder, change)))
        for name, text in TEXTS.items():
            yield Case(group, name, lambda folder, text=text, read=read: read(changed_record(folder, text)))
        for name, place in PLACES.items():
            yield Case(group, name, lambda folder, place=place, read=read: read(placed_record(folder, place)))
    for name, content in {**TEXTS, **PLACES}.items():
        yield Case("record: plan", name, partial(planned, text=content))


def manifest_changes() -> dict[str, Any]:
    """Return changes of a manifest by name: of its fields, or of its first cell."""
    cell: dict[str, Any] = {}
    for axis in ("dataset", "method", "protocol", "student"):
        values = {"null": None, "a number": 3, "a list": ["a"], "a way out": "../../x", "empty": "", "a NUL": "a\0b"}
        cell |= {f"{axis} is {name}": {axis: value} for name, value in values.items()}
    for axis in ("ipc", "draw", "seed"):
        values = {"null": None, "a text": "10", "a list": [1], "NaN": float("nan"), "true": True, "a fraction": 1.5}
        cell |= {f"{axis} is {name}": {axis: value} for name, value in values.items()}
    nodes = {
        "a list": [1],
        "a text": "x",
        "keys that are text": {"evaluate": "x"},
        "keys that are numbers": {"evaluate": [3]},
        "keys that lead out": {"evaluate": ["../../etc"]},
        "keys that are null": {"evaluate": [None]},
    }
    cell |= {f"nodes are {name}": {"nodes": value} for name, value in nodes.items()}
    cell |= {
        "skipped is a number": {"skipped": 3},
        "overrides are a list": {"overrides": [1]},
        "overrides are null": {"overrides": None},
        "role is unknown": {"role": "winner"},
        "role is null": {"role": None},
        "base is null": {"base": None},
    }
    whole = {
        "cells are null": {"cells": None},
        "cells are a mapping": {"cells": {"a": 1}},
        "cells are numbers": {"cells": [1, 2]},
        "cells are lists": {"cells": [[1]]},
        "cells are null each": {"cells": [None]},
        "cells are empty": {"cells": [{}]},
        "version is a text": {"version": "one"},
        "version is null": {"version": None},
        "version is NaN": {"version": float("nan")},
        "version is a list": {"version": [1]},
        "columns are a list": {"columns": [1]},
        "columns are null": {"columns": None},
        "columns are numbers": {"columns": {"evaluate": 3}},
        "columns have an unknown field": {"columns": {"evaluate": {"a": [{"name": "x", "heading": "y", "zzz": 1}]}}},
        "columns have no name": {"columns": {"evaluate": {"a": [{}]}}},
        "pairs are numbers": {"pairs": [1]},
        "pairs are null": {"pairs": None},
        "class names are null": {"class_names": None},
        "class names are a list": {"class_names": ["a"]},
        "class names are numbers": {"class_names": {"digits": 3}},
        "pairs of three": {"pairs": [["a", "b", "c"]]},
    }
    return {**{name: ("cell", change) for name, change in cell.items()}, **{n: ("whole", c) for n, c in whole.items()}}


def broken_manifest(folder: Path, change: Any) -> FakeStore:
    """Return a store with a manifest that is changed, or is another text."""
    made = store(folder)
    name = "leaderboards/tiny/manifest.json"
    if isinstance(change, str):
        made.write(name, change)
        return made
    part, values = change
    manifest = made.read(name)
    if part == "cell":
        manifest["cells"][0] = {**manifest["cells"][0], **values}
    else:
        manifest |= values
    made.write(name, manifest)
    return made


def export(made: FakeStore) -> None:
    """Look for a set, as `export` does."""
    find.find_set(made.root, "tiny", find.SetQuery("digits", 10, "wmdd"))


def manifest_cases() -> Iterator[Case]:
    readers = {
        "report, status and --compare": lambda made: cells_table(records.read(made.root, "tiny")),
        "publish": lambda made: publication.of_run(made.root, "tiny", {}),
        "export": export,
    }
    contents = {**manifest_changes(), **TEXTS}
    for command, read in readers.items():
        group = f"manifest: {command}"
        for name, change in contents.items():
            yield Case(group, name, lambda folder, change=change, read=read: read(broken_manifest(folder, change)))
        for name, place in PLACES.items():

            def run(folder: Path, place: Any = place, read: Any = read) -> None:
                made = store(folder)
                path = Path(made.root) / "leaderboards" / "tiny" / "manifest.json"
                path.unlink()
                place(path)
                read(made)

            yield Case(group, name, run)


def publication_cases() -> Iterator[Case]:
    """Broken publications, which `report --check` and `publish` read."""

    def run(folder: Path, file: str, text: str | None) -> None:
        made, root = store(folder), folder / "published"
        known = records.read(made.root, "tiny").nodes.records
        keys = publication.done(made.root, "tiny")
        found = publication.of_run(made.root, "tiny", {key: known[key] for key in keys})
        publication.write("tiny", publication.files(found), root)
        path = root / "tiny" / file
        path.write_text(path.read_text().replace('"top1":60.0', '"top1":90.0') if text is None else text)
        publication.read("tiny", root)

    for file in ("records.jsonl", "manifest.json"):
        for name, text in TEXTS.items():
            if (file, name) != ("records.jsonl", "empty"):  # which has no number to show
                yield Case(f"publication: {file}", name, partial(run, file=file, text=text))
    yield Case("publication: records.jsonl", "a number typed in", partial(run, file="records.jsonl", text=None))
    yield Case("publication: records.jsonl", "lines that are null", partial(run, file="records.jsonl", text="null\n"))
    line = json.dumps({"key": "a", "stage": "evaluate", "metrics": {"top1": float("nan")}, "identity": {}})
    yield Case("publication: records.jsonl", "NaN without a checksum", partial(run, file="records.jsonl", text=line))


def cases() -> list[Case]:
    """Return all cases of this module."""
    return [*record_cases(), *manifest_cases(), *publication_cases()]
