"""Sphinx extension: the pages that are made from the code, and the fields of classes in the API reference."""

from __future__ import annotations

import dataclasses
import inspect
import pkgutil
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import fields
from pydantic import BaseModel
from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "docs" / "reference"
API = {  # page -> what it is about, and its modules; a package stands for its modules
    "api": ("What a contributor imports. Each component derives one class of `benchmark.api`.", ["benchmark.api"]),
    "synthetic": ("Distilled sets and their labels, in memory and on disk.", ["benchmark.synthetic"]),
    "vision": ("The shared toolbox: datasets, networks, augmentation and training.", ["benchmark.vision"]),
    "parts": ("What several methods share.", ["methods.parts"]),
}


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect to Sphinx."""
    app.connect("builder-inited", write)
    app.connect("autodoc-process-docstring", add_fields)
    return {"parallel_read_safe": True}


def write(app: Sphinx) -> None:
    """Write the generated pages; a page that has not changed keeps its date, so that it is not built again."""
    pages = {
        "cli": cli_page(),
        "yaml": fields.yaml_page(),
        "hyperparameters": fields.hyperparameters_page(),
        **{name: api_page(text, modules) for name, (text, modules) in API.items()},
    }
    REFERENCE.mkdir(exist_ok=True)
    for name, text in pages.items():
        path = REFERENCE / f"{name}.md"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def cli_page() -> str:
    """Return the page of the command line, as typer writes it, without its list of shortened sentences."""
    name = "python -m benchmark"
    command = [sys.executable, "-m", "typer", "benchmark.cli.main", "utils", "docs", "--name", name]
    text = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    text = re.sub(r"\*\*Commands\*\*:\n\n(\* .*\n)+\n", "", text)
    return text.replace(f"# `{name}`", "# Command line", 1)


def api_page(text: str, modules: list[str]) -> str:
    """Return the page of the API of some modules, from their docstrings."""
    lines = [f"# {modules[0]}\n", f"{text}\n"]
    for module in modules:
        folder = ROOT / module.replace(".", "/")
        names = [f"{module}.{found.name}" for found in pkgutil.iter_modules([str(folder)])] if folder.is_dir() else []
        for name in names or [module]:
            lines += [f"## {name}\n"] if names else []
            lines += [f"```{{eval-rst}}\n.. automodule:: {name}\n```\n"]
    return "\n".join(lines)


def add_fields(app: Sphinx, what: str, name: str, item: Any, options: Any, lines: list[str]) -> None:
    """Add the fields of a class to its text, each with the comment that stands beside it, where it names none."""
    is_data = inspect.isclass(item) and (issubclass(item, BaseModel) or dataclasses.is_dataclass(item))
    if not is_data or any("Attributes" in line or ":ivar" in line or ".. attribute" in line for line in lines):
        return
    own = [field for field in inspect.get_annotations(item) if not field.startswith("_")]
    if own:
        texts = {field: fields.comment(item, field) for field in own}
        lines += ["", "Fields:", "", *(f"- ``{field}``{text and f': {text}'}" for field, text in texts.items()), ""]
