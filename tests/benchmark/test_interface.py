"""The benchmark from Python: cheap to import, and the same results as the command line."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import benchmark
from benchmark import interface
from benchmark.api import SyntheticSet
from benchmark.config_files import CONFIGS
from benchmark.errors import BenchmarkError, Faults
from benchmark.interface import NO_CONTROLS, Difference, Result, _difference
from benchmark.run.runner import SerialRunner

pytestmark = pytest.mark.usefixtures("short_training")
ROOT = CONFIGS.parent
NOTEBOOK = ROOT / "docs" / "first_results.ipynb"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_import_is_cheap_and_names_what_there_is():
    script = "import benchmark, sys; print(sorted({'torch', 'pandas', 'pydantic'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    with pytest.raises(AttributeError, match="no attribute 'evalute'"):
        benchmark.evalute  # noqa: B018
    assert all(callable(getattr(benchmark, name)) for name in benchmark.__all__)


def test_a_set_is_distilled_once_and_evaluated(folder):
    images = benchmark.distill("random_real", "digits", 1, draw=1, device="cpu")
    assert images.images.shape == (10, 3, 32, 32)
    stored = sorted(path.name for path in (folder / "runs").glob("*/record.json"))
    again = benchmark.distill("random_real", "digits", 1, draw=1, device="cpu")
    assert torch.equal(images.images, again.images)
    assert sorted(path.name for path in (folder / "runs").glob("*/record.json")) == stored, "nothing but the set"
    facts = {"dataset": "digits", "ipc": 1, "protocol": "hard", "student": "test_resnet", "device": "cpu"}
    result = benchmark.evaluate(images.images, images.targets, **facts, seeds=2)
    assert len(result.top1) == len(result.records) == 2
    assert all(record["stage"] == "evaluate" for record in result.records)
    assert benchmark.evaluate(images, **facts, seeds=2).top1 == result.top1
    assert str(result).startswith(f"top-1 {result.mean:.1f} ±")
    assert result.controls == {}, "published students train for more epochs than those of this test"
    assert NO_CONTROLS in str(result)


def test_hyperparameters_replace_those_of_the_recipe(folder):
    short = ({"iterations": steps} for steps in (1, 2))
    one, two = (benchmark.distill("dm", "digits", 1, hyperparameters=values, device="cpu") for values in short)
    assert not torch.equal(one.images, two.images)
    with pytest.raises(Faults, match=r"iteratoins: unknown key\. Did you mean 'iterations'"):
        benchmark.distill("dm", "digits", 1, hyperparameters={"iteratoins": 3})


EVALUATE = {"dataset": "digits", "ipc": 1, "images": torch.zeros(10, 3, 32, 32).byte(), "labels": range(10)}
SET = SyntheticSet(torch.zeros(10, 3, 32, 32), torch.arange(10))
DISTILL = {"method": "noise", "dataset": "digits", "ipc": 1}


@pytest.mark.parametrize(
    ("function", "arguments", "said"),
    [
        ("evaluate", {**EVALUATE, "protocol": "hardd"}, "protocols: unknown protocol 'hardd'. Did you mean 'hard'?"),
        ("evaluate", {**EVALUATE, "student": "resnet81"}, "students: unknown student 'resnet81'. Did you mean"),
        ("evaluate", {**EVALUATE, "dataset": "digit"}, "unknown dataset 'digit'"),
        ("evaluate", {**EVALUATE, "seeds": 0}, "seeds: input should be greater than or equal to 1 (given: 0)"),
        ("evaluate", {**EVALUATE, "ipc": 0}, "images per class are 1 or more"),
        ("evaluate", {**EVALUATE, "images": torch.zeros(3, 32, 32)}, "not images [N, C, H, W] with labels [N]"),
        ("evaluate", {**EVALUATE, "images": torch.full((10, 1, 32, 32), -0.5)}, "images: floats must lie in [0, 1]"),
        ("evaluate", {**EVALUATE, "labels": [1]}, "there are 10 images, but 1 targets"),
        ("evaluate", {**EVALUATE, "labels": ["zero"] * 10}, "images, labels: "),
        ("evaluate", {**EVALUATE, "labels": range(10, 20)}, "images, labels: its labels are not those of 10 classes"),
        ("evaluate", {**EVALUATE, "images": torch.zeros(10, 32, 32, 3)}, "images, labels: images are [32, 32, 3], but"),
        ("evaluate", {**EVALUATE, "images": SET}, "labels: the set has its own"),
        ("evaluate", {**EVALUATE, "devise": "cpu"}, "options: devise: unknown key. Did you mean 'device'?"),
        ("distill", {**DISTILL, "method": "noice"}, "unknown method 'noice'. Did you mean 'noise'?"),
        ("distill", {**DISTILL, "ipc": 0}, "images per class are 1 or more"),
        *(
            ("distill", {**DISTILL, "draw": draw}, f"draw: a whole number, the first one is 0 (given: {draw!r})")
            for draw in (-1, "0", 1.5, None, True)
        ),
        *(("distill", {**DISTILL, "ipc": ipc}, "arguments: ipc") for ipc in ("1", 1.5, None, True)),
        *(("evaluate", {**EVALUATE, "seeds": seeds}, "arguments: seeds: ") for seeds in ("1", 1.5, None, True)),
        *(("evaluate", {**EVALUATE, "dataset": name}, f"unknown dataset '{name}'") for name in (None, 1)),
        (
            "distill",
            {**DISTILL, "device": "gpu"},
            "options: device: input should be 'auto', 'cpu' or 'cuda' (given: 'gpu')",
        ),
        *(
            ("distill", {**DISTILL, "hyperparameters": values}, "hyperparameters: should map names to values")
            for values in (["foo"], "foo", 1, [])
        ),
        ("run_suite", {"suite": "mian"}, "unknown suite 'mian'"),
        *(("run_suite", {"suite": name}, "suite: should be a text") for name in (None, 1, ["main"])),
        *(("load_leaderboard", {"suite": name}, "suite: should be a text") for name in (None, 1, ["main"])),
        ("run_suite", {"selection": {"dataset": ["digits"]}}, "selection: dataset: unknown key. Did you mean 'dataset"),
        ("run_suite", {"selection": {"seeds": 0}}, "selection: seeds: input should be greater than or equal to 1"),
        ("run_suite", {"runner": "rya"}, "options: runner: input should be 'ray' or 'serial' (given: 'rya')"),
    ],
)
def test_a_mistake_is_one_kind_of_error(folder, function, arguments, said):
    with pytest.raises(BenchmarkError) as caught:
        getattr(benchmark, function)(**arguments)
    assert said in str(caught.value)
    assert not (folder / "runs").exists(), "nothing has run"


def test_mistakes_are_explained(folder):
    with pytest.raises(BenchmarkError, match="labels: needed beside images"):
        benchmark.evaluate(torch.zeros(10, 3, 32, 32), dataset="digits", ipc=1)
    with pytest.raises(BenchmarkError, match="not --ipc 1"):
        benchmark.evaluate(torch.zeros(20, 3, 32, 32).byte(), torch.arange(20) % 10, dataset="digits", ipc=1)
    with pytest.raises(BenchmarkError, match="unknown published suite 'mian'"):
        benchmark.load_leaderboard("mian")
    with pytest.raises(BenchmarkError, match="unknown dataset 'digit'"):
        benchmark.distill("noise", "digit", 1)


def test_a_difference_has_welchs_interval():
    """R: t.test(c(50, 52, 54), c(40, 41, 45)) gives 10 with the interval [3.99, 16.01] (df 3.8)."""
    gap = _difference([50.0, 52.0, 54.0], [40.0, 41.0, 45.0])
    assert gap.value == pytest.approx(10.0)
    assert gap.low < 5 < 15 < gap.high
    assert (gap.low + gap.high) / 2 == pytest.approx(10.0)
    assert _difference([50.0], [40.0, 41.0]) == Difference(9.5, None, None)
    assert _difference([12.0, 12.0], [10.0, 10.0]) == Difference(2.0, None, None), "equal numbers are no certainty"
    assert "against random_real (published): +9.5" in str(
        Result((50.0,), {"random_real": Difference(9.5, None, None)}, ())
    )


def test_a_late_draw_is_planned_alone(folder):
    images = benchmark.distill("random_real", "digits", 1, draw=1000)
    assert not torch.equal(images.images, benchmark.distill("random_real", "digits", 1).images)


@pytest.mark.parametrize("error", [False, True])
def test_a_suite_gives_its_cluster_back(folder, monkeypatch, error):
    closed = []

    class Once(SerialRunner):
        def run(self, nodes, options):
            if error:
                raise BenchmarkError("no machine")
            return super().run(nodes, options)

        def close(self):
            closed.append(True)

    monkeypatch.setattr(interface, "connect", lambda options: (Once(), False))
    selection = {"datasets": ["digits"], "methods": ["random_real"], "protocols": ["hard"], "ipc": [1], "seeds": 1}
    with pytest.raises(BenchmarkError) if error else contextlib.nullcontext():
        benchmark.run_suite(selection=selection)
    assert closed == [True]


def test_published_leaderboards_are_tables():
    board = benchmark.load_leaderboard("barycenter")
    assert {"dataset", "method", "top1_mean"} <= set(board.columns)
    assert len(board)


def test_the_notebook_runs(folder):
    """Its cells run one after the other, as in a notebook; what they print is not compared."""
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    assert len(code) >= 3
    names: dict[str, object] = {}
    for source in code:
        exec(compile(source, NOTEBOOK.name, "exec"), names)
    assert names["result"].mean > 20, "ten classes: twice what guessing gives"
