"""Sphinx extension: pages made from the code, fields of classes in the API reference, links to folders of the repo."""

from __future__ import annotations

import dataclasses
import inspect
import pkgutil
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any, is_typeddict

import fields
from pydantic import BaseModel
from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "docs" / "reference"
API = {  # page -> module, or package: all of its modules
    "api": "benchmark.api",
    "interface": "benchmark.interface",
    "synthetic": "benchmark.synthetic",
    "vision": "benchmark.vision",
    "parts": "methods.parts",
}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PUBLISHED = re.compile(r"\]\((?:\.\./)+(leaderboards/[\w/]+)\)")  # a link to a folder that the site does not have


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect to Sphinx."""
    app.connect("builder-inited", write)
    app.connect("source-read", link_repository)
    app.connect("autodoc-process-docstring", add_fields)
    app.connect("autodoc-process-signature", hide_arguments)
    return {"parallel_read_safe": True}


def write(app: Sphinx) -> None:
    """Write the generated pages; a page that has not changed keeps its date, so that it is not built again."""
    pages = {
        "cli": cli_page(),
        "yaml": fields.yaml_page(),
        "hyperparameters": fields.hyperparameters_page(),
        **{page: api_page(name) for page, name in API.items()},
    }
    REFERENCE.mkdir(exist_ok=True)
    for name, text in pages.items():
        path = REFERENCE / f"{name}.md"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def link_repository(app: Sphinx, name: str, text: list[str]) -> None:
    """Make links to published folders links to the repository's site."""
    text[0] = PUBLISHED.sub(rf"]({PROJECT['urls']['Repository']}/tree/main/\1)", text[0])


def cli_page() -> str:
    """Return the page of the command line, as typer writes it, without its list of shortened sentences."""
    name = "python -m benchmark"
    command = [sys.executable, "-m", "typer", "benchmark.cli.main", "utils", "docs", "--name", name]
    text = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    text = re.sub(r"\*\*Commands\*\*:\n\n(\* .*\n)+\n", "", text)
    return text.replace(f"# `{name}`", "# Command line", 1)


def api_page(name: str) -> str:
    """Return the page of the API of a module, or of the modules of a package, from their docstrings."""
    folder = ROOT / name.replace(".", "/")
    modules = [f"{name}.{found.name}" for found in pkgutil.iter_modules([str(folder)])]
    lines = [f"# {name}\n"]
    for module in modules or [name]:
        lines += [f"## {module}\n"] if modules else []
        lines += [f"```{{eval-rst}}\n.. automodule:: {module}\n```\n"]
    return "\n".join(lines)


def add_fields(app: Sphinx, what: str, name: str, item: Any, options: Any, lines: list[str]) -> None:
    """Add the fields of a class to its text, each as it is declared and with its comment, where the text has none."""
    if not _has_fields(item) or any("Attributes" in line or ".. attribute" in line for line in lines):
        return
    public = [field for name, field in fields.declared(item).items() if not name.startswith("_")]
    if public:
        lines += ["", "Fields:", "", *(f"- ``{code}``{text and f': {text}'}" for code, text in public), ""]


def hide_arguments(
    app: Sphinx, what: str, name: str, item: Any, options: Any, signature: str | None, returns: str | None
) -> tuple[str, None] | None:
    """Leave out the arguments of a class whose fields say the same."""
    return ("", None) if _has_fields(item) and not is_typeddict(item) else None  # autodoc has no signature of these


def _has_fields(item: Any) -> bool:
    if not inspect.isclass(item):
        return False
    return is_typeddict(item) or issubclass(item, BaseModel) or dataclasses.is_dataclass(item)
