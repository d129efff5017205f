"""Downloads that survive an interruption, and archives unpacked whole or not at all."""

from __future__ import annotations

import hashlib
import http.client
import shutil
import tarfile
import tempfile
import time
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path
from urllib.error import HTTPError, URLError

from benchmark.errors import BenchmarkError
from benchmark.vision.reading import make_room

ATTEMPTS = 5  # in a row that bring no new byte, before a download is given up
PAUSE = 2.0  # seconds between two attempts
TIMEOUT = 30.0  # seconds without an answer
BLOCK = 1 << 18  # bytes written at a time


class _Broken(Exception):
    """A transfer that stopped early; it may be tried again."""


def download(url: str, folder: Path, md5: str, report: Callable[[int, int], None]) -> Path:
    """Download a file, going on where an earlier attempt stopped.

    Args:
        url: of the file.
        folder: where it is put, under the last part of the URL; unfinished, it ends in ``.part``.
        md5: checksum, 32 hexadecimal digits; a file in place has passed it.
        report: called with bytes done and bytes in all.

    Returns:
        The path of the file.

    Raises:
        BenchmarkError: no connection, an answer that is not the file, a wrong checksum, or no room.
    """
    make_room(folder, 0)
    target = folder / url.rpartition("/")[2]
    part = target.with_name(f"{target.name}.part")
    if target.exists():
        return target
    _insist(url, part, report)
    with part.open("rb") as file:
        found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if found != md5:
        part.unlink()
        raise BenchmarkError(
            f"{url}: the file's checksum is {found}, not {md5}; it was deleted. Run the command again; "
            "if that does not help, the server holds another file than it did"
        )
    return part.replace(target)


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a ``.zip`` or a ``.tar.*`` file into a folder, where its content appears only when all is unpacked.

    Raises:
        BenchmarkError: not an archive, a member that would land outside, or no room.
    """
    make_room(folder, 2 * archive.stat().st_size)
    temporary = Path(tempfile.mkdtemp(prefix=".unpacking-", dir=folder))
    try:
        if archive.suffix == ".zip":
            with zipfile.ZipFile(archive) as file:
                file.extractall(temporary)
        else:
            with tarfile.open(archive) as file:
                file.extractall(temporary, filter="data")
        for entry in temporary.iterdir():
            entry.rename(folder / entry.name)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError) as error:
        raise BenchmarkError(f"{archive}: cannot be unpacked ({error})") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _insist(url: str, part: Path, report: Callable[[int, int], None]) -> None:
    """Transfer until the file is whole; give up when several attempts in a row bring nothing."""
    idle, reason = 0, ""
    while idle < ATTEMPTS:
        before = _size(part)
        try:
            return _transfer(url, part, report)
        except _Broken as error:
            reason = str(error)
        idle = 0 if _size(part) > before else idle + 1
        time.sleep(PAUSE)
    raise BenchmarkError(
        f"{url}: {reason}. {_size(part) / 1e6:,.0f} MB are in {part}; the same command goes on from there. "
        "Without a connection, put the unpacked files there by hand"
    )


def _transfer(url: str, part: Path, report: Callable[[int, int], None]) -> None:
    """Append what is missing; start anew where the server cannot send a part."""
    have = _size(part)
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as reply:
            _append(reply, part, have if reply.status == http.client.PARTIAL_CONTENT else 0, report)
    except HTTPError as error:
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # nothing is missing; the checksum has the last word
        if error.code >= 500:
            raise _Broken(f"the server answered {error.code} {error.reason}") from error
        raise BenchmarkError(f"{url}: the server answered {error.code} {error.reason}") from error
    except (URLError, ConnectionError, TimeoutError, http.client.HTTPException) as error:
        raise _Broken(f"the connection failed ({getattr(error, 'reason', None) or error})") from error
    except OSError as error:
        raise BenchmarkError(f"{part}: cannot be written ({error.strerror or error})") from error


def _append(reply: http.client.HTTPResponse, part: Path, start: int, report: Callable[[int, int], None]) -> None:
    total = start + int(reply.headers.get("Content-Length", 0))
    make_room(part.parent, total - start)
    with part.open("ab" if start else "wb") as file:
        while block := reply.read(BLOCK):
            file.write(block)
            report(file.tell(), total)
    if _size(part) < total:
        raise _Broken(f"the connection was closed after {_size(part) / 1e6:,.0f} of {total / 1e6:,.0f} MB")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
