"""Keys and seeds: both are hashes of canonical JSON.

A key hashes an identity: everything that can change a result. A seed hashes named axes (stage, dataset, IPC, ...), so
nodes with equal axes get equal random numbers, whatever else differs between them.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from json.encoder import encode_basestring_ascii
from typing import Any, Literal, get_args

Stage = Literal["teacher", "prepare", "distill", "relabel", "evaluate", "measure"]  # parents first
STAGES: tuple[Stage, ...] = get_args(Stage)
VERSION = 1  # raised when the way from an identity to its key changes


def canonical(value: Any) -> str:
    """Return JSON text that is the same for equal values: keys sorted, no spaces, whole floats written as integers.

    Raises:
        TypeError: JSON cannot hold a value, or a mapping key is not a string.
        ValueError: a float is not finite.
    """
    if isinstance(value, Shared):
        return value.text
    if isinstance(value, str):
        return encode_basestring_ascii(value)
    if value is None or isinstance(value, int | float):  # asked before Mapping, which takes long to say no
        return _number(value)
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(canonical, value)) + "]"
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"keys of an identity are strings, not {key!r}")
        return (
            "{" + ",".join([f"{encode_basestring_ascii(key)}:{canonical(value[key])}" for key in sorted(value)]) + "}"
        )
    raise TypeError(f"{type(value).__name__} has no canonical JSON")


class Shared(dict[str, Any]):
    """A part of many identities that nobody changes: its canonical text is made once."""

    @cached_property
    def text(self) -> str:
        """The canonical text."""
        return canonical(dict(self))


def _number(value: float | None) -> str:
    """Return the JSON text of a number, a truth value or None."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else "true" if value else "false"
    if isinstance(value, int):
        return int.__repr__(value)
    if not math.isfinite(value):
        raise ValueError(f"{value} has no identity")
    return str(int(value)) if value.is_integer() and abs(value) < 2**53 else float.__repr__(value)


MOST_SEEDS = 1000  # the most seeds of labels and student, draws or teachers; more are a slip of the pen


def key_of(identity: Mapping[str, Any]) -> str:
    """Return the content key (32 hexadecimal digits) of an identity."""
    return digest({"identity": VERSION, **identity})[:32]


def seed_of(*axes: object) -> int:
    """Return a seed in [0, 2**63) from named axes, e.g. ``seed_of("evaluate", "digits", 10, 0)``."""
    return int(digest([str(axis) for axis in axes])[:16], 16) >> 1


def parents_of(identity: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the keys of the nodes whose results a node reads."""
    return tuple(key for keys in identity.get("parents", {}).values() for key in keys)


def precision_of(identity: Mapping[str, Any]) -> str:
    """Return the precision of a node's networks, a value of `benchmark.api.Precision`.

    Its component has a field ``precision``, a teacher has it in its recipe; without one it is ``float32``.
    """
    params = identity["component"]["params"]
    return str(params.get("recipe", params).get("precision", "float32"))


def ancestors(keys: Iterable[str], parents: Callable[[str], Iterable[str]]) -> set[str]:
    """Return some keys together with all keys that they depend on; ``parents`` is called once for each key."""
    all_keys, queue = set[str](), list(keys)
    while queue:
        if (key := queue.pop()) not in all_keys:
            all_keys.add(key)
            queue += parents(key)
    return all_keys


def digest(value: Any) -> str:
    """Return the SHA-256 (64 hexadecimal digits) of a value's canonical JSON."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()
