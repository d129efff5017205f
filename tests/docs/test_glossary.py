"""One word per thing: the glossary, and the words that must not come back."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path

import fields
import pytest
import typer

from benchmark.cli.main import app
from benchmark.config_files import CONFIGS

ROOT = CONFIGS.parent
GLOSSARY = (ROOT / "docs" / "glossary.md").read_text()
TERMS = re.findall(r"^(\S.*)\n:   (.*)$", GLOSSARY, flags=re.MULTILINE)
PUBLISHED = ROOT / "leaderboards" / "published"
CSV_FILES = sorted(PUBLISHED.rglob("*.csv"))
MANIFESTS = sorted(PUBLISHED.glob("*/manifest.json"))

RETIRED = {  # a word that named a thing before -> the word of the glossary
    "as": "method",
    "label": "method",
    "module": "base",
    "params": "overrides",
    "label_seconds": "relabel_seconds",
    "train_seconds": "evaluate_seconds",
    "place": "options",
    "machine": "options",
    "settings": "options",
}
RETIRED_COLUMNS = RETIRED | {"recipe": "hyperparameters"}
CELL = {  # what the manifest says of a cell
    *("dataset", "ipc", "method", "base", "overrides", "role", "protocol", "student"),
    *("teacher", "draw", "seed", "skipped", "nodes", "cut", "outside", "tier"),
}


def options(command: typer.core.TyperGroup, words: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
    """Yield the name of every option and argument, each with its command."""
    for name, inner in getattr(command, "commands", {}).items():
        yield from options(inner, (*words, name))
    for parameter in command.params:
        for name in (parameter.name, *parameter.opts):
            yield " ".join(words), str(name).lstrip("-").replace("-", "_")


def test_it_is_short_and_plain():
    assert 20 <= len(TERMS) <= 30
    assert len({term for term, _ in TERMS}) == len(TERMS)
    for term, sentence in TERMS:
        assert sentence.endswith("."), term
        assert ". " not in sentence, f"{term}: one sentence"
        assert term not in RETIRED_COLUMNS or term == "recipe"


@pytest.mark.parametrize("path", CSV_FILES, ids=[str(path.relative_to(PUBLISHED)) for path in CSV_FILES])
def test_columns_use_its_words(path: Path):
    with path.open(newline="", encoding="utf-8") as file:
        columns = next(csv.reader(file))
    assert {column: RETIRED_COLUMNS[column] for column in columns if column in RETIRED_COLUMNS} == {}


def test_published_files_use_its_words():
    names = {path.name for path in CSV_FILES}
    assert not {name for name in names if name == "comparisons.csv" or name.startswith("distances_")}


@pytest.mark.parametrize("path", MANIFESTS, ids=[path.parent.name for path in MANIFESTS])
def test_cells_of_a_manifest_use_its_words(path: Path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    assert {key for cell in cells for key in cell} <= CELL


def test_options_use_its_words():
    found = list(options(typer.main.get_command(app)))
    assert ("run", "suite") in found
    assert ("data fetch", "name") in found
    assert {(command, name): RETIRED[name] for command, name in found if name in RETIRED} == {}


def test_yaml_keys_use_its_words():
    keys = {
        (model.__name__, key)
        for file in fields.FILES
        for start in (file.model, *file.parts)
        for model in fields.nested(start)
        for name, info in model.model_fields.items()
        for key in (name, info.alias)
    }
    assert ("Block", "methods") in keys
    assert {("MethodEntry", "method"), ("MethodEntry", "base"), ("MethodEntry", "set")} <= keys
    assert {(model, key): RETIRED[key] for model, key in keys if key in RETIRED} == {}
