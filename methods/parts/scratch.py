"""Files of unfinished work, from which an interrupted method resumes."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import torch


def save(value: Any, path: Path) -> None:
    """Write a value for `torch.load`: an interruption leaves the complete new file or the old one.

    Two drivers that share a store may compute the same node in the same folder. So each writes a temporary file of its
    own and renames it.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    torch.save(value, temporary)
    temporary.replace(path)
