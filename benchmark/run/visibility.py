"""Before the first node on a cluster: do its machines and the driver see the same store and the same data?

Another cluster may have folders of the same name that are not the same folders. Then all nodes would be done there, and
the driver's store would stay empty.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmark.errors import BenchmarkError, Faults
from benchmark.run.store import Store

FOLDER = ".seen"


@dataclass(frozen=True)
class Sight:
    """What a machine sees.

    Attributes:
        machine: its name.
        marker: the name of the file that it wrote into the store.
        sees_store: whether it has found the driver's file there.
        data: the names in the data directory.
        error: why it cannot read or write the store.
    """

    machine: str
    marker: str
    sees_store: bool
    data: tuple[str, ...]
    error: str = ""


@contextlib.contextmanager
def marked(store: Store, owner: str) -> Iterator[str]:
    """Write the driver's file into the store, and yield its name; in the end, remove it and those of the machines."""
    driver = f"driver-{owner}"
    store.write_text(f"{FOLDER}/{driver}", "")
    try:
        yield driver
    finally:
        for name in store.files.files(FOLDER):
            if name.startswith(driver):
                store.files.remove(f"{FOLDER}/{name}")


def look(runs: str, data: str, driver: str, marker: str) -> Sight:
    """Look for the driver's file in the store, and write another one; runs on every machine of a cluster."""
    machine, names = socket.gethostname(), names_in(data)
    try:
        store = Store(runs)
        sees_store = store.files.read_file(f"{FOLDER}/{driver}") is not None
        store.write_text(f"{FOLDER}/{marker}", machine)
    except BenchmarkError as error:
        return Sight(machine, marker, False, names, str(error))
    return Sight(machine, marker, sees_store, names)


def check(store: Store, data: str, sights: Iterable[Sight]) -> None:
    """Compare what the machines see with what the driver sees.

    Raises:
        Faults: a line for every machine that sees another store or other data.
    """
    markers, names, faults = set(store.files.files(FOLDER)), names_in(data), []
    for sight in sights:
        if sight.error:
            faults.append(f"{sight.machine}: {sight.error}")
        elif not sight.sees_store or sight.marker not in markers:
            faults.append(
                f"--runs {store.files.root}: machine {sight.machine} sees another folder of this name; "
                "name a folder that all machines share, or a bucket"
            )
        if missing_names := sorted(set(names) - set(sight.data)):
            faults.append(
                f"--data {data}: machine {sight.machine} does not see {', '.join(missing_names[:3])}; "
                "name a folder that all machines share, or copy the data to the same path on each"
            )
    if faults:
        raise Faults(faults)


def names_in(folder: str) -> tuple[str, ...]:
    """Return the names in a folder that are not hidden, sorted; () where it does not exist."""
    path = Path(folder)
    return tuple(sorted(entry.name for entry in path.glob("[!.]*"))) if path.is_dir() else ()
