"""The contract that every file in methods/ keeps."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable
from typing import get_args

import numpy as np
import pytest
import torch
from fresh import fresh
from pydantic import ValidationError

from benchmark.api import Context, Distiller, Role, SyntheticSet, TrainData
from benchmark.config_files import CONFIGS, names, read_yaml
from benchmark.errors import BenchmarkError, Faults
from benchmark.plan import discovery, recipes
from benchmark.run.returned import check
from benchmark.vision import boxes, dsa

METHODS = CONFIGS.parent / "methods"
NAMES = discovery.method_names()  # those of the folders that DISTILLBENCH_EXTRA names too
MAKERS = [name for name in NAMES if name != "external"]  # which holds what was made elsewhere
MIRRORING = ("dm", "dsa", "idm", "mtt", "ncfm", "gvbsm", "scdd")  # where methods and preparations mirror images
IPC = 2
FEW = {  # a few steps of work
    "iterations": 3,
    "inner_steps": 2,
    "inner_epochs": 1,
    "outer_steps": 2,
    "batch_real": 4,
    "start_epochs": 1,
    "experts": 1,
    "expert_epochs": 2,
    "networks": 2,
    "network_epochs": 1,
    "network_steps": 1,
    "network_batch": 8,
    "frequencies": 8,
    "pretrain_epochs": 1,
    "probe_epochs": 1,
    "scoring_epochs": 3,
    "threshold": 10.0,  # of the loss: steps are taken above the usual one too
}


def small(name: str) -> Distiller:
    """Return the method with its defaults, but no more than a few steps of work."""
    method = discovery.load_method(name)
    return method(**{field: value for field, value in FEW.items() if field in method.model_fields})


def run(method: Distiller, data: TrainData, context: Context, seed: int = 7, ipc: int = IPC) -> SyntheticSet:
    """Go through preparation, units and merge as the engine does."""
    context = dataclasses.replace(fresh(context), seed=seed)
    preparation = method.preparation(data.info)
    prepared = preparation.prepare(data, context) if preparation else {}
    context = dataclasses.replace(context, prepared=prepared)
    units = method.units(data.info, ipc)
    sets = [check(method.distill(data, unit, fresh(context)), method, unit, data.info) for unit in units]
    return SyntheticSet.merge(sets)


@pytest.fixture(scope="module")
def made() -> dict[str, SyntheticSet]:
    """The sets that `once` keeps."""
    return {}


@pytest.fixture
def once(made, toy_data, toy_context) -> Callable[[str], SyntheticSet]:
    """Return the set of a method, which is made for the first test that asks."""

    def of(name: str) -> SyntheticSet:
        if name not in made:
            made[name] = run(small(name), toy_data, toy_context)
        return made[name]

    return of


def same(a: SyntheticSet, b: SyntheticSet) -> bool:
    weights = a.weights is None or b.weights is None or torch.equal(a.weights, b.weights)
    return torch.equal(a.images, b.images) and torch.equal(a.targets, b.targets) and weights


def test_every_file_is_discovered():
    assert {path.stem for path in METHODS.glob("[!_]*.py")} <= set(NAMES)
    assert {"random_real", "full", "sre2l", "mmd", "wmdd"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_form(name):
    method = discovery.load_method(name)
    assert method.name() == name
    assert method.paper, "the class names its paper"
    assert len(method.__doc__ or "") > 60, "the docstring has more than 60 characters"
    assert "``" in method.__doc__ or "=" in method.__doc__, "the docstring shows an equation or names the idea"
    instance = method()
    assert set(instance.identity()["params"]) == set(method.model_fields), "every field is part of the key"
    for field in method.model_fields:
        with pytest.raises(ValidationError):
            setattr(instance, field, getattr(instance, field))


@pytest.mark.parametrize("name", MAKERS)
def test_result(name, toy_data, once):
    method = small(name)
    assert method.supports(toy_data.info, IPC) is None
    result = once(name)
    assert result.images.dtype in (torch.uint8, torch.float32)
    assert result.images.shape[1:] == (3, 32, 32)
    assert torch.isfinite(result.images.float()).all()
    counts = torch.bincount(result.classes, minlength=3).tolist()
    assert counts == ([IPC] * 3 if method.uses_ipc else list(toy_data.info.train_counts))
    assert torch.equal(result.classes, result.classes.sort(stable=True).values), "images come class by class"
    if result.weights is not None:
        assert (result.weights >= 0).all()
        assert result.weights.mean() == pytest.approx(1)
    for extra in result.extras.values():
        assert len(extra) == len(result)


@pytest.mark.parametrize("name", NAMES)
def test_units_cover_every_pair_once(name, toy_info):
    method = small(name)
    pairs = [(c, s) for unit in method.units(toy_info, IPC) for c in unit.classes for s in unit.slots]
    assert sorted(pairs) == [(c, s) for c in range(3) for s in range(IPC)]
    assert [unit.index for unit in method.units(toy_info, IPC)] == list(range(len(method.units(toy_info, IPC))))


@pytest.mark.parametrize("name", MAKERS)
def test_another_seed(name, toy_data, toy_context, once):
    method = small(name)
    changes = not same(once(name), run(method, toy_data, toy_context, seed=8))
    assert changes == ("seed" not in method.__doc__), "the docstring says seed if another seed gives the same images"


@pytest.mark.parametrize("name", MIRRORING)
def test_nothing_is_mirrored_where_a_mirrored_image_shows_another_class(name, toy_data, toy_context, monkeypatch):
    mirrored, positions = [], boxes._positions

    def noted(box, flips, *sizes):
        mirrored.append(bool(flips.any()))
        return positions(box, flips, *sizes)

    monkeypatch.setattr(boxes, "_positions", noted)
    monkeypatch.setattr(dsa, "GROUPS", (*["flip"] * 9, "cutout"))  # so that a flip is seen in few steps
    monkeypatch.setitem(dsa._APPLY, "flip", lambda images, samples: (mirrored.append(True), images)[1])
    toy_data.info = toy_data.info.model_copy(update={"flip": False})
    run(small(name), toy_data, toy_context)
    assert not any(mirrored)


@pytest.mark.parametrize("name", MAKERS)
def test_the_same_seed_and_manners(name, toy_data, toy_context, once, capsys):
    """The same seed gives the same bytes, and the method leaves everything as it was."""
    first = once(name)
    method = small(name)  # first, for some libraries draw random numbers while they are imported
    images, labels = toy_data.images.clone(), toy_data.labels.clone()
    weights = {key: value.clone() for key, value in toy_context.teachers[0].state_dict().items()}
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()  # noqa: NPY002
    modules = list(toy_context.teachers[0].modules())
    hooks = [len(module._forward_pre_hooks) for module in modules]
    again = run(method, toy_data, toy_context)
    assert torch.equal(torch.get_rng_state(), before[0]), "torch's global generator was used"
    assert random.getstate() == before[1], "Python's global generator was used"
    assert np.array_equal(np.random.get_state()[1], before[2]), "NumPy's global generator was used"  # noqa: NPY002
    assert torch.equal(toy_data.images, images)
    assert torch.equal(toy_data.labels, labels)
    assert all(torch.equal(weights[key], value) for key, value in toy_context.teachers[0].state_dict().items())
    assert [len(module._forward_pre_hooks) for module in modules] == hooks, "a hook was left"
    assert capsys.readouterr() == ("", "")
    assert same(first, again), "the same seed gives the same bytes"


@pytest.mark.parametrize("name", NAMES)
def test_recipes_are_sound(name):
    for recipe in recipes.read_recipes(name):
        for ipc in recipe.ipc or (10,):
            method = recipes.resolve_method(name, recipe.dataset, ipc, {})
            assert isinstance(method, discovery.load_method(name))


def test_recipe_files_belong_to_methods():
    assert set(names("methods")) <= set(NAMES)


def runs_of(suite: str) -> set[tuple[str, str]]:
    """Return every pair of a base method and a dataset that a suite lists."""
    pairs = set()
    for block in read_yaml(CONFIGS / "suites" / f"{suite}.yaml")["blocks"]:
        entries = [{"base": entry} if isinstance(entry, str) else entry for entry in block["methods"]]
        bases = {entry.get("base") or entry["name"] for entry in entries}
        pairs |= {(base, dataset) for base in bases for dataset in block["datasets"]}
    return pairs


@pytest.mark.parametrize("suite", sorted(path.stem for path in (CONFIGS / "suites").glob("*.yaml")))
def test_no_suite_runs_a_method_with_defaults_that_nobody_chose(suite):
    """A recipe for the dataset, with its source; or a file without recipes: the defaults hold everywhere."""
    for base, dataset in sorted(runs_of(suite)):
        assert base in names("methods"), f"configs/methods/{base}.yaml: say `recipes: []` if the defaults hold"
        entries = recipes.read_recipes(base)
        chosen = {recipe.dataset for recipe in entries if not recipe.ipc}
        assert not entries or dataset in chosen, f"configs/methods/{base}.yaml: add a recipe for {dataset}"


def test_a_method_without_recipes_runs_with_its_defaults():
    assert "external" not in names("methods")
    assert recipes.resolve_method("external", "digits", 1, {}) == discovery.load_method("external")()


def test_roles():
    expected = {"random_real": "control", "noise": "floor", "full": "bound"}
    expected |= dict.fromkeys(("wmdd", "mmd", "sre2l", "herding", "kmeans_real", "external"), "method")
    assert {name: discovery.load_method(name).role for name in expected} == expected
    assert {discovery.load_method(name).role for name in NAMES} <= set(get_args(Role))
    assert "role" not in discovery.load_method("noise")().identity()["params"]


def test_random_real_draws_real_images_and_grows(toy_data, toy_context):
    method = small("random_real")
    few, many = run(method, toy_data, toy_context, ipc=2), run(method, toy_data, toy_context, ipc=5)
    for label in range(3):
        real = {image.numpy().tobytes() for image in toy_data.images[toy_data.labels == label]}
        small_set = [image.numpy().tobytes() for image in few.images[few.targets == label]]
        large_set = [image.numpy().tobytes() for image in many.images[many.targets == label]]
        assert set(large_set) <= real
        assert len(set(large_set)) == 5
        assert large_set[:2] == small_set


@pytest.mark.parametrize("name", ["datadam", "dm", "dsa", "ftd", "mtt", "tesla"])
def test_without_iterations_a_pixel_method_has_the_images_of_random_real(name, toy_data, toy_context):
    start = run(small(name).model_copy(update={"iterations": 0}), toy_data, toy_context)
    real = run(small("random_real"), toy_data, toy_context)
    torch.testing.assert_close(start.images, real.images / 255)
    assert "loss" not in start.metadata


@pytest.mark.parametrize("name", [name for name in NAMES if "iterations" in discovery.load_method(name).model_fields])
def test_every_method_that_iterates_has_its_start_as_a_variant(name):
    assert discovery.load_method(name)(iterations=0)


def test_random_real_says_which_class_is_too_small(toy_info):
    assert small("random_real").supports(toy_info, 11) is None
    reason = small("random_real").supports(toy_info, 12)
    assert reason == "class 'green' of toy has 11 training images, fewer than IPC 12"


def test_full_holds_every_image_or_says_why_not(toy_data, toy_context):
    result = run(small("full"), toy_data, toy_context)
    assert sorted(image.numpy().tobytes() for image in result.images) == sorted(
        image.numpy().tobytes() for image in toy_data.images
    )
    huge = toy_data.info.model_copy(update={"train_counts": (400_000,) * 3, "resolution": 224})
    assert "181 GB" in small("full").supports(huge, 1)


class TestDiscovery:
    def test_a_wrong_name_is_answered_with_a_near_one(self):
        with pytest.raises(BenchmarkError, match=r"unknown method 'wmd'. Did you mean 'wmdd'\?"):
            discovery.load_method("wmd")

    def test_overrides_win_over_recipes(self):
        assert recipes.resolve_method("sre2l", "imagenette64", 10, {"learning_rate": 0.5}).learning_rate == 0.5

    def test_all_wrong_overrides_are_reported_at_once(self):
        with pytest.raises(Faults) as caught:
            recipes.resolve_method("wmdd", "digits", 1, {"learning_rat": 1, "iterations": "many"}, "main.yaml: set")
        text = str(caught.value)
        assert "main.yaml: set: learning_rat: unknown key. Did you mean 'learning_rate'?" in text
        assert "main.yaml: set: iterations:" in text
        assert "'many'" in text

    def test_areas_of_crops_lie_between_0_and_1(self):
        fields = {"sre2l": "crop_scale", "edc": "crop_scale", "rded": "crop_scale", "forgetting": "scoring_crops"}
        for name, field in {**fields, "scdd": "pretrain_crop_scale"}.items():
            for areas in ([50, 100], [0, 0], [1.0, 0.5]):
                with pytest.raises(Faults, match=f"main.yaml: set: {field}: should be"):
                    recipes.resolve_method(name, "digits", 1, {field: areas}, "main.yaml: set")

    def test_recipes_are_resolved_from_wide_to_narrow(self, tmp_path, monkeypatch):
        monkeypatch.setattr(recipes, "RECIPES", tmp_path)
        entry = "  - {dataset: digits, source: test, set: {iterations: 5, jitter: 1}}\n"
        narrow = "  - {dataset: digits, ipc: [1], source: test, set: {iterations: 7}}\n"
        (tmp_path / "sre2l.yaml").write_text("recipes:\n" + narrow + entry)
        one, ten = (recipes.resolve_method("sre2l", "digits", ipc, {}) for ipc in (1, 10))
        assert (one.iterations, one.jitter) == (7, 1)
        assert (ten.iterations, ten.jitter) == (5, 1)
        assert recipes.resolve_method("sre2l", "cifar10", 1, {}) == discovery.load_method("sre2l")()

    def test_faults_of_a_recipe_file_name_file_and_key(self, tmp_path, monkeypatch):
        monkeypatch.setattr(recipes, "RECIPES", tmp_path)
        first = "  - {dataset: digits, set: {}}\n"
        second = "  - {dataset: digits, source: test, set: {learning_rat: 1}}\n"
        (tmp_path / "wmdd.yaml").write_text("recipes:\n" + first + second)
        with pytest.raises(Faults) as caught:
            recipes.read_recipes("wmdd")
        lines = caught.value.faults
        assert lines[0] == f"{tmp_path}/wmdd.yaml: recipes[0]: source: is missing"
        assert lines[1].startswith(f"{tmp_path}/wmdd.yaml: recipes[1].set: learning_rat: unknown key")

    def test_a_file_without_a_method_says_so(self, tmp_path, monkeypatch):
        import methods

        (tmp_path / "nothing_here.py").write_text('"""Empty."""\n')
        monkeypatch.setattr(methods, "__path__", [*methods.__path__, str(tmp_path)])
        with pytest.raises(BenchmarkError, match=r"nothing_here\.py: defines 0 classes derived from Distiller"):
            discovery.load_method("nothing_here")
