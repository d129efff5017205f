"""The pixels of a split in a memory-mapped file: written once, resumed after an interruption, checked at every read.

The file is a NumPy array (``.npy``) with the CRC-32 of every image behind it. An image whose sum is wrong is decoded
again. Several processes may write one file: one of them does, and where the file system has no locks, all of them write
the same bytes.
"""

from __future__ import annotations

import errno
import io
import logging
import math
import os
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
import torch
from torch import Tensor

from benchmark.errors import BenchmarkError
from benchmark.files import sync
from benchmark.locks import locked
from benchmark.vision import reading
from benchmark.vision.layouts import Pixels, Split
from benchmark.vision.listing import Report

Sums: TypeAlias = np.ndarray[Any, np.dtype[np.uint32]]


class Mapped:
    """Pixels in a memory-mapped file."""

    def __init__(self, path: Path, split: Split, resize: int | None, resolution: int, report: Report) -> None:
        """Map the file; one that is absent or damaged is written first. `reading.decode` explains the arguments.

        Raises:
            BenchmarkError: an image cannot be read, or the disk has no room for the file.
        """
        self.path, self.split, self.resize, self.resolution, self.report = path, split, resize, resolution, report
        self.shape = (len(split.items), 3, resolution, resolution)
        self.image_bytes = 3 * resolution**2
        self.part = path.with_name(f".{path.name}.part")
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": self.shape})
        self.header = header.getvalue()
        self.sums_at = len(self.header) + math.prod(self.shape)  # position in the file, in bytes
        self.pixels, self.sums = self._open()

    def __call__(self, indices: Tensor) -> Tensor:
        """Return uint8 [n, 3, S, S]."""
        rows = indices.cpu().numpy()
        pixels = self.pixels[rows]
        if not self._sound(pixels, rows):
            self._repair()
            pixels = self.pixels[rows]
            if not self._sound(pixels, rows):
                raise BenchmarkError(f"{self.path}: cannot be kept on this disk; what is read is not what was written")
        return torch.from_numpy(pixels)

    def _sound(self, pixels: Pixels, rows: np.ndarray[Any, Any]) -> bool:
        return all(zlib.crc32(image) == crc for image, crc in zip(pixels, self.sums[rows].tolist(), strict=True))

    def _open(self) -> tuple[Pixels, Sums]:
        if self.path.exists():
            try:
                return self._map()
            except (OSError, ValueError):
                self._repair()
        else:
            self._write()
        return self._map()

    def _map(self) -> tuple[Pixels, Sums]:
        """Map the pixels and read their sums.

        Raises:
            OSError: there is no file, or it cannot be read.
            ValueError: the file is damaged, apart from its pixels, which are not looked at here.
        """
        with self.path.open("rb") as file:
            header = file.read(len(self.header))
            file.seek(self.sums_at)
            sums, check = file.read(4 * self.shape[0]), file.read()
        if header != self.header or check != _check(sums):
            raise ValueError(f"{self.path}: damaged")
        pixels: Pixels = np.memmap(self.path, np.uint8, "r", offset=len(header), shape=self.shape)
        return pixels, np.frombuffer(sums, "<u4")

    def _repair(self) -> None:
        """Decode again what is damaged; others who have mapped the file see the repaired bytes."""
        try:
            self.path.replace(self.part)
        except FileNotFoundError:
            pass  # another process repairs it
        except OSError as error:
            raise BenchmarkError(f"{self.path}: damaged, and cannot be replaced ({error.strerror})") from error
        count = self._write()
        logging.getLogger(__name__).warning("%s: was damaged; %s images were decoded again", self.path, count)
        self.pixels, self.sums = self._map()

    def _write(self) -> int:
        """Write what is missing in the unfinished file, give it its name, and return the number of decoded images."""
        try:
            disk_bytes = self.part.stat().st_blocks * 512 if self.part.exists() else 0
            reading.make_room(self.path.parent, self.sums_at - disk_bytes)
            self.part.touch()
            with locked(self.part):
                try:
                    self._map()  # another process has written it meanwhile
                except (OSError, ValueError):
                    return self._fill()
                with suppress(FileNotFoundError):
                    if not self.part.stat().st_size:
                        self.part.unlink()
                return 0
        except OSError as error:
            if error.errno == errno.ENOSPC:
                self.part.unlink(missing_ok=True)
            raise BenchmarkError(f"{self.path}: cannot be written ({error.strerror})") from error

    def _fill(self) -> int:
        images, faults = self.shape[0], list[str]()
        with self.part.open("r+b") as file:
            file.write(self.header)
            file.truncate(self.sums_at + 4 * images)
            sums, missing_rows = self._missing(file)
            done = images - len(missing_rows)
            for rows in torch.tensor(missing_rows, dtype=torch.int64).split(reading.CHUNK):
                chunk = self.split.select(rows)
                pixels, unreadable = reading.decode(chunk.items, self.resize, self.resolution, chunk.digests)
                faults += unreadable
                for row, image in zip(rows.tolist(), pixels, strict=True):
                    sums[row] = zlib.crc32(image)
                    self._put(file, row, image, sums[row : row + 1])
                done += len(rows)
                self.report(done, images)
            file.seek(self.sums_at + 4 * images)
            file.write(_check(sums.tobytes()))
            file.flush()
            os.fsync(file.fileno())
        if faults:
            self.part.unlink(missing_ok=True)
            reading.raise_if_unreadable(faults)
        with suppress(FileNotFoundError):  # without locks, another process may be first
            self.part.replace(self.path)
        sync(self.path.parent)
        return len(missing_rows)

    def _missing(self, file: BinaryIO) -> tuple[Sums, list[int]]:
        """Return the sums in the file, and the rows of the images whose sum is wrong."""
        file.seek(self.sums_at)
        sums = np.frombuffer(file.read(4 * self.shape[0]), "<u4").copy()
        file.seek(len(self.header))
        return sums, [row for row in range(len(sums)) if zlib.crc32(file.read(self.image_bytes)) != sums[row]]

    def _put(self, file: BinaryIO, row: int, image: Pixels, total: Sums) -> None:
        file.seek(len(self.header) + row * self.image_bytes)
        file.write(image.data)
        file.seek(self.sums_at + 4 * row)
        file.write(total.tobytes())


def _check(sums: bytes) -> bytes:
    """Return the sum of the sums, the last four bytes of the file."""
    return zlib.crc32(sums).to_bytes(4, "little")
