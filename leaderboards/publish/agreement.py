"""Checks before records join a publication: they agree with the published ones, and name no path and no host."""

from __future__ import annotations

import math
import re
import socket
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from leaderboards.results.records import Record
from leaderboards.results.test_images import FIELD

TOLERANCE = 0.02  # relative and absolute: rounding on another machine may change an accuracy by so much
BITS = f"metrics.{FIELD}"  # base64, which may start with a slash
PATHS = re.compile(r"(?:^|[\s'\"=(:,])(?:/(?!/)|~/|[A-Za-z]:\\|file:)\S")
Records = Mapping[str, Record]


def disagreements(earlier: Records, new: Records) -> Iterator[str]:
    """Yield a line for every metric whose published value differs from that of a run with the same key."""
    for key in sorted(earlier.keys() & new.keys()):
        record, old, metrics = earlier[key], earlier[key]["metrics"], new[key]["metrics"]
        for name in sorted(old.keys() & metrics.keys()):
            if not _close(old[name], metrics[name]):
                node = f"{record['stage']} {record['identity']['component']['name']} ({key})"
                yield (
                    f"{node}: {name} is published as {old[name]}, and in this run it is {metrics[name]}, with the same "
                    f"identity; find the cause, or remove the line of the key from records.jsonl"
                    " to publish the new value"
                )


def leaks(published: Records) -> Iterator[str]:
    """Yield a line for every text in some records that names a path or the host of a machine."""
    for key, record in published.items():
        for field, text in _texts(record):
            if field != BITS and names_machine(text):
                yield f"{key}: {field} holds {text!r}, a path or a host; it cannot be published; run it again without"


def _close(one: Any, two: Any) -> bool:
    if isinstance(one, int | float) and isinstance(two, int | float):
        return math.isclose(one, two, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    return True  # texts and lists are no results


def _texts(value: Any, field: str = "") -> Iterator[tuple[str, str]]:
    """Yield all texts inside nested values, each with its dotted field."""
    if isinstance(value, str):
        yield field, value
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _texts(item, f"{field}.{name}".lstrip("."))
    if isinstance(value, Sequence) and not isinstance(value, str):
        for item in value:
            yield from _texts(item, field)


def names_machine(text: str) -> bool:
    """Whether a text contains a path or the name of this host."""
    host = socket.gethostname()
    return bool(PATHS.search(text)) or (len(host) > 3 and host != "localhost" and host in text)
