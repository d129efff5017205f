"""The files in folders of the user by which a node, a protocol or a suite is what it is."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from benchmark.config_files import files
from benchmark.identity import Stage
from benchmark.plan.discovery import PACKAGES
from benchmark.plan.recipes import recipe_paths
from benchmark.sources import component_files, outside_name, parts_beside


def outside_files(kind: str, name: str, components: Iterable[tuple[Stage, str]]) -> dict[str, Path]:
    """Return the files in folders of the user that a configuration and some components consist of, by their names.

    Args:
        kind: the folder of the configuration in ``configs``, such as ``datasets``.
        name: the name of the configuration.
        components: the stage and the name of each. The recipes of a method belong to it, and so do the parts in the
            folder of a component: it may import any of them.
    """
    paths = [files(kind).get(name)]
    for stage, component in components:
        paths += [component_files(package).get(component) for package in PACKAGES[stage]]
        paths += recipe_paths(component) if stage == "distill" else []
    found = {outside: path for path in paths if path and (outside := outside_name(path))}
    for path in [path for path in found.values() if path.suffix == ".py"]:
        found |= parts_beside(path)
    return found
