"""Hostile command lines, and files of methods that are broken."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
import tarfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from unittest import mock

from engine import suite_file
from fake_store import FakeStore
from hostile import Case

import methods
from benchmark.cli import main
from benchmark.errors import Faults
from benchmark.vision import fetching

HEAD = "from benchmark.api import Distiller\nfrom methods.noise import Noise\n\n\n"


def command(folder: Path, *words: str) -> str:
    """Run a command line in a folder; a refusal with status 2 is raised line by line, all else is returned."""
    shown, errors = io.StringIO(), io.StringIO()
    handlers = {name: signal.getsignal(name) for name in (signal.SIGINT, signal.SIGTERM)}
    before, status = Path.cwd(), 0
    os.chdir(folder)
    try:
        with (
            mock.patch.object(sys, "argv", ["benchmark", *words]),
            contextlib.redirect_stdout(shown),
            contextlib.redirect_stderr(errors),
        ):
            main.main()
    except SystemExit as ended:
        status = int(ended.code or 0)
    finally:
        os.chdir(before)
        for name, handler in handlers.items():
            signal.signal(name, handler)
    if status == 2:
        raise Faults(line for line in errors.getvalue().splitlines() if line.strip())
    assert status == 0, f"status {status}: {errors.getvalue()[:300]}"
    return shown.getvalue()


NUMBERS = {
    "²": "²",
    "Arabic three": "٣",
    "1_0": "1_0",
    "minus one": "-1",
    "zero": "0",
    "a fraction": "1.5",
    "1e3": "1e3",
    "hexadecimal": "0x10",
    "NaN": "nan",
    "ten digits": "9999999999",
    "5,000 digits": "1" * 5000,
    "words": "ten",
}


def option_cases() -> Iterator[Case]:
    for option in ("--ipc", "--seeds"):
        for name, word in NUMBERS.items():
            yield Case(f"option: {option}", name, partial(_plan, words=(f"{option}={word}",)))
    names = {
        "unknown": "nothing",
        "a way out": "../../x",
        "a path": "/etc/passwd",
        "markup": "[red]x[/red]",
        "a NUL": "a\0",
    }
    for option in ("--datasets", "--methods", "--students", "--protocols", "--device"):
        for name, word in names.items():
            yield Case(f"option: {option}", name, partial(_plan, words=(option, word)))
    for name, word in {"empty": "", "a space": " ", "a NUL": "a\0b", "an unknown kind": "nothing://x"}.items():
        yield Case("option: --runs", f"{name}, plan", partial(_plan, words=("--runs", word)))
        for other in ("status", "report"):
            words = (other, "--suite", "main", "--runs", word)
            yield Case("option: --runs", f"{name}, {other}", lambda folder, words=words: command(folder, *words))
    for name, word in {
        "unknown": "mian",
        "a way out": "../x",
        "no file": "none.yaml",
        "a folder": "x.yaml",
        "empty": "",
    }.items():
        for other in ("plan", "status", "report"):
            yield Case("option: --suite", f"{name}, {other}", partial(_suite, word=word, other=other))


def _plan(folder: Path, words: tuple[str, ...]) -> None:
    command(folder, "plan", "--suite", suite_file(folder), *words)


def _suite(folder: Path, word: str, other: str) -> None:
    (folder / "x.yaml").mkdir()
    command(folder, other, "--suite", word)


def other_cases() -> Iterator[Case]:
    def compared(folder: Path, *words: str) -> None:
        for name in ("a", "b"):
            made = FakeStore(str(folder / name))
            made.done(made.cell(), 50.0)
            made.write_manifest("main")
        command(folder, "report", "--compare", "a", "b", *words)

    evaluate = ("evaluate", "set.pt", "--dataset", "digits", "--ipc", "1", "--method-name", "x")
    lines = {
        "evaluate without a file": evaluate,
        "evaluate --std 0": (*evaluate, "--std", "0,0,0"),
        "evaluate --std of words": (*evaluate, "--std", "a,b,c"),
        "evaluate --mean of two values": (*evaluate, "--mean", "0.5,0.5"),
        "evaluate --ipc 0": (*evaluate[:5], "0", *evaluate[6:]),
        "evaluate of an unknown dataset": (*evaluate[:3], "digit", *evaluate[4:]),
        "evaluate of an unknown scale": (*evaluate, "--value-range", "0-7"),
        "export from nothing": ("export", "x", "--dataset", "digits", "--ipc", "1", "--method", "wmdd"),
        "compare with nothing": ("report", "--compare", "a", "b"),
        "compare with empty names": ("report", "--compare", "", "x"),
        "publish from nothing": ("publish", "--suite", "main", "--runs", "nowhere"),
        "publish of an unknown suite": ("publish", "--suite", "mian", "--runs", "nowhere"),
        "tune of an unknown search": ("tune", "--search", "digit"),
        "data fetch of an unknown dataset": ("data", "fetch", "digit"),
        "data check of an unknown dataset": ("data", "check", "digit"),
        "reproduce of what is not published": ("reproduce", "--suite", "mian"),
        "reproduce of a way out": ("reproduce", "--suite", "../published/main"),
        "reproduce of no cell": ("reproduce", "--suite", "main", "--ipc", "7"),
        "reproduce of no number": ("reproduce", "--suite", "main", "--ipc", "٣"),
        "rescore from nowhere": ("rescore", "nowhere", "--suite", "main"),
        "rescore from a file": ("rescore", "/etc/hostname", "--suite", "main"),
        "rescore from a folder without sets": ("rescore", ".", "--suite", "main"),
        "rescore of what is not published": ("rescore", ".", "--suite", "mian"),
        "rescore of no cells": ("rescore", ".", "--suite", "main", "--cells", "0"),
        "rescore of half a cell": ("rescore", ".", "--suite", "main", "--cells", "0.5"),
        "rescore of sample -1": ("rescore", ".", "--suite", "main", "--sample", "-1"),
        "an unknown command": ("fly",),
        "an unknown option": ("plan", "--bogus"),
        "list of an unknown kind": ("list", "nothing"),
    }
    for name, words in lines.items():
        yield Case("command lines", name, lambda folder, words=words: command(folder, *words))
    yield Case(
        "command lines", "--csv in a missing folder", lambda folder: compared(folder, "--csv", "no/such/a.csv"), "--csv"
    )
    yield Case("command lines", "--csv is a folder", lambda folder: compared(folder, "--csv", "a"), "--csv")


def fetch_cases() -> Iterator[Case]:
    """Archives that are none, or hold something else."""

    def unpacked(folder: Path, data: bytes, name: str) -> None:
        (folder / name).write_bytes(data)
        try:
            fetching.unpack(folder / name, folder)
        finally:
            assert not (folder / name).exists(), "the archive stays"

    def other_content(folder: Path) -> None:
        def download(url: str, target: Path, *_: object) -> Path:
            target.mkdir(parents=True)
            with tarfile.open(target / "a.tar.gz", "w:gz") as file:
                file.addfile(tarfile.TarInfo("nothing of the kind"))
            return target / "a.tar.gz"

        with mock.patch.object(fetching, "download", download):
            command(folder, "data", "fetch", "cifar10")

    texts = {
        "text": b"no archive",
        "empty": b"",
        "a web page": b"<html>",
        "cut off gzip": b"\x1f\x8b\x08\x00",
        "a cut off zip": b"PK\x03\x04",
    }
    for name, data in texts.items():
        for archive in ("a.zip", "a.tar.gz"):
            yield Case("data fetch", f"{archive} is {name}", partial(unpacked, data=data, name=archive))
    yield Case("data fetch", "other content", other_content, "holds no dataset 'cifar10'")


METHODS = {
    "a syntax error": "def (:\n",
    "an import that is missing": "import nothing_like_it\n",
    "an error when imported": "1 / 0\n",
    "sys.exit when imported": "import sys\nsys.exit(0)\n",
    "nothing": "",
    "no method": "x = 1\n",
    "two methods": HEAD + "class A(Noise):\n    pass\n\n\nclass B(Noise):\n    pass\n",
    "no distill": HEAD + "class A(Distiller):\n    paper = 'none'\n",
    "a field of NaN": HEAD + "class A(Noise):\n    rate: float = float('nan')\n",
    "a field of no JSON": HEAD + "class A(Noise):\n    rate: object = object()\n",
    "supports that fails": HEAD + "class A(Noise):\n    def supports(self, info, ipc):\n        return 1 / 0\n",
    "supports that exits": HEAD + "class A(Noise):\n    def supports(self, info, ipc):\n        raise SystemExit(0)\n",
    "units that fail": HEAD + "class A(Noise):\n    def units(self, info, ipc):\n        return 1 / 0\n",
    "units that are None": HEAD + "class A(Noise):\n    def units(self, info, ipc):\n        return None\n",
    "units that are numbers": HEAD + "class A(Noise):\n    def units(self, info, ipc):\n        return [1]\n",
    "teachers that are None": HEAD + "class A(Noise):\n    def teachers(self):\n        return None\n",
    "a teacher that is unknown": HEAD
    + "from benchmark.api import TeacherSpec as T\n\n\nclass A(Noise):\n    def teachers(self):\n"
    + "        return (T(arch='resnt'),)\n",
    "a preparation that fails": HEAD + "class A(Noise):\n    def preparation(self, info):\n        return 1 / 0\n",
    "a preparation of text": HEAD + "class A(Noise):\n    def preparation(self, info):\n        return 'x'\n",
    "bytes of no text": "# \udcff\n",
}


def method_cases() -> Iterator[Case]:
    def planned(folder: Path, source: str, name: str) -> None:
        (folder / "methods").mkdir()
        (folder / "methods" / f"{name}.py").write_bytes(source.encode("utf-8", "surrogateescape"))
        try:
            with mock.patch.object(methods, "__path__", [*methods.__path__, str(folder / "methods")]):
                assert name in command(folder, "list", "methods"), "the list lacks the broken file"
                command(folder, "plan", "--suite", suite_file(folder), "--methods", name)
        finally:
            sys.modules.pop(f"methods.{name}", None)

    for index, (name, source) in enumerate(METHODS.items()):
        yield Case("file: a method", name, partial(planned, source=source, name=f"hostile_{index}"))


def cases() -> list[Case]:
    """Return all cases of this module."""
    return [*option_cases(), *other_cases(), *fetch_cases(), *method_cases()]
