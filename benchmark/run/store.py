"""Where results lie: one folder per key, whole or absent.

A folder is written elsewhere, renamed into place, and holds ``record.json`` with a checksum of every file; on a bucket,
which cannot rename, ``record.json`` is uploaded last. So what is present is complete. A failure leaves ``error.json``,
which satisfies nobody. Several drivers may share one store: equal keys have equal content, and the first one wins.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import socket
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import fsspec
from fsspec.implementations.local import LocalFileSystem

from benchmark.errors import BenchmarkError

RECORD, ERROR = "record.json", "error.json"
State = Literal["absent", "done", "corrupt"]
HASHED_AT_SCAN = 32 * 2**20  # bytes; larger files are checked by size at a scan and by checksum when they are used


class Store:
    """Results by key, below a folder or a URL that fsspec understands."""

    def __init__(self, root: str) -> None:
        """Open the store; nothing is created before something is written.

        Raises:
            BenchmarkError: an address that fsspec cannot open here.
        """
        try:
            self.fs, path = fsspec.core.url_to_fs(root)
        except (ValueError, ImportError) as error:
            raise BenchmarkError(f"--runs {root}: cannot be opened ({error})") from error
        self.local = isinstance(self.fs, LocalFileSystem)
        self.root = path.rstrip("/")
        # Copies of a bucket's files: apart for every bucket and user, since equal keys may differ in their bytes.
        mine = hashlib.sha256(f"{os.getuid()} {root}".encode()).hexdigest()[:12]
        self._place = Path(self.root) if self.local else Path(tempfile.gettempdir()) / f"benchmark-store-{mine}"

    # Reading

    def record(self, key: str) -> dict[str, Any] | None:
        """Return what is recorded of a finished node, or None."""
        return self._json(f"{key}/{RECORD}")

    def state(self, key: str) -> State:
        """Say whether a node is done; files are compared with their recorded sizes, small ones with their checksums."""
        record = self._json(f"{key}/{RECORD}", broken={})
        if record is None:
            return "absent"
        files = record.get("files")
        if record.get("key") != key or not isinstance(files, dict):
            return "corrupt"
        return "done" if all(self._sound(key, name, facts) for name, facts in files.items()) else "corrupt"

    def folder(self, key: str) -> Path:
        """Return a local folder with the files of a finished node, every checksum verified.

        Raises:
            BenchmarkError: the node is not there, or a file is not what was recorded.
        """
        record = self.record(key)
        if record is None:
            raise BenchmarkError(f"{self.root}/{key}: is missing; run the command again to compute it")
        folder = self._place / key
        for name, facts in record["files"].items():
            path = folder / name
            if not self.local and not _is(path, facts):
                self._download(f"{key}/{name}", path)
            if not _is(path, facts):
                self.discard(key)  # a large file's damage shows only here, and the next scan must find the node absent
                raise BenchmarkError(f"{path}: not what was recorded; run the command again to compute it anew")
        return folder

    def records(self) -> Iterator[dict[str, Any]]:
        """Yield every record of the store, in the order of their keys."""
        for path in sorted(self.fs.glob(f"{self.root}/*/{RECORD}")):
            key = Path(path).parent.name
            record = self.record(key)
            if record and record.get("key") == key:
                yield record

    def heartbeats(self) -> dict[str, dict[str, Any]]:
        """Return the last word of every node that has spoken, by key; a dead one may still be among them."""
        paths = self.fs.glob(f"{self.root}/.progress/*.json")
        words = {Path(path).stem: self._json(f".progress/{Path(path).name}") for path in paths}
        return {key: word for key, word in words.items() if word}

    # Writing

    @contextlib.contextmanager
    def writing(self, key: str) -> Iterator[Path]:
        """Yield an empty local folder to write a node's files into; `commit` puts it in place."""
        folder = self._place / ".staging" / f"{key}.{socket.gethostname()}.{os.getpid()}.{uuid.uuid4().hex[:8]}"
        with self._writes():
            folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def commit(self, key: str, folder: Path, record: Mapping[str, Any]) -> dict[str, Any]:
        """Put a written folder in place under its key and return the record with the checksums of its files."""
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        files = {str(p.relative_to(folder)): {"bytes": p.stat().st_size, "sha256": _checksum(p)} for p in paths}
        whole = {"key": key, **record, "files": files}
        with self._writes():
            (folder / RECORD).write_text(json.dumps(whole, indent=1, sort_keys=True) + "\n")
            if self.local:
                self._rename(folder, Path(self.root) / key)
            else:
                self._upload(folder, key, [*files, RECORD])
        return whole

    def fail(self, key: str, error: Mapping[str, Any]) -> None:
        """Leave word of a failure; it never satisfies the key."""
        if self.record(key) is None:
            self.write_text(f"{key}/{ERROR}", json.dumps({"key": key, **error}, indent=1) + "\n")

    def discard(self, key: str) -> None:
        """Remove a node's folder (a corrupted one, before it is computed anew)."""
        if self.fs.exists(f"{self.root}/{key}"):
            self.fs.rm(f"{self.root}/{key}", recursive=True)

    def write_text(self, name: str, text: str) -> None:
        """Write a small file below the root, atomically where the file system can rename."""
        with self._writes():
            if not self.local:
                self.fs.pipe_file(f"{self.root}/{name}", text.encode())
                return
            path = Path(self.root) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
            temporary.write_text(text)
            temporary.replace(path)

    def read_json(self, name: str) -> dict[str, Any] | None:
        """Return a JSON file below the root, or None where there is none or it is broken."""
        return self._json(name)

    def scratch(self, key: str) -> Path:
        """Return a node's private folder that outlives an interrupted attempt; `clear_scratch` removes it."""
        folder = self._place / ".scratch" / key
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def clear_scratch(self, key: str) -> None:
        """Remove what `scratch` holds, and the node's heartbeat."""
        shutil.rmtree(self._place / ".scratch" / key, ignore_errors=True)
        with contextlib.suppress(FileNotFoundError):
            self.fs.rm_file(f"{self.root}/.progress/{key}.json")

    def open(self) -> None:
        """Make sure that the store can be written, and sweep out what interrupted runs left more than a day ago.

        Raises:
            BenchmarkError: the place is not a folder, not writable, or full.
        """
        self.write_text(".writable", "this store can be written\n")
        for left in (self._place / ".staging").glob("*"):
            if time.time() - left.stat().st_mtime > 86_400:
                shutil.rmtree(left, ignore_errors=True)

    # Inside

    @contextlib.contextmanager
    def _writes(self) -> Iterator[None]:
        """Put into words what the file system refuses."""
        try:
            yield
        except OSError as error:
            why = f"cannot be written ({error.strerror or error})"
            remedy = "free some space" if error.errno == errno.ENOSPC else "choose another place with --runs DIR"
            raise BenchmarkError(f"--runs {self.root}: {why}; {remedy}") from error

    def _json(self, name: str, broken: dict[str, Any] | None = None) -> dict[str, Any] | None:
        try:
            value = json.loads(self.fs.cat_file(f"{self.root}/{name}"))
            return value if isinstance(value, dict) else broken
        except (FileNotFoundError, NotADirectoryError):
            return None
        except ValueError:
            return broken
        except OSError as error:
            raise BenchmarkError(f"{self.root}/{name}: cannot be read ({error.strerror or error})") from error

    def _upload(self, folder: Path, key: str, names: Sequence[str]) -> None:
        if self.record(key) is not None:
            return  # another driver was first; its files must stay those of its record
        for name in names:
            self.fs.put_file(str(folder / name), f"{self.root}/{key}/{name}")
        with contextlib.suppress(FileNotFoundError):
            self.fs.rm_file(f"{self.root}/{key}/{ERROR}")

    def _download(self, name: str, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
        with contextlib.suppress(FileNotFoundError):
            self.fs.get_file(f"{self.root}/{name}", str(temporary))
            temporary.replace(path)

    def _sound(self, key: str, name: str, facts: Mapping[str, Any]) -> bool:
        path = f"{self.root}/{key}/{name}"
        try:
            if self.fs.size(path) != facts["bytes"]:
                return False
        except (FileNotFoundError, NotADirectoryError):
            return False
        small = self.local and facts["bytes"] <= HASHED_AT_SCAN
        return not small or _checksum(Path(path)) == facts["sha256"]

    def _rename(self, folder: Path, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        for _ in range(3):
            try:
                folder.rename(target)
                return
            except OSError as error:
                if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                    raise
            if (target / RECORD).exists():
                return  # another driver was first; equal keys have equal content
            shutil.rmtree(target, ignore_errors=True)  # an error, or a folder without a record
        raise BenchmarkError(f"{target}: cannot be replaced")


def _is(path: Path, facts: Mapping[str, Any]) -> bool:
    return path.exists() and path.stat().st_size == facts["bytes"] and _checksum(path) == facts["sha256"]


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
