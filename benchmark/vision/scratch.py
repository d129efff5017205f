"""Saved progress: what an interrupted method finds again, whole and unchanged, or not at all.

A file begins with the SHA-256 of its other bytes, which `torch.save` writes. It stays until the node is committed; the
engine then removes the scratch folder.
"""

from __future__ import annotations

import hashlib
import logging
import pickle
from pathlib import Path
from typing import IO, Any, cast

import torch

from benchmark.files import write_atomically

MARK = b"saved 1\n"  # the first bytes of a file; another version of this form has other ones
HEADER = len(MARK) + hashlib.sha256().digest_size


def save(value: Any, path: Path) -> None:
    """Write a value durably, or leave the file as it was.

    Two drivers that share a store may compute the same node in the same folder; each writes a file of its own, and the
    last one stays.

    Raises:
        OSError: the disk is full, or the folder is gone because another driver committed the node.
    """
    with write_atomically(path, durable=True) as temporary, temporary.open("w+b") as file:
        file.write(bytes(HEADER))
        try:
            torch.save(value, file)
        except RuntimeError as error:  # torch closes its archive, and this error hides that of the disk
            raise error.__context__ if isinstance(error.__context__, OSError) else error from None
        file.seek(HEADER)
        digest = hashlib.file_digest(file, "sha256").digest()
        file.seek(0)
        file.write(MARK + digest)


def load(path: Path, device: torch.device | str = "cpu") -> Any:
    """Return a saved value with its tensors on a device; None where nothing was saved, or where it is damaged.

    Damage is logged, and the caller starts afresh.
    """
    try:
        with path.open("rb") as file:
            header = file.read(HEADER)
            sound = header == MARK + hashlib.file_digest(file, "sha256").digest()
            file.seek(HEADER)
            if sound:
                return torch.load(cast("IO[bytes]", _Shifted(file)), map_location=device, weights_only=True)
    except FileNotFoundError:
        return None
    except (OSError, EOFError, RuntimeError, ValueError, pickle.UnpicklingError) as error:
        logging.getLogger(__name__).warning("%s: saved progress cannot be read (%s); starts afresh", path, error)
        return None
    logging.getLogger(__name__).warning("%s: saved progress is damaged; starts afresh", path)
    return None


class _Shifted:
    """A file for reading that begins after the header."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file

    def read(self, size: int = -1) -> bytes:
        """Read some bytes."""
        return self.file.read(size)

    def readline(self) -> bytes:
        """Read a line."""
        return self.file.readline()

    def readinto(self, buffer: Any) -> int:
        """Read some bytes into a buffer."""
        data = self.file.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def tell(self) -> int:
        """Return the position after the header."""
        return self.file.tell() - HEADER

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move to a position after the header, or relative to the current one or the end."""
        return self.file.seek(offset + HEADER if whence == 0 else offset, whence) - HEADER
