"""Recipes: the hyperparameters of a method for a dataset.

``configs/methods/NAME.yaml`` holds the recipes of a method::

    recipes:
      - dataset: imagenette
        source: where the numbers come from
        set: {learning_rate: 0.25}
      - dataset: imagenette
        ipc: [1]
        source: ...
        set: {regulariser_weight: 10}

A dataset with ``recipes_of: OTHER`` in its file takes the recipes for another dataset where a method has none for it.
A recipe file with ``recipes_of: OTHER`` in place of ``recipes`` takes those of another method.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, field_validator, model_validator

from benchmark.api import Distiller, Frozen
from benchmark.config_files import CONFIGS, Words, display_path, files, names, read_yaml, validated
from benchmark.errors import Faults, unknown
from benchmark.plan.discovery import load_method, method_names
from benchmark.sources import subfolders
from benchmark.vision.datasets import load_dataset

RECIPES = CONFIGS / "methods"


class Recipe(Frozen):
    """One entry of a recipe file: hyperparameters for a dataset, for all IPC or for some."""

    dataset: str
    ipc: tuple[Annotated[int, Field(ge=1)], ...] | None = Field(None, min_length=1)  # None: all
    source: Words  # where the values come from
    search: str | None = None  # name of a file in `configs/searches/` that chose values on the hold-out
    cut: str = ""  # what is less than the methods that it is compared with have, and why; such a row gets no rank
    set: dict[str, Any]

    @field_validator("dataset")
    @classmethod
    def _exists(cls, dataset: str) -> str:
        if dataset not in names("datasets"):
            raise ValueError(unknown("dataset", dataset, names("datasets")))
        return dataset

    @field_validator("search")
    @classmethod
    def _search_exists(cls, search: str | None) -> str | None:
        if search is not None and search not in names("searches"):
            raise ValueError(unknown("search", search, names("searches")))
        return search


class RecipeFile(Frozen):
    """The content of ``configs/methods/NAME.yaml``: recipes, or the method whose recipes hold."""

    recipes: tuple[dict[str, Any], ...] | None = None
    recipes_of: str | None = None  # a method with the same hyperparameters, whose file has recipes

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.recipes is None) == (self.recipes_of is None):
            raise ValueError("give either `recipes` or `recipes_of`")
        return self


def resolve_method(
    name: str, dataset: str, ipc: int, overrides: Mapping[str, Any], where: str = "overrides"
) -> Distiller:
    """Return a method with its hyperparameters for a dataset and an IPC.

    Later values replace earlier ones: defaults of the class, recipes for the dataset, recipes for the dataset and this
    IPC, ``overrides``.

    Args:
        name: the method.
        dataset: the dataset.
        ipc: images per class.
        overrides: hyperparameters that a suite sets.
        where: file and key of the overrides, for messages.

    Raises:
        Faults: all unknown hyperparameters and all wrong values, each with its file and key.
    """
    hyperparameters: dict[str, Any] = {}
    for values in (*(recipe.set for recipe in recipes_for(name, dataset, ipc)), overrides):
        hyperparameters |= values
    return validated(load_method(name), hyperparameters, where)


def recipes_for(name: str, dataset: str, ipc: int) -> list[Recipe]:
    """Return the recipes of a method for a dataset and an IPC, those for every IPC first; raises as `read_recipes`.

    Without a recipe for the dataset, they are those for its ``recipes_of``.
    """
    recipes = read_recipes(name)
    if recipes and all(recipe.dataset != dataset for recipe in recipes):
        dataset = load_dataset(dataset).recipes_of
    recipes_of_dataset = [recipe for recipe in recipes if recipe.dataset == dataset]
    return [
        *(recipe for recipe in recipes_of_dataset if recipe.ipc is None),
        *(recipe for recipe in recipes_of_dataset if ipc in (recipe.ipc or ())),
    ]


def why_cut(name: str, dataset: str, ipc: int) -> str:
    """Return why a recipe has less than the methods that it is compared with; "" where it has not."""
    return next((recipe.cut for recipe in reversed(recipes_for(name, dataset, ipc)) if recipe.cut), "")


def stray_recipes() -> list[str]:
    """Return a fault for every recipe file that belongs to no method."""
    methods = method_names()
    stray = {name: path for name, path in files("methods").items() if name not in methods}
    return [f"{display_path(path)}: {unknown('method', name, methods)}" for name, path in stray.items()]


def read_recipes(name: str) -> tuple[Recipe, ...]:
    """Return the recipes of a method; () for a method without a recipe file.

    Raises:
        Faults: every wrong entry of the file, and every hyperparameter that the method does not have.
    """
    paths = recipe_paths(name)
    return _read_recipes(name, paths[-1], paths[-1].stat().st_mtime_ns) if paths else ()


def recipe_paths(name: str) -> list[Path]:
    """Return the recipe file of a method, then the file of which it takes the recipes; [] without such a file."""
    own_path = _recipe_path(name)
    if own_path is None:
        return []
    source = _recipe_file(own_path, own_path.stat().st_mtime_ns).recipes_of
    if source is None:
        return [own_path]
    path = _recipe_path(source)
    if path is None or _recipe_file(path, path.stat().st_mtime_ns).recipes is None:
        raise Faults([f"{display_path(own_path)}: recipes_of: {source!r} has no recipes of its own"])
    return [own_path, path]


def _recipe_path(name: str) -> Path | None:
    folders = (RECIPES, *subfolders("configs/methods"))
    return next((path for folder in folders if (path := folder / f"{name}.yaml").exists()), None)


@cache
def _recipe_file(path: Path, mtime: int) -> RecipeFile:
    """Read a recipe file; ``mtime`` is its time of change, so a changed file is read again."""
    return validated(RecipeFile, read_yaml(path), display_path(path))


@cache
def _read_recipes(name: str, path: Path, mtime: int) -> tuple[Recipe, ...]:
    """Read the recipes of a method from a file of ``recipes``; ``mtime`` as in `_recipe_file`."""
    file, method = display_path(path), load_method(name)
    recipes: list[Recipe] = []
    faults: list[str] = []
    places: dict[tuple[str, int | None], int] = {}  # recipe by dataset and IPC
    for index, entry in enumerate(_recipe_file(path, mtime).recipes or ()):
        where = f"{file}: recipes[{index}]"
        try:
            recipes.append(validated(Recipe, entry, where))
            for place in ((recipes[-1].dataset, ipc) for ipc in recipes[-1].ipc or (None,)):
                if (first_index := places.setdefault(place, index)) != index:
                    values = f"{place[0]} at IPC {place[1]}" if place[1] else f"{place[0]} at every IPC"
                    faults.append(f"{where}: recipes[{first_index}] holds for {values} too")
            validated(method, recipes[-1].set, f"{where}.set")
        except Faults as error:
            faults += error.faults
    if faults:
        raise Faults(faults)
    return tuple(recipes)
