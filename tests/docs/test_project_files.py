"""What a project at a code host has: a licence, how to cite it, forms, and one version everywhere."""

from __future__ import annotations

import itertools
import re
import tomllib
from pathlib import Path

import pytest
import yaml

import benchmark

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
REQUIRED = [*PROJECT["dependencies"], *itertools.chain.from_iterable(PROJECT["optional-dependencies"].values())]
FORMS = sorted(path for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml") if path.stem != "config")
PINS = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split())


def normal(name: str) -> str:
    """Return a package's name as registries compare names."""
    return re.sub(r"[-_.]+", "-", name).lower()


def required() -> list[tuple[str, str]]:
    """Return the name and the lowest version of every direct dependency."""
    return re.findall(r"^([\w.-]+)(?:\[\w+\])?>=([\w.]+)$", "\n".join(REQUIRED), flags=re.MULTILINE)


def test_every_dependency_has_a_lowest_and_a_pinned_version():
    own = [line for line in REQUIRED if line.startswith(PROJECT["name"])]
    assert len(required()) == len(REQUIRED) - len(own), (
        "write every dependency as NAME>=VERSION: make test-oldest reads it"
    )
    assert {normal(name) for name, _ in required()} <= {normal(name) for name in PINS}


def test_the_citation_is_valid():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors", "version", "license"} <= citation.keys()
    assert citation["version"] == benchmark.__version__
    assert citation["license"] == PROJECT["license"]
    assert [author["name"] for author in citation["authors"]] == [author["name"] for author in PROJECT["authors"]]


def test_the_licence_names_the_authors():
    text = (ROOT / "LICENSE").read_text()
    assert text.startswith(f"{PROJECT['license']} License\n")
    assert PROJECT["authors"][0]["name"] in text


@pytest.mark.parametrize("path", FORMS, ids=[path.stem for path in FORMS])
def test_a_form_is_one(path: Path):
    form = yaml.safe_load(path.read_text())
    assert {"name", "description", "body"} <= form.keys()
    ids = [item["id"] for item in form["body"] if item["type"] != "markdown"]
    assert ids and len(set(ids)) == len(ids)
    for item in form["body"]:
        assert item["type"] in {"markdown", "input", "textarea", "dropdown", "checkboxes"}
        assert item["type"] == "markdown" or item["attributes"]["label"]
        assert item["type"] != "dropdown" or item["attributes"]["options"]


def test_there_is_a_form_for_every_purpose():
    assert [path.stem for path in FORMS] == ["bug", "evaluate_my_method", "new_result"]


def test_ci_runs_what_a_contributor_can_run():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    commands = [step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step]
    assert commands == ["bash .ci/run", "make test-oldest"]
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    script = (ROOT / ".ci" / "run").read_text()
    calls = re.findall(r"^make (?:--jobs \d --output-sync )?(.+)$", "\n".join([script, *commands]), flags=re.MULTILINE)
    called = {word for call in calls for word in call.split()}
    assert {"lint", "check", "docs", "test", "test-oldest"} <= called <= set(targets)


def test_the_changelog_has_a_place_for_the_next_change():
    assert "\n## [Unreleased]\n" in (ROOT / "CHANGELOG.md").read_text()
