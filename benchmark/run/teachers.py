"""The teachers of a node."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

from torch import nn


class Teachers(Sequence[nn.Module]):
    """Teachers that are loaded at their first use: where all labels are stored, a student uses none."""

    def __init__(self, keys: Sequence[str], load: Callable[[str], nn.Module]) -> None:
        self._keys, self._load = keys, load

    @cached_property
    def _loaded(self) -> tuple[nn.Module, ...]:
        return tuple(map(self._load, self._keys))

    def __getitem__(self, index: Any) -> Any:
        return self._loaded[index]

    def __len__(self) -> int:
        return len(self._keys)
