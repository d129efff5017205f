"""Files of unfinished work, from which an interrupted method resumes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from benchmark.files import write_atomically


def save(value: Any, path: Path) -> None:
    """Write a value for `torch.load`: an interruption leaves the complete new file or the old one.

    Two drivers that share a store may compute the same node in the same folder. So each writes a temporary file of its
    own and renames it.
    """
    with write_atomically(path) as temporary:
        torch.save(value, temporary)
