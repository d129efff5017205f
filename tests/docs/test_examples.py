"""The examples of the documentation: complete files, each loaded and run as a user's own file would be."""

from __future__ import annotations

import dataclasses
import importlib
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from toy_folder import lay_down

from benchmark.config_files import CONFIGS, validated
from benchmark.plan import discovery, recipes
from benchmark.plan.protocol import Protocol
from benchmark.plan.search import Search
from benchmark.plan.suite import load_suite
from benchmark.synthetic import SyntheticSet
from benchmark.vision import datasets

DOCS = CONFIGS.parent / "docs"
EXAMPLE = re.compile(r"^`([\w/]+\.(?:py|yaml))`:\n\n```\w+\n(.*?)```", flags=re.DOTALL | re.MULTILINE)
EXAMPLES = {path: text for page in sorted(DOCS.rglob("*.md")) for path, text in EXAMPLE.findall(page.read_text())}


def install(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a Python example where its package finds it; classes that other tests load are not kept for this one."""
    (tmp_path / Path(path).name).write_text(EXAMPLES[path])
    package = importlib.import_module(Path(path).parent.as_posix().replace("/", "."))
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
    monkeypatch.setattr(discovery, "load_component", discovery.load_component.__wrapped__)


def config(path: str) -> dict[str, Any]:
    return {"name": Path(path).stem, **yaml.safe_load(EXAMPLES[path])}


def test_there_is_one_for_everything_that_can_be_added():
    assert {str(Path(path).parent) for path in EXAMPLES} == {
        "methods",
        "evaluators/measures",
        "evaluators/students",
        "configs/methods",
        "configs/datasets",
        "configs/suites",
        "configs/protocols",
        "configs/searches",
    }
    for path in EXAMPLES:
        assert not (CONFIGS.parent / path).exists(), f"{path} is an example; the project has a file of that name"


def test_the_method_selects_what_it_says(tmp_path, monkeypatch, toy_data, toy_context):
    install("methods/nearest_mean.py", tmp_path, monkeypatch)
    method = discovery.load_method("nearest_mean")()
    assert method.supports(toy_data.info, 12) == "a class offers 11 images, and IPC is 12"
    assert method.supports(toy_data.info, 2) is None
    parts = [method.distill(toy_data, unit, toy_context) for unit in method.units(toy_data.info, 2)]
    result = SyntheticSet.merge(parts)
    assert result.classes.tolist() == [0, 0, 1, 1, 2, 2]
    for label, image in zip(result.classes.tolist(), result.images, strict=True):
        members = toy_data.read(toy_data.indices_of(label)).float()
        distances = (members - members.mean(0)).square().sum((1, 2, 3))
        own = (image.float() - members.mean(0)).square().sum()
        assert own <= distances.sort().values[1]


def test_the_recipes_set_fields_of_the_method(tmp_path, monkeypatch):
    install("methods/nearest_mean.py", tmp_path, monkeypatch)
    monkeypatch.setattr(recipes, "RECIPES", tmp_path)
    (tmp_path / "nearest_mean.yaml").write_text(EXAMPLES["configs/methods/nearest_mean.yaml"])
    pools = [recipes.resolve_method("nearest_mean", "digits", ipc, {}).pool for ipc in (1, 10)]
    assert pools == [20, 100]
    assert recipes.resolve_method("nearest_mean", "cifar10", 1, {}).pool == 500


def test_the_dataset_opens(tmp_path):
    lay_down(tmp_path).joinpath("toy").rename(tmp_path / "insects")
    found = validated(datasets.DatasetConfig, config("configs/datasets/insects.yaml"), "insects")
    train = datasets.open_train(found, tmp_path, tmp_path / "cache")
    assert train.info.class_names == ("ant", "bee", "cat")
    assert train.read(torch.arange(len(train))).shape == (60, 3, 16, 16)


def test_the_measure_returns_its_columns(tmp_path, monkeypatch, toy_data, toy_context):
    install("evaluators/measures/brightness.py", tmp_path, monkeypatch)
    measure = discovery.load_measure("brightness")()
    images = SyntheticSet(toy_data.images, toy_data.labels)
    numbers = measure.measure(images, toy_data, toy_context, tmp_path)
    assert numbers == {"brightness_gap": pytest.approx(0, abs=1e-6)}
    darker = dataclasses.replace(images, images=toy_data.images // 2)
    assert measure.measure(darker, toy_data, toy_context, tmp_path)["brightness_gap"] > 0.1
    assert [column.name for column in measure.columns] == list(numbers)


def test_the_evaluator_keeps_its_learning_rate(tmp_path, monkeypatch):
    install("evaluators/students/constant.py", tmp_path, monkeypatch)
    evaluator = discovery.load_evaluator("constant")(schedule={"epochs": 1, "batch_size": 1})
    assert {evaluator.rate(step, 10) for step in range(10)} == {1.0}
    assert evaluator.identity()["name"] == "constant"


def test_the_suite_makes_its_cells(tmp_path):
    path = tmp_path / "regularisers.yaml"
    path.write_text(EXAMPLES["configs/suites/regularisers.yaml"])
    suite = load_suite(str(path))
    cells = [cell for cell in suite.cells() if not suite.why_excluded(cell)]
    bases = {(cell.method, cell.base) for cell in cells}
    assert ("wmdd+bn", "wmdd") in bases
    assert ("wmdd", "wmdd") in bases
    assert {cell.protocol for cell in cells if cell.ipc == 1} == {"standard"}
    assert [tuple(pair) for pair in suite.pairs] == [("wmdd", "wmdd+bn")]


@pytest.mark.parametrize("full_data", [False, True])
def test_the_protocol_names_components_that_exist(full_data):
    protocol = validated(Protocol, config("configs/protocols/gentle.yaml"), "gentle")
    labels, evaluator = protocol.components(datasets.load_dataset("digits"), full_data=full_data)
    assert (labels.name(), evaluator.name()) == ("per_epoch", "accuracy")
    assert evaluator.schedule.mix == "none"


def test_the_search_gives_every_method_the_same_number_of_trials():
    search = validated(Search, config("configs/searches/rates.yaml"), "rates")
    control, wmdd = (search.grid(method) for method in search.methods)
    assert [values["evaluator.learning_rate"] for values in control] == [0.0005, 0.00136, 0.00368, 0.01]
    assert len(wmdd) == search.trials
    for method, grid in zip(search.methods, (control, wmdd), strict=True):
        assert search.deviation(method, grid[0], "the example").evaluator["learning_rate"] > 0
        recipes.resolve_method(method.base, search.dataset, search.ipc, search.entry(method, grid[0]).overrides)
