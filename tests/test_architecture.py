"""The house plan, held: who may import whom, and how long a file and a function may be."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import rooms

ROOT = Path(__file__).resolve().parent.parent
OURS = ("benchmark", "methods", "evaluators", "leaderboards")
FILES = sorted(path for package in OURS for path in (ROOT / package).rglob("*.py"))
NAMES = [str(path.relative_to(ROOT)) for path in FILES]
GROUND = ("benchmark.api", "benchmark.errors", "benchmark.identity", "benchmark.synthetic")
MAY_IMPORT = {  # room -> what its files may import, itself apart
    "benchmark.errors": (),
    "benchmark.identity": (),
    "benchmark.files": ("benchmark.errors", "benchmark.locks"),
    "benchmark.record": ("benchmark.errors", "benchmark.files"),
    "benchmark.settings": ("benchmark.errors",),
    "benchmark.strict_yaml": (),
    "benchmark.sources": ("benchmark.errors", "benchmark.files"),
    "benchmark.config_files": ("benchmark.errors", "benchmark.files", "benchmark.sources", "benchmark.strict_yaml"),
    "benchmark.synthetic": ("benchmark.errors",),
    "benchmark.columns": (),
    "benchmark.data": (),
    "benchmark.locks": (),
    "benchmark.work": ("benchmark.data",),
    "benchmark.api": (
        "benchmark.columns",
        "benchmark.data",
        "benchmark.identity",
        "benchmark.synthetic",
        "benchmark.work",
    ),
    "benchmark.vision": (*GROUND, "benchmark.config_files", "benchmark.files", "benchmark.locks"),
    "benchmark.plan": (
        *GROUND,
        "benchmark.config_files",
        "benchmark.settings",
        "benchmark.sources",
        "benchmark.vision",
        "benchmark.work",
    ),
    "benchmark.run": (
        *GROUND,
        "benchmark.config_files",
        "benchmark.files",
        "benchmark.formats",
        "benchmark.locks",
        "benchmark.record",
        "benchmark.plan",
        "benchmark.settings",
        "benchmark.sources",
        "benchmark.vision",
    ),
    "benchmark.formats": (
        *GROUND,
        "benchmark.config_files",
        "benchmark.vision",
    ),
    "benchmark.interface": ("benchmark", "leaderboards"),
    "benchmark.cli": ("benchmark", "leaderboards"),
    "benchmark.__main__": ("benchmark.cli",),
    "benchmark": ("benchmark.interface",),
    "evaluators": (),
    "leaderboards": (),
    "methods.parts": (*GROUND, "benchmark.files", "benchmark.vision"),
    "methods": (
        *GROUND,
        "benchmark.vision",
        "methods.parts",
    ),  # and on another method, as CDA on SRe2L
    "evaluators.parts": (*GROUND, "benchmark.vision"),
    "evaluators.labels": (*GROUND, "benchmark.vision", "evaluators.parts"),
    "evaluators.students": (*GROUND, "benchmark.vision", "evaluators.parts"),
    "evaluators.measures": (*GROUND, "benchmark.vision", "evaluators.parts"),
    "leaderboards.inference": (),
    "leaderboards.results": (
        "benchmark.columns",
        "benchmark.errors",
        "benchmark.files",
        "benchmark.record",
        "leaderboards.inference",
    ),
    "leaderboards.tables": (
        "benchmark.columns",
        "benchmark.errors",
        "benchmark.files",
        "leaderboards.inference",
        "leaderboards.results",
    ),
    "leaderboards.plots": ("benchmark.columns", "benchmark.errors", "benchmark.files", "leaderboards.results"),
    "leaderboards.page": (
        "benchmark.files",
        "leaderboards.inference",
        "leaderboards.results",
        "leaderboards.tables",
        "leaderboards.plots",
    ),
    "leaderboards.publish": (
        "benchmark.errors",
        "benchmark.files",
        "benchmark.identity",
        "benchmark.record",
        "leaderboards",
    ),
    "leaderboards.report": ("benchmark.errors", "benchmark.files", "leaderboards"),
}


def module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports(path: Path, *, lazy: bool = True) -> Iterator[str]:
    """Yield the modules that a file imports, as ``package.module.name`` where it imports names."""
    tree = ast.parse(path.read_text())
    for statement in ast.walk(tree) if lazy else tree.body:
        if isinstance(statement, ast.Import):
            yield from (alias.name for alias in statement.names)
        if isinstance(statement, ast.ImportFrom):
            assert statement.level == 0, f"{path}: a relative import"
            yield from (f"{statement.module}.{alias.name}" for alias in statement.names)


def below(name: str, parent: str) -> bool:
    """Whether a module lies in a package, or is it."""
    return f"{name}.".startswith(f"{parent}.")


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_imports_point_one_way(path):
    layer = max((layer for layer in MAY_IMPORT if below(module(path), layer)), key=len)
    for name in imports(path):
        if name.partition(".")[0] in OURS:
            allowed = (layer, *MAY_IMPORT[layer])
            assert any(below(name, room) for room in allowed), f"{layer} must not import {name}"


def test_only_the_runner_imports_ray():
    importers = {module(path) for path in FILES for name in imports(path) if below(name, "ray")}
    assert importers <= {"benchmark.run.cluster", "benchmark.run.runner", "benchmark.run.tune"}
    tune = ROOT / "benchmark" / "run" / "tune.py"
    assert all(below(name, "ray.tune") for name in (imports(tune) if tune.exists() else ()) if below(name, "ray"))


def test_only_one_module_imports_fsspec():
    importers = {module(path) for path in FILES for name in imports(path) if below(name, "fsspec")}
    assert importers == {"benchmark.files"}


def test_nothing_imports_in_a_circle():
    known = {module(path): path for path in FILES}
    graph = {
        name: {known_ for found in imports(path, lazy=False) if (known_ := nearest(found, known))}
        for name, path in known.items()
    }
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join((*trail, name))
        if name not in done:
            for other in graph[name] - {name}:
                visit(other, (*trail, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def nearest(name: str, known: dict[str, Path]) -> str | None:
    """Return the module that ``from package.module import name`` loads."""
    while name and name not in known:
        name = name.rpartition(".")[0]
    return name or None


def test_reports_import_no_library_that_takes_long():
    slow = {"torch", "ray", "timm", "matplotlib", "seaborn", "sklearn", "scipy.optimize", "scipy.stats"}
    script = f"import sys, leaderboards.report; print(sorted({slow} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_files_and_functions_are_short(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 300
    for item in ast.walk(ast.parse(text)):
        if isinstance(item, ast.FunctionDef):
            assert item.end_lineno - item.lineno < 50, f"{item.name} has more than 50 lines"


def test_the_architecture_page_draws_the_imports():
    page = rooms.PAGE.read_text(encoding="utf-8")
    assert rooms.filled(page) == page, "run: python docs/generate/rooms.py --write"


def test_rooms_import_only_from_lower_floors():
    graph = rooms.arrows()
    floors = rooms.floors(graph)
    assert all(floors[target] < floors[name] for name, targets in graph.items() for target in targets)
    assert graph["benchmark.vision"] >= {"benchmark.api"}


def test_a_drawing_has_an_arrow_for_every_import(tmp_path, monkeypatch):
    for name, text in {
        "benchmark/low.py": "",
        "benchmark/plan/__init__.py": '"""Plans."""\n',
        "benchmark/plan/graph.py": "def f():\n    from benchmark.low import g\n",
        "methods/one.py": "import benchmark.plan.graph\nfrom methods.two import x\n",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.setattr(rooms, "ROOT", tmp_path)
    graph = rooms.arrows()
    assert graph == {"benchmark.low": set(), "benchmark.plan": {"benchmark.low"}, "methods": {"benchmark.plan"}}
    with pytest.raises(ValueError, match=r"a -> b -> a"):
        rooms.floors({"a": frozenset("b"), "b": frozenset("a")})
