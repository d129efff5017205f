"""``make chaos``: faults in a shrunken digits campaign, all from one seed; nothing is lost, wrong or computed twice.

Every try injects one fault, runs the campaign to its end and compares the store with that of a run without faults. The
drivers are forked from this process, which has imported everything already.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
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

from benchmark.record import RECORD, parse_record
from benchmark.run import stages
from benchmark.run.campaign import Campaign
from benchmark.run.store import Store
from benchmark.vision import datasets
from methods.parts import recover

BLOCK = {
    "methods": ["noise", {"method": "short", "base": "sre2l", "set": {"iterations": 6}}],
    "protocols": ["standard"],
}
DRIVERS = 4


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
        self.runs, self.log = folder / "runs", folder / "log"
        config = datasets.load_dataset("digits")
        epochs = {name: getattr(config, name).model_copy(update={"epochs": 1}) for name in ("teacher", "student")}
        datasets.load_dataset = lambda name: config.model_copy(update=epochs)
        recover.SAVE_EVERY = 2
        self._count_executions()
        torch.set_num_threads(1)
        assert self.driver() == 0, (folder / "stderr").read_text()
        self.expected = self.results()
        assert len(self.expected) > 6
        self.whole = folder / "whole"
        shutil.copytree(self.runs, self.whole)

    def open(self) -> Campaign:
        return campaign(self.folder, BLOCK)

    def driver(self, fault: Callable[[], None] = lambda: None) -> int:
        """Run the campaign in a forked process, with a fault in it, and return its exit status."""
        if child := os.fork():
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        status = 3
        with contextlib.suppress(BaseException):
            os.dup2(os.open(self.folder / "stderr", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
            fault()
            failed = [event for event in finish(self.open()) if event.status in ("failed", "blocked")]
            status = 1 if failed else 0
        os._exit(status)

    def results(self) -> dict[str, Any]:
        """Return what counts of every record: the checksums of its files and its metrics."""
        return {r["key"]: (r["files"], r["metrics"]) for r in Store(str(self.runs)).records()}

    def sound(self) -> set[str]:
        store = Store(str(self.runs))
        return {key for key in self.expected if store.state(key) == "done"}

    def executions(self) -> Counter[str]:
        counts = Counter(self.log.read_text().split()) if self.log.exists() else Counter[str]()
        self.log.unlink(missing_ok=True)
        return counts

    def check(self, kind: str, message: str = "", drivers: int = 1) -> None:
        """Run the campaign to its end after a fault, and note what was lost, wrong, or recomputed without need."""
        before, _ = self.sound(), self.executions()
        children = [self._fork() for _ in range(drivers - 1)]
        status = self.driver()
        for child in children:
            os.waitpid(child, 0)
        found, counts, row = self.results(), self.executions(), self.rows.setdefault(kind, Row())
        row.tries += 1
        row.lost += len(self.expected.keys() - self.sound()) + (status != 0)
        row.wrong += sum(found[key] != value for key, value in self.expected.items() if key in found)
        row.recomputed += sum(count - (key not in before) for key, count in counts.items())
        row.messages[message or "resumed"] += 1
        litter = [path for path in self.runs.rglob("*.part")] + [path for path in (self.runs / ".progress").glob("*")]
        assert not litter, f"{kind}: {litter} was left"

    def _fork(self) -> int:
        child = os.fork()
        if not child:
            os._exit(1 if self.driver() else 0)
        return child

    def restore(self) -> None:
        shutil.rmtree(self.runs, ignore_errors=True)
        shutil.copytree(self.whole, self.runs)

    # Faults

    def kill(self) -> None:
        """Kill a driver of an empty store at one of its operations on files."""
        shutil.rmtree(self.runs, ignore_errors=True)
        at = int(self.random.expovariate(1 / 120))
        status = self.driver(lambda: self._at_operation(at, lambda: os.kill(os.getpid(), signal.SIGKILL)))
        self.check("kill", "killed" if status == -signal.SIGKILL else "ended before")

    def full_disk(self) -> None:
        """Let an operation on files fail, and all that follow."""
        shutil.rmtree(self.runs, ignore_errors=True)

        def full() -> None:
            raise OSError(28, "No space left on device")

        status = self.driver(lambda: self._at_operation(int(self.random.expovariate(1 / 120)), full))
        self.check("full disk", "said" if status in (1, 3) else "ended before")

    def damage(self) -> None:
        """Flip a bit of a file of a finished store, cut it off, empty it or remove it."""
        self.restore()
        paths = sorted(p for p in self.runs.rglob("*") if p.is_file() and "data" not in p.parts)
        path = self.random.choice(paths)
        kind = self.random.choice(["flip", "truncate", "empty", "remove"])
        data = bytearray(path.read_bytes())
        if kind == "remove":
            path.unlink()
        else:
            if kind == "flip" and data:
                data[self.random.randrange(len(data))] ^= 1 << self.random.randrange(8)
            size = {"flip": len(data), "truncate": self.random.randrange(len(data) + 1), "empty": 0}[kind]
            path.write_bytes(data[:size])
        self.check(
            kind, "record" if path.name == RECORD else "other" if len(path.name) < 3 else path.suffix or path.name
        )

    def many_drivers(self) -> None:
        """Run an empty store by four drivers at once."""
        shutil.rmtree(self.runs, ignore_errors=True)
        self.check("four drivers", drivers=DRIVERS)

    def record_flips(self, tries: int) -> None:
        """Flip bits over whole records: each is found, or changes no value."""
        row, records = self.rows.setdefault("record flip", Row()), sorted(self.whole.glob(f"*/{RECORD}"))
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
        whole, log = stages.NodeRun.run, self.log

        def counted(node: Any) -> None:
            descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            os.write(descriptor, f"{node.key}\n".encode())
            os.close(descriptor)
            whole(node)

        stages.NodeRun.run = counted  # type: ignore[method-assign]


def table(rows: dict[str, Row]) -> Iterator[str]:
    """Yield the lines of fault x tries x lost x wrong x recomputed x message."""
    yield f"{'fault':14}{'tries':>7}{'lost':>7}{'wrong':>7}{'recomputed':>12}  message"
    for kind, row in rows.items():
        words = ", ".join(f"{count} {message}" for message, count in row.messages.most_common())
        yield f"{kind:14}{row.tries:7}{row.lost:7}{row.wrong:7}{row.recomputed:12}  {words}"


def run(folder: Path, seed: int, seconds: float) -> dict[str, Row]:
    """Inject faults for some time, at least one of each kind, and return what became of them."""
    chaos = Chaos(folder, seed)
    chaos.record_flips(3000)
    begun = time.monotonic()
    while True:
        for fault in (
            chaos.kill,
            chaos.damage,
            chaos.full_disk,
            chaos.damage,
            chaos.kill,
            chaos.damage,
            chaos.many_drivers,
        ):
            fault()
        if time.monotonic() - begun > seconds:
            return chaos.rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=600)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = run(Path(folder), options.seed, options.seconds)
    print("\n".join(table(rows)))
    sys.exit(any(row.lost or row.wrong or row.recomputed for row in rows.values()))


if __name__ == "__main__":
    main()
