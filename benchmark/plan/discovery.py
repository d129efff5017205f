"""Find components: methods, label regimes, evaluators, measures and preparations.

A component needs no registration. Every file in ``methods/``, ``evaluators/labels/``, ``evaluators/students/`` and
``evaluators/measures/`` whose name does not start with an underscore or a dot defines one component class; the stem of
the file is the name of the component.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from benchmark.api import Component, Distiller, Evaluator, LabelRegime, Measure, Preparation
from benchmark.config_files import display_path
from benchmark.errors import BenchmarkError, Faults, one_line, unknown
from benchmark.identity import Stage
from benchmark.settings import restored
from benchmark.sources import component_files, load_module

C = TypeVar("C", bound=Component)
PACKAGES: dict[Stage, tuple[str, ...]] = {  # where the component of a stage lies
    "teacher": (),
    "prepare": ("methods", "methods.parts", "evaluators.parts"),
    "distill": ("methods",),
    "relabel": ("evaluators.labels",),
    "evaluate": ("evaluators.students",),
    "measure": ("evaluators.measures",),
}


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
    names = []
    for name in component_names(package):
        with contextlib.suppress(Exception):
            _component_class(load_module(package, name), base)
            names.append(name)
    return names


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
    if faults := list(_field_faults(classes[0], base)):
        raise Faults(f"{file}: class {classes[0].__name__}: {fault}" for fault in faults)
    return classes[0]


def _field_faults(component: type[Component], base: type[Component]) -> Iterator[str]:
    """Yield what is wrong with the fields that a component class adds to those of its base class."""
    for name in sorted(base.__class_vars__):
        if name in component.model_fields:
            yield f"{name}: write ClassVar[...] as its type; otherwise it is a hyperparameter"
        elif not hasattr(component, name):
            yield f"{name}: is missing"
    for name, field in component.model_fields.items():
        if field.is_required() and base is Distiller:  # other components get values from a protocol or a method
            yield f"{name}: a hyperparameter needs a default value"
