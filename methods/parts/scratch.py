"""Files that an interrupted method finds again: whole, whoever else writes them at the same time."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import torch


def save(value: Any, path: Path) -> None:
    """Write what `torch.load` reads, or leave the file as it was.

    Two drivers that share a store may compute the same node in the same folder, so each writes beside it on its own.
    """
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    torch.save(value, beside)
    beside.replace(path)
