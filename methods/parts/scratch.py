"""Files that an interrupted method finds again: whole, whoever else writes them at the same time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from benchmark.files import write_atomically


def save(value: Any, path: Path) -> None:
    """Write what `torch.load` reads, or leave the file as it was.

    Two drivers that share a store may compute the same node in the same folder, so each writes beside it on its own.
    """
    with write_atomically(path) as temporary:
        torch.save(value, temporary)
