"""The files in folders of the user by which a node, a protocol or a suite is what it is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from benchmark.config_files import files
from benchmark.identity import Stage
from benchmark.plan.discovery import PACKAGES
from benchmark.plan.recipes import recipe_paths
from benchmark.sources import component_files, outside_name


def outside_files(stage: Stage, component: str, dataset: str) -> dict[str, Path]:
    """Return the files in folders of the user by which a node is what it is, by their names.

    Args:
        stage: of the node.
        component: its name.
        dataset: its name.
    """
    paths = [component_files(package).get(component) for package in PACKAGES[stage]]
    recipes = recipe_paths(component) if stage == "distill" else []
    return _outside([files("datasets").get(dataset), *paths, *recipes])


def outside_protocol(protocol: str, components: Mapping[Stage, str]) -> dict[str, Path]:
    """Return the files in folders of the user that a protocol consists of, by their names.

    Args:
        protocol: its name.
        components: the names of its components by stage.
    """
    paths = [component_files(package).get(name) for stage, name in components.items() for package in PACKAGES[stage]]
    return _outside([files("protocols").get(protocol), *paths])


def outside_suite(suite: str, measures: Iterable[str]) -> dict[str, Path]:
    """Return the files in folders of the user that a suite consists of, by their names.

    Args:
        suite: its name.
        measures: the names of its measures.
    """
    paths = [component_files(package).get(name) for name in measures for package in PACKAGES["measure"]]
    return _outside([files("suites").get(suite), *paths])


def _outside(paths: Iterable[Path | None]) -> dict[str, Path]:
    return {name: path for path in paths if path and (name := outside_name(path))}
