"""Executing one node in this process: claim it, run its stage, or record why it failed."""

from __future__ import annotations

import contextlib
import gc
import logging
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmark.errors import BenchmarkError, one_line, printable
from benchmark.run import provenance
from benchmark.run.claims import claim
from benchmark.run.heartbeat import Heartbeat
from benchmark.run.options import NodeOptions, Outcome
from benchmark.run.stages import NodeRun
from benchmark.run.store import TRACEBACK, Store
from benchmark.sources import component_name


def execute(key: str, identity: Mapping[str, Any], options: NodeOptions) -> Outcome:
    """Compute one node and commit it, or record why it failed; only an interruption is raised.

    A node that another driver runs is left alone. A node that another driver has committed is done.
    """
    start, node_run = time.perf_counter(), None
    try:
        store = Store(options.runs)
    except BenchmarkError as error:
        return Outcome(key, "failed", one_line(error))
    try:
        heartbeat = Heartbeat(store, key, options.owner)
        if other_beat := claim(store, key, heartbeat.now(), options.stopped):
            return Outcome(key, "theirs", f"another driver runs it on {other_beat.get('host', 'another machine')}")
        with heartbeat.beating(), noted() as notes:
            if not _is_done(store, key):
                _share_memory(options)
                node_run = NodeRun(key, identity, options, store, heartbeat)
                node_run.run()
        return Outcome(key, "done", "; ".join(notes), seconds=time.perf_counter() - start)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # every error of a component, sys.exit too, is a failed node with its reason
        line, text = one_line(error) + location(error), printable(traceback.format_exc())
        if node_run and node_run.saved:
            line += f"; an earlier attempt saved work in {node_run.saved.parent}: delete it to start afresh"
        failure = {"stage": identity["stage"], "message": line, "traceback": text, "when": provenance.now()}
        try:
            if store.state(key) == "done":  # another driver was first, and removed the scratch folder of both
                return Outcome(key, "done", seconds=time.perf_counter() - start)
            store.fail(key, failure)
            store.write_text(f"{key}/{TRACEBACK}", text)
        except BenchmarkError as second:
            line += "" if str(second) in line else f" (and {second})"
        return Outcome(key, "failed", line, isinstance(error, torch.OutOfMemoryError), time.perf_counter() - start)


def execute_in_turn(nodes: Sequence[tuple[str, Mapping[str, Any], NodeOptions]]) -> Iterator[Outcome]:
    """Compute nodes one after the other, and yield how each ended as soon as it has; see `execute`.

    Each is committed on its own. So a death of this process loses the node that runs, and no other. After a failure no
    further node runs here: an error of the card may have left this process without it.
    """
    for node in nodes:
        outcome = execute(*node)
        yield outcome
        if outcome.status == "failed":
            return
        if torch.cuda.is_initialized():
            gc.collect()
            torch.cuda.empty_cache()


def _is_done(store: Store, key: str) -> bool:
    """Return whether a node is done; a damaged one is mended, or discarded to be computed again.

    It is discarded here alone, where no other driver can have repaired it meanwhile.
    """
    state = store.state(key)
    if state == "corrupt" and not store.mend(key):
        store.discard(key)
        return False
    return state != "absent"


def _share_memory(options: NodeOptions) -> None:
    """Limit this process to its share of the card's memory; Ray counts cards, and not their memory.

    A whole card is said too: the limit of an earlier node of this process would stay.
    """
    if options.device == "cuda":
        torch.cuda.set_per_process_memory_fraction(min(1.0, options.gpu_share or 1.0))


def location(error: BaseException) -> str:
    """Return where an unexpected error was raised, " (FILE:LINE in FUNCTION)": in a component's file if it passed one.

    An error that names its own remedy has no location.
    """
    frames = traceback.extract_tb(error.__traceback__)
    if isinstance(error, BenchmarkError) or not frames:
        return ""
    names = [(component_name(Path(frame.filename)), frame) for frame in frames]
    name, frame = next(((name, frame) for name, frame in reversed(names) if name), (frames[-1].filename, frames[-1]))
    return f" ({name}:{frame.lineno} in {frame.name})"


@contextlib.contextmanager
def noted() -> Iterator[list[str]]:
    """Yield a list of the warnings that our own code logs in a block: what was damaged and has been mended."""
    handler = _Notes()
    loggers = [logging.getLogger(name) for name in ("benchmark", "methods", "evaluators")]
    for logger in loggers:
        logger.addHandler(handler)
    try:
        yield handler.lines
    finally:
        for logger in loggers:
            logger.removeHandler(handler)


class _Notes(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(printable(record.getMessage()))
