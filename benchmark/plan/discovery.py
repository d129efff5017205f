"""Find components and the hyperparameters of a method.

A component needs no registration. Every file in ``methods/``, ``evaluators/labels/``, ``evaluators/students/`` and
``evaluators/measures/`` whose name does not start with an underscore defines one component class; the stem of the file
is the name of the component. ``configs/methods/NAME.yaml`` holds the recipes of a method::

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
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, TypeVar

from pydantic import Field, field_validator

from benchmark.api import Component, Distiller, Evaluator, Frozen, LabelRegime, Measure, Preparation
from benchmark.config_files import CONFIGS, Words, display_path, files, names, read_yaml, validated
from benchmark.errors import BenchmarkError, Faults, one_line, unknown
from benchmark.identity import Stage
from benchmark.settings import restored
from benchmark.sources import component_files, load_module, outside_name, subfolders

C = TypeVar("C", bound=Component)
RECIPES = CONFIGS / "methods"
PACKAGES: dict[Stage, tuple[str, ...]] = {  # where the component of a stage lies
    "teacher": (),
    "prepare": ("methods", "methods.parts", "evaluators.parts"),
    "distill": ("methods",),
    "relabel": ("evaluators.labels",),
    "evaluate": ("evaluators.students",),
    "measure": ("evaluators.measures",),
}


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
    """The content of ``configs/methods/NAME.yaml``."""

    recipes: tuple[dict[str, Any], ...]


def method_names() -> list[str]:
    """Return the names of all methods, sorted."""
    return component_names("methods")


def load_method(name: str) -> type[Distiller]:
    """Return the class of a method.

    Raises:
        BenchmarkError: there is no such file, or it does not define exactly one `Distiller`.
    """
    return load_component("methods", "method", name, Distiller)


def load_labels(name: str) -> type[LabelRegime]:
    """Return the class of a label regime; raises the errors of `load_method`."""
    return load_component("evaluators.labels", "label regime", name, LabelRegime)


def load_evaluator(name: str) -> type[Evaluator]:
    """Return the class of an evaluator; raises the errors of `load_method`."""
    return load_component("evaluators.students", "evaluator", name, Evaluator)


def load_measure(name: str) -> type[Measure]:
    """Return the class of a measure; raises the errors of `load_method`."""
    return load_component("evaluators.measures", "measure", name, Measure)


def load_preparation(name: str) -> type[Preparation]:
    """Return the class of a preparation; it is defined in the file of a method or in a file of ``parts``."""
    packages = PACKAGES["prepare"]
    package = next((package for package in packages if name in component_files(package)), packages[1])
    return _component_class(load_module(package, name), Preparation)  # type: ignore[type-abstract]


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
    """Return the recipes of a method for a dataset and an IPC, those for every IPC first; raises as `read_recipes`."""
    recipes = [recipe for recipe in read_recipes(name) if recipe.dataset == dataset]
    return [
        *(recipe for recipe in recipes if recipe.ipc is None),
        *(recipe for recipe in recipes if ipc in (recipe.ipc or ())),
    ]


def why_cut(name: str, dataset: str, ipc: int) -> str:
    """Return why a recipe has less than the methods that it is compared with; "" where it has not."""
    return next((recipe.cut for recipe in reversed(recipes_for(name, dataset, ipc)) if recipe.cut), "")


def read_recipes(name: str) -> tuple[Recipe, ...]:
    """Return the recipes of a method; () for a method without a recipe file.

    Raises:
        Faults: every wrong entry of the file, and every hyperparameter that the method does not have.
    """
    paths = [folder / f"{name}.yaml" for folder in (RECIPES, *subfolders("configs/methods"))]
    path = next((path for path in paths if path.exists()), None)
    return _read_recipes(path, path.stat().st_mtime_ns) if path else ()


def stray_recipes() -> list[str]:
    """Return a fault for every recipe file that belongs to no method."""
    methods = method_names()
    stray = {name: path for name, path in files("methods").items() if name not in methods}
    return [f"{display_path(path)}: {unknown('method', name, methods)}" for name, path in stray.items()]


@cache
def _read_recipes(path: Path, mtime: int) -> tuple[Recipe, ...]:
    """Read a recipe file; ``mtime`` is its time of change, so a changed file is read again."""
    file, method = display_path(path), load_method(path.stem)
    recipes: list[Recipe] = []
    faults: list[str] = []
    taken: dict[tuple[str, int | None], int] = {}  # recipe by dataset and IPC
    for index, entry in enumerate(validated(RecipeFile, read_yaml(path), file).recipes):
        where = f"{file}: recipes[{index}]"
        try:
            recipes.append(validated(Recipe, entry, where))
            for place in ((recipes[-1].dataset, ipc) for ipc in recipes[-1].ipc or (None,)):
                if (other := taken.setdefault(place, index)) != index:
                    values = f"{place[0]} at IPC {place[1]}" if place[1] else f"{place[0]} at every IPC"
                    faults.append(f"{where}: recipes[{other}] holds for {values} too")
            validated(method, recipes[-1].set, f"{where}.set")
        except Faults as error:
            faults += error.faults
    if faults:
        raise Faults(faults)
    return tuple(recipes)


def outside_files(stage: Stage, component: str, dataset: str) -> dict[str, Path]:
    """Return the files in folders of the user by which a node is what it is, by their names.

    Args:
        stage: of the node.
        component: its name.
        dataset: its name.
    """
    paths = [component_files(package).get(component) for package in PACKAGES[stage]]
    recipes = files("methods").get(component) if stage == "distill" else None
    return _outside([files("datasets").get(dataset), *paths, recipes])


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


def component_names(package: str) -> list[str]:
    """Return the stems of the component files of a package, sorted."""
    return list(component_files(package))


@cache
def load_component(package: str, kind: str, name: str, base: type[C]) -> type[C]:
    """Return the component class of a file.

    Args:
        package: ``methods``, say.
        kind: what messages call the component, in the singular.
        name: the stem of the file.
        base: the class that the component class is derived from.

    Raises:
        BenchmarkError: there is no such file, it cannot be imported, or it does not define exactly one such class.
    """
    if name not in component_names(package):
        raise BenchmarkError(unknown(kind, name, _names_of_kind(package, base)))
    try:
        with restored():
            module = load_module(package, name)
    except (Exception, SystemExit) as error:  # the file of a user can fail in any way
        file = display_path(component_files(package)[name])
        raise BenchmarkError(f"{file}: cannot be imported ({one_line(error)})") from error
    return _component_class(module, base)


def _names_of_kind(package: str, base: type[Component]) -> list[str]:
    """Return the names of the files that define a component of a kind; files that cannot be imported are left out."""
    component_files = []
    for name in component_names(package):
        with contextlib.suppress(Exception):
            _component_class(load_module(package, name), base)
            component_files.append(name)
    return component_files


def _component_class(module: ModuleType, base: type[C]) -> type[C]:
    """Return the one class derived from ``base`` that a module defines."""
    classes = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, base) and value.__module__ == module.__name__
    ]
    file = display_path(Path(getattr(module, "__file__", None) or module.__name__))
    if len(classes) != 1:
        raise BenchmarkError(f"{file}: defines {len(classes)} classes derived from {base.__name__}, not exactly one")
    if lacking := sorted(classes[0].__abstractmethods__):
        raise BenchmarkError(f"{file}: class {classes[0].__name__} has no method {', '.join(lacking)}")
    return classes[0]
