"""Recipe files: what an entry may say, and that no entry takes the place of another one unseen."""

from __future__ import annotations

import pytest
import yaml

from benchmark.errors import Faults
from benchmark.plan import recipes
from benchmark.plan.discovery import method_names
from benchmark.plan.recipes import recipes_for


def read(folder, *changes):
    """Read a recipe file of wmdd whose entries have these changes."""
    path = folder / "wmdd.yaml"
    entries = [{"dataset": "digits", "source": "mine", "set": {"batch_images": 5}, **change} for change in changes]
    path.write_text(yaml.safe_dump({"recipes": entries}))
    return recipes._read_recipes("wmdd", path, path.stat().st_mtime_ns)


def test_an_entry_for_some_ipc_goes_over_that_for_all(tmp_path):
    assert len(read(tmp_path, {}, {"ipc": [1, 10]}, {"ipc": [50]}, {"dataset": "cifar10"})) == 4


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ([{}, {}], "recipes[1]: recipes[0] holds for digits at every IPC too"),
        ([{"ipc": [1, 10]}, {"ipc": [10, 50]}], "recipes[1]: recipes[0] holds for digits at IPC 10 too"),
        ([{"ipc": []}], "recipes[0]: ipc: tuple should have at least 1 item"),
        ([{"ipc": [0]}], "recipes[0]: ipc[0]: input should be greater than or equal to 1"),
        ([{"ipc": [-1]}], "recipes[0]: ipc[0]: input should be greater than or equal to 1"),
        ([{"source": ""}], "recipes[0]: source: is blank"),
        ([{"source": " \t"}], "recipes[0]: source: is blank"),
    ],
)
def test_a_wrong_entry_is_named(tmp_path, changes, said):
    with pytest.raises(Faults) as caught:
        read(tmp_path, *changes)
    assert f"wmdd.yaml: {said}" in str(caught.value)


CONTROLS = {"external", "full", "herding", "kmeans_real", "noise", "random_real"}  # without hyperparameters


@pytest.mark.parametrize("dataset", ["cifar10", "cifar100", "imagenet100", "imagenet1k", "imagenette", "imagewoof"])
def test_no_method_meets_a_large_dataset_with_its_defaults(dataset):
    assert {name for name in method_names() if not recipes_for(name, dataset, 10)} == CONTROLS


def test_an_own_recipe_goes_over_that_of_the_other_dataset():
    assert {recipe.dataset for recipe in recipes_for("edc", "cifar100", 10)} == {"cifar100"}
    assert recipes_for("sre2l", "cifar100", 10) == recipes_for("sre2l", "cifar10", 10) != []


def test_a_method_takes_the_recipes_of_another(tmp_path, monkeypatch):
    monkeypatch.setattr(recipes, "RECIPES", tmp_path)
    (tmp_path / "sre2l.yaml").write_text("recipes:\n  - {dataset: digits, source: mine, set: {jitter: 1}}\n")
    (tmp_path / "cda.yaml").write_text("recipes_of: sre2l\n")
    assert recipes.read_recipes("cda") == recipes.read_recipes("sre2l")
    assert recipes.resolve_method("cda", "digits", 1, {}).jitter == 1
    (tmp_path / "random_real.yaml").write_text("recipes_of: sre2l\n")
    with pytest.raises(Faults, match=r"sre2l.yaml: recipes\[0\].set: jitter: unknown key"):
        recipes.read_recipes("random_real")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("recipes_of: wmdd", "wmdd.yaml: recipes_of: 'wmdd' has no recipes of its own"),
        ("recipes_of: sre", "wmdd.yaml: recipes_of: 'sre' has no recipes of its own"),
        ("recipes_of: mmd", "wmdd.yaml: recipes_of: 'mmd' has no recipes of its own"),  # it takes those of sre2l
        ("recipes_of: cda", "wmdd.yaml: recipes_of: 'cda' has no recipes of its own"),  # it takes those of wmdd
        ("recipes_of: sre2l\nrecipes: []", "wmdd.yaml: give either `recipes` or `recipes_of`"),
        ("{}", "wmdd.yaml: give either `recipes` or `recipes_of`"),
    ],
)
def test_a_wrong_source_of_recipes_is_named(tmp_path, monkeypatch, text, said):
    monkeypatch.setattr(recipes, "RECIPES", tmp_path)
    (tmp_path / "sre2l.yaml").write_text("recipes: []\n")
    (tmp_path / "mmd.yaml").write_text("recipes_of: sre2l\n")
    (tmp_path / "cda.yaml").write_text("recipes_of: wmdd\n")
    (tmp_path / "wmdd.yaml").write_text(text + "\n")
    with pytest.raises(Faults) as caught:
        recipes.read_recipes("wmdd")
    assert said in str(caught.value)
