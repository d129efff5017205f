"""Hostile configuration files: every kind of file with every kind of wrong text and wrong field."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from engine import BLOCK
from hostile import Case

from benchmark.api import TeacherSpec
from benchmark.config_files import CONFIGS, read_yaml, validated
from benchmark.plan import recipes
from benchmark.plan.graph import Planner, PlanOptions
from benchmark.plan.nodes import teacher_identity
from benchmark.plan.protocol import Protocol
from benchmark.plan.search import load_search
from benchmark.plan.suite import load_suite
from benchmark.vision.datasets import DatasetConfig, load_dataset

Field = tuple[str | int, ...]


def dataset(path: Path) -> None:
    config = validated(DatasetConfig, {"name": path.stem, **read_yaml(path)}, str(path))
    teacher_identity(config, TeacherSpec(), 0)  # as every plan does
    teacher_identity(config, TeacherSpec(neutral=True), 0)


def protocol(path: Path) -> None:
    loaded = validated(Protocol, {"name": path.stem, **read_yaml(path)}, str(path))
    loaded.components(load_dataset("digits"), full_data=False)


def suite(path: Path) -> None:
    Planner(PlanOptions(path.parent / "data", "cpu")).plan(load_suite(str(path)))


def search(path: Path) -> None:
    load_search(str(path))


def recipe(path: Path) -> None:
    recipes._read_recipes(path.stem, path, path.stat().st_mtime_ns)


READERS: dict[str, tuple[Callable[[Path], None], str]] = {
    "dataset": (dataset, "mine.yaml"),
    "protocol": (protocol, "mine.yaml"),
    "suite": (suite, "mine.yaml"),
    "search": (search, "mine.yaml"),
    "recipes of a method": (recipe, "wmdd.yaml"),
}


def sound() -> dict[str, dict[str, Any]]:
    """Return a sound file of each kind."""
    return {
        "dataset": read_yaml(CONFIGS / "datasets" / "digits.yaml"),
        "protocol": read_yaml(CONFIGS / "protocols" / "standard.yaml"),
        "suite": {"version": 1, "title": "Mine", "blocks": [{**BLOCK, "draws": 1}]},
        "search": read_yaml(CONFIGS / "searches" / "digits.yaml"),
        "recipes of a method": {"recipes": [{"dataset": "digits", "source": "mine", "set": {"batch_images": 5}}]},
    }


def fields() -> dict[str, dict[str, tuple[Field, ...]]]:
    """Return the fields of each kind of file by the type that they should have."""
    teacher, student, cpus = ("teacher", "learning_rate"), ("student", "epochs"), ("resources", "cpus")
    first, block = ("recipes", 0), ("blocks", 0)
    return {
        "dataset": {
            "whole": (
                ("classes",),
                ("resize",),
                ("resolution",),
                ("teacher", "epochs"),
                student,
                cpus,
            ),
            "number": (("mean", 0), ("std", 1), ("smallest_crop",), teacher, ("resources", "memory_gb")),
            "text": (("title",), ("teacher", "arch"), ("neutral",)),
            "truth": (("flip",), ("teacher", "flip")),
        },
        "protocol": {
            "whole": (("version",),),
            "number": (("schedule", "crop_scale", 0), ("evaluator", "learning_rate"), ("evaluator", "temperature")),
            "text": (("title",), ("labels", "name"), ("schedule", "mix")),
            "truth": (("schedule", "flip"),),
        },
        "suite": {
            "whole": (("version",), (*block, "ipc", 0), (*block, "seeds")),
            "text": (
                ("title",),
                ("blocks", 0, "datasets", 0),
                ("blocks", 0, "students", 0),
                ("blocks", 0, "methods", 0),
            ),
        },
        "search": {"whole": (("version",), ("ipc",), ("trials",), ("seeds",)), "text": (("dataset",), ("student",))},
        "recipes of a method": {
            "whole": ((*first, "set", "batch_images"),),
            "number": ((*first, "set", "learning_rate"), (*first, "set", "regulariser_weight")),
            "text": ((*first, "dataset"), (*first, "source"), (*first, "set", "objective")),
        },
    }


WRONG: dict[str, dict[str, Any]] = {
    "whole": {"true": True, "text": "10", "a half": 2.5, "minus one": -1, "zero": 0},
    "number": {"true": True, "text": "0.1", "minus one": -1.0},
    "text": {"a number": 3, "true": True, "a name that is none": "no such thing"},
    "truth": {"text": "yes please", "the text true": "true", "a number": 1},
}
ALWAYS: dict[str, Any] = {"null": None, "a list": [1, 2], "a mapping": {"a": 1}}
NUMBERS: dict[str, Any] = {"NaN": float("nan"), "infinity": float("inf"), "minus infinity": float("-inf")}
ALLOWED = {  # what a field may be
    ("title", "a name that is none"),
    ("source", "a name that is none"),
    ("mean", "minus one"),
}


def changed(kind: str, field: Field, value: Any) -> dict[str, Any]:
    """Return a sound file with another value of one field."""
    content = copy.deepcopy(sound()[kind])
    part: Any = content
    for name in field[:-1]:
        part = part[name]
    part[field[-1]] = value
    return content


def put(folder: Path, kind: str, content: Any) -> None:
    """Write a file as YAML, and read it as the benchmark does."""
    reader, name = READERS[kind]
    text = content if isinstance(content, bytes) else yaml.safe_dump(content).encode()
    (folder / name).write_bytes(text)
    reader(folder / name)


def field_cases() -> Iterator[Case]:
    for kind, types in fields().items():
        for type_, paths in types.items():
            wrong = {**WRONG[type_], **ALWAYS, **(NUMBERS if type_ in ("whole", "number") else {})}
            for path in paths:
                for name, value in wrong.items():
                    if (str(next(p for p in reversed(path) if isinstance(p, str))), name) in ALLOWED:
                        continue
                    title = f"{'.'.join(map(str, path))} is {name}"
                    yield Case(
                        f"file: {kind}, fields", title, partial(put, kind=kind, content=changed(kind, path, value))
                    )
    for name, value in {"0": 0, "negative": -0.2}.items():
        content = changed("dataset", ("std", 0), value)
        yield Case("file: dataset, fields", f"std is {name}", partial(put, kind="dataset", content=content))
    for kind in sound():
        lacking = {name: value for name, value in sound()[kind].items() if name != list(sound()[kind])[-1]}
        content = {**lacking, "unknown_key": 1}
        yield Case(f"file: {kind}, fields", "an unknown key", partial(put, kind=kind, content=content))


def laughs(levels: int = 12) -> bytes:
    """Return aliases of aliases, which stand for 10**levels values."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, levels)]
    return "\n".join(lines).encode()


TEXTS: dict[str, bytes] = {
    "nothing": b"",
    "only spaces": b"   \n\n",
    "only a comment": b"# nothing\n",
    "a list": b"- 1\n- 2\n",
    "a number": b"3\n",
    "a text": b"title\n",
    "null": b"null\n",
    "bytes of no text": bytes(range(128, 256)),
    "UTF-16": "title: x\n".encode("utf-16"),
    "a NUL": b"title: \x00\n",
    "a tab": b"title:\n\t- a\n",
    "an open bracket": b"title: [1, 2\n",
    "an open quote": b'title: "x\n',
    "two documents": b"title: x\n---\ntitle: y\n",
    "an unknown tag": b"title: !thing x\n",
    "code of Python": b"title: !!python/object/apply:os.system ['touch pwned']\n",
    "an object of Python": b"title: !!python/name:os.system\n",
    "an unknown alias": b"title: *nothing\n",
    "an alias of itself": b"title: &a [*a]\n",
    "a billion laughs": laughs(),
    "nested 3,000 deep": b"title: " + b"[" * 3000 + b"]" * 3000 + b"\n",
    "nested 3,000 deep by keys": b"".join(b" " * i + b"a:\n" for i in range(3000)),
    "nested 100,000 deep": b"title: " + b"{a: " * 100_000,
    "a key twice": b"title: x\ntitle: y\n",
    "a key of a list": b"? [1, 2]\n: x\n",
    "a key that is a number": b"1: x\n",
    "a key that is null": b"~: x\n",
    "a number of 5,000 digits": b"version: " + b"1" * 5000 + b"\n",
    "a date": b"version: 2026-01-01\n",
    "a web page": b"<!DOCTYPE html><html><body>404</body></html>\n",
    "a Git-LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
}


def placed(read: Callable[[Path], None], name: str, place: Callable[[Path], object], folder: Path) -> None:
    """Put something in the place of a file, and read it."""
    place(folder / name)
    read(folder / name)


def text_cases() -> Iterator[Case]:
    for kind in READERS:
        for name, text in TEXTS.items():
            yield Case(f"file: {kind}, texts", name, partial(put, kind=kind, content=text))
        read, file = READERS[kind]
        if kind != "recipes of a method":  # which is read only where it exists
            yield Case(f"file: {kind}, texts", "no file", partial(placed, read, file, lambda path: None))
        yield Case(f"file: {kind}, texts", "a folder", partial(placed, read, file, Path.mkdir))
        yield Case(f"file: {kind}, texts", "a pipe", partial(placed, read, file, os.mkfifo))

        def twice(folder: Path, kind: str = kind) -> None:
            text = yaml.safe_dump(sound()[kind]).encode()
            put(folder, kind, text + text.split(b"\n")[-2] + b"\n" if kind != "suite" else text + b"title: Yours\n")

        if kind != "recipes of a method":
            yield Case(f"file: {kind}, texts", "a key of a sound file twice", twice)


def cases() -> list[Case]:
    """Return all cases of this module."""
    return [*field_cases(), *text_cases()]
