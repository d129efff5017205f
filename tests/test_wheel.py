"""The installed package: it works from an empty folder, and neither shadows nor is shadowed by what a user calls so."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
WHEEL = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
IGNORED = shutil.ignore_patterns("__pycache__", "published", "sets")
THEIRS = '"""The user\'s own package."""\n\nMINE = True\n'
USE = """
import methods, evaluators  # the user's: this folder comes first
import benchmark
from benchmark.plan.discovery import load_evaluator, load_method, load_preparation, method_names
from benchmark.config_files import names

assert methods.MINE and evaluators.MINE
assert "wmdd" in method_names() and "mine" not in method_names()
assert load_method("wmdd").name() == "wmdd" and load_method("cda").__mro__[1].__name__ == "SRe2L"
assert load_evaluator("accuracy").columns
assert load_preparation("experts").name() == "experts"
assert "main" in names("suites")
import methods, evaluators
from methods.mine import VALUE

assert methods.MINE and evaluators.MINE and VALUE == 3
print("both")
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files of the wheel, laid as ``pyproject.toml`` says."""
    site = tmp_path_factory.mktemp("site")
    assert WHEEL["exclude"] == ["leaderboards/published", "leaderboards/sets"]
    for package in WHEEL["packages"]:
        shutil.copytree(ROOT / package, site / package, ignore=IGNORED)
    for source, target in WHEEL["force-include"].items():
        shutil.copytree(ROOT / source, site / target, ignore=IGNORED)
    return site


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of a user with packages of the same names."""
    for name in ("methods", "evaluators", "configs"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(THEIRS)
    (tmp_path / "methods" / "mine.py").write_text("VALUE = 3\n")
    return tmp_path


def run(installed: Path, folder: Path, *arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1"}
    environment.pop("DISTILLBENCH_EXTRA", None)
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_wheel_takes_no_name_but_its_own(installed):
    assert sorted(path.name for path in installed.iterdir()) == ["benchmark", "leaderboards"]


def test_two_packages_of_one_name_do_not_meet(installed, folder):
    assert run(installed, folder, "-c", USE) == "both\n"


def test_a_package_of_a_user_does_not_hide_ours_beside_an_editable_installation(folder):
    assert "wmdd" in run(ROOT, folder, "-m", "benchmark", "list", "methods")
    assert run(ROOT, folder, "-c", USE) == "both\n"


def test_the_command_line_works_from_an_empty_folder(installed, tmp_path):
    script = "from benchmark.cli.main import main; main()"  # as the console script calls it
    assert "wmdd" in run(installed, tmp_path, "-c", script, "list", "methods")
    words = ["--datasets", "digits", "--ipc", "1", "--methods", "noise", "--protocols", "hard", "--seeds", "1"]
    shown = run(installed, tmp_path, "-m", "benchmark", "run", *words, "--runner", "serial", "--device", "cpu")
    assert "noise" in shown and (tmp_path / "runs/leaderboards/main/leaderboard.csv").exists()


def test_the_folder_of_the_user_joins_when_it_is_named(installed, folder):
    (folder / "methods" / "mine.py").write_text(
        '"""Mine."""\n\nfrom methods.noise import Noise\n\n\nclass Mine(Noise):\n    """Noise."""\n'
    )
    for name in ("methods", "evaluators"):
        (folder / name / "__init__.py").unlink()
    assert "mine" in run(installed, folder, "-m", "benchmark", "list", "methods", "--extra", ".")
    shown = run(installed, folder, "-m", "benchmark", "plan", "-e", ".", "-d", "digits", "-m", "mine", "-p", "hard")
    assert "To do" in shown
