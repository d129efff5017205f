"""Checks before a record is published: it exists, its key belongs to its identity, its files have their checksums."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from benchmark.errors import Faults
from benchmark.files import Folder, parse_object
from benchmark.identity import ancestors, key_of, parents_of
from benchmark.record import RECORD, fault
from leaderboards.results.records import Record, Records


def verified(folder: Folder, keys: Iterable[str]) -> dict[str, Record]:
    """Return the records of some nodes and of all nodes that these depend on.

    Args:
        folder: the root of the store. Files that no longer exist, such as labels that were removed to make room, are no
            fault; files that exist must have the checksums in their records.
        keys: keys of finished nodes.

    Raises:
        Faults: every missing record, every key that does not belong to its identity, every file that has changed.
    """
    records, faults = dict[str, Record](), list[str]()

    def check(key: str) -> Iterable[str]:
        """Check one record and return the keys of its parents."""
        data = folder.read_file(f"{key}/{RECORD}")
        if data is None:
            faults.append(
                f"{folder.address(key)}: is missing; results that depend on it cannot be published; run it again"
            )
            return ()
        record = parse_object(data) or {}
        if reason := fault(record, key):
            faults.append(f"{folder.address(f'{key}/{RECORD}')}: {reason}")
            return ()
        records[key] = record
        faults.extend([*mismatches({key: record}), *_damaged(folder, record)])
        return parents_of(record["identity"])

    ancestors(keys, check)
    if faults:
        raise Faults(faults)
    return records


def mismatches(records: Records) -> Iterator[str]:
    """Yield a line for every record whose key is not the key of its identity."""
    for key, record in records.items():
        if record.get("key") != key or key_of(record["identity"]) != key:
            yield (
                f"{key}: the key does not belong to the identity in its record; "
                "the record was changed by hand, or written by another version"
            )


def _damaged(folder: Folder, record: Record) -> Iterator[str]:
    """Yield a line for every file of a record that exists and has another checksum."""
    for name, facts in record.get("files", {}).items():
        path = f"{record['key']}/{name}"
        if folder.checksum(path) not in (None, facts["sha256"]):
            yield f"{folder.address(path)}: not what was recorded; run it again before it is published"
