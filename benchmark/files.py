"""Reading and writing files below a root: a local folder, or an address of fsspec (``s3://bucket/runs``).

No other module imports fsspec.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import uuid
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from benchmark.errors import BenchmarkError
from benchmark.locks import machine

CONNECTIONS = 32  # files of a bucket that are read at the same time
ABSENT = (FileNotFoundError, NotADirectoryError)


def file_name(text: str) -> str:
    """Return a text with every character that is unusual in a file name replaced by ``_``."""
    return re.sub(r"[^\w.+-]+", "_", text)


def path_fault(name: object) -> str:
    """Return why a name cannot be a part of a path, "" where it can; files of one name lie in one folder."""
    if not isinstance(name, str) or not name:
        return f"{name!r} is no name"
    if re.search(r"[/\\\x00-\x1f\x7f-\x9f]", name) or name.startswith((".", "~")) or len(name.encode()) > 150:
        rules = "no '/', no '\\', no control character, no '.' or '~' at the beginning, at most 150 bytes"
        return f"{name!r} cannot be a part of a path: {rules}"
    return ""


def tagged(name: str) -> str:
    """Return a name for what this process writes, ``NAME.MACHINE@PID@RANDOM``: others see whether it still runs."""
    return f"{name}.{machine()}@{os.getpid()}@{uuid.uuid4().hex[:8]}"


@contextmanager
def write_atomically(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """Yield a temporary path in the same folder; rename it to ``path`` when the block ends without an error.

    A reader sees the old file or the whole new one. Several processes may write one file: each has its own temporary
    path, ``.NAME.MACHINE@PID@RANDOM.part``, and the last rename wins. After an error the temporary file is removed and
    ``path`` is unchanged. With ``durable``, the file survives a loss of power as well.
    """
    temporary = path.with_name(f".{tagged(path.name)}.part")
    try:
        yield temporary
        if durable:
            sync(temporary)
        temporary.replace(path)
        if durable:
            sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Wait until a file, or the list of names in a folder, is on the disk; nothing happens where folders cannot."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EBADF, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def checksum(path: Path) -> str:
    """Return the SHA-256 of a local file, 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def parse_object(data: bytes | None) -> dict[str, Any] | None:
    """Return the JSON object in a file's bytes, or None where there is no file or it is damaged."""
    with suppress(ValueError, RecursionError):
        value = json.loads(data or b"")
        return value if isinstance(value, dict) else None
    return None


class Folder:
    """Reads and writes files by their names relative to a root.

    Attributes:
        root: the root as the user typed it.
        path: the root as its file system names it; absolute for a local folder.
        is_local: whether the root lies on this machine's disk.
    """

    def __init__(self, root: str) -> None:
        """Open a root; no folder is created before the first file is written.

        Raises:
            BenchmarkError: the root is empty, or fsspec does not know this kind of address or lacks the package for it.
        """
        if not str(root).strip() or "\0" in str(root):
            raise BenchmarkError(f"{root!r} names no folder")
        self.root = str(root).rstrip("/") or "/"
        try:
            self._system, path = fsspec.core.url_to_fs(self.root)
        except (ValueError, ImportError) as error:
            raise BenchmarkError(f"{root}: cannot be opened ({error})") from error
        self.path = path.rstrip("/")
        self.is_local = isinstance(self._system, LocalFileSystem)

    def address(self, name: str) -> str:
        """Return a file's path or address as the user would type it."""
        return f"{self.root}/{name}"

    # Reading

    def read(self, names: Iterable[str]) -> dict[str, bytes]:
        """Return the contents of those files that exist, in the order of the names.

        Raises:
            BenchmarkError: a file exists but cannot be read.
        """
        unique = list(dict.fromkeys(names))
        if self.is_local:  # a disk gains nothing from many connections
            contents = [self.read_file(name) for name in unique]
        else:
            with ThreadPoolExecutor(CONNECTIONS) as pool:
                contents = list(pool.map(self.read_file, unique))
        return {name: data for name, data in zip(unique, contents, strict=True) if data is not None}

    def read_file(self, name: str) -> bytes | None:
        """Return the content of a file, or None where it does not exist.

        Raises:
            BenchmarkError: the file exists but cannot be read.
        """
        with self._explained("read", name):
            try:
                if self.is_local:
                    return b"" if (path := Path(self._full(name))).is_fifo() else path.read_bytes()  # a pipe waits
                return bytes(self._system.cat_file(self._full(name)))
            except ABSENT:
                return None

    def local_path(self, name: str) -> Path | None:
        """Return the path of a file on this machine's disk; None for a file of a bucket or one that does not exist."""
        path = Path(self._full(name))
        return path if self.is_local and path.is_file() else None

    def size(self, name: str) -> int | None:
        """Return the number of bytes of a file, or None where it does not exist."""
        return (self.facts(name) or (None, ""))[0]

    def facts(self, name: str) -> tuple[int, str] | None:
        """Return the size in bytes and the tag of a file, or None where it does not exist.

        The tag of a bucket's object changes when another content is written; elsewhere it is "".

        Raises:
            BenchmarkError: the file system does not answer.
        """
        with self._explained("read", name):
            try:
                facts = self._system.info(self._full(name), refresh=True)
            except ABSENT:
                return None
        return int(facts["size"] or 0), str(facts.get("ETag") or facts.get("etag") or "").strip('"')

    def checksum(self, name: str) -> str | None:
        """Return the SHA-256 of a file, or None where it does not exist.

        Raises:
            BenchmarkError: the file exists but cannot be read.
        """
        with self._explained("read", name):
            try:
                with self._system.open(self._full(name), "rb") as file:
                    return hashlib.file_digest(file, "sha256").hexdigest()
            except ABSENT:
                return None

    def files(self, name: str) -> list[str]:
        """Return the names of the files directly below a folder, sorted; [] where the folder does not exist."""
        return self._children(name, "file")

    def folders(self, name: str) -> list[str]:
        """Return the names of the folders directly below a folder, sorted; [] where the folder does not exist."""
        return self._children(name, "directory")

    # Writing

    def write(self, name: str, data: bytes) -> str:
        """Write a whole file, replacing an older one, and return its address; after an error the older one stays.

        Raises:
            BenchmarkError: the disk is full, or writing is not permitted.
        """
        path = self._full(name)
        with self._explained("written", name):
            self._system.makedirs(path.rpartition("/")[0], exist_ok=True)
            if self.is_local:
                with write_atomically(Path(path)) as temporary:
                    temporary.write_bytes(data)
            else:  # a bucket shows an object only when its upload is complete
                self._system.pipe_file(path, data)
        return self.address(name)

    def upload(self, path: Path, name: str) -> None:
        """Copy a local file to a name below the root.

        Raises:
            BenchmarkError: the copy cannot be written.
        """
        with self._explained("written", name):
            self._system.put_file(str(path), self._full(name))

    def download(self, name: str, path: Path) -> None:
        """Copy a file to a local path; nothing happens where the file does not exist.

        Raises:
            BenchmarkError: the file cannot be read, or the copy cannot be written.
        """
        with self._explained("copied", name):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                with write_atomically(path) as temporary:
                    self._system.get_file(self._full(name), str(temporary))
            except ABSENT:
                return

    def remove(self, name: str) -> None:
        """Remove a file; nothing happens where it does not exist.

        Raises:
            BenchmarkError: removing is not permitted.
        """
        with self._explained("removed", name):
            try:
                self._system.rm_file(self._full(name))
            except FileNotFoundError:
                return

    def remove_folder(self, name: str) -> None:
        """Remove a folder and everything in it; nothing happens where it does not exist.

        Raises:
            BenchmarkError: removing is not permitted.
        """
        with self._explained("removed", name):
            path = self._full(name)
            if self.is_local and self._system.exists(path):
                self._system.rm(path, recursive=True)
            elif not self.is_local:  # rm of a bucket takes a name for a pattern: "run[1]" would remove "run1"
                for file in self._system.find(path):
                    self._system.rm_file(file)
                with suppress(OSError, NotImplementedError):  # most buckets have no folders
                    self._system.rmdir(path)

    # Helpers

    def _full(self, name: str) -> str:
        """Return a file's path as the file system names it.

        Raises:
            BenchmarkError: the name leads out of the root.
        """
        if name.startswith("/") or "\0" in name or ".." in re.split(r"[/\\]", name):
            raise BenchmarkError(f"{self.root}: {name!r} leads out of this folder")
        return f"{self.path}/{name}" if name else self.path or "/"

    def _children(self, name: str, kind: str) -> list[str]:
        with self._explained("read", name):
            try:
                entries = self._system.ls(self._full(name), detail=True, refresh=True)
            except FileNotFoundError:
                return []
        return sorted(Path(entry["name"]).name for entry in entries if entry["type"] == kind)

    @contextmanager
    def _explained(self, done: str, name: str) -> Iterator[None]:
        """Turn an error of the file system into "FILE: cannot be DONE (REASON)"; buckets have errors of their own."""
        try:
            yield
        except BenchmarkError:
            raise
        except Exception as error:
            if self.is_local and not isinstance(error, OSError):
                raise
            reason = getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
            raise BenchmarkError(f"{self.address(name)}: cannot be {done} ({reason})") from error
