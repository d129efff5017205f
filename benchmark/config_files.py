"""Configuration files: flat YAML, read into validated values. Every fault names its file and its key."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, TypeAlias, TypeVar

import yaml
from pydantic import AfterValidator, BaseModel, Field, ValidationError

from benchmark import sources, strict_yaml
from benchmark.errors import BenchmarkError, Faults, unknown
from benchmark.files import path_fault

CONFIGS = sources.ROOT / "configs"

SINGULAR = {"suites": "suite", "searches": "search", "cards": "card"}

Model = TypeVar("Model", bound=BaseModel)


def _check_name(name: str) -> str:
    if fault := path_fault(name):
        raise ValueError(fault)
    return name


def _check_words(text: str) -> str:
    if not text.strip():
        raise ValueError("is blank")
    return text


Words: TypeAlias = Annotated[str, AfterValidator(_check_words)]  # a text for readers
Version: TypeAlias = Annotated[int, Field(ge=1, le=10**6)]
FileName: TypeAlias = Annotated[str, AfterValidator(_check_name)]  # a name that becomes a part of a path


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the keys and values of a YAML file.

    Raises:
        BenchmarkError: the file cannot be read, is not YAML, or is no mapping.
    """
    if path.exists() and not path.is_file():  # opening a pipe would wait for ever
        raise BenchmarkError(f"{display_path(path)}: cannot be read (it is no file)")
    try:
        value = strict_yaml.parse(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BenchmarkError(f"{display_path(path)}: cannot be read ({error.strerror})") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BenchmarkError(f"{display_path(path)}: not YAML ({' '.join(str(error).split())})") from error
    if not isinstance(value, dict):
        raise BenchmarkError(f"{display_path(path)}: expected keys and values at the top")
    return value


def validated(model: type[Model], values: Mapping[str, Any], where: str) -> Model:
    """Return ``model(**values)``.

    Args:
        model: the pydantic class.
        values: the values of its fields, from a file or a command.
        where: what a fault starts with, e.g. "configs/suites/main.yaml".

    Raises:
        Faults: every unknown key and every wrong value.
    """
    try:
        validated_values = model.model_validate(values)
        if faults := sorted(_converted(values, validated_values)):
            raise Faults(f"{where}: {fault}" for fault in faults)
        return validated_values
    except ValidationError as error:
        details = [dict(detail) for detail in error.errors() if not _is_consequence(dict(detail), error)]
        raise Faults(f"{where}: {_fault(model, detail)}" for detail in details) from error


def load(model: type[Model], kind: str, name: str) -> Model:
    """Return the validated values of ``configs/KIND/NAME.yaml``; NAME is the value of the field ``name``.

    Raises:
        BenchmarkError: there is no such file.
        Faults: all faults of the file.
    """
    path = files(kind).get(name, CONFIGS / kind / f"{name}.yaml")
    try:
        facts = path.stat()
    except OSError as error:
        raise BenchmarkError(f"{display_path(path)}: cannot be read ({error.strerror})") from error
    loaded: Model = _loaded(model, path, (facts.st_mtime_ns, facts.st_size))
    return loaded


def load_named(model: type[Model], kind: str, name: str) -> Model:
    """Return the validated values of a file that a user names; its stem is the value of the field ``name``.

    Args:
        model: the pydantic class, which has a field ``name``.
        kind: the folder in ``configs``, in the plural.
        name: the stem of a file in ``configs/KIND``, or the path of a YAML file.

    Raises:
        BenchmarkError: the file cannot be read, or another file in ``configs/KIND`` has its name.
        Faults: there is no such file, or all faults of the file.
    """
    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        values, other = read_yaml(path), files(kind).get(path.stem)
        if other and not other.samefile(path):
            raise BenchmarkError(f"{display_path(path)} and {display_path(other)}: two files have one name; rename one")
        return validated(model, {"name": path.stem, **values}, display_path(path))
    if name not in files(kind):
        raise Faults([unknown(SINGULAR[kind], name, names(kind))])
    return load(model, kind, name)


@cache
def _loaded(model: type[Model], path: Path, _changed: tuple[int, int]) -> Model:
    """Read and validate a file; a file that has changed since is read again."""
    return validated(model, {"name": path.stem, **read_yaml(path)}, display_path(path))


def names(kind: str) -> list[str]:
    """Return the stems of the files in ``configs/KIND``."""
    return list(files(kind))


def files(kind: str) -> dict[str, Path]:
    """Return the files in ``configs/KIND`` by their stems, sorted; those of the user's folders too, but no hidden ones.

    Raises:
        Faults: files that would not be read, because their names end in ``.yml``.
    """
    folders = [CONFIGS / kind, *sources.subfolders(f"configs/{kind}")]
    paths = sorted(path for folder in folders for path in folder.glob("[!.]*.y*ml"))
    if misnamed := [path for path in paths if path.suffix == ".yml"]:
        raise Faults(f"{display_path(path)}: rename it to {path.stem}.yaml" for path in misnamed)
    return {path.stem: path for path in paths if path.suffix == ".yaml"}


def display_path(path: Path) -> str:
    """Return a path for messages: relative to the project if it lies inside the project."""
    root = CONFIGS.parent
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)


def _converted(raw: Any, value: Any, key: str = "") -> Iterator[str]:
    """Yield a fault for every text or truth value in place of a number, and for the reverse; pydantic converts them."""
    if isinstance(value, bool) and not isinstance(raw, bool):
        yield f"{key}: should be true or false (given: {raw!r})"
    elif isinstance(value, int | float) and isinstance(raw, bool | str) and not isinstance(value, bool):
        yield f"{key}: should be a number (given: {raw!r})"
    for part, raw_part, valid_part in _parts(raw, value):
        yield from _converted(raw_part, valid_part, f"{key}{part}".removeprefix("."))


def _parts(raw: Any, value: Any) -> Iterator[tuple[str, Any, Any]]:
    """Yield the parts of a given value and of the validated one, each pair with its key."""
    if isinstance(raw, Mapping) and isinstance(value, BaseModel):
        fields = {field.alias or name: getattr(value, name) for name, field in type(value).model_fields.items()}
        yield from ((f".{name}", raw[name], fields[name]) for name in fields.keys() & raw.keys())
    elif isinstance(raw, Mapping) and isinstance(value, Mapping):
        yield from ((f".{name}", raw[name], value[name]) for name in value.keys() & raw.keys())
    elif isinstance(raw, list | tuple) and isinstance(value, list | tuple):
        yield from ((f"[{i}]", *pair) for i, pair in enumerate(zip(raw, value, strict=False)))


def _fault(model: type[BaseModel], detail: dict[str, Any]) -> str:
    """Return one fault of pydantic as "KEY: MESSAGE"."""
    key, parts = "", [part for part in detail["loc"] if not str(part).startswith("function-")]
    for part in parts:
        key += f"[{part}]" if isinstance(part, int) else f"{'.' if key else ''}{part}"
    if detail["type"] == "extra_forbidden":
        fields = _fields(model, parts[:-1])
        near = difflib.get_close_matches(str(parts[-1]), fields, n=1, cutoff=0.5)
        return f"{key}: unknown key." + (f" Did you mean '{near[0]}'?" if near else f" Known: {', '.join(fields)}")
    if detail["type"] == "missing":
        return f"{key}: is missing"
    value = detail.get("input")
    if detail["type"] == "tuple_type":  # YAML has lists only
        return f"{key}: expected a list" + (f": [{value}]" if _is_short(value) else "")
    text = detail["msg"].removeprefix("Value error, ")
    start = f"{key}: " if key else ""  # a fault of several fields together has no key
    return f"{start}{text[:1].lower()}{text[1:]}" + (f" (given: {value!r})" if _is_short(value) else "")


def _is_consequence(detail: dict[str, Any], error: ValidationError) -> bool:
    """Return whether pydantic calls a list too short only because its items have faults."""
    location = detail["loc"]
    prefixes = [fault["loc"][: len(location)] for fault in error.errors() if len(fault["loc"]) > len(location)]
    return detail["type"] == "too_short" and location in prefixes


def _fields(model: type[BaseModel], parts: list[Any]) -> list[str]:
    """Return the keys of the model at a location inside ``model``."""
    for part in parts:
        if isinstance(part, str) and part in model.model_fields:
            annotation = model.model_fields[part].annotation
            types = [annotation, *getattr(annotation, "__args__", ())]
            model = next((t for t in types if isinstance(t, type) and issubclass(t, BaseModel)), model)
    return [field.alias or name for name, field in model.model_fields.items()]


def _is_short(value: Any) -> bool:
    return isinstance(value, str | int | float | bool) and len(str(value)) < 60
