"""Import distilled sets, with their records, from a folder that has one folder per key: a submission or a store."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmark.errors import BenchmarkError, Faults
from benchmark.files import path_fault
from benchmark.run import copies
from benchmark.run.store import Store


def import_sets(records: Mapping[str, Mapping[str, Any]], folder: Path, store: Store) -> set[str]:
    """Write the distilled sets of a folder into a store, as if they had been distilled there; return their keys.

    Args:
        records: the records of distilled sets, by key; sets that the folder lacks, or has only in part, are left out.
        folder: has the files of each set in a folder of its key.
        store: is not changed where it has a set already.

    Raises:
        BenchmarkError: there is no such folder, or it has none of the sets.
        Faults: every file that is not the recorded one.
    """
    if not folder.is_dir():
        raise BenchmarkError(f"{folder}: there is no such folder; unpack a submission and name its folder sets/")
    complete = {key: list(record.get("files", {})) for key, record in records.items() if not path_fault(key)}
    sets = {key: names for key, names in complete.items() if names and _has_all(folder / key, names)}
    if not sets:
        raise BenchmarkError(f"{folder}: it has no set of this suite, KEY/images.safetensors; name another folder")
    faults = [
        f"{folder / key / name}: not what was recorded; it is another set, or damaged"
        for key, names in sets.items()
        for name in names
        if not copies.matches(folder / key / name, records[key]["files"][name])
    ]
    if faults:
        raise Faults(faults)
    store.open()
    for key, names in sets.items():
        if store.state(key) == "done":
            continue
        store.discard(key)
        with store.writing(key) as staging:
            for name in names:
                shutil.copyfile(folder / key / name, staging / name)
            store.commit(key, staging, records[key])
    return set(sets)


def _has_all(folder: Path, names: list[str]) -> bool:
    return all(not path_fault(name) and (folder / name).is_file() for name in names)
