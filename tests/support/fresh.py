"""Helper for the tests of methods: a context where nothing is saved yet."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path

from benchmark.api import Context


def fresh(context: Context) -> Context:
    """Return the same context with an empty scratch folder."""
    return dataclasses.replace(context, scratch=Path(tempfile.mkdtemp(dir=context.scratch)))
