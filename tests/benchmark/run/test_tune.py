"""Tuning: the same budget for all, no way to the test split, and the same numbers whoever runs the trials."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from toy_folder import write_image

from benchmark.cli import main
from benchmark.cli import tune as command_line
from benchmark.config_files import names, validated
from benchmark.errors import BenchmarkError, Faults
from benchmark.plan.graph import Planner, PlanOptions
from benchmark.plan.nodes import Needs
from benchmark.plan.protocol import Protocol, load_protocol
from benchmark.plan.search import LogGrid, Search, Trial, load_search, plan
from benchmark.plan.suite import MethodEntry, Suite
from benchmark.run import tune
from benchmark.run.campaign import RunOptions
from benchmark.run.runner import RayRunner
from benchmark.vision import datasets, layouts

TINY = {
    "version": 1,
    "title": "Tiny",
    "dataset": "digits",
    "ipc": 1,
    "protocol": "hard",
    "student": "test_resnet",
    "trials": 2,
    "space": {"evaluator.learning_rate": [0.001, 0.01], "schedule.epochs": [2]},
    "methods": ["random_real", "noise"],
}


def search(**changes: Any) -> Search:
    return validated(Search, {"name": "tiny", **TINY, **changes}, "tiny.yaml")


def opened(folder: Path, found: Search, data: Path = Path("data")) -> tune.Tuning:
    return tune.open_tuning(
        found, RunOptions(runs=str(folder / "runs"), data=data, runner="serial", device="cpu"), has_gpu=False
    )


def finish(tuning: tune.Tuning) -> list[tune.Result]:
    tune.run_serially(tuning, lambda number: None)
    return tuning.results()


class TestFile:
    @pytest.mark.parametrize("name", names("searches"))
    def test_every_search_is_sound(self, name, tmp_path):
        assert {len(load_search(name).grid(method)) for method in load_search(name).methods} == {
            load_search(name).trials
        }

    def test_a_method_with_another_number_of_trials_is_refused(self):
        greedy = {"method": "wmdd", "space": {"regulariser_weight": [1, 10, 100]}}
        with pytest.raises(Faults, match=r"tiny\.yaml: methods: wmdd has 6 trials, but every method must have 2"):
            search(methods=["random_real", greedy])

    def test_a_control_may_spend_its_trials_on_the_learning_rate(self):
        tuned = {"method": "wmdd", "space": {"regulariser_weight": [1, 10]}}
        control = {
            "method": "random_real",
            "space": {"evaluator.learning_rate": {"low": 1e-4, "high": 0.1, "points": 4}},
        }
        found = search(methods=[control, tuned], trials=4)
        assert [values["evaluator.learning_rate"] for values in found.grid(found.methods[0])] == [1e-4, 1e-3, 0.01, 0.1]
        assert {values["regulariser_weight"] for values in found.grid(found.methods[1])} == {1, 10}

    def test_a_logarithmic_grid_holds_its_ends(self):
        assert LogGrid(low=0.01, high=100, points=5).values == (0.01, 0.1, 1, 10, 100)

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"dataset": "digit"}, "dataset: unknown dataset 'digit'. Did you mean 'digits'?"),
            ({"student": "resnet81"}, "student: unknown student 'resnet81'"),
            ({"methods": ["wmd"]}, "unknown method 'wmd'"),
            ({"methods": ["noise", "noise"]}, "two have the same name"),
            (
                {"methods": [{"method": "start_real", "base": "wmdd", "set": {"start": "random_real"}}]},
                "methods[0]: 'start_real': the name of a variant begins with its method, as in wmdd+NAME",
            ),
            ({"trails": 3}, "trails: unknown key. Did you mean 'trials'?"),
        ],
    )
    def test_a_mistake_is_named(self, changes, said):
        with pytest.raises(Faults) as caught:
            search(**changes)
        assert said in str(caught.value)

    def test_a_teacher_that_knows_what_is_held_out_is_refused(self):
        with pytest.raises(BenchmarkError, match=r"imagenet1k: its teacher torchvision:.* was trained on the hold-out"):
            plan(search(dataset="imagenet1k", student="resnet18"), Path("data"), on_gpu=True)

    def test_values_that_nobody_takes_are_said_before_anything_runs(self):
        wrong = {"schedule.epochs": [2], "lambda": [1, 2], "evaluator.learning_rat": [1]}
        with pytest.raises(Faults) as caught:
            plan(search(space=wrong, methods=["noise"]), Path("data"), on_gpu=False)
        assert "search tiny: noise: lambda: unknown key" in str(caught.value)
        del wrong["lambda"]
        with pytest.raises(Faults, match="learning_rat: unknown key"):
            plan(search(space=wrong, methods=["noise"], trials=1), Path("data"), on_gpu=False)


class TestPlan:
    def test_every_node_says_that_it_works_on_the_hold_out(self):
        trials = plan(search(), Path("data"), on_gpu=False)
        assert {node.identity["dataset"]["view"] for trial in trials for node in trial.nodes.values()} == {"holdout"}

    def test_each_seed_of_a_trial_has_its_own_teacher_set_labels_and_student(self):
        found = search(methods=["sre2l"], space={"jitter": [0, 1]}, trials=2, protocol="standard", seeds=2)
        for trial in plan(found, Path("data"), on_gpu=False):
            seeds = {"teacher": [], "distill": [], "relabel": [], "evaluate": []}
            for node in trial.nodes.values():
                seeds[node.stage].append(node.identity["seed"])
            assert list(seeds.values()) == [[0, 1]] * 4

    def test_no_key_is_that_of_a_suite(self):
        block = {"datasets": ["digits"], "ipc": [1], "methods": ["random_real"], "students": ["test_resnet"]}
        whole = Suite(name="s", version=1, title="S", blocks=[{**block, "protocols": ["hard"]}])
        mine = {key for trial in plan(search(), Path("data"), on_gpu=False) for key in trial.nodes}
        assert not mine & set(Planner(PlanOptions(Path("data"), "cpu")).plan(whole).nodes)

    def test_what_is_tuned_is_the_recipe_of_the_method_on_the_dataset(self):
        found = search(protocol="native", methods=["rded"], space={"evaluator.learning_rate": [0.001, 0.01]})
        deviation = found.deviation(found.methods[0], {"evaluator.learning_rate": 0.01}, "here")
        own = load_protocol("native").methods["rded@digits"].at(found.ipc)
        assert deviation.schedule == own.schedule != load_protocol("native").methods["rded"].schedule
        assert deviation.evaluator == {**own.evaluator, "learning_rate": 0.01}

    def test_trials_that_differ_in_the_learning_rate_share_their_set(self):
        first, second, *_ = plan(search(), Path("data"), on_gpu=False)
        assert [node.stage for node in first.nodes.values()] == ["distill", "relabel", "evaluate"]
        assert list(first.nodes)[:2] == list(second.nodes)[:2]
        assert first.scores != second.scores


@pytest.fixture
def photos(tmp_path) -> Path:
    """A dataset in files whose test images are gone."""
    for label, name in enumerate(datasets.load_dataset("imagenette64").class_names):
        for i in range(12):
            write_image(tmp_path / "data" / "imagenette" / "train" / name / f"{i:02d}.png", 20 * label + i)
        (tmp_path / "data" / "imagenette" / "val" / name).mkdir(parents=True)
    return tmp_path / "data"


class TestTestSplit:
    def test_a_search_works_where_the_test_images_are_gone(self, tmp_path, photos):
        tuning = opened(tmp_path, search(dataset="imagenette64", methods=["random_real"]), photos)
        assert [len(result.scores) for result in finish(tuning)] == [1, 1]
        with pytest.raises(BenchmarkError, match="no test images"):
            datasets.info(datasets.load_dataset("imagenette64"), photos)

    def test_it_is_neither_listed_nor_opened(self, tmp_path, photos, monkeypatch):
        parts, splits = [], []
        real_open, real_list = datasets.open_test, layouts.list_split

        def open_test(config, root, cache, part="full", *rest):
            parts.append(part)
            return real_open(config, root, cache, part, *rest)

        def list_split(folder, split, **options):
            splits.append(split)
            return real_list(folder, split, **options)

        monkeypatch.setattr(datasets, "open_test", open_test)
        monkeypatch.setattr(layouts, "list_split", list_split)
        finish(opened(tmp_path, search(dataset="imagenette64", methods=["random_real"]), photos))
        assert parts == ["holdout"] * 2
        assert set(splits) == {"train"}


class TestResults:
    def test_both_methods_have_a_winner_and_nothing_is_done_twice(self, tmp_path):
        tuning = opened(tmp_path, search(seeds=2))
        results = finish(tuning)
        assert [len(result.scores) for result in results] == [2] * 4
        winners = tune.write(tuning)
        assert list(winners) == ["random_real", "noise"]
        for name, winner in winners.items():
            assert winner.top1 == max(result.top1 for result in results if result.trial.method.method == name)
        assert not opened(tmp_path, search(seeds=2)).unfinished
        written = json.loads((tmp_path / "runs" / "tuning" / "tiny.json").read_text())
        assert [trial["top1"] for trial in written["trials"]] == [result.top1 for result in results]

    def test_a_trial_that_diverges_does_not_win_and_stops_nobody(self, tmp_path):
        space = {"evaluator.weight_decay": [1e30, 0.01], "schedule.epochs": [2]}
        tuning = opened(tmp_path, search(space=space, methods=["random_real"]))
        failed, fine = finish(tuning)
        assert failed.top1 is None
        assert "training diverged" in failed.why
        assert tune.best([failed, fine]) == {"random_real": fine}

    def test_of_equal_trials_the_first_wins(self):
        trials = plan(search(methods=["noise"]), Path("data"), on_gpu=False)
        first, second = (tune.Result(trial, (50.0,)) for trial in trials)
        assert tune.best([first, second])["noise"] == replace(first, sharing=2)
        assert tune.best([first, tune.Result(trials[1], (50.5,))])["noise"].top1 == 50.5

    def test_a_tie_is_said_and_no_edge(self):
        found = search(methods=["noise"])
        winners = tune.best([tune.Result(trial, (50.0,)) for trial in plan(found, Path("data"), on_gpu=False)])
        said = "2 of 2 trials share the best accuracy; the first is taken"
        assert tune.note_lines(found, winners) == [f"noise: {said}"]
        assert said in " ".join(tune.protocol_text(found, winners).split())

    @pytest.mark.parametrize(
        ("tried", "best", "edge"),
        [
            ([3, 1, 10], 10, "largest"),
            ([3, 1, 10], 1, "smallest"),
            ([3, 1, 10], 3, None),
            ([0.1, 1], 1, "largest"),
            ([None, 1, 10], 10, "largest"),
            ([None, 1, 10], None, None),
            ([5], 5, None),
            ([5, None], 5, None),
            ([True, False], True, None),
            (["sgd", "adamw"], "sgd", None),
        ],
    )
    def test_a_best_value_at_the_edge_of_the_numbers_tried_is_said(self, tried, best, edge):
        found = search(space={"axis": tried}, methods=["noise"], trials=len(tried))
        method = found.methods[0]
        winner = tune.Result(Trial(method, {"axis": best}, {}, ()), (50.0,))
        assert found.edges(method, winner.trial.values) == ({"axis": edge} if edge else {})
        said = f"noise: axis: the best of {len(tried)} values is the {edge} tried ({best}); widen the grid"
        assert tune.note_lines(found, {"noise": winner}) == ([said] if edge else [])

    def test_every_method_is_held_against_its_own_grid(self):
        narrow = {
            "method": "random_real",
            "space": {"evaluator.learning_rate": {"low": 1e-4, "high": 0.01, "points": 3}},
        }
        wide = {"method": "noise", "space": {"evaluator.learning_rate": [1e-3, 0.01, 0.1]}}
        found = search(methods=[narrow, wide], trials=3)
        values = {"evaluator.learning_rate": 0.01, "schedule.epochs": 2}
        first, second = (found.edges(method, values) for method in found.methods)
        assert (first, second) == ({"evaluator.learning_rate": "largest"}, {})

    def test_no_protocol_without_a_winner_for_every_method(self, tmp_path):
        tuning = opened(tmp_path, search())
        assert tune.write(tuning) == {}
        assert {result.why for result in tuning.results()} == {"has not run"}
        assert not (tmp_path / "runs" / "tuning" / "tiny.yaml").exists()


def test_the_protocol_and_the_lines_of_a_suite_say_what_was_tried():
    tuned = {
        "base": "wmdd",
        "method": "wmdd+real",
        "set": {"start": "nearest_real"},
        "space": {"regulariser_weight": [3]},
    }
    found = search(methods=["random_real", {**tuned, "space": {"regulariser_weight": [3]}}])
    trials = plan(found, Path("data"), on_gpu=False)
    winners = tune.best([tune.Result(trial, (50.0 + i,)) for i, trial in enumerate(trials)])
    protocol = Protocol.model_validate({"name": "tuned", **yaml.safe_load(tune.protocol_text(found, winners))})
    control, variant = yaml.safe_load(tune.suite_lines(found, winners))["methods"]
    assert control == "random_real"
    entry = MethodEntry.model_validate(variant)
    assert entry.method == "wmdd+real tuned"
    assert entry.overrides == {"start": "nearest_real", "regulariser_weight": 3}
    for name in (MethodEntry(method="random_real"), entry):
        own = protocol.for_method(name)
        assert own.evaluator == load_protocol("hard").evaluator | {"learning_rate": 0.01}
        assert own.schedule == load_protocol("hard").schedule | {"epochs": 2}
    assert protocol.for_method(MethodEntry(method="noise")) is None, "what was not tuned is not beside what was"
    assert "best of 2 trials on a hold-out" in protocol.methods["random_real"].source


@pytest.mark.parametrize("name", names("protocols"))
def test_the_written_protocol_is_the_one_that_was_searched(name):
    found, searched = search(protocol=name, space={"evaluator.learning_rate": [0.01]}, trials=1), load_protocol(name)
    winners = {
        method.method: tune.Result(Trial(method, values, {}, ()), (50.0,))
        for method in found.methods
        for values in found.grid(method)
    }
    written = Protocol.model_validate({"name": name, **yaml.safe_load(tune.protocol_text(found, winners))})
    for field in Protocol.model_fields.keys() - {"version", "title", "description", "methods", "only_listed"}:
        assert getattr(written, field) == getattr(searched, field), field


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    """Tune by the command line; returns the output, and what was written."""
    monkeypatch.chdir(tmp_path)

    def run(runner: str, runs: str, **changes: Any) -> tuple[str, dict[str, Any]]:
        Path("tiny.yaml").write_text(yaml.safe_dump({**TINY, **changes}))
        words = f"tune --search tiny.yaml --device cpu --runner {runner} --runs {runs}"
        monkeypatch.setattr(sys, "argv", ["benchmark", *words.split()])
        main.app(standalone_mode=False)
        return capsys.readouterr().out, json.loads(Path(runs, "tuning", "tiny.json").read_text())

    return run


def test_the_command_prints_every_trial_and_what_to_do_next(command, monkeypatch):
    shown, written = command("serial", "runs")
    for trial in written["trials"]:
        assert f"{trial['top1']:.2f}" in shown
    assert sum(line.rstrip().endswith(" best") for line in shown.splitlines()) == 2
    assert "protocols: [tiny]" in shown
    for name, best in written["best"].items():
        rate = best["values"]["evaluator.learning_rate"]
        edge = "largest" if rate == 0.01 else "smallest"
        assert best["edges"] == {"evaluator.learning_rate": edge}, "of two values each is an end"
        said = f"{name}: evaluator.learning_rate: the best of 2 values is the {edge} tried ({rate}); widen the grid"
        assert said in shown.splitlines()
    monkeypatch.setattr("benchmark.run.campaign.RayRunner", None)  # all is done, so no cluster starts
    again, unchanged = command("ray", "runs")
    assert "has ended" not in again
    assert unchanged == written


@pytest.mark.parametrize("model", ["H100", ""])
def test_a_trial_asks_for_what_its_nodes_need_once_the_cluster_sees_the_store(tmp_path, monkeypatch, model):
    from ray import tune as ray_tune

    whole = opened(tmp_path, search(methods=["noise"], space={"schedule.epochs": [2]}, trials=1))
    needs = Needs(cpus=2, gpus=0.5, memory_gb=40, gpu_model=model)
    nodes = {key: replace(node, needs=needs) for key, node in whole.trials[0].nodes.items()}
    nodes[whole.trials[0].scores[0]] = replace(nodes[whole.trials[0].scores[0]], needs=replace(needs, cpus=99))
    tuning = replace(whole, trials=[replace(whole.trials[0], nodes=nodes)])
    assert not tuning.shared
    asked, seen = [], []
    monkeypatch.setattr(ray_tune, "Tuner", lambda run, **_: SimpleNamespace(fit=lambda: asked.append(run._resources)))
    monkeypatch.setattr(RayRunner, "_check_visibility", lambda _, options: seen.append(options))
    cluster = RayRunner.__new__(RayRunner)
    cluster.is_private, cluster.machines = False, [Needs(64, 4, 100, "A100")]
    if model:
        with pytest.raises(BenchmarkError, match=r"no machine of the cluster has .* GPUs of the model H100"):
            command_line._run(tuning, cluster)
        cluster.machines = [Needs(64, 4, 100, "H100")]
    command_line._run(tuning, cluster)
    labels = [{"ray.io/accelerator-type": model}] if model else [{}]
    bundle = {"CPU": 64, "GPU": 0.5, "memory": 40 * 2**30}
    assert asked == [ray_tune.PlacementGroupFactory([bundle], bundle_label_selector=labels)]
    assert set(seen) == {tuning.node_options}


@pytest.mark.ray
@pytest.mark.slow
def test_ray_tune_finds_the_same_numbers(command):
    import ray

    try:
        _, by_ray = command("ray", "by_ray", methods=["random_real"])
    finally:
        ray.shutdown()
    _, serial = command("serial", "serial", methods=["random_real"])
    assert by_ray == serial
