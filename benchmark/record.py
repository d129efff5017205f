"""What is read from a store and may be damaged: records and manifests, which carry a checksum of themselves.

The checksum is of values, not of bytes: a record that is indented anew is the same record.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from types import NoneType
from typing import Any, TypeGuard

from benchmark.errors import BenchmarkError
from benchmark.files import Folder, parse_object, path_fault

RECORD = "record.json"
SEAL = "sha256"  # the field with the checksum of all other fields
CHANGED = "was changed after it was written; run again"
DAMAGED = "is damaged; run again"
OBJECTS = ("identity", "metrics", "cost", "provenance", "files")
ACCURACIES = frozenset({"top1", "top5"})  # metrics in percent
ROW_AXES = ("dataset", "ipc", "method", "protocol", "student")  # the axes of a row of the leaderboard
CELL_AXES = (*ROW_AXES, "teacher", "draw", "seed")  # the axes of a cell
SET_AXES = ("dataset", "ipc", "method", "teacher", "draw")  # the axes of a distilled set
NUMBERS = frozenset({"ipc", "teacher", "draw", "seed"})  # axes with numbers; the others have names
EXTERNAL = "external"  # the base of sets from elsewhere: the file in ``methods/`` that stands for them
KINDS: dict[str, tuple[type, ...]] = {  # the types of further fields of a cell
    "base": (str,),
    "overrides": (dict,),
    "skipped": (str, NoneType),
}
ROLES = ("method", "control", "floor", "bound")


def sealed(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record, as JSON gives it back, with the checksum of all its fields."""
    fields: dict[str, Any] = json.loads(json.dumps({name: value for name, value in record.items() if name != SEAL}))
    return {**fields, SEAL: _digest(fields)}


def parse_record(data: bytes | None, key: str) -> dict[str, Any] | None:
    """Return the record in the bytes of a file, or None where there is no sound record of this key."""
    record = parse_object(data)
    return record if record is not None and not fault(record, key) else None


def fault(record: Mapping[str, Any] | None, key: str) -> str:
    """Return what is wrong with a parsed record of a key in words, "" where it is sound."""
    if record is None:
        return DAMAGED
    if is_altered(record):
        return CHANGED
    return "" if record.get("key") == key and _has_form(record) else DAMAGED


def is_altered(sealed: Mapping[str, Any]) -> bool:
    """Return whether a sealed value is not what was written, or has lost its checksum."""
    return sealed.get(SEAL) != _digest({name: value for name, value in sealed.items() if name != SEAL})


def manifest_name(suite: str) -> str:
    """Return the name of the file below a store that lists the cells of a suite."""
    return f"leaderboards/{suite}/manifest.json"


def suites(root: str) -> list[str]:
    """Return the suites that have a manifest in a store."""
    folder = Folder(root)
    manifests = folder.read(manifest_name(suite) for suite in folder.folders("leaderboards"))
    return [name.split("/")[1] for name in manifests]


def read_manifest(folder: Folder, suite: str) -> dict[str, Any]:
    """Return the manifest of a suite in a store; its cells are sound.

    Raises:
        BenchmarkError: there is none, or it is damaged.
    """
    address = folder.address(manifest_name(suite))
    data = folder.read_file(manifest_name(suite))
    if data is None:
        names = suites(folder.root)
        hint = f" (it has: {', '.join(names)})" if names else ""
        raise BenchmarkError(
            f"{address} does not exist: suite '{suite}' has not been run into this store{hint}; "
            f"first run {run_command(suite, folder.root)}"
        )
    manifest = parse_object(data)
    if manifest is None or is_altered(manifest) or not isinstance(manifest.get("cells"), list):
        raise damaged_manifest(folder, suite)
    if reason := next(filter(None, map(cell_fault, manifest["cells"])), ""):
        raise BenchmarkError(f"{address}: a cell is malformed: {reason}; the next run removes it")
    return manifest


def damaged_manifest(folder: Folder, suite: str) -> BenchmarkError:
    """Return the error for a manifest that is not what was written."""
    name = folder.address(manifest_name(suite))
    return BenchmarkError(f"{name} is damaged: run again {run_command(suite, folder.root)}")


def run_command(suite: str, runs: str) -> str:
    """Return, for a message, the command that runs a suite, by its name or the path of its file, into a store."""
    return f"`python -m benchmark run --suite {suite} --runs {runs}`, with the options of your run"


def cell_fault(cell: object) -> str:
    """Return what is wrong with a cell of a manifest, "" where it is sound; names and keys become parts of paths."""
    if not isinstance(cell, dict):
        return f"{cell!r:.80} is no cell"
    for axis in CELL_AXES:
        value = cell.get(axis)
        if axis in NUMBERS and not _is_whole(value):
            return f"{axis}: {value!r} is not a number"
        if axis not in NUMBERS and (reason := path_fault(value)):
            return f"{axis}: {reason}"
    return _field_fault(cell) or _nodes_fault(cell.get("nodes") or {})


def keys_of(cell: Mapping[str, Any], stage: str) -> Sequence[str]:
    """Return the keys of a cell's nodes of a stage."""
    return (cell.get("nodes") or {}).get(stage) or []


def _field_fault(cell: Mapping[str, Any]) -> str:
    """Return what is wrong with the fields of a cell that are no axes."""
    for name, kinds in KINDS.items():
        if not isinstance(cell.get(name), kinds):
            return f"{name}: {cell.get(name)!r:.80} has another type"
    if cell.get("role") not in ROLES:
        return f"role: {cell.get('role')!r} is none of {', '.join(ROLES)}"
    return ""


def _nodes_fault(nodes: object) -> str:
    if not isinstance(nodes, dict) or not all(isinstance(keys, list) for keys in nodes.values()):
        return "nodes: no lists of keys"
    faults = (path_fault(key) for keys in nodes.values() for key in keys)
    return next((f"nodes: {reason}" for reason in faults if reason), "")


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: object) -> TypeGuard[int | float]:
    """Return whether a value of JSON is a finite number, and no truth value."""
    return isinstance(value, int | float) and not isinstance(value, bool) and -math.inf < value < math.inf


def accuracy_fault(stage: object, metrics: Mapping[str, Any]) -> str:
    """Return which accuracy a node of a stage lacks, or has with a value that is none; "" where all are in order."""
    if stage == "evaluate" and "top1" not in metrics:
        names = ", ".join(map(str, metrics)) or "nothing"
        return f"no top1, the accuracy on the test split in percent, which tables compare (it returned {names})"
    accuracies = {name: metrics[name] for name in sorted(ACCURACIES & metrics.keys())}
    faulty_names = (name for name, value in accuracies.items() if not (is_number(value) and 0 <= value <= 100))
    return next((f"{name} = {metrics[name]!r:.80}, which is no number from 0 to 100" for name in faulty_names), "")


def _has_form(record: Mapping[str, Any]) -> bool:
    """Return whether the fields that code reads without asking have the types that it expects."""
    if not all(isinstance(record.get(name, {}), dict) for name in OBJECTS):
        return False
    if accuracy_fault(record.get("stage"), record.get("metrics", {})):
        return False
    identity = record.get("identity", {})
    if not all(isinstance(identity.get(name, {}), dict) for name in ("component", "dataset", "parents")):
        return False
    return all(
        isinstance(facts, dict) and isinstance(facts.get("bytes"), int) and isinstance(facts.get("sha256"), str)
        for facts in record.get("files", {}).values()
    )


def _digest(fields: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
