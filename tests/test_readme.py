"""The README is short, its commands exist, and its method runs."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

import methods
from benchmark.cli import main
from benchmark.config_files import CONFIGS

README = (CONFIGS.parent / "README.md").read_text()


def test_it_is_short():
    assert len(README.splitlines()) <= 200


def test_every_command_that_it_names_exists():
    commands = {tuple(line.split()) for line in re.findall(r"python -m benchmark ((?:data )?\w+)", README)}
    assert commands >= {("plan",), ("run",), ("status",), ("report",), ("list",), ("data", "fetch")}
    for command in commands:
        assert CliRunner().invoke(main.app, [*command, "--help"]).exit_code == 0, command


def test_every_option_that_it_names_exists():
    for line in re.findall(r"^python -m benchmark (\w[^#\n]*)", README, flags=re.MULTILINE):
        name, *words = line.split()
        shown = CliRunner().invoke(main.app, [name, "--help"], env={"COLUMNS": "200"}).output
        assert all(word in shown for word in words if word.startswith("--")), line


def test_every_path_that_it_names_exists():
    paths = re.findall(r"`((?:benchmark|methods|evaluators|leaderboards|configs|tests|docs)/[^`]*)`", README)
    assert "benchmark/api.py" in paths
    for path in paths:
        existing = (
            path.partition("NAME")[0].rpartition("/")[0] if "NAME" in path or path.endswith("averages.py") else path
        )
        assert (CONFIGS.parent / existing).exists(), path


def test_every_make_target_that_it_names_exists():
    targets = re.findall(r"^(\w+):", (CONFIGS.parent / "Makefile").read_text(), flags=re.MULTILINE)
    assert set(re.findall(r"^make (\w+)", README, flags=re.MULTILINE)) <= set(targets)


@pytest.mark.slow
def test_its_method_runs_in_a_suite_without_touching_another_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (source,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert len(source.splitlines()) <= 30
    folder = tmp_path / "methods"
    folder.mkdir()
    (folder / "averages.py").write_text(source)
    monkeypatch.setattr(methods, "__path__", [*methods.__path__, str(folder)])
    runs = str(tmp_path / "runs")
    cells = ["--suite", "main", "--datasets", "digits", "--ipc", "1", "--students", "test_resnet"]
    cells += ["--protocols", "hard", "--methods", "averages", "--seeds", "1"]
    result = CliRunner().invoke(main.app, ["run", *cells, "--runner", "serial", "--runs", runs])
    assert result.exit_code == 0, result.output
    board = pd.read_csv(tmp_path / "runs" / "leaderboards" / "main" / "leaderboard.csv")
    row = board[board["method"] == "averages"].iloc[0]
    assert row["status"] == "ok"
    assert row["top1_mean"] > 20  # ten classes: twice what guessing gives
