"""Settings of the process that a component must leave as they are: what runs next in the process would get them."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmark.errors import BenchmarkError

Setting = tuple[str, Callable[[], Any], Callable[[Any], object]]  # how messages call it, how to read and to set it
SCORING: tuple[Setting, ...] = (  # numbers that were computed under another value are wrong
    ("torch.set_default_dtype", torch.get_default_dtype, torch.set_default_dtype),
    ("torch.set_grad_enabled", torch.is_grad_enabled, torch.set_grad_enabled),
    (
        "torch.set_default_device",
        lambda: torch.empty(0).device,  # after a device was unset, get_default_device of torch 2.6 fails
        lambda device: torch.set_default_device(None if device.type == "cpu" else device),  # a device slows calls down
    ),
)


class _Stream:
    """A stream of this process that a component can write to, but not close."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def close(self) -> None:
        """Do nothing: the command prints on."""


@contextmanager
def restored() -> Iterator[None]:
    """Restore what a component changes in its process during a block.

    These are the working directory, the streams of output, and of torch the number of threads, the deterministic
    algorithms, the switches of cuDNN, the precision of products, the default type, the default device, and
    whether it keeps gradients.

    Raises:
        BenchmarkError: the block changed one of the last three, so that its numbers are wrong too.
    """
    old_values = [read() for _, read, _ in SCORING]
    threads, precision = torch.get_num_threads(), torch.get_float32_matmul_precision()
    deterministic = _deterministic()
    cudnn = torch.backends.cudnn
    flags = {name: getattr(cudnn, name) for name in ("benchmark", "deterministic", "allow_tf32", "enabled")}
    folder, streams = _working_directory(), (sys.stdout, sys.stderr)
    sys.stdout, sys.stderr = map(_Stream, streams)
    try:
        yield
        changes = [
            f"{name} ({value} became {new_value})"
            for (name, read, _), value in zip(SCORING, old_values, strict=True)
            if (new_value := read()) != value
        ]
        if changes:
            raise BenchmarkError(f"it changed the whole process by {', '.join(changes)}; pass such values explicitly")
    finally:
        sys.stdout, sys.stderr = streams
        for (_, read, set_to), value in zip(SCORING, old_values, strict=True):
            if read() != value:
                set_to(value)
        torch.set_num_threads(threads)
        torch.set_float32_matmul_precision(precision)
        for name, value in flags.items():
            setattr(cudnn, name, value)
        if deterministic != _deterministic():
            torch.use_deterministic_algorithms(deterministic[0], warn_only=deterministic[1])  # slow: it imports more
        if folder and folder != _working_directory():
            with suppress(OSError):
                os.chdir(folder)


def _deterministic() -> tuple[bool, bool]:
    """Return whether torch insists on deterministic algorithms, and whether it only warns of others."""
    return torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()


@contextmanager
def seeded(key: str) -> Iterator[None]:
    """Start the global generators of torch, NumPy and Python from a key; restore those of processors afterwards.

    A component draws from the generators of its `Context`. One that does not gets the same numbers in every run, too.
    """
    seed = int(key[:8], 16)
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        random.seed(seed)
        try:
            yield
        finally:
            np.random.set_state(numpy)  # noqa: NPY002
            random.setstate(python)


def _working_directory() -> Path | None:
    """Return the working directory; None where it has been removed."""
    try:
        return Path.cwd()
    except OSError:
        return None
