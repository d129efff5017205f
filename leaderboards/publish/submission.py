"""A submission: one archive with everything that a pull request needs, and the distilled sets beside it.

Unpacked at the root of the repository, it adds the published files of the suite and the files of its authors (a method,
a dataset, ...). ``report --check`` then verifies identities and checksums and computes all tables again.
"""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmark.errors import BenchmarkError
from benchmark.files import Folder, write_atomically
from leaderboards.publish import figures
from leaderboards.publish.publication import Publication, files
from leaderboards.publish.sets import checksums

STEPS = """# Submission to suite {suite}

{cells} cells, {records} records. Tier: submitted (run by its authors; the records are verified).

1. Unpack this archive at the root of a clone of the repository, on a new branch.
2. `python -m benchmark report --check` verifies the records and computes the tables again.
3. Commit everything but `sets/` and this file, and open a pull request; attach this archive to it.
4. To score a sample of its sets again: `python -m benchmark rescore sets --suite {suite}`.
5. To run all of it again: `python -m benchmark reproduce --suite {suite}`.
"""
CHANGED = "\nFiles that have changed since some records were made:\n\n"


def pack(
    publication: Publication,
    store: Folder,
    sources: Mapping[str, Path],
    path: Path,
    changed_files: Sequence[str] = (),
    remarks: Sequence[str] = (),
) -> list[str]:
    """Write a submission and return the names in the archive.

    Args:
        publication: the results, verified.
        store: holds the distilled sets.
        sources: the files of the authors by their names in the repository.
        path: the path of the archive.
        changed_files: a line for each source that has changed since its records were made (`outside.changed`).
        remarks: further sentences of SUBMISSION.md.

    Raises:
        BenchmarkError: a distilled set is not in the store any more, or the archive cannot be written.
    """
    published_files = files(publication) | _figures(publication)
    contents = {f"leaderboards/published/{publication.suite}/{name}": data for name, data in published_files.items()}
    contents |= {name: source.read_bytes() for name, source in sources.items()}
    counts = {"suite": publication.suite, "cells": publication.done, "records": len(publication.records)}
    text = STEPS.format(**counts) + "".join(f"\n{remark}\n" for remark in remarks)
    text += (CHANGED if changed_files else "") + "".join(f"- {x}\n" for x in changed_files)
    contents["SUBMISSION.md"] = text.encode()
    names = list(checksums(publication))
    try:
        with write_atomically(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in contents.items():
                archive.writestr(name, data)
            for name in names:
                images = store.read_file(name)
                if images is None:
                    raise BenchmarkError(f"{store.address(name)}: is missing; a submission has all distilled sets")
                archive.writestr(f"sets/{name}", images)
    except OSError as error:
        raise BenchmarkError(f"{path}: cannot be written ({error.strerror})") from error
    return [*contents, *(f"sets/{name}" for name in names)]


def _figures(publication: Publication) -> dict[str, bytes]:
    """Return the figures of a publication by their names in its folder."""
    with tempfile.TemporaryDirectory() as folder:
        figures.write(publication.results, Path(folder))
        return {f"{figures.FOLDER}/{path.name}": path.read_bytes() for path in sorted(Path(folder).iterdir())}
