"""Write the pages that explain every YAML field and every hyperparameter, from the pydantic models.

The type and the default come from the model, the meaning from the comment beside the field in the source.
"""

from __future__ import annotations

import inspect
import json
import sys
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import comments
from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from benchmark.api import Component
from benchmark.config_files import CONFIGS
from benchmark.plan import discovery, recipes
from benchmark.plan.cost import Card
from benchmark.plan.protocol import Protocol
from benchmark.plan.search import Search
from benchmark.plan.suite import Suite
from benchmark.vision.augment import Schedule
from benchmark.vision.datasets import DatasetConfig

Model = type[BaseModel]


@dataclass(frozen=True)
class File:
    """A kind of YAML file: its folder, its model, and the models that the model names as plain maps."""

    folder: str
    title: str
    model: Model
    parts: tuple[Model, ...] = ()


FILES = (
    File("datasets", "Datasets", DatasetConfig),
    File("cards", "Graphics cards", Card),
    File("methods", "Recipes of a method", recipes.RecipeFile, (recipes.Recipe,)),
    File("protocols", "Protocols", Protocol, (Schedule,)),
    File("suites", "Suites", Suite),
    File("searches", "Searches", Search),
)
COMMON = {  # fields that mean the same in every model; a comment beside the field comes first
    "title": "a short heading for tables and lists",
    "description": "one or two sentences for a reader",
    "version": "raise it when results of this file may change",
    "source": "where the values come from: a paper, its code, or our own choice and its reason",
    "dataset": "name of a file in `configs/datasets/`",
    "datasets": "names of files in `configs/datasets/`",
    "ipc": "images per class",
    "methods": "names of files in `methods/`, or variants of them",
    "protocol": "name of a file in `configs/protocols/`",
    "protocols": "names of files in `configs/protocols/`",
    "student": "name of a network",
    "students": "names of networks",
    "schedule": "the augmented images that the student sees: epochs, batch size, crops, flips and mixing",
    "labels": "the label regime and its fields",
    "evaluator": "the evaluator and its fields",
    "why": "the reason, in words",
    "recipes": "the recipes; one for an IPC wins over one for every IPC",
    "blocks": "the cross products that make the cells",
    "exclude": "cells that are left out, each rule with its reason",
    "space": "the values to try, by the name of a hyperparameter or of a protocol's field",
    "low": "the smallest value",
    "high": "the largest value",
    "points": "the number of values",
    "set": "hyperparameters, each with its value",
    "arch": "name of a network",
    "epochs": "passes over the images",
    "iterations": "optimiser steps of the distillation",
    "batch_size": "images of one optimiser step",
    "optimizer": "the optimiser",
    "learning_rate": "peak learning rate of the optimiser",
    "momentum": "momentum of the optimiser",
    "betas": "the two coefficients of Adam",
    "weight_decay": "weight decay of the optimiser",
    "temperature": "softmax temperature of the labels",
    "crop_scale": "least and greatest area of a random crop, as a share of the image",
    "flip": "mirror half of the images",
    "storage": "`disk`: store the labels; `online`: ask the teacher while the student trains",
}
WORDS: dict[Any, str] = {
    str: "string",
    int: "integer",
    float: "number",
    bool: "true or false",
    Any: "any value",
    type(None): "null",
}
SIGNS = {Ge: ("≥", "ge"), Gt: (">", "gt"), Le: ("≤", "le"), Lt: ("<", "lt")}


def yaml_page() -> str:
    """Return the page of all YAML fields."""
    text = [
        "# YAML fields\n",
        "This page is made from the code. An unknown key is an error, and the message names the closest known key.\n",
    ]
    told: set[Model] = set()
    for file in FILES:
        text += [f"## {file.title}\n", f"`configs/{file.folder}/NAME.yaml`. The stem of the file is its name.\n"]
        for model in (*nested(file.model), *(inner for part in file.parts for inner in nested(part))):
            if model not in told:
                told.add(model)
                hidden = {"name"} if model is file.model else set()
                text += [f"### {model.__name__}\n", *_described(model, hidden)]
    return "\n".join(text)


def hyperparameters_page() -> str:
    """Return the page of the hyperparameters of every component."""
    text = [
        "# Hyperparameters\n",
        "This page is made from the code. A recipe (`configs/methods/NAME.yaml`), a suite (`set:`) or a protocol sets",
        "these fields; the default holds where none of them does.\n",
    ]
    groups: dict[str, tuple[str, Callable[[str], type[Component]]]] = {
        "Methods": ("methods", discovery.load_method),
        "Label regimes": ("evaluators.labels", discovery.load_labels),
        "Evaluators": ("evaluators.students", discovery.load_evaluator),
        "Measures": ("evaluators.measures", discovery.load_measure),
    }
    for title, (package, load) in groups.items():
        text += [f"## {title}\n"]
        for path in sorted(CONFIGS.parent.joinpath(*package.split(".")).glob("[!_]*.py")):
            text += [f"### {path.stem}\n", *_described(load(path.stem), set())]
    return "\n".join(text)


def nested(model: Model) -> Iterator[Model]:
    """Yield a model and the models that its fields hold, each once, from the outside to the inside."""
    found = {model: None}
    waiting = [model]
    while waiting:
        for field in waiting.pop(0).model_fields.values():
            for inner in _models(field.annotation):
                if inner not in found:
                    found[inner] = None
                    waiting.append(inner)
    yield from found


def meaning(model: Model, name: str) -> str:
    """Return what a field of a model means, "" where neither a comment nor `COMMON` says it."""
    for parent in model.__mro__:
        if name in inspect.get_annotations(parent):
            return declared(parent)[name].comment or COMMON.get(name, "")
    return ""


def declared(cls: type) -> dict[str, comments.Declared]:
    """Return the fields that a class declares itself."""
    return comments.declared(inspect.getsource(sys.modules[cls.__module__]), cls.__name__)


def type_in_words(annotation: Any) -> str:
    """Return the type of a field as a reader of YAML says it; a model is a link to its section."""
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return type_in_words(args[0])
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in args)
    if origin in (Union, types.UnionType):
        return " or ".join(type_in_words(arg) for arg in args)
    if origin is tuple and args[-1] is not Ellipsis:
        return f"{len(args)} values: {', '.join(type_in_words(arg) for arg in args)}"
    if origin in (tuple, list):
        return f"list of: {type_in_words(args[0])}"
    if origin is dict:
        return f"map of: {type_in_words(args[1])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return f"[{annotation.__name__}](yaml.md#{_anchor(annotation)})"
    return WORDS.get(annotation, str(getattr(annotation, "__name__", annotation)))


def _described(model: Model, hidden: set[str]) -> list[str]:
    """Return the first paragraph of a model's docstring and the table of its fields."""
    text = [" ".join((inspect.getdoc(model) or "").partition("\n\n")[0].split()) + "\n"]
    rows = [
        f"| `{field.alias or name}` | {_type(field)} | {_default(field)} | {_cell(meaning(model, name))} |"
        for name, field in model.model_fields.items()
        if name not in hidden
    ]
    return [*text, "| field | type | default | meaning |", "| :-- | :-- | :-- | :-- |", *rows, ""] if rows else text


def _type(field: FieldInfo) -> str:
    bounds = [
        f"{sign} {getattr(item, name):g}"
        for item in field.metadata
        for kind, (sign, name) in SIGNS.items()
        if isinstance(item, kind)
    ]
    bounds += ["not empty" for item in field.metadata if isinstance(item, MinLen)]
    return ", ".join([type_in_words(field.annotation), *bounds])


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        chosen = value.model_dump(mode="json", exclude_unset=True)
        return f"`{json.dumps(chosen)}`" if chosen else "its defaults"
    return "" if value == "" else f"`{json.dumps(value)}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def _models(annotation: Any) -> Iterator[Model]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models(inner)


def _anchor(model: Model) -> str:
    return model.__name__.lower()
