"""Helpers for the tests of methods: a context where nothing is saved yet, and runs that are interrupted."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from benchmark.api import Context

Result = TypeVar("Result")


def fresh(context: Context) -> Context:
    """Return the same context with an empty scratch folder."""
    return dataclasses.replace(context, scratch=Path(tempfile.mkdtemp(dir=context.scratch)))


def interrupted(run: Callable[[Context], Result], context: Context, at: int) -> tuple[Result, list[int]]:
    """Interrupt a run when it reports a step, run it again, and return its result and the steps of the second run."""

    def stop(step: int, total: int, scalars: Any) -> None:
        if step == at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(dataclasses.replace(context, report=stop))
    steps: list[int] = []
    return run(dataclasses.replace(context, report=lambda step, *_: steps.append(step))), steps
