"""Files below a root that may be a local folder or an address that fsspec understands (``s3://bucket/runs``)."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec
from fsspec.implementations.local import LocalFileSystem

from benchmark.errors import BenchmarkError

CONNECTIONS = 32  # files of a bucket read at once


def file_name(text: str) -> str:
    """Return a text as part of a file's name."""
    return re.sub(r"[^\w.+-]+", "_", text)


class Folder:
    """Reads and writes files by their names relative to a root."""

    def __init__(self, root: str) -> None:
        """Open a root; nothing is created before something is written.

        Raises:
            BenchmarkError: an address that fsspec cannot open here.
        """
        self.root = str(root).rstrip("/") or "/"
        try:
            self._fs, self._base = fsspec.core.url_to_fs(self.root)
        except (ValueError, ImportError) as error:
            raise BenchmarkError(f"cannot open the store {root}: {error}") from error
        self._local = isinstance(self._fs, LocalFileSystem)

    def shown(self, name: str) -> str:
        """Return a file's path or address as a user would type it."""
        return f"{self.root}/{name}"

    def read(self, names: Iterable[str]) -> dict[str, bytes]:
        """Return the contents of those files that exist, in the order of the names.

        Raises:
            BenchmarkError: a file that is there but cannot be read.
        """
        wanted = list(dict.fromkeys(names))
        if self._local:  # a disk gains nothing from many connections
            contents = [self._read(name) for name in wanted]
        else:
            with ThreadPoolExecutor(CONNECTIONS) as pool:
                contents = list(pool.map(self._read, wanted))
        return {name: data for name, data in zip(wanted, contents, strict=True) if data is not None}

    def local(self, name: str) -> Path | None:
        """Return the path of a file that lies on this machine's disk, or None."""
        path = Path(self._path(name))
        return path if self._local and path.is_file() else None

    def size(self, name: str) -> int:
        """Return how many bytes a file has, 0 where it does not exist."""
        try:
            return int(self._fs.size(self._path(name)) or 0)
        except FileNotFoundError:
            return 0

    def files(self, name: str) -> list[str]:
        """Return the names of the files directly below a folder, sorted; [] where it does not exist."""
        return self._listed(name, "file")

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        try:
            self._fs.rm_file(self._path(name))
        except FileNotFoundError:
            pass
        except OSError as error:
            raise BenchmarkError(f"cannot remove {self.shown(name)}: {error.strerror or error}") from error

    def folders(self, name: str) -> list[str]:
        """Return the names of the folders directly below a folder, sorted; [] where it does not exist."""
        return self._listed(name, "directory")

    def _listed(self, name: str, kind: str) -> list[str]:
        try:
            found = self._fs.ls(self._path(name), detail=True, refresh=True)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise BenchmarkError(f"cannot read {self.shown(name)}: {error.strerror or error}") from error
        return sorted(Path(entry["name"]).name for entry in found if entry["type"] == kind)

    def write(self, name: str, data: bytes) -> str:
        """Write a file whole or not at all, and return its path as shown.

        Raises:
            BenchmarkError: no room, or no permission.
        """
        path = self._path(name)
        try:
            self._fs.makedirs(path.rpartition("/")[0], exist_ok=True)
            if self._local:
                part = Path(f"{path}.{os.getpid()}.part")
                part.write_bytes(data)
                part.replace(path)
            else:  # an object appears when its upload is complete
                self._fs.pipe_file(path, data)
        except OSError as error:
            raise BenchmarkError(f"cannot write {self.shown(name)}: {error.strerror or error}") from error
        return self.shown(name)

    def _path(self, name: str) -> str:
        return f"{self._base.rstrip('/')}/{name}"

    def _read(self, name: str) -> bytes | None:
        try:
            if self._local:
                return Path(self._path(name)).read_bytes()
            return bytes(self._fs.cat_file(self._path(name)))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise BenchmarkError(f"cannot read {self.shown(name)}: {error.strerror or error}") from error
