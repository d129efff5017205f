"""Download files and continue after an interruption; unpack archives completely or not at all."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import lzma
import shutil
import tarfile
import tempfile
import time
import urllib.request
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from urllib.error import HTTPError, URLError

from humanize import naturalsize

from benchmark.errors import BenchmarkError, one_line
from benchmark.vision.reading import make_room

ATTEMPTS = 5  # a download is given up after so many attempts in a row without a new byte
PAUSE = 2.0  # seconds between two attempts
TIMEOUT = 30.0  # seconds without an answer, after which an attempt has failed
BROKEN = (tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, lzma.LZMAError, EOFError)
BLOCK = 1 << 18  # bytes written at a time


class _Broken(Exception):
    """A transfer stopped early; another attempt may succeed."""


def download(url: str, folder: Path, md5: str, report: Callable[[int, int], None]) -> Path:
    """Download a file; continue where an earlier attempt stopped.

    Args:
        url: address of the file.
        folder: where the file is written. Its name is the last part of the URL, with ``.part`` until it is complete.
        md5: checksum, 32 hexadecimal digits; it is not checked again for a file that is complete already.
        report: called with the bytes done and the bytes in total.

    Returns:
        The path of the file.

    Raises:
        BenchmarkError: no connection, an error of the server, a wrong checksum, or no room on the disk.
    """
    make_room(folder, 0)
    target = folder / url.rpartition("/")[2]
    part = target.with_name(f"{target.name}.part")
    if target.exists():
        return target
    _transfer_all(url, part, report)
    with part.open("rb") as file:
        actual = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if actual != md5:
        part.unlink()
        raise BenchmarkError(
            f"{url}: the file's checksum is {actual}, not {md5}; the file was deleted. Run the command again; "
            "if that does not help, the file on the server has changed"
        )
    return part.replace(target)


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a ``.zip`` or a ``.tar.*`` file into a folder; its content appears there when all of it is unpacked.

    Raises:
        BenchmarkError: the file is no archive or would write outside the folder, and is deleted; or there is no room.
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
    except BROKEN as error:
        archive.unlink()  # the next command would find it and fail in the same way
        raise BenchmarkError(
            f"{archive}: cannot be unpacked ({one_line(error)[:200]}); the file was deleted"
        ) from error
    except OSError as error:
        raise BenchmarkError(f"{archive}: cannot be unpacked ({error})") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _transfer_all(url: str, part: Path, report: Callable[[int, int], None]) -> None:
    """Transfer until the file is complete; give up after `ATTEMPTS` attempts in a row without a new byte."""
    idle, reason = 0, ""
    while idle < ATTEMPTS:
        old_size = _size(part)
        try:
            return _transfer(url, part, report)
        except _Broken as error:
            reason = str(error)
        idle = 0 if _size(part) > old_size else idle + 1
        time.sleep(PAUSE)
    raise BenchmarkError(
        f"{url}: {reason}. {naturalsize(_size(part))} are in {part}; the same command continues from there. "
        "Without a connection, put the unpacked files there by hand"
    )


def _transfer(url: str, part: Path, report: Callable[[int, int], None]) -> None:
    """Append the missing bytes; start again from the first byte if the server cannot send a range."""
    start = _size(part)
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as reply:
            _append(reply, part, start if reply.status == http.client.PARTIAL_CONTENT else 0, report)
    except HTTPError as error:
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # no byte is missing; the checksum is compared next
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
        raise _Broken(f"the connection was closed after {naturalsize(_size(part))} of {naturalsize(total)}")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
