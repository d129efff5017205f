"""Prepared tensors, which may be far larger than the memory of those who read a part of them at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from safetensors import safe_open
from torch import Tensor


class TensorFile(Mapping[str, Tensor]):
    """The tensors of a safetensors file by name, on the CPU.

    Every look-up maps the file anew, for as long as its tensor, or a view of it, is held. Pages are read when they are
    touched and count as memory until their map is gone: so no more does than what is read between two look-ups.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with safe_open(path, framework="pt") as file:
            self._names = tuple(file.keys())

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._names:
            raise KeyError(name)
        with safe_open(self.path, framework="pt") as file:
            tensor: Tensor = file.get_tensor(name)
            return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)
