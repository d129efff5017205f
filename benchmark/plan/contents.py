"""What a user can name: methods, datasets, suites and so on, each with a description.

Nothing is imported and nothing is validated, so a list is printed at once, also where a file is broken.
"""

from __future__ import annotations

import ast
from pathlib import Path

import yaml

from benchmark.config_files import files
from benchmark.sources import component_files, outside_name
from benchmark.vision.architectures import MODELS

BROKEN = "cannot be read"


def descriptions(kind: str) -> dict[str, str]:
    """Return the names of a kind, each with a description.

    Args:
        kind: ``methods``, ``students``, or the name of a folder in ``configs``.
    """
    if kind == "students":
        return MODELS
    if kind == "methods":
        return {name: _marked(path, _first_line(path)) for name, path in component_files("methods").items()}
    return {name: _marked(path, _title(path)) for name, path in files(kind).items()}


def _marked(path: Path, description: str) -> str:
    return f"{description} [{path}]" if outside_name(path) else description


def _first_line(path: Path) -> str:
    """Return the first line of the docstring of a Python file."""
    try:
        text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, SyntaxError) as error:
        return f"{BROKEN}: {error}"
    return (text or "").partition("\n")[0]


def _title(path: Path) -> str:
    """Return the value of the key ``title`` of a YAML file, which is read no further."""
    depth, key = 0, ""
    try:
        for event in yaml.parse(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader):
            if isinstance(event, yaml.CollectionStartEvent):
                depth, key = depth + 1, ""
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
            elif isinstance(event, yaml.ScalarEvent) and depth == 1:
                if key == "title":
                    return str(event.value)
                key = "" if key else event.value
    except (OSError, ValueError, yaml.YAMLError) as error:
        return f"{BROKEN}: {' '.join(str(error).split())}"
    return ""
