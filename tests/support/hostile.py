"""Malformed and hostile inputs: each must be refused in clear words. `python -m hostile` prints how many are.

A case is *clear* where a `BenchmarkError` (which the command line prints, with status 2) says what is wrong in lines of
readable length. It is *not* clear where the input is accepted, where another error escapes, or where it takes too long.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from benchmark.errors import BenchmarkError, Faults

LIMIT = 30  # seconds for one case
LONGEST = 900  # characters of a line that a reader can take in
MODULES = ("hostile_returned", "hostile_sets", "hostile_configs", "hostile_results", "hostile_commands")


@dataclass(frozen=True)
class Case:
    """One hostile input.

    Attributes:
        group: its row of the table.
        name: of the input.
        run: gives the input to the code, with an empty folder to write in.
        says: words that the refusal must have.
    """

    group: str
    name: str
    run: Callable[[Path], object]
    says: str = ""

    def __str__(self) -> str:
        """Return the name of a test."""
        return f"{self.group}-{self.name}".replace(" ", "_")


def outcome(case: Case, folder: Path) -> str:
    """Return "" where a case is refused in clear words, else what happened instead."""
    try:
        with limited(LIMIT):
            case.run(folder)
    except BenchmarkError as error:
        return _unclear(error, case.says)
    except TimeoutError:
        return "it hangs"
    except BaseException as error:
        return f"{type(error).__name__}: {error}"[:200]
    return "it is accepted"


def cases() -> list[Case]:
    """Return all cases of all modules that exist."""
    found = []
    for name in MODULES:
        if (Path(__file__).parent / f"{name}.py").exists():
            found += import_module(name).cases()
    twice = [name for name, count in Counter(map(str, found)).items() if count > 1]
    assert not twice, twice
    return found


@contextmanager
def limited(seconds: int) -> Iterator[None]:
    """Raise TimeoutError in a block that takes too long."""

    def expire(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, expire)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _unclear(error: BenchmarkError, says: str) -> str:
    lines = error.faults if isinstance(error, Faults) else (str(error),)
    if says not in " ".join(str(error).split()):
        return f"it does not say {says!r}: {str(error)[:300]}"
    if any(not line.strip() or "\n" in line or "Traceback" in line or len(line) > LONGEST for line in lines):
        return f"its lines are not clear: {str(error)[:200]!r}"
    return ""


def main() -> None:
    """Run all cases, or those whose name has a word, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("word", nargs="?", default="")
    word = parser.parse_args().word
    counts: defaultdict[str, Counter[bool]] = defaultdict(Counter)
    for case in cases():
        if word in str(case):
            with tempfile.TemporaryDirectory() as folder:
                wrong = outcome(case, Path(folder))
            counts[case.group][not wrong] += 1
            if wrong:
                print(f"  {case}: {wrong}", file=sys.stderr, flush=True)
    print(f"{'kind of input':44s} {'count':>5s} {'clear':>5s} {'not':>5s}")
    for group, count in counts.items():
        print(f"{group:44s} {count.total():5d} {count[True]:5d} {count[False]:5d}")
    total = sum((count for count in counts.values()), Counter[bool]())
    print(f"{'all':44s} {total.total():5d} {total[True]:5d} {total[False]:5d}")


if __name__ == "__main__":
    main()
