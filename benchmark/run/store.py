"""The store of results: one folder per key, complete or absent.

A node's files are written into another folder, which is then renamed. ``record.json`` in it has a checksum of every
file and of itself. A bucket cannot rename, so there ``record.json`` is uploaded last. A key with a record is therefore
complete. A failed node leaves ``error.json``, which does not count as a result. Several drivers may use one store at
the same time: equal keys have equal content, and the first writer wins.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from benchmark.errors import BenchmarkError
from benchmark.files import Folder, checksum, parse_object, sync, tagged
from benchmark.locks import locked
from benchmark.record import RECORD, fault, is_number, parse_record, sealed
from benchmark.run import copies

ERROR = "error.json"
TRACEBACK = "traceback.txt"  # the file of a failed node
TIMEOUT = 60.0  # seconds without a new heartbeat after which a node counts as ended
State = Literal["absent", "done", "corrupt"]
SCAN_LIMIT = 32 * 2**20  # bytes; a scan compares the checksums of files up to this size, and the sizes of larger ones


class Store:
    """Results by key, below a local folder or an address that fsspec understands.

    Attributes:
        files: the files below the root.
        disk: the local folder of files that are written or copied: the root, or a temporary folder for a bucket.
    """

    def __init__(self, root: str) -> None:
        """Open the store; no folder is created before the first file is written.

        Raises:
            BenchmarkError: fsspec cannot open this address here, or it is a file.
        """
        try:
            self.files = Folder(root)
            if self.files.is_local and Path(self.files.path).is_file():
                raise BenchmarkError(f"{root}: is a file, not a folder; choose another place with --runs DIR")
        except BenchmarkError as error:
            raise BenchmarkError(f"--runs {error}") from error
        # Copies of a bucket's files: a folder for each bucket and user, since equal keys may differ in their bytes.
        owner = hashlib.sha256(f"{os.getuid()} {root}".encode()).hexdigest()[:12]
        copied = Path(tempfile.gettempdir()) / f"{copies.PREFIX}{owner}"
        self.disk = Path(self.files.path) if self.files.is_local else copied

    # Reading

    def record(self, key: str) -> dict[str, Any] | None:
        """Return the record of a finished node; None where there is none, or one that was changed or is damaged."""
        return parse_record(self.files.read_file(f"{key}/{RECORD}"), key)

    def state(self, key: str) -> State:
        """Return whether a node is done: its record and small files have their checksums, large files their sizes."""
        data = self.files.read_file(f"{key}/{RECORD}")
        if data is None:
            return "absent"
        record = parse_record(data, key)
        if record is None or "files" not in record:
            return "corrupt"
        sound = all(self._is_sound(key, name, facts) for name, facts in record["files"].items())
        return "done" if sound else "corrupt"

    def states(self, keys: Iterable[str]) -> dict[str, State]:
        """Return the state of every node; one listing of the store tells which nodes are absent."""
        folders = set(self.files.folders(""))
        return {key: self.state(key) if key in folders else "absent" for key in keys}

    def folder(self, key: str) -> Path:
        """Return a local folder with the files of a finished node, every checksum verified.

        Raises:
            BenchmarkError: the node has no sound record, or a file is missing or differs from its record.
        """
        data = self.files.read_file(f"{key}/{RECORD}")
        if data is None:
            raise BenchmarkError(f"{self.files.address(key)}: is missing; run the command again to compute it")
        record, folder = parse_object(data) or {}, self.disk / key
        if reason := fault(record, key):
            raise BenchmarkError(f"{self.files.address(f'{key}/{RECORD}')}: {reason}")
        for name, facts in record.get("files", {}).items():
            path = folder / name
            for _ in range(0 if self.files.is_local else 2):  # a copy that is damaged on its way is fetched once more
                if not copies.matches(path, facts):
                    self.files.download(f"{key}/{name}", path)
            if not copies.matches(path, facts):
                self.discard(key)  # a scan does not see the damage of a large file; now the next scan sees no node
                raise BenchmarkError(f"{path}: not what was recorded; run the command again to compute it anew")
        if not self.files.is_local:
            copies.used(self.disk, key)
        return folder

    def records(self) -> Iterator[dict[str, Any]]:
        """Yield every record of the store, in the order of their keys."""
        yield from filter(None, map(self.record, self.files.folders("")))

    def heartbeats(self) -> dict[str, dict[str, Any]]:
        """Return the latest heartbeat of every node by key; nodes that were killed may still have one.

        A heartbeat has ``step`` and ``total``, ``when`` by the clock of its machine, ``host`` and ``pid`` of its
        process, and the numbers that the node reports. Values of another form are left out.
        """
        files = self.heartbeat_files().items()
        return {Path(name).stem: beat for name, data in files if (beat := parse_heartbeat(data))}

    def heartbeat_files(self) -> dict[str, bytes]:
        """Return the contents of the files of heartbeats by name, malformed ones included."""
        names = [name for name in self.files.files(".progress") if name.endswith(".json")]
        contents = self.files.read(f".progress/{name}" for name in names)
        return {Path(name).name: data for name, data in contents.items()}

    # Writing

    @contextlib.contextmanager
    def writing(self, key: str) -> Iterator[Path]:
        """Yield an empty local folder for a node's files; `commit` moves it to its key."""
        folder = self.disk / ".staging" / tagged(key)
        with self._writes():
            folder.mkdir(parents=True)
        try:
            with locked(folder):  # as long as this process lives, no sweep removes it
                yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def commit(self, key: str, folder: Path, record: Mapping[str, Any]) -> None:
        """Move a written folder to its key; its record gets the checksums of the files."""
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        files = {str(p.relative_to(folder)): {"bytes": p.stat().st_size, "sha256": checksum(p)} for p in paths}
        with self._writes():
            if not self.files.is_local:
                self._upload(folder, key, {**record, "files": files})
                return
            complete = sealed({"key": key, **record, "files": files})
            (folder / RECORD).write_text(_text(complete))
            for path in (*paths, folder / RECORD, *folder.rglob("*/"), folder):
                sync(path)
            self._rename(folder, self.disk / key)
            sync(self.disk)

    def fail(self, key: str, error: Mapping[str, Any]) -> None:
        """Record a node's failure, unless the node is done; a failure never counts as a result."""
        if self.record(key) is None:
            self.write_text(f"{key}/{ERROR}", json.dumps({"key": key, **error}, indent=1) + "\n")

    def mend(self, key: str) -> bool:
        """Replace the damaged objects of a node by this machine's copies; return whether the node is sound then."""
        record = self.record(key)
        if self.files.is_local or record is None:
            return False
        for name, facts in record["files"].items():
            if copies.matches(self.disk / key / name, facts) and not self._is_sound(key, name, facts):
                self.files.upload(self.disk / key / name, f"{key}/{name}")
        return self.state(key) == "done"

    def discard(self, key: str) -> None:
        """Remove a node's folder: a corrupt one, before the node is computed again."""
        self.files.remove_folder(key)

    def write_text(self, name: str, text: str) -> None:
        """Write a small file below the root, whole or not at all."""
        with self._writes():
            self.files.write(name, text.encode())

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes out of their `locked` blocks; for short ones. A disk without locks keeps nobody out."""
        with contextlib.suppress(OSError):
            self.disk.mkdir(parents=True, exist_ok=True)
            (self.disk / ".lock").touch()
        with locked(self.disk / ".lock"):
            yield

    def update_json(self, name: str, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        """Change a JSON object below the root; no update of another driver is lost.

        Args:
            name: of the file.
            change: returns the new object for the present one, {} where there is none; applied to its own result it
                changes nothing. It is called again where another driver has written in between.
        """
        for _ in range(5):
            with self.locked():
                text = json.dumps(change(self.read_json(name) or {}), indent=1) + "\n"
                if self.files.read_file(name) == text.encode():
                    return
                self.write_text(name, text)
            time.sleep(0 if self.files.is_local else random.uniform(0.1, 0.5))  # a bucket has no locks: look again

    def read_json(self, name: str) -> dict[str, Any] | None:
        """Return a JSON object from a file below the root, or None where the file is absent or damaged."""
        return parse_object(self.files.read_file(name))

    def scratch(self, key: str, code: str) -> Path:
        """Return a node's private folder, which is kept after an interruption; `clear_scratch` removes it.

        Each `code` has a folder of its own, so that corrected code does not go on from what wrong code saved.
        """
        folder = self.disk / ".scratch" / key / code
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def clear_scratch(self, key: str) -> None:
        """Remove a node's private folders and its heartbeat."""
        shutil.rmtree(self.disk / ".scratch" / key, ignore_errors=True)
        self.files.remove(f".progress/{key}.json")

    def open(self) -> None:
        """Check that the store can be written.

        Raises:
            BenchmarkError: the root is not a folder, is not writable, or its disk is full.
        """
        self.write_text(".writable", "this store can be written\n")

    # Helpers

    @contextlib.contextmanager
    def _writes(self) -> Iterator[None]:
        """Turn an error of the file system into one that names ``--runs`` and the remedy."""
        try:
            yield
        except (OSError, BenchmarkError) as error:
            cause = error if isinstance(error, OSError) else error.__cause__
            if not isinstance(cause, OSError):
                raise
            reason = f"cannot be written ({cause.strerror or cause})"
            remedy = "free some space" if cause.errno == errno.ENOSPC else "choose another place with --runs DIR"
            raise BenchmarkError(f"--runs {self.files.root}: {reason}; {remedy}") from cause

    def _upload(self, folder: Path, key: str, record: Mapping[str, Any]) -> None:
        """Upload the files, and then their record, which also holds the tags that the bucket gave them."""
        if self.record(key):
            return  # another driver was first; its files must stay those of its record
        files = {}
        for name, facts in record["files"].items():
            self.files.upload(folder / name, f"{key}/{name}")
            size, tag = self.files.facts(f"{key}/{name}") or (None, "")
            if size != facts["bytes"]:
                raise BenchmarkError(
                    f"--runs {self.files.root}: {key}/{name} did not arrive whole; run the command again"
                )
            files[name] = facts | ({"tag": tag} if tag else {})
        complete = sealed({"key": key, **record, "files": files})
        self.files.write(f"{key}/{RECORD}", _text(complete).encode())
        for name in (ERROR, TRACEBACK):
            self.files.remove(f"{key}/{name}")

    def _is_sound(self, key: str, name: str, facts: Mapping[str, Any]) -> bool:
        """Return whether a file has its recorded size and, as far as a scan can tell, its recorded content.

        A local file is hashed where it is small. An object is hashed where its tag is not the recorded one: it was
        written anew, perhaps with the same content.
        """
        size, tag = self.files.facts(f"{key}/{name}") or (None, "")
        if size != facts["bytes"]:
            return False
        hashed = facts["bytes"] <= SCAN_LIMIT if self.files.is_local else tag != facts.get("tag", tag)
        return not hashed or self.files.checksum(f"{key}/{name}") == facts["sha256"]

    def _rename(self, folder: Path, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        for _ in range(3):
            try:
                folder.rename(target)
                return
            except OSError as error:
                if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                    raise
            if self.state(target.name) == "done":
                return  # another driver was first; equal keys have equal content
            shutil.rmtree(target, ignore_errors=True)  # holds an error, or a damaged result
        raise BenchmarkError(f"{target}: cannot be replaced")


def parse_heartbeat(data: bytes | None) -> dict[str, Any] | None:
    """Return the heartbeat in the bytes of a file, or None where it is malformed."""
    beat = parse_object(data) or {}
    numbers = all(is_number(beat.get(name)) for name in ("step", "total", "when"))
    sound = numbers and isinstance(beat.get("host", ""), str) and isinstance(beat.get("pid", 0), int)
    return beat if sound else None


def _text(record: Mapping[str, Any]) -> str:
    return json.dumps(record, indent=1, sort_keys=True) + "\n"
