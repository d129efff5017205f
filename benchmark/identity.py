"""Names for things: canonical JSON, content keys and seeds.

A key is the SHA-256 of the canonical JSON of everything that can change a number. A seed is the hash of named axes,
so two runs that share an axis (the evaluation seed, say) share its random numbers whatever else differs between them.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any, Literal

Stage = Literal["teacher", "prepare", "distill", "relabel", "evaluate", "measure"]
STAGES: tuple[Stage, ...] = ("teacher", "prepare", "distill", "relabel", "evaluate", "measure")  # parents first
VERSION = 1  # raised when keys change their meaning


def canonical(value: Any) -> str:
    """Return JSON text that is the same for equal values: sorted keys, no spaces, integral floats as integers.

    Raises:
        TypeError: a value that JSON cannot hold, or a mapping key that is not a string.
        ValueError: a float that is not finite.
    """
    return json.dumps(_plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"keys of an identity are strings, not {key!r}")
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{value} has no identity")
        return int(value) if value.is_integer() and abs(value) < 2**53 else value
    if value is None or isinstance(value, str | int | bool):
        return value
    raise TypeError(f"{type(value).__name__} has no canonical JSON")


def key_of(identity: Mapping[str, Any]) -> str:
    """Return the content key (32 hexadecimal digits) of an identity."""
    return digest({"identity": VERSION, **identity})[:32]


def seed_of(*axes: object) -> int:
    """Return a seed in [0, 2**63) from named axes, e.g. ``seed_of("evaluate", "digits", 10, 0)``."""
    return int(digest([str(axis) for axis in axes])[:16], 16) >> 1


def digest(value: Any) -> str:
    """Return the SHA-256 (64 hexadecimal digits) of a value's canonical JSON."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()
