"""One new file in its folder is a method, a measure or a dataset, and its tests pass: those of README and docs/add."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmark.config_files import CONFIGS

ROOT = CONFIGS.parent
PACKAGES = ("benchmark", "methods", "evaluators", "leaderboards", "configs", "tests")
# without this file: in the copy, `-k averages` would select its tests, which would copy the copy, without end
IGNORED = shutil.ignore_patterns("published", "__pycache__", "test_drop_in.py")
METHODS = {"averages": "README.md", "nearest_mean": "docs/add/method.md"}  # examples, and the pages that have them
LIMIT = 600  # seconds of one process
MEASURE = '''"""Brightness: how bright a set is."""

from pathlib import Path
from typing import Any, ClassVar

from benchmark.api import Column, Context, Measure, SyntheticSet, TrainData


class Brightness(Measure):
    """``mean of x``: the mean pixel of the set, beside that of the training images."""

    columns: ClassVar[tuple[Column, ...]] = (Column("pixel", "mean pixel", better="", digits=1, floor="real_pixel"),)

    def measure(self, images: SyntheticSet, data: TrainData, context: Context, folder: Path) -> dict[str, Any]:
        real = data.read(data.indices_of(0)).float().mean()
        return {"pixel": float(images.images.float().mean()), "real_pixel": float(real)}
'''
ASK = """
from benchmark.plan import discovery, recipes
from benchmark.vision.datasets import list_datasets

assert discovery.load_method("averages").role == "method"
assert discovery.load_measure("brightness").columns[0].heading == "mean pixel"
assert "digits_again" in list_datasets()
assert recipes.resolve_method("wmdd", "digits_again", 1, {}) == discovery.load_method("wmdd")(), "class defaults"
"""


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the code with two new methods, one new measure and one new dataset, a file each."""
    root = tmp_path_factory.mktemp("tree")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, root / package, ignore=IGNORED)
    shutil.copy(ROOT / "pyproject.toml", root)
    shutil.copy(ROOT / "README.md", root)
    for name, page in METHODS.items():
        blocks = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), flags=re.DOTALL)
        (source,) = [block for block in blocks if "(Distiller):" in block]
        (root / "methods" / f"{name}.py").write_text(source)
    (root / "evaluators" / "measures" / "brightness.py").write_text(MEASURE)
    shutil.copy(root / "configs" / "datasets" / "digits.yaml", root / "configs" / "datasets" / "digits_again.yaml")
    return root


def run(tree: Path, *arguments: str) -> str:
    """Run Python in the copy; return what it prints."""
    command = [sys.executable, *arguments]
    finished = subprocess.run(command, cwd=tree, capture_output=True, text=True, check=False, timeout=LIMIT)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


def test_new_files_are_discovered(tree: Path) -> None:
    run(tree, "-c", ASK)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("names", "tests"),
    [(tuple(METHODS), "tests/methods"), (("brightness",), "tests/evaluators/test_contract.py")],
    ids=["method", "measure"],  # no name of a component: `-k NAME` must select no copy of the tree
)
def test_the_contract_tests_run_over_a_new_file(names: tuple[str, ...], tests: str, tree: Path) -> None:
    output = run(tree, "-m", "pytest", tests, "-k", " or ".join(names), "-p", "no:cacheprovider", "-vv")
    for name in names:
        assert re.search(rf"\[{name}\] PASSED", output), output


@pytest.mark.slow
def test_a_new_dataset_obliges_no_method_to_an_edit(tree: Path) -> None:
    output = run(tree, "-m", "pytest", "tests/methods/test_methods.py", "-k", "recipe", "-p", "no:cacheprovider", "-vv")
    assert re.search(r"recipes_are_sound\[averages\] PASSED", output), output
