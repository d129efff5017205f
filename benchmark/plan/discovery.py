"""From names to code: what lies in ``methods/`` and ``evaluators/``, and the hyperparameters of a method on a dataset.

Nothing is registered. A file without a leading underscore is a component, its stem is its name, and the one class of
the kind asked for that it defines is what it offers. ``configs/methods/NAME.yaml`` holds a method's recipes::

    recipes:
      - dataset: imagenette
        source: where the numbers come from
        set: {learning_rate: 0.25}
      - dataset: imagenette
        ipc: [1]
        source: ...
        set: {regulariser_weight: 10}
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from pydantic import Field, field_validator

from benchmark.api import Component, Distiller, Evaluator, Frozen, LabelRegime, Measure, Preparation
from benchmark.config_files import CONFIGS, names, read_yaml, validated
from benchmark.errors import BenchmarkError, Faults, unknown

C = TypeVar("C", bound=Component)
RECIPES = CONFIGS / "methods"


class Recipe(Frozen):
    """One entry of a recipe file: hyperparameters for a dataset, at every IPC or at those listed."""

    dataset: str
    ipc: tuple[int, ...] | None = None
    source: str = Field(min_length=1)
    set: dict[str, Any]

    @field_validator("dataset")
    @classmethod
    def _known(cls, dataset: str) -> str:
        if dataset not in names("datasets"):
            raise ValueError(unknown("dataset", dataset, names("datasets")))
        return dataset


class RecipeFile(Frozen):
    """The whole of ``configs/methods/NAME.yaml``."""

    recipes: tuple[dict[str, Any], ...]


def method_names() -> list[str]:
    """Return the names of all methods, sorted."""
    return _names("methods")


def load_method(name: str) -> type[Distiller]:
    """Return the class of a method.

    Raises:
        BenchmarkError: no such file, or its file does not define exactly one `Distiller`.
    """
    return _load("methods", "method", name, Distiller)  # type: ignore[type-abstract]


def load_labels(name: str) -> type[LabelRegime]:
    """Return the class of a label regime; raises as `load_method` does."""
    return _load("evaluators.labels", "label regime", name, LabelRegime)  # type: ignore[type-abstract]


def load_evaluator(name: str) -> type[Evaluator]:
    """Return the class of an evaluator; raises as `load_method` does."""
    return _load("evaluators.students", "evaluator", name, Evaluator)  # type: ignore[type-abstract]


def load_measure(name: str) -> type[Measure]:
    """Return the class of a measure; raises as `load_method` does."""
    return _load("evaluators.measures", "measure", name, Measure)  # type: ignore[type-abstract]


def load_preparation(name: str) -> type[Preparation]:
    """Return the class of a preparation, which lies in the file of a method or in a file of shared parts."""
    modules = [f"{package}.{name}" for package in ("methods", "methods.parts", "evaluators.parts")]
    module = next((module for module in modules if importlib.util.find_spec(module)), modules[1])
    return _defined(importlib.import_module(module), Preparation)  # type: ignore[type-abstract]


def resolve_method(
    name: str, dataset: str, ipc: int, overrides: Mapping[str, Any], where: str = "overrides"
) -> Distiller:
    """Return a method with its hyperparameters for a dataset and an IPC.

    A later source wins: class default, recipes of the dataset, recipes of the dataset at this IPC, ``overrides``.

    Args:
        name: of the method.
        dataset: name of the dataset.
        ipc: images per class.
        overrides: hyperparameters that a suite sets itself.
        where: how messages call the overrides (file and key).

    Raises:
        Faults: unknown hyperparameters or values of a wrong type, all at once, each with file and key.
    """
    method = load_method(name)
    recipes = read_recipes(name)
    wide = [recipe.set for recipe in recipes if recipe.dataset == dataset and recipe.ipc is None]
    narrow = [recipe.set for recipe in recipes if recipe.dataset == dataset and ipc in (recipe.ipc or ())]
    merged: dict[str, Any] = {}
    for values in (*wide, *narrow, overrides):
        merged |= values
    return validated(method, merged, where)


def read_recipes(name: str) -> tuple[Recipe, ...]:
    """Return the recipes of a method, () if it has no file, every one of them checked against the method's fields."""
    path = RECIPES / f"{name}.yaml"
    if not path.exists():
        return ()
    label, method = f"configs/methods/{path.name}", load_method(name)
    recipes: list[Recipe] = []
    faults: list[str] = []
    for index, entry in enumerate(validated(RecipeFile, read_yaml(path), label).recipes):
        where = f"{label}: recipes[{index}]"
        try:
            recipes.append(validated(Recipe, entry, where))
            validated(method, recipes[-1].set, f"{where}.set")
        except Faults as error:
            faults += error.faults
    if faults:
        raise Faults(faults)
    return tuple(recipes)


def _names(package: str) -> list[str]:
    folders = importlib.import_module(package).__path__
    return sorted(path.stem for folder in folders for path in Path(folder).glob("[!_]*.py"))


def _load(package: str, kind: str, name: str, base: type[C]) -> type[C]:
    if name not in _names(package):
        raise BenchmarkError(unknown(kind, name, _offering(package, base)))
    importlib.invalidate_caches()
    try:
        module = importlib.import_module(f"{package}.{name}")
    except Exception as error:  # somebody's new file, with any mistake that code can have
        why = f"{type(error).__name__}: {error}"
        path = package.replace(".", "/")
        raise BenchmarkError(f"{path}/{name}.py: cannot be imported ({why})") from error
    return _defined(module, base)


def _offering(package: str, base: type[Component]) -> list[str]:
    """Return the names of the files that define a component of a kind; those that cannot be imported offer none."""
    found = []
    for name in _names(package):
        with contextlib.suppress(Exception):
            _defined(importlib.import_module(f"{package}.{name}"), base)
            found.append(name)
    return found


def _defined(module: ModuleType, base: type[C]) -> type[C]:
    found = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, base) and value.__module__ == module.__name__
    ]
    if len(found) != 1:
        file = module.__name__.replace(".", "/") + ".py"
        raise BenchmarkError(f"{file}: defines {len(found)} classes derived from {base.__name__}, not exactly one")
    return found[0]
