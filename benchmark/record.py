"""What is read from a store and may be damaged: records, which carry a checksum of themselves, and cells of manifests.

The checksum is of values, not of bytes: a record that is indented anew is the same record. Records that were written
before there were checksums have none; of these, only the form is checked.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from types import NoneType
from typing import Any

from benchmark.files import parse_object, path_fault

RECORD = "record.json"
SEAL = "sha256"  # the field with the checksum of all other fields
CHANGED = "was changed after it was written; run again"
DAMAGED = "is damaged; run again"
OBJECTS = ("identity", "metrics", "cost", "provenance", "files")
ACCURACIES = frozenset({"top1", "top5"})  # metrics in percent
KINDS: dict[str, tuple[type, ...]] = {  # of further fields of a cell
    "base": (str,),
    "overrides": (dict,),
    "skipped": (str, NoneType),
}
ROLES = ("method", "control", "floor", "bound")
FIELDS = frozenset({"key", "stage", *OBJECTS})  # of a record without a checksum


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
    if SEAL not in record and not record.keys() <= FIELDS:
        return CHANGED  # of an older record, or of the name of the checksum itself
    return "" if record.get("key") == key and _has_form(record) else DAMAGED


def is_altered(sealed: Mapping[str, Any]) -> bool:
    """Return whether a sealed value is not what was written; one without a checksum is older, and taken as it is."""
    return SEAL in sealed and sealed[SEAL] != _digest({name: value for name, value in sealed.items() if name != SEAL})


def cell_fault(cell: object) -> str:
    """Return what is wrong with a cell of a manifest, "" where it is sound; names and keys become parts of paths."""
    if not isinstance(cell, dict):
        return f"{cell!r:.80} is no cell"
    for axis in ("dataset", "method", "protocol", "student"):
        if wrong := path_fault(cell.get(axis)):
            return f"{axis}: {wrong}"
    for axis in ("ipc", "teacher", "draw", "seed"):
        if not _is_whole(cell.get(axis)):
            return f"{axis}: {cell.get(axis)!r} is no number"
    return _field_fault(cell) or _nodes_fault(cell.get("nodes") or {})


def _field_fault(cell: Mapping[str, Any]) -> str:
    """Return what is wrong with the fields of a cell that are no axes; older manifests lack some of them."""
    for name, kinds in KINDS.items():
        if not isinstance(cell.get(name, kinds[0]()), kinds):
            return f"{name}: {cell[name]!r:.80} has another type"
    if cell.get("role", ROLES[0]) not in ROLES:
        return f"role: {cell['role']!r} is none of {', '.join(ROLES)}"
    return ""


def _nodes_fault(nodes: object) -> str:
    if not isinstance(nodes, dict) or not all(isinstance(keys, list) for keys in nodes.values()):
        return "nodes: no lists of keys"
    faults = (path_fault(key) for keys in nodes.values() for key in keys)
    return next((f"nodes: {wrong}" for wrong in faults if wrong), "")


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_share(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 100  # false for NaN


def _has_form(record: Mapping[str, Any]) -> bool:
    """Return whether the fields that code reads without asking have the types that it expects."""
    if not all(isinstance(record.get(name, {}), dict) for name in OBJECTS):
        return False
    if not all(_is_share(record["metrics"][name]) for name in ACCURACIES & record.get("metrics", {}).keys()):
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
