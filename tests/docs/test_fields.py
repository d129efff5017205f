"""The generated pages: every YAML field has a type, a default and a meaning."""

from __future__ import annotations

from typing import Annotated

import fields
import pytest
from comments import Declared, declared
from pydantic import BaseModel, Field

from benchmark.config_files import CONFIGS

DOCS = CONFIGS.parent / "docs"
PAGES = [str(page.relative_to(DOCS)) for page in sorted(DOCS.rglob("*.md")) if "reference" not in page.parts]
MODELS = {
    model.__name__: (model, {"name"} if model is file.model else set())
    for file in fields.FILES
    for start in (file.model, *file.parts)
    for model in fields.nested(start)
}


@pytest.mark.parametrize("name", MODELS)
def test_every_field_has_a_meaning(name):
    model, hidden = MODELS[name]
    silent = [field for field in model.model_fields if field not in hidden and not fields.meaning(model, field)]
    assert not silent, f"{model.__module__}.{name}: write a comment beside {', '.join(silent)}"


def test_the_page_shows_every_field_of_every_file():
    page = fields.yaml_page()
    for file in fields.FILES:
        assert f"`configs/{file.folder}/NAME.yaml`" in page
    for name, (model, hidden) in MODELS.items():
        section = page.partition(f"### {name}\n")[2].partition("\n### ")[0]
        for field, info in model.model_fields.items():
            assert (f"| `{info.alias or field}` |" in section) is (field not in hidden), f"{name}.{field}"


def test_every_folder_of_configs_is_explained():
    folders = {path.name for path in CONFIGS.iterdir() if path.is_dir()}
    assert folders == {file.folder for file in fields.FILES}


def test_every_component_shows_its_hyperparameters():
    page = fields.hyperparameters_page()
    for name in fields.discovery.method_names():
        section = page.partition(f"### {name}\n")[2].partition("\n### ")[0]
        for field in fields.discovery.load_method(name).model_fields:
            assert f"| `{field}` |" in section


class Inner(BaseModel):
    """A part."""


class Outer(BaseModel):
    """A whole."""

    inner: Inner | None = None
    sizes: tuple[int, ...] = Field((), min_length=1)
    pair: tuple[Annotated[float, Field(ge=0)], str] = (0.5, "a")
    share: dict[str, float] = Field(default_factory=dict)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("inner", "[Inner](yaml.md#inner) or null"),
        ("sizes", "list of: integer"),
        ("pair", "2 values: number, string"),
        ("share", "map of: number"),
    ],
)
def test_a_type_in_words(name, expected):
    assert fields.type_in_words(Outer.model_fields[name].annotation) == expected


def test_the_comment_beside_a_field_is_its_meaning():
    source = (
        "class A:\n    x: int = 1  # one\n    y: int = f(\n        2\n    )  # two\n    # not of z\n    z: int = 3\n"
    )
    assert declared(source, "A") == {
        "x": Declared("x: int = 1", "one"),
        "y": Declared("y: int = f(2)", "two"),
        "z": Declared("z: int = 3", ""),
    }
    assert declared(source, "B") == {}


@pytest.mark.parametrize("name", PAGES)
def test_the_first_link_to_a_generated_page_says_how_to_make_it(name):
    paragraphs = (DOCS / name).read_text(encoding="utf-8").split("\n\n")
    first = next((text for text in paragraphs if "](reference/" in text or "](../reference/" in text), "make docs")
    assert "make docs" in first, "in a clone the link is dead"
