"""What a run says: what will happen, rows as they are complete, where a method failed, and the table after Ctrl-C."""

from __future__ import annotations

import copy
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from engine import campaign, suite_file

from benchmark import __version__
from benchmark.cli import main, running
from benchmark.run import runner
from benchmark.sources import ENVIRONMENT

pytestmark = pytest.mark.usefixtures("short_training")
BROKEN = '''"""Fails."""

from methods.noise import Noise


class Broken(Noise):
    """Fails at once: ``1 / 0``."""

    def distill(self, data, unit, context):
        """Fail."""
        return 1 / 0
'''


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    """Run a command line in an empty folder; returns exit status and output."""
    import methods

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(ENVIRONMENT, "")
    monkeypatch.setattr(methods, "__path__", list(methods.__path__))

    def run(*words: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["benchmark", *words])
        with pytest.raises(SystemExit) as ended:
            main.main()
        return int(ended.value.code or 0), capsys.readouterr().out

    return run


def words_of(folder: Path, *methods: str) -> list[str]:
    suite = suite_file(folder, {"methods": list(methods), "seeds": 2})
    return ["run", "-s", suite, "-r", "runs", "--runner", "serial", "--device", "cpu"]


def test_the_version(command):
    assert command("--version") == (0, f"distillation-benchmark {__version__}\n")


def test_a_run_says_what_happens(command, tmp_path):
    (tmp_path / "own" / "methods").mkdir(parents=True)
    (tmp_path / "own" / "methods" / "broken.py").write_text(BROKEN)
    words = [*words_of(tmp_path, "noise"), "-m", "noise,broken", "-e", "own", "--no-report", "--verbose"]
    status, shown = command(*words)
    assert status == 1
    first, *lines = shown.splitlines()
    assert first == (
        "suite tiny version 1 · datasets: digits · cpu, float32 · 4 of 4 cells, 12 of 12 nodes to do, time unknown"
    )
    (row,) = [line for line in lines if line.endswith("noise  (digits, IPC 1, hard, test_resnet)")]
    assert "±" in row
    (failure, _) = [line for line in lines if "broken draw" in line and " failed" in line]
    assert f"ZeroDivisionError: division by zero ({tmp_path}/own/methods/broken.py:11 in distill)" in failure
    traceback = next(Path(line.split(": ")[1]) for line in lines if "full traceback" in line)
    assert "return 1 / 0" in traceback.read_text()
    assert "    return 1 / 0" in lines, "because of --verbose"
    assert not Path("runs/leaderboards/tiny/leaderboard.csv").exists(), "because of --no-report"


def test_a_run_says_which_cells_of_earlier_runs_it_leaves_out(command, tmp_path):
    line = "cells of earlier runs that tables leave out: 2 are not in the file of the suite, which has changed"
    for method, expected in {"noise": False, "random_real": True}.items():
        status, shown = command(*words_of(tmp_path, method), "--no-report")
        assert (status, line in shown) == (0, expected)
    status, shown = command(*words_of(tmp_path, "noise"), "--no-report")
    assert (status, line in shown, "0 of 6 nodes to do" in shown) == (0, True, True)


def test_an_interruption_prints_the_table_as_far_as_it_is(command, tmp_path, monkeypatch):
    execute = runner.execute

    def interrupted(key, identity, options):
        if identity["component"]["name"] == "random_real":
            raise KeyboardInterrupt
        return execute(key, identity, options)

    monkeypatch.setattr(runner, "execute", interrupted)
    status, shown = command(*words_of(tmp_path, "noise", "random_real"))
    assert status == 130
    after = shown[shown.index("interrupted: 6 of 12 nodes are done") :]
    assert any(line.split()[:2] == ["1", "noise"] for line in after.splitlines()), after


def test_the_precision_of_teachers_is_told_too(tmp_path):
    opened = campaign(tmp_path, {"protocols": ["soft"]})
    assert " · cpu, float32 · " in running.first_line(opened)
    changed = copy.deepcopy(opened.plan.nodes)
    for node in changed.values():
        if node.stage == "teacher":
            node.identity["component"]["params"]["recipe"]["precision"] = "bfloat16"
    changed = replace(opened, plan=replace(opened.plan, nodes=changed))
    assert " · cpu, bfloat16, float32 · " in running.first_line(changed)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        ((0.0, 0.0), "time unknown"),
        ((60.0, 60.0), "such nodes took 2 minutes one after the other in past records"),
        ((60.0, 0.0), "such nodes took 1 minute one after the other in past records (1 nodes have none)"),
    ],
)
def test_the_expected_time_says_whose_time_it_is(tmp_path, seconds, text):
    opened = campaign(tmp_path)
    nodes = [replace(node, seconds=each) for node, each in zip(opened.todo.values(), seconds, strict=False)]
    opened.__dict__["todo"] = {node.key: node for node in nodes}
    assert running.expected_time(opened) == text
    assert running.first_line(opened).endswith(f" nodes to do, {text}")
