"""What makes a record fit to be published: it is whole, it is its key's, and its files are what it says."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from benchmark.errors import Faults
from benchmark.identity import key_of
from benchmark.run.store import Store

Record = Mapping[str, Any]


def verified(store: Store, keys: Iterable[str]) -> dict[str, Record]:
    """Return the records of some nodes and of all that they stand on.

    Args:
        store: where they lie. Files that are no longer there, such as labels that were removed to make room, are no
            fault; files that are there must have the checksums that their records give.
        keys: of finished nodes.

    Raises:
        Faults: every record that is missing or is not its key's, and every file that is not what was recorded.
    """
    found, faults, open_ = dict[str, Record](), list[str](), list(keys)
    seen = set[str]()
    while open_:
        if (key := open_.pop()) in seen:
            continue
        seen.add(key)
        record = store.record(key)
        if record is None:
            faults.append(f"{store.root}/{key}: is missing, and what stands on it cannot be published; run it again")
            continue
        found[key] = record
        faults += [*strangers({key: record}), *_damaged(store, record)]
        open_ += [parent for keys in record["identity"].get("parents", {}).values() for parent in keys]
    if faults:
        raise Faults(faults)
    return found


def strangers(found: Mapping[str, Record]) -> Iterator[str]:
    """Yield what is wrong with records whose key is not that of their identity."""
    for key, record in found.items():
        if record.get("key") != key or key_of(record["identity"]) != key:
            yield f"{key}: its record says another identity than its key; it was changed by hand, or by another version"


def _damaged(store: Store, record: Record) -> Iterator[str]:
    for name, facts in record.get("files", {}).items():
        path = f"{store.root}/{record['key']}/{name}"
        if store.fs.exists(path):
            with store.fs.open(path, "rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            if digest != facts["sha256"]:
                yield f"{path}: not what was recorded; run it again before it is published"
