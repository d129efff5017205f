"""Lists of a dataset's image files, with the hashes of their contents; one stored list serves planners and workers.

A content is hashed once: a file of the same path, size and time is not read again. Hashing that was interrupted goes on
where it stopped.
"""

from __future__ import annotations

import hashlib
import io
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from benchmark.files import write_atomically
from benchmark.locks import locked, processors

MARK = b"files 1\n"  # the first bytes of a stored list; another version of this form has other ones
DIGEST = hashlib.sha256().digest_size
UNKNOWN = bytes(DIGEST)  # the digest of a file that is not hashed yet, or that cannot be read
AT_ONCE = 512  # files that are hashed between two reports
SAVE_EVERY = 30.0  # seconds; an interruption loses at most so much of the hashing
SETTLED = 2_000_000_000  # nanoseconds: a younger file may change again and keep its time
THREADS = min(16, processors())  # hashlib and Pillow release the interpreter lock

Integers: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]
Bytes: TypeAlias = np.ndarray[Any, np.dtype[np.uint8]]
Report: TypeAlias = Callable[[int, int], None]  # (done, total)


@dataclass(frozen=True)
class Listing:
    """The image files of one split.

    Attributes:
        classes: names of the classes, sorted.
        labels: [N] indices into ``classes``.
        paths: [N] relative to the folder of the dataset.
        sizes: [N] in bytes.
        times: [N] of the last change, in nanoseconds.
        digests: the SHA-256 of every content, N x 32 bytes; `UNKNOWN` where it is not known.
        sources: the times of all folders and files that were read to make the list, by their paths.
    """

    classes: tuple[str, ...]
    labels: Integers
    paths: list[str]
    sizes: Integers
    times: Integers
    digests: bytes
    sources: Mapping[str, int]

    @property
    def hashes(self) -> Bytes:
        """The hashes as uint8 [N, 32]."""
        return np.frombuffer(self.digests, np.uint8).reshape(-1, DIGEST)

    def unhashed(self) -> list[int]:
        """Return the rows of the files whose content is not known."""
        rows: list[int] = np.flatnonzero(~self.hashes.any(axis=1)).tolist()
        return rows


def up_to_date(folder: Path, scan: Callable[[], Listing], store: Path, *, quick: bool, report: Report) -> Listing:
    """Return the list of a split with all hashes, from the stored list as far as it is still valid.

    Args:
        folder: the folder of the dataset.
        scan: lists the files of the split, without hashes.
        store: the file of the stored list. If it cannot be written, it is skipped.
        quick: trust a stored list where no folder has changed; a file that was changed in place is then not noticed
            here, but when it is decoded.
        report: called with the files hashed and the files in total.
    """
    cache = _load(store)
    if quick and cache and _is_current(folder, cache):
        return cache
    listing = _with_known(scan(), cache)
    if listing.unhashed():
        with _alone(store):
            listing = _hashed(folder, _with_known(listing, _load(store)), store, report)
    elif cache is None or cache.sources != listing.sources or cache.paths != listing.paths:
        _save(store, listing)
    return listing


def _is_current(folder: Path, listing: Listing) -> bool:
    try:
        unchanged = all((folder / path).stat().st_mtime_ns == when for path, when in listing.sources.items())
    except OSError:
        return False
    return unchanged and not listing.unhashed()


def _with_known(listing: Listing, cache: Listing | None) -> Listing:
    """Return a list with the hashes that are known for the same path, size and time."""
    if cache is None or not cache.paths:
        return listing
    rows = {path: row for row, path in enumerate(cache.paths)}
    order = np.array([rows.get(path, -1) for path in listing.paths], np.int64)
    is_same = (order >= 0) & (cache.sizes[order] == listing.sizes) & (cache.times[order] == listing.times)
    return replace(listing, digests=np.where(is_same[:, None], cache.hashes[order], listing.hashes).tobytes())


def _hashed(folder: Path, listing: Listing, store: Path, report: Report) -> Listing:
    """Hash the files that are not hashed yet; store the list now and then, and where this is interrupted."""
    rows, digests = listing.unhashed(), bytearray(listing.digests)
    saved, total = time.monotonic(), len(listing.paths)
    young = listing.times > time.time_ns() - SETTLED  # hashed again the next time
    settled = replace(listing, times=np.where(young, -1, listing.times))
    try:
        with ThreadPoolExecutor(THREADS) as pool:
            for start in range(0, len(rows), AT_ONCE):
                chunk = rows[start : start + AT_ONCE]
                parts = [[folder / listing.paths[row] for row in chunk[offset::THREADS]] for offset in range(THREADS)]
                for offset, part in enumerate(pool.map(_digests, parts)):
                    for row, digest in zip(chunk[offset::THREADS], part, strict=True):
                        digests[row * DIGEST : (row + 1) * DIGEST] = digest
                report(total - len(rows) + start + len(chunk), total)
                if time.monotonic() - saved > SAVE_EVERY:
                    saved = time.monotonic()
                    _save(store, replace(settled, digests=bytes(digests)))
    finally:
        _save(store, replace(settled, digests=bytes(digests)))
    return replace(listing, digests=bytes(digests))


def _digests(paths: list[Path]) -> list[bytes]:
    return [_digest(path) for path in paths]


def _digest(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError:
        return UNKNOWN  # whoever decodes it says why


@contextmanager
def _alone(store: Path) -> Iterator[None]:
    """Wait for another process that hashes the same files."""
    lock = store.with_name(f".{store.name}.lock")
    with suppress(OSError):
        lock.parent.mkdir(parents=True, exist_ok=True)
        lock.touch()
    with locked(lock):
        yield


def _save(store: Path, listing: Listing) -> None:
    buffer = io.BytesIO()
    np.savez(
        buffer,
        classes=_packed(listing.classes),
        labels=listing.labels,
        paths=_packed(listing.paths),
        sizes=listing.sizes,
        times=listing.times,
        digests=listing.hashes,
        sources=_packed(listing.sources),
        source_times=np.array(list(listing.sources.values()), np.int64),
    )
    save_checked(store, buffer.getvalue(), MARK)


def _load(store: Path) -> Listing | None:
    """Return the stored list, or None where there is none or it is damaged: it is made again then."""
    if (data := load_checked(store, MARK)) is None:
        return None
    with np.load(io.BytesIO(data)) as arrays:
        return Listing(
            classes=tuple(_unpacked(arrays["classes"])),
            labels=arrays["labels"],
            paths=_unpacked(arrays["paths"]),
            sizes=arrays["sizes"],
            times=arrays["times"],
            digests=arrays["digests"].tobytes(),
            sources=dict(zip(_unpacked(arrays["sources"]), arrays["source_times"].tolist(), strict=True)),
        )


def save_checked(path: Path, data: bytes, mark: bytes = b"") -> None:
    """Write bytes behind a mark and their checksum, whole or not at all; where nothing can be written, do nothing."""
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with write_atomically(path) as temporary:
            temporary.write_bytes(mark + hashlib.sha256(data).digest() + data)


def load_checked(path: Path, mark: bytes = b"") -> bytes | None:
    """Return the bytes that `save_checked` wrote; None where there is no such file, or it is damaged."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    start = len(mark) + DIGEST
    return content[start:] if content[:start] == mark + hashlib.sha256(content[start:]).digest() else None


def _packed(names: Iterable[str]) -> Bytes:
    """Return names as bytes; a name of a file may hold any character but a zero."""
    return np.frombuffer(b"".join(os.fsencode(name) + b"\0" for name in names), np.uint8)


def _unpacked(data: Bytes) -> list[str]:
    return os.fsdecode(data.tobytes()).split("\0")[:-1]
