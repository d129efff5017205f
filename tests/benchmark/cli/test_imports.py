"""Commands start at once: what they do not need is not imported, and what many cells share is planned once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from engine import plan

from benchmark import config_files
from benchmark.config_files import CONFIGS
from benchmark.plan import graph
from benchmark.plan.nodes import CellNodes
from benchmark.plan.protocol import Protocol

SCRIPT = """
import sys
from benchmark.cli import main
sys.argv = ["benchmark", *{words!r}]
try:
    main.main()
except SystemExit as ended:
    assert not ended.code, ended.code
print(sorted({{{slow}}} & sys.modules.keys()), file=sys.stderr)
"""
LIBRARIES = "'timm', 'torchvision', 'sympy', 'sklearn', 'scipy', 'ot', 'geomloss', 'pandas', 'matplotlib', 'ray'"


def imported(folder: Path, words: list[str], slow: str) -> str:
    """Return which slow libraries a command has imported."""
    script = SCRIPT.format(words=words, slow=slow)
    environment = {"PYTHONPATH": str(CONFIGS.parent), "PATH": ""}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True)
    return done.stderr.splitlines()[-1]


@pytest.mark.parametrize("words", [["--help"], ["list", "methods"], ["list", "students"], ["list", "suites"]])
def test_help_and_lists_import_no_torch(tmp_path, words):
    assert imported(tmp_path, words, f"'torch', {LIBRARIES}") == "[]"


def test_a_plan_imports_torch_and_no_other_slow_library(tmp_path):
    words = ["plan", "--suite", "main", "--datasets", "digits"]
    assert imported(tmp_path, words, f"'torch', {LIBRARIES}") == "['torch']"


def test_a_method_is_resolved_once_and_a_file_is_read_once(monkeypatch):
    resolved, read, sets, components = [], [], [], []
    resolve, read_yaml = graph.resolve_method, config_files.read_yaml
    monkeypatch.setattr(graph, "resolve_method", lambda *a: (resolved.append(a[:3]), resolve(*a))[1])
    monkeypatch.setattr(config_files, "read_yaml", lambda path: (read.append(path), read_yaml(path))[1])
    units, parts = CellNodes._units, Protocol.components
    monkeypatch.setattr(CellNodes, "_units", lambda *a: (sets.append(a), units(*a))[1])
    monkeypatch.setattr(Protocol, "components", lambda *a, **k: (components.append(a), parts(*a, **k))[1])
    config_files._loaded.cache_clear()
    block = {"methods": ["noise", "herding"], "ipc": [1, 2], "protocols": ["hard", "soft"], "seeds": 5}
    planned = plan({**block, "students": ["test_resnet", "test_vit"]})
    assert len(planned.cells) == 2 * 2 * 2 * 5 * 2
    assert sorted(resolved) == [(name, "digits", ipc) for name in ("herding", "noise") for ipc in (1, 2)]
    assert sorted(path.name for path in read) == sorted(set(path.name for path in read))
    assert len(sets) == 2 * 2 * 5, "protocols and students share the set of a method, an IPC and a draw"
    assert len(components) == 2 * 2, "methods and seeds share the components of a protocol at an IPC"


def test_files_that_two_datasets_share_are_looked_at_once(monkeypatch):
    looked = []
    monkeypatch.setattr(graph.datasets, "location", lambda config, root: root / config.folder)
    monkeypatch.setattr(graph.datasets, "info", lambda config, *a, quick, report: looked.append((config.name, quick)))
    planner = graph.Planner(graph.PlanOptions(Path("data"), "cuda"))
    for name in ("imagenette", "cifar10", "imagenette64"):
        planner.dataset(name)
    assert looked == [("imagenette", False), ("cifar10", False), ("imagenette64", True)]
