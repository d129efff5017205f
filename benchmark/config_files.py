"""Configuration files: flat YAML, read into validated values, every fault named by file and key."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from benchmark.errors import BenchmarkError, Faults

CONFIGS = Path(__file__).resolve().parent.parent / "configs"

Model = TypeVar("Model", bound=BaseModel)


def read_yaml(path: Path) -> dict[str, Any]:
    """Return a YAML file's mapping.

    Raises:
        BenchmarkError: the file cannot be read, is not YAML, or holds no mapping.
    """
    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BenchmarkError(f"{shown(path)}: cannot be read ({error.strerror})") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BenchmarkError(f"{shown(path)}: not YAML ({' '.join(str(error).split())})") from error
    if not isinstance(value, dict):
        raise BenchmarkError(f"{shown(path)}: expected keys and values at the top")
    return value


def validated(model: type[Model], values: Mapping[str, Any], where: str) -> Model:
    """Return ``model(**values)``.

    Args:
        model: what the values should make.
        values: as read from a file or a command.
        where: the place that a fault names, e.g. "configs/suites/main.yaml".

    Raises:
        Faults: every unknown key and wrong value, each with its place.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        items = [dict(item) for item in error.errors() if not _follows(dict(item), error)]
        raise Faults(f"{where}: {_fault(model, item)}" for item in items) from error


def load(model: type[Model], kind: str, name: str) -> Model:
    """Return ``configs/KIND/NAME.yaml`` as validated values; its stem becomes the field ``name``."""
    path = CONFIGS / kind / f"{name}.yaml"
    return validated(model, {"name": name, **read_yaml(path)}, shown(path))


def names(kind: str) -> list[str]:
    """Return the stems of the files in ``configs/KIND``."""
    return sorted(path.stem for path in (CONFIGS / kind).glob("*.yaml"))


def shown(path: Path) -> str:
    """Return a path as messages show it: relative to the project where it lies inside."""
    root = CONFIGS.parent
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)


def _fault(model: type[BaseModel], item: dict[str, Any]) -> str:
    place, parts = "", [part for part in item["loc"] if not str(part).startswith("function-")]
    for part in parts:
        place += f"[{part}]" if isinstance(part, int) else f"{'.' if place else ''}{part}"
    if item["type"] == "extra_forbidden":
        fields = _fields(model, parts[:-1])
        near = difflib.get_close_matches(str(parts[-1]), fields, n=1, cutoff=0.5)
        return f"{place}: unknown key." + (f" Did you mean '{near[0]}'?" if near else f" Known: {', '.join(fields)}")
    if item["type"] == "missing":
        return f"{place}: is missing"
    given = item.get("input")
    text = item["msg"].removeprefix("Value error, ")
    at = f"{place}: " if place else ""  # a fault of the whole has no key
    return f"{at}{text[:1].lower()}{text[1:]}" + (f" (given: {given!r})" if _short(given) else "")


def _follows(item: dict[str, Any], error: ValidationError) -> bool:
    """Whether a list is too short only because of the faults of its items."""
    inner = [other["loc"][: len(item["loc"])] for other in error.errors() if len(other["loc"]) > len(item["loc"])]
    return item["type"] == "too_short" and item["loc"] in inner


def _fields(model: type[BaseModel], parts: list[Any]) -> list[str]:
    for part in parts:
        if isinstance(part, str) and part in model.model_fields:
            annotation = model.model_fields[part].annotation
            inner = [annotation, *getattr(annotation, "__args__", ())]
            model = next((t for t in inner if isinstance(t, type) and issubclass(t, BaseModel)), model)
    return [field.alias or name for name, field in model.model_fields.items()]


def _short(value: Any) -> bool:
    return isinstance(value, str | int | float | bool) and len(str(value)) < 60
