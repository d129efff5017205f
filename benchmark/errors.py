"""Errors that the command line prints as a message, without a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class BenchmarkError(Exception):
    """A mistake in a command, a file or an environment; the message names what is wrong and the remedy."""


class Faults(BenchmarkError):
    """Several faults in one error, one per line."""

    def __init__(self, faults: Iterable[str]) -> None:
        self.faults = tuple(dict.fromkeys(faults))
        super().__init__("\n".join(self.faults))


def unknown(kind: str, name: str, available: Iterable[str]) -> str:
    """Return "unknown KIND 'NAME'. Did you mean 'X'? Available: ...".

    Args:
        kind: what the name should be a name of, in the singular ("method").
        name: the name that does not exist.
        available: the names that exist.
    """
    names = sorted(set(available))
    near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    return f"unknown {kind} '{name}'.{hint} Available: {', '.join(names) or 'none'}"


def one_line(error: BaseException) -> str:
    """Return an error as one line of at most 500 characters; the type of an unexpected one comes first."""
    try:
        message = str(error) if isinstance(error, BenchmarkError) else f"{type(error).__name__}: {error}"
        if isinstance(error, SystemExit):
            message = f"sys.exit({error.code!r}) was called, which does not end a run; raise an error with the reason"
    except BaseException as second:  # an error of a component writes its text itself
        message = f"{type(error).__name__}, whose text cannot be written ({type(second).__name__})"
    return printable(" ".join(message.split())[:500])


def printable(text: str) -> str:
    """Return a text with ``?`` for every character that could change a terminal; lines and tabs stay."""
    return "".join(c if c.isprintable() or c in "\n\t" else "?" for c in text)
