"""``make chaos``: faults in a shrunken digits campaign, all from one seed; nothing is lost, wrong or computed twice.

Killed drivers follow each other on one store until one of them ends; then, as after every other fault, the store is
compared with that of a run without faults. Drivers are forked from this process, which has imported everything already.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from engine import campaign, finish

from benchmark.errors import BenchmarkError
from benchmark.record import RECORD, parse_record
from benchmark.run import stages
from benchmark.run.campaign import Campaign
from benchmark.run.store import Store
from benchmark.vision import datasets, layouts
from benchmark.vision.models import create_model
from methods.parts import recover

BLOCK = {
    "methods": ["noise", {"method": "short", "base": "sre2l", "set": {"iterations": 4}}],
    "protocols": ["standard"],
}
DRIVERS = 4
BATCH = 8  # files that are damaged before a run
FLIPS_OF_RECORDS = 3000


@dataclass
class Row:
    """What became of the tries of one kind of fault."""

    tries: int = 0
    lost: int = 0
    wrong: int = 0
    recomputed: int = 0
    messages: Counter[str] = field(default_factory=Counter)


class Chaos:
    """A campaign below a folder, what it ends with where nothing goes wrong, and the faults."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.random, self.rows = folder, random.Random(seed), dict[str, Row]()
        self.runs, self.pixels = folder / "runs", folder / "data" / ".cache"
        self.log, self.said = folder / "log", folder / "said"  # executed nodes, messages
        self._shrink()
        self._count_executions()
        self.seconds = -time.monotonic()
        assert self.driver() == 0, (folder / "stderr").read_text()
        self.seconds += time.monotonic()
        self.expected = self.results()
        assert len(self.expected) == 8, "seven nodes and the manifest"
        self.whole = folder / "whole"
        shutil.copytree(self.runs, self.whole)
        shutil.copytree(self.pixels, self.whole / ".pixels")

    def _shrink(self) -> None:
        config = datasets.load_dataset("digits")
        epochs = {name: getattr(config, name).model_copy(update={"epochs": 1}) for name in ("teacher", "student")}
        small = config.model_copy(update={**epochs, "resize": 16, "resolution": 16})
        datasets.load_dataset = lambda name: small
        some = [split.select(torch.arange(0, len(split.items), 6)) for split in layouts.list_digits()]
        layouts.list_digits = lambda: (some[0], some[1])  # type: ignore[assignment, return-value]
        recover.SAVE_EVERY = 2
        torch.set_num_threads(1)
        create_model("test_resnet", classes=10, resolution=16, seed=0)  # imports what a driver needs

    def open(self) -> Campaign:
        return campaign(self.folder, BLOCK)

    def driver(self, fault: Callable[[], None] = lambda: None) -> int:
        """Run the campaign in a forked process, with a fault in it, and return its exit status."""
        if child := os.fork():
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        status = 3
        with contextlib.suppress(BaseException):
            os.dup2(os.open(self.folder / "stderr", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
            try:
                status = self._drive(fault)
            except BenchmarkError as error:
                status = 2
                self.say(str(error))
        os._exit(status)

    def _drive(self, fault: Callable[[], None]) -> int:
        opened, failed = self.open(), False
        for _ in opened.corrupt:
            self.say("damaged, will be computed again")
        fault()
        for event in finish(opened):
            failed |= event.status in ("failed", "blocked")
            if event.message and event.status != "blocked":
                self.say(event.message)
        return int(failed)

    def say(self, message: str) -> None:
        """Note a message of a driver, without paths and numbers."""
        line = re.sub(r"\S*/\S*:? ?|\b[0-9]+ ", "", message)
        self._append(self.said, line)

    def _append(self, path: Path, line: str) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(descriptor, f"{line}\n".encode())
        os.close(descriptor)

    def results(self) -> dict[str, Any]:
        """Return what counts: of every record, the checksums of its files and its metrics; and the manifest."""
        found: dict[str, Any] = {r["key"]: [r["files"], r["metrics"]] for r in Store(str(self.runs)).records()}
        with contextlib.suppress(OSError):
            (manifest,) = self.runs.glob("leaderboards/*/manifest.json")
            found["manifest"] = manifest.read_text()
        return found

    def sound(self) -> set[str]:
        store = Store(str(self.runs))
        return {key for key in self.expected if key != "manifest" and store.state(key) == "done"}

    def executions(self) -> Counter[str]:
        counts = Counter(self.log.read_text().split()) if self.log.exists() else Counter[str]()
        self.log.unlink(missing_ok=True)
        return counts

    def empty(self) -> None:
        shutil.rmtree(self.runs, ignore_errors=True)
        self.executions()

    def step(self, kind: str, fault: Callable[[], None] = lambda: None) -> int:
        """Run a driver; what was sound stays sound and is not executed again. Return the exit status."""
        before, row = self.sound(), self.rows.setdefault(kind, Row())
        self.executions()
        status = self.driver(fault)
        row.lost += len(before - self.sound())
        row.recomputed += sum(count for key, count in self.executions().items() if key in before)
        if self.said.exists():
            row.messages.update(self.said.read_text().splitlines())
            self.said.unlink()
        return status

    def check(self, kind: str) -> None:
        """Compare the store with that of a run without faults; nothing of a fault is left."""
        found, row = self.results(), self.rows.setdefault(kind, Row())
        row.lost += len({key for key in self.expected if key != "manifest"} - self.sound())
        row.wrong += sum(found.get(key) != value for key, value in self.expected.items() if key in found)
        row.wrong += len(found.keys() - self.expected.keys())
        patterns = ("**/*.part", ".staging/*", ".progress/*", ".scratch/*")
        litter = [path for pattern in patterns for path in self.runs.glob(pattern)]
        assert not litter, f"{kind}: {litter} was left"

    # Faults

    def killed(self, kind: str, act: Callable[[float], None]) -> None:
        """Kill one driver after the other until one ends before it is killed; then run the campaign to its end.

        Args:
            kind: of the fault.
            act: called in the driver with a number that is random with the mean 1.
        """
        self.empty()
        row = self.rows.setdefault(kind, Row())
        for _ in range(40):
            share = self.random.expovariate(1)
            status = self.step(kind, functools.partial(act, share))
            if status == 0:
                break
            row.tries += 1
            assert status in (1, 2, -signal.SIGKILL, -signal.SIGALRM), (self.folder / "stderr").read_text()
        row.lost += self.step(kind) != 0  # the last heartbeat may be left where removing it was refused
        self.check(kind)

    def kill_at_operation(self, share: float) -> None:
        self._at_operation(int(30 * share), lambda: os.kill(os.getpid(), signal.SIGKILL))

    def kill_at_time(self, share: float) -> None:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)  # ends the process at once
        signal.setitimer(signal.ITIMER_REAL, max(0.001, self.seconds / 4 * share))

    def full_disk(self, share: float) -> None:
        """Let an operation on files fail, and all that follow."""

        def full() -> None:
            raise OSError(28, "No space left on device")

        self._at_operation(int(60 * share), full)

    def damage(self) -> None:
        """Flip a bit in files of a finished store and its cache of pixels, or cut them off, empty or remove them."""
        shutil.rmtree(self.runs)
        shutil.copytree(self.whole, self.runs, ignore=shutil.ignore_patterns(".pixels"))
        shutil.rmtree(self.pixels)
        shutil.copytree(self.whole / ".pixels", self.pixels)
        paths = sorted(path for path in [*self.runs.rglob("*"), *self.pixels.rglob("*")] if path.is_file())
        kind = self.random.choices(["flip", "cut off", "emptied", "removed"], [12, 1, 1, 1])[0]
        for path in self.random.sample(paths, BATCH):
            data = bytearray(path.read_bytes())
            path.unlink()
            if kind == "flip" and data:
                data[self.random.randrange(len(data))] ^= 1 << self.random.randrange(8)
            if kind != "removed":
                size = {"flip": len(data), "cut off": self.random.randrange(len(data) + 1), "emptied": 0}[kind]
                path.write_bytes(data[:size])
            self.rows.setdefault(kind, Row()).tries += 1
        self.rows[kind].lost += self.step(kind) != 0
        self.check(kind)

    def many_drivers(self) -> None:
        """Run an empty store by four drivers at once."""
        self.empty()
        children = []
        for _ in range(DRIVERS):
            if not (child := os.fork()):
                os._exit(self.driver())
            children.append(child)
        failed = [child for child in children if os.waitpid(child, 0)[1]]
        row, counts = self.rows.setdefault("four drivers", Row()), self.executions()
        row.tries, row.lost = row.tries + 1, row.lost + len(failed)
        row.recomputed += sum(count - 1 for count in counts.values())
        row.messages[f"{counts.total()} executions of {len(counts)} nodes"] += 1
        self.said.unlink(missing_ok=True)
        self.check("four drivers")

    def record_flips(self, tries: int) -> None:
        """Flip bits over whole records: each is found, or changes no value."""
        row, records = (
            self.rows.setdefault("flip of a record, read only", Row()),
            sorted(self.whole.glob(f"*/{RECORD}")),
        )
        for _ in range(tries):
            path = self.random.choice(records)
            data = bytearray(path.read_bytes())
            data[self.random.randrange(len(data))] ^= 1 << self.random.randrange(8)
            found = parse_record(bytes(data), path.parent.name)
            row.tries += 1
            row.wrong += found is not None and found != json.loads(path.read_bytes())
            row.messages["found" if found is None else "no value changed"] += 1

    # Helpers

    def _at_operation(self, at: int, act: Callable[[], None]) -> None:
        """Act at an operation on files of the store, counted from 0, and at all that follow."""
        count, below = 0, str(self.runs)

        def hook(event: str, arguments: tuple[Any, ...]) -> None:
            nonlocal count
            writes = event in ("os.rename", "os.mkdir", "os.remove", "os.rmdir") or (
                event == "open" and isinstance(arguments[1], str) and arguments[1][0] in "wax"
            )
            if writes and str(arguments[0]).startswith(below):
                count += 1
                if count > at:
                    act()

        sys.addaudithook(hook)

    def _count_executions(self) -> None:
        whole = stages.NodeRun.run

        def counted(node: Any) -> None:
            self._append(self.log, node.key)
            whole(node)

        stages.NodeRun.run = counted  # type: ignore[method-assign]


def table(rows: dict[str, Row]) -> Iterator[str]:
    """Yield the lines of fault x tries x lost x wrong x recomputed x message."""
    yield "| fault | tries | lost | wrong | recomputed | message |"
    yield "| :-- | --: | --: | --: | --: | :-- |"
    for kind, row in rows.items():
        words = "; ".join(f"{message} ({count})" for message, count in row.messages.most_common(4)) or "none: resumed"
        yield f"| {kind} | {row.tries} | {row.lost} | {row.wrong} | {row.recomputed} | {words} |"


def run(folder: Path, seed: int, wanted: Callable[[dict[str, Row]], set[str]]) -> dict[str, Row]:
    """Inject faults until no kind (``processes``, ``files``) is wanted any more; return what became of them."""
    chaos = Chaos(folder, seed)
    chaos.record_flips(FLIPS_OF_RECORDS)
    while kinds := wanted(chaos.rows):
        if "processes" in kinds:
            for _ in range(3):
                chaos.killed("kill at an operation", chaos.kill_at_operation)
                chaos.killed("kill at a time", chaos.kill_at_time)
            chaos.killed("full disk", chaos.full_disk)
            chaos.many_drivers()
        if "files" in kinds:
            for _ in range(8):
                chaos.damage()
    return chaos.rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=0.0, help="at least so long")
    parser.add_argument("--processes", type=int, default=1, help="at least so many faults of processes")
    parser.add_argument("--flips", type=int, default=1, help="at least so many flips over the whole store")
    parser.add_argument("--table", type=Path, help="a file that has the table so far")
    options = parser.parse_args()
    end = time.monotonic() + options.seconds

    def wanted(rows: dict[str, Row]) -> set[str]:
        if options.table:
            options.table.write_text("\n".join(table(rows)) + "\n")
        if time.monotonic() < end:
            return {"processes", "files"}
        tries = {kind: row.tries for kind, row in rows.items()}
        processes = sum(tries.get(kind, 0) for kind in ("kill at an operation", "kill at a time", "full disk"))
        enough = {"processes": processes >= options.processes, "files": tries.get("flip", 0) >= options.flips}
        return {kind for kind, reached in enough.items() if not reached}

    with tempfile.TemporaryDirectory() as folder:
        rows = run(Path(folder), options.seed, wanted)
    print("\n".join(table(rows)))
    sys.exit(any(row.lost or row.wrong or row.recomputed for row in rows.values()))


if __name__ == "__main__":
    main()
