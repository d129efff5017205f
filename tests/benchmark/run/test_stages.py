"""Stages: an identity is enough to compute a node, in any process, and the test split stays where it belongs."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from engine import plan
from safetensors.torch import load_file
from toy_folder import lay_down, toy

from benchmark.api import Column, Context
from benchmark.errors import BenchmarkError
from benchmark.identity import key_of
from benchmark.plan.discovery import load_preparation
from benchmark.plan.graph import Plan, PlanOptions
from benchmark.plan.nodes import Node
from benchmark.run import heartbeat, provenance, stages
from benchmark.run.execution import execute
from benchmark.run.heartbeat import Heartbeat
from benchmark.run.options import NodeOptions
from benchmark.run.store import Store
from benchmark.sources import checksum_at_import
from benchmark.synthetic import SyntheticSet
from benchmark.vision import datasets
from benchmark.vision.models import create_model
from evaluators.measures.distances import Distances
from evaluators.students.accuracy import Accuracy
from methods.random_real import RandomReal

DONE = "done"


@pytest.fixture
def options(tmp_path) -> NodeOptions:
    return NodeOptions(str(tmp_path / "runs"), str(tmp_path / "data"))


def node_of(planned: Plan, stage: str) -> Node:
    return next(node for node in planned.nodes.values() if node.stage == stage)


def run(node: Node, options: NodeOptions) -> str:
    outcome = execute(node.key, node.identity, options)
    return outcome.message or outcome.status


@pytest.fixture
def quick_digits(monkeypatch):
    """Digits, where a teacher trains for one epoch and a student for two."""
    config = datasets.load_dataset("digits")
    quick = {
        "teacher": config.teacher.model_copy(update={"epochs": 1}),
        "student": config.student.model_copy(update={"epochs": 2}),
    }
    monkeypatch.setattr(datasets, "load_dataset", lambda name: config.model_copy(update=quick))


def test_an_identity_is_enough_in_another_process(options):
    node = node_of(plan(), "distill")
    script = (
        "import json, sys\n"
        "from benchmark.run.execution import execute\n"
        "from benchmark.run.options import NodeOptions\n"
        "key, identity, runs, data = sys.argv[1:]\n"
        "print(execute(key, json.loads(identity), NodeOptions(runs, data)).status)"
    )
    arguments = [node.key, json.dumps(node.identity), f"{options.runs}-2", options.data]
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == DONE
    assert run(node, options) == DONE
    here, there = (Store(root).record(node.key) for root in (options.runs, f"{options.runs}-2"))
    assert here["files"] == there["files"], "the same bytes"
    assert key_of(there["identity"]) == node.key


def test_a_record_says_what_it_cost_and_where_it_comes_from(options):
    node = node_of(plan(), "distill")
    assert run(node, options) == DONE
    record = Store(options.runs).record(node.key)
    assert (record["key"], record["stage"], record["metrics"]["images"]) == (node.key, "distill", 10)
    sizes = record["cost"]["bytes"]
    assert sizes["images"] == 10 * 3 * 32 * 32
    assert 0 < sizes["images_png"] < sizes["images"] / 2
    assert record["cost"]["seconds"] > 0
    assert record["cost"]["peak_memory_mb"] > 0
    assert record["cost"]["instructions"] == torch.backends.cpu.get_cpu_capability()
    assert record["cost"]["device"]
    assert record["provenance"]["versions"]["torch"].startswith(torch.__version__.partition("+")[0])
    assert record["provenance"]["commit"]


def test_a_record_says_what_the_parts_of_a_method_cost(options, monkeypatch):
    whole = RandomReal.distill

    def distill(self, data, unit, context):
        for _ in range(2):
            with context.timed("sleep"):
                time.sleep(0.01)
        return whole(self, data, unit, context)

    monkeypatch.setattr(RandomReal, "distill", distill)
    node = node_of(plan(), "distill")
    assert run(node, options) == DONE
    cost = Store(options.runs).record(node.key)["cost"]
    assert list(cost["parts"]) == ["sleep"]
    assert 0.02 <= cost["parts"]["sleep"] < cost["seconds"]


def test_a_measure_returns_numbers_and_its_parts_are_timed(options, quick_digits, monkeypatch):
    def measured(self, images, train, context, folder):
        with context.timed("solver"):
            return {"far": 1.0, "unknown": None, **more}

    monkeypatch.setattr(Distances, "measure", measured)
    planned = plan({}, measures=["distances"])
    parents = [node for node in planned.nodes.values() if node.stage in ("teacher", "prepare", "distill")]
    assert {run(node, options) for node in parents} == {DONE}
    node, more = node_of(planned, "measure"), {"solver": "sinkhorn"}
    assert run(node, options) == "distances: 'solver' is neither a number nor None (given: 'sinkhorn')"
    more.clear()
    assert run(node, options) == DONE
    record = Store(options.runs).record(node.key)
    assert (record["metrics"]["far"], record["metrics"]["unknown"]) == (1.0, None)
    assert list(record["cost"]["parts"]) == ["solver"]


def test_the_commit_of_another_project_is_not_ours(tmp_path, monkeypatch):
    installed = tmp_path / ".venv" / "provenance.py"
    installed.parent.mkdir()
    installed.write_text("")
    (tmp_path / "own.py").write_text("")
    me = ["-c", "user.name=me", "-c", "user.email=me@example.org"]
    for words in (["init", "--quiet"], ["add", "own.py"], [*me, "commit", "--quiet", "--message", "mine"]):
        subprocess.run(["git", "-C", str(tmp_path), *words], check=True)
    monkeypatch.setattr(provenance, "__file__", str(installed))
    assert provenance.commit.__wrapped__() == "unknown"
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "own.py"))
    assert len(provenance.commit.__wrapped__().rstrip("+")) == 12


def test_a_part_that_raises_is_timed_too(tmp_path):
    context = Context(torch.device("cpu"), torch.float32, 0, tmp_path)
    with pytest.raises(ValueError), context.timed("solver"):
        raise ValueError
    assert context.parts["solver"] > 0, "a method may catch the error and try otherwise"


def test_only_teachers_and_students_open_the_test_split(options, monkeypatch, quick_digits):
    def refuse(*_args, **_options):
        raise AssertionError("the test split was opened")

    planned = plan({"methods": [{"base": "wmdd", "method": "x", "set": {"iterations": 1}}], "protocols": ["standard"]})
    assert run(node_of(planned, "teacher"), options) == DONE
    monkeypatch.setattr(datasets, "open_test", refuse)
    for stage in ("prepare", "distill", "relabel"):
        assert run(node_of(planned, stage), options) == DONE
    assert "the test split was opened" in run(node_of(planned, "evaluate"), options)


@pytest.mark.parametrize("odd", ["n/a", math.nan])
def test_the_columns_of_an_evaluator_are_numbers(odd, options, quick_digits, monkeypatch):
    monkeypatch.setattr(Accuracy, "columns", (*Accuracy.columns, Column("odd", "odd")))
    monkeypatch.setattr(Accuracy, "evaluate", lambda *_args: {"top1": 50.0, "top5": 90.0, "odd": odd, "log": "text"})
    planned = plan({"protocols": ["hard"]})
    assert {run(node_of(planned, stage), options) for stage in ("distill", "relabel")} == {DONE}
    said = f"accuracy: 'odd' is neither a number nor None (given: {odd!r})"
    assert run(node_of(planned, "evaluate"), options) == said


def test_scalars_of_a_preparation_go_into_its_record(options, monkeypatch, quick_digits):
    planned = plan({"methods": [{"base": "wmdd", "method": "x", "set": {"iterations": 1}}], "protocols": ["standard"]})
    assert run(node_of(planned, "teacher"), options) == DONE
    node = node_of(planned, "prepare")
    kind = type(load_preparation(node.identity["component"]["name"])())
    made = {"mean": torch.ones(2), "metric.train_top1": torch.tensor(52.5)}
    monkeypatch.setattr(kind, "prepare", lambda self, data, context: made)
    assert run(node, options) == DONE
    store = Store(options.runs)
    assert store.record(node.key)["metrics"] == {"train_top1": 52.5}
    assert load_file(store.folder(node.key) / stages.TENSORS).keys() == {"mean"}


def test_a_teacher_trains_on_crops_of_whole_images(options, tmp_path, monkeypatch):
    root = lay_down(tmp_path / "data")

    def teacher(**changes):
        recipe = {"arch": "convnet_d3", "epochs": 1, "batch_size": 20}
        config = toy(name="imagenette64", teacher=recipe, **changes)
        monkeypatch.setattr(datasets, "load_dataset", lambda name: config)
        block = {"datasets": ["imagenette64"], "protocols": ["standard"], "students": ["convnet_d3"]}
        return node_of(plan(block, options=PlanOptions(root, "cpu")), "teacher")

    squares, whole = teacher(), teacher(whole=24)
    assert squares.key != whole.key
    assert {**squares.identity, "dataset": None} == {**whole.identity, "dataset": None}
    assert run(whole, options) == DONE
    teacher()
    assert run(squares, options) == DONE
    store = Store(options.runs)
    weights = [load_file(store.folder(node.key) / stages.MODEL) for node in (squares, whole)]
    assert any(not torch.equal(weights[0][name], value) for name, value in weights[1].items())


def test_a_teacher_is_judged_and_read_back_as_it_was(options, quick_digits):
    node = node_of(plan({"protocols": ["standard"]}), "teacher")
    assert run(node, options) == DONE
    metrics = Store(options.runs).record(node.key)["metrics"]
    assert 10 < metrics["top1"] <= metrics["top5"] <= 100
    work = stages.NodeRun(
        "0" * 32, node_of(plan({"protocols": ["standard"]}), "relabel").identity, options, Store(options.runs)
    )
    teacher = work._teacher(node.key)
    assert not teacher.training
    assert not any(weight.requires_grad for weight in teacher.parameters())
    fresh = create_model("test_resnet", classes=10, resolution=32)
    assert not torch.equal(next(teacher.parameters()), next(fresh.parameters()))


@pytest.mark.parametrize(("protocol", "asks"), [("standard", False), ("online", True)])
def test_a_student_needs_the_teacher_only_where_labels_are_not_stored(options, quick_digits, protocol, asks):
    planned = plan({"protocols": [protocol]})
    for stage in ("teacher", "distill", "relabel"):
        assert run(node_of(planned, stage), options) == DONE
    Store(options.runs).discard(node_of(planned, "teacher").key)
    message = run(node_of(planned, "evaluate"), options)
    assert ("is missing; run the command again to compute it" in message) if asks else message == DONE


def test_an_evaluator_returns_top1(options, quick_digits, monkeypatch):
    planned = plan()
    assert [run(node_of(planned, before), options) for before in ("distill", "relabel")] == [DONE, DONE]
    monkeypatch.setattr(Accuracy, "evaluate", lambda *_: {"f1": 50.0})
    said = "accuracy returned no top1, the accuracy on the test split in percent, which tables compare (it returned f1)"
    assert run(node_of(planned, "evaluate"), options) == said


def test_seeds_do_not_depend_on_the_method(options):
    planned = plan({"methods": ["random_real", "noise"], "seeds": 2})
    seeds: dict[str, set[int]] = {}
    for node in planned.nodes.values():
        if node.stage == "distill":
            work = stages.NodeRun(node.key, node.identity, options, Store(options.runs))
            seeds.setdefault(node.identity["component"]["name"], set()).add(work.context().seed)
    assert len(seeds["noise"]) == 2, "one for each draw"
    assert seeds["noise"] == seeds["random_real"]


def test_a_larger_random_subset_extends_a_smaller_one(options):
    sets = {}
    for node in plan({"ipc": [1, 3]}).nodes.values():
        if node.stage == "distill":
            assert run(node, options) == DONE
            images = SyntheticSet.load(Store(options.runs).folder(node.key) / stages.IMAGES).images
            sets[node.identity["ipc"]] = images.unflatten(0, (10, -1))  # [classes, IPC, C, H, W]
    assert torch.equal(sets[1], sets[3][:, :1])


def test_units_of_a_set_have_different_seeds(options):
    identity = node_of(plan(), "distill").identity
    units = [{**identity, "unit": {**identity["unit"], "index": index}} for index in (0, 1)]
    one, other = (stages.NodeRun("1" * 32, unit, options, Store(options.runs)).context().seed for unit in units)
    assert one != other


def test_a_node_seeds_the_global_generator(options, monkeypatch):
    whole, drawn = RandomReal.distill, list[float]()
    monkeypatch.setattr(RandomReal, "distill", lambda *given: drawn.append(torch.rand(1).item()) or whole(*given))
    for place in ("here", "there"):
        torch.manual_seed(len(drawn))
        assert run(node_of(plan(), "distill"), replace(options, runs=f"{options.runs}-{place}")) == DONE
    assert drawn[0] == drawn[1]


@pytest.mark.parametrize("stage", ["distill", "relabel", "evaluate"])
def test_every_stage_refuses_data_that_changed(options, stage):
    planned = plan()
    assert [run(node_of(planned, before), options) for before in ("distill", "relabel")] == [DONE, DONE]
    identity = {**node_of(planned, stage).identity, "dataset": {"name": "digits", "fingerprint": "of yesterday"}}
    outcome = execute("1" * 32, identity, options)
    assert outcome.message == "dataset digits: its files changed after the run was planned; run again"


def test_a_failure_leaves_its_reason_and_its_traceback(options, monkeypatch):
    def fail(*_args, **_options):
        raise ZeroDivisionError("nothing\nleft")

    node = node_of(plan(), "distill")
    monkeypatch.setattr(datasets, "open_train", fail)
    outcome = execute(node.key, node.identity, options)
    assert (outcome.status, outcome.transient) == ("failed", False)
    assert re.fullmatch(r"ZeroDivisionError: nothing left \(\S+test_stages\.py:\d+ in fail\)", outcome.message)
    store = Store(options.runs)
    assert store.state(node.key) == "absent"
    error = store.read_json(f"{node.key}/error.json")
    assert error["message"] == outcome.message
    assert "Traceback" in error["traceback"]
    monkeypatch.undo()
    assert run(node, options) == DONE
    assert store.read_json(f"{node.key}/error.json") is None


@pytest.mark.parametrize("changed", ["method.py", "part.py"])
def test_what_other_code_saved_is_not_resumed(options, tmp_path, monkeypatch, changed):
    def fail(_self, _data, _unit, context):
        found = (context.scratch / "state").exists()
        (context.scratch / "state").write_text("step 3")
        raise RuntimeError(f"found {found}")

    node, method, part = node_of(plan(), "distill"), tmp_path / "method.py", tmp_path / "part.py"
    method.write_text("wrong")
    part.write_text("wrong")
    monkeypatch.setattr(RandomReal, "distill", fail)
    monkeypatch.setattr(stages, "component_files", lambda package: {"random_real": method})
    monkeypatch.setattr(stages, "parts", lambda: {"methods/parts/part.py": part})
    advice = f"; an earlier attempt saved work in {options.runs}/.scratch/{node.key}: delete it to start afresh"
    for found in ("False", "True", "True"):
        checksum_at_import.cache_clear()  # as in a new process
        message = str(run(node, options))
        assert f"found {found}" in message
        assert (advice in message) == (found == "True")
    (tmp_path / changed).write_text("mended")
    assert "found True" in run(node, options), "this process has the code that it had"
    checksum_at_import.cache_clear()
    assert "found False" in run(node, options)


@pytest.mark.parametrize(("left", "resumed"), [("state.pt", True), (".state.pt.1.part", False)])
def test_a_record_says_that_its_node_went_on_after_an_interruption(options, monkeypatch, left, resumed):
    whole, attempts = RandomReal.distill, iter([True])

    def distill(self, data, unit, context):
        if next(attempts, False):
            (context.scratch / left).write_text("step 3")
            raise RuntimeError("killed")
        return whole(self, data, unit, context)

    node = node_of(plan(), "distill")
    monkeypatch.setattr(RandomReal, "distill", distill)
    assert "killed" in run(node, options)
    assert run(node, options) == DONE
    cost, sums = Store(options.runs).record(node.key)["cost"], {"seconds", "images_forwarded", "parts"}
    assert cost.get("resumed", {}).keys() == (sums if resumed else set()), "of the last attempt alone"
    assert cost.keys() & sums == (set() if resumed else sums)


def test_memory_that_ran_out_is_worth_another_try(options, monkeypatch):
    def fail(*_args, **_options):
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(datasets, "open_train", fail)
    node = node_of(plan(), "distill")
    assert execute(node.key, node.identity, options).transient


def test_a_node_that_another_driver_finished_meanwhile_is_done(options, monkeypatch):
    node, distill = node_of(plan(), "distill"), RandomReal.distill

    def overtaken(self, data, unit, context):
        monkeypatch.setattr(RandomReal, "distill", distill)
        assert run(node, options) == DONE  # the other driver, which clears the scratch folder of both
        (context.scratch / "state").write_text("step 500")

    monkeypatch.setattr(RandomReal, "distill", overtaken)
    assert run(node, options) == DONE


def test_a_missing_parent_is_named(options):
    assert "is missing; run the command again to compute it" in run(node_of(plan(), "relabel"), options)


@pytest.mark.parametrize(("runs", "why"), [("file", "is a file, not a folder"), ("file/runs", "cannot be written")])
def test_a_store_that_cannot_be_written_is_a_failure_in_words(tmp_path, runs, why):
    (tmp_path / "file").write_text("")
    node = node_of(plan(), "distill")
    outcome = execute(node.key, node.identity, NodeOptions(str(tmp_path / runs), str(tmp_path)))
    assert outcome.status == "failed"
    assert why in outcome.message


def test_progress_is_reported_at_most_once_a_second_and_never_stops_the_work(options, monkeypatch):
    store = Store(options.runs)
    beat, written = Heartbeat(store, "k"), []
    monkeypatch.setattr(store, "write_text", lambda name, text: written.append(json.loads(text)))
    for step in range(100):
        beat(step, 100, {"loss": torch.tensor(1.0)})
    assert len(written) == 1
    assert written[0]["loss"] == 1.0

    def refuse(*_args):
        raise BenchmarkError("no space")

    monkeypatch.setattr(store, "write_text", refuse)
    beat.written_at = 0.0
    beat(1, 2, {})


@pytest.mark.parametrize(
    ("word", "alone"),
    [({}, False), ({"host": "elsewhere"}, True), ({"when": 0}, True), ({"when": 1e12}, True), ({"when": "?"}, True)],
    ids=["beside", "on another machine", "long gone", "from the future", "malformed"],
)
def test_a_node_is_exclusive_unless_another_one_speaks_on_its_machine(options, monkeypatch, word, alone):
    monkeypatch.setattr(heartbeat, "overloaded", lambda: False)
    store = Store(options.runs)
    ours = Heartbeat(store, "ours")
    ours(0, 1, {})
    assert ours.check_alone()
    theirs = {"step": 0, "total": 1, "when": time.time(), "host": ours.host, **word}
    store.write_text(".progress/theirs.json", json.dumps(theirs))
    assert ours.check_alone() is alone
    store.clear_scratch("theirs")
    assert ours.check_alone() is alone  # that it is alone again undoes nothing


@pytest.mark.parametrize(("load", "alone"), [(4.5, True), (9.0, False)])
def test_a_node_is_not_exclusive_where_more_wants_to_run_than_there_are_cores(options, monkeypatch, load, alone):
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    monkeypatch.setattr("os.getloadavg", lambda: (load, 0.0, 0.0), raising=False)
    assert Heartbeat(Store(options.runs), "ours").check_alone() is alone


def test_a_record_counts_the_images_that_networks_took_in(options, monkeypatch):
    monkeypatch.setattr(heartbeat, "overloaded", lambda: False)
    create_model("test_resnet", classes=10, resolution=32)(torch.zeros(2, 3, 32, 32))  # of no node
    planned = plan()
    for node in planned.nodes.values():
        assert run(node, options) == DONE
    student, distilled = (Store(options.runs).record(node_of(planned, stage).key) for stage in ("evaluate", "distill"))
    trained = student["identity"]["component"]["params"]["schedule"]["epochs"] * 10  # ten classes at IPC 1
    tested = datasets.open_test(datasets.load_dataset("digits"), Path(options.data), Path(options.data))
    assert student["cost"]["images_forwarded"] == trained + len(tested)
    assert distilled["cost"]["images_forwarded"] == 0  # random images need no network
    assert student["cost"]["exclusive"] is True
    assert student["cost"]["gpus"] == 0


def test_caches_lie_beside_the_data_or_where_the_user_may_write(tmp_path, monkeypatch):
    assert datasets.cache_folder(tmp_path / "new" / "data") == tmp_path / "new" / "data" / ".cache"
    monkeypatch.setattr("os.access", lambda path, mode: False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "mine"))
    assert datasets.cache_folder(tmp_path) == tmp_path / "mine" / "distillation-benchmark"
