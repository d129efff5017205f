"""Work that lives outside of the benchmark: found, planned, run and marked; a name that clashes is an error."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import engine
import pytest
import short
import yaml

from benchmark import sources
from benchmark.config_files import names
from benchmark.errors import BenchmarkError, Faults
from benchmark.plan import discovery, recipes
from benchmark.plan.contents import descriptions
from benchmark.plan.outside import outside_files
from benchmark.plan.protocol import load_protocol
from benchmark.run import provenance
from benchmark.sources import ENVIRONMENT, ROOT
from benchmark.vision.datasets import load_dataset
from leaderboards import report
from leaderboards.publish import publication, verify

FILES = ("datasets/numerals", "protocols/harder", "suites/own")
PYTHON = ("methods/parts/stripes_tools.py", "methods/stripes.py")
METHOD = '''"""Stripes: nothing but stripes."""

from typing import ClassVar

from methods.noise import Noise
from methods.parts.stripes_tools import WIDTH


class Stripes(Noise):
    """``x = stripes``."""

    paper: ClassVar[str] = "a test"
    width: int = WIDTH
'''


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of a user with a method, a part, a dataset and a protocol; nothing of it stays after the test."""
    import evaluators.parts
    import methods.parts

    monkeypatch.setenv(ENVIRONMENT, "")
    for package in (methods, methods.parts, evaluators.parts):
        monkeypatch.setattr(package, "__path__", list(package.__path__))
    monkeypatch.chdir(tmp_path)
    own = tmp_path / "own"
    (own / "methods" / "parts").mkdir(parents=True)
    (own / "methods" / "stripes.py").write_text(METHOD)
    (own / "methods" / "parts" / "stripes_tools.py").write_text('"""Tools."""\n\nWIDTH = 3\n')
    for kind, name, new in (("datasets", "digits", "numerals"), ("protocols", "hard", "harder")):
        (own / "configs" / kind).mkdir(parents=True)
        text = (ROOT / "configs" / kind / f"{name}.yaml").read_text()
        (own / "configs" / kind / f"{new}.yaml").write_text(text)
    yield own
    for name in ("methods.stripes", "methods.parts.stripes_tools"):
        sys.modules.pop(name, None)
    discovery.load_component.cache_clear()


def test_what_lies_outside_is_found(folder):
    assert "stripes" not in discovery.method_names()
    sources.add([folder])
    assert discovery.load_method("stripes")().width == 3
    assert {"numerals", "digits"} <= set(names("datasets"))
    assert str(folder / "methods" / "stripes.py") in descriptions("methods")["stripes"]
    assert str(folder) not in descriptions("methods")["noise"]


def test_a_key_does_not_depend_on_where_a_file_lies(folder):
    sources.add([folder])
    identity = discovery.load_method("stripes")().identity()
    assert identity == {"name": "stripes", "version": 1, "params": {**identity["params"], "width": 3}}


def test_the_recipes_that_a_method_takes_from_another_belong_to_its_files(folder):
    configs = folder / "configs" / "methods"
    configs.mkdir()
    (configs / "stripes.yaml").write_text("recipes_of: bars\n")
    (configs / "bars.yaml").write_text("recipes: [{dataset: digits, source: a test, set: {}}]\n")
    (folder / "methods" / "bars.py").write_text(METHOD.replace("Stripes", "Bars"))
    sources.add([folder])
    found = outside_files("datasets", "numerals", [("distill", "stripes")])
    ours = {*PYTHON, "configs/methods/stripes.yaml", "configs/methods/bars.yaml"}
    assert {path.relative_to(folder).as_posix() for path in found.values()} == {*ours, "configs/datasets/numerals.yaml"}


def test_the_parts_beside_a_component_belong_to_its_files(folder, tmp_path):
    for place in ("own/evaluators/parts", "other/methods/parts"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "unrelated.py").write_text("")
    sources.add([folder, tmp_path / "other"])
    assert set(outside_files("datasets", "digits", [("distill", "stripes")])) == set(PYTHON)
    assert outside_files("datasets", "digits", [("distill", "noise"), ("evaluate", "accuracy")]) == {}


def test_a_record_names_the_code_that_was_imported(folder):
    sources.add([folder])
    discovery.load_method("stripes")
    identity = {"stage": "distill", "component": {"name": "stripes"}, "dataset": {"name": "numerals"}}
    before = provenance.facts("", identity)["outside"]
    for name in before:
        with (folder / name).open("a") as file:
            file.write("# changed\n")
    after = provenance.facts("", identity)["outside"]
    for name in PYTHON:
        assert after[name] == before[name], "this process does not import a file again"
    assert after["configs/datasets/numerals.yaml"] != before["configs/datasets/numerals.yaml"]


@pytest.mark.parametrize(
    ("file", "text", "table"),
    [
        ("benchmark.toml", '[distillbench]\nextra = ["own"]\n', ""),
        ("pyproject.toml", '[tool.distillbench]\nextra = ["own"]\n', ""),
        ("unused.toml", "", "own"),
    ],
)
def test_a_file_of_the_working_directory_or_the_environment_names_folders(folder, monkeypatch, file, text, table):
    (folder.parent / file).write_text(text)
    monkeypatch.setenv(ENVIRONMENT, str(folder.parent / table) if table else "")
    assert sources.extra() == (folder,)
    assert "stripes" in discovery.method_names()


def test_a_process_in_another_folder_finds_the_same_files(folder, monkeypatch):
    monkeypatch.setenv(ENVIRONMENT, "own")
    sources.add(())
    monkeypatch.chdir("/")
    assert sources.extra() == (folder,), "as a task of Ray, which runs elsewhere"
    assert list(sources.subfolders("methods")) == [folder / "methods"]


def test_an_installed_package_names_its_folder(folder, monkeypatch):
    site = folder.parent / "site"
    (site / "stripes_package").mkdir(parents=True)
    (site / "stripes_package" / "__init__.py").write_text("")
    (folder / "methods").rename(site / "stripes_package" / "methods")
    (site / "stripes-1.dist-info").mkdir()
    (site / "stripes-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: stripes\nVersion: 1\n")
    (site / "stripes-1.dist-info" / "entry_points.txt").write_text("[distillbench]\nstripes = stripes_package\n")
    monkeypatch.syspath_prepend(str(site))
    sources._of_packages.cache_clear()
    try:
        assert discovery.load_method("stripes")().width == 3
    finally:
        sources._of_packages.cache_clear()


@pytest.mark.parametrize("file", ["methods/noise.py", "configs/suites/main.yaml", "evaluators/parts/top.py"])
def test_a_name_that_exists_is_an_error_that_names_both_files(folder, file):
    (folder / file).parent.mkdir(parents=True, exist_ok=True)
    (folder / file).write_text("")
    with pytest.raises(Faults) as caught:
        sources.add([folder])
    advice = "rename one, or leave out the folder of one"
    assert str(caught.value) == f"{ROOT / file} and {folder / file}: two files have one name; {advice}"
    assert os.environ[ENVIRONMENT] == "", "nothing is added"


def test_wrong_folders_and_tables_are_named(folder):
    (folder.parent / "empty").mkdir()
    with pytest.raises(Faults) as caught:
        sources.add([folder / "nowhere", folder.parent / "empty"])
    assert "nowhere: there is no such folder" in caught.value.faults[0]
    assert "empty: it has none of the subfolders methods, evaluators, configs" in caught.value.faults[1]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[distilbench]\n", "unknown table 'distilbench'. Did you mean 'distillbench'?"),
        ("[distillbench]\nextra = 3\n", "distillbench.extra: expected a list of folders"),
        ("[distillbench\n", "not TOML"),
        ("distillbench = 3\n", "distillbench: expected a table, [distillbench]"),
        ('[distillbench]\nextras = ["own"]\n', "distillbench: unknown key 'extras'. Did you mean 'extra'?"),
    ],
)
def test_a_wrong_table_is_named(folder, text, said):
    (folder.parent / "benchmark.toml").write_text(text)
    with pytest.raises(BenchmarkError) as caught:
        sources.extra()
    assert str(caught.value).startswith(f"{folder.parent}/benchmark.toml: {said}")


def test_a_missing_folder_is_told_with_what_names_it(folder, monkeypatch):
    (folder.parent / "benchmark.toml").write_text('[distillbench]\nextra = ["one", "two"]\n')
    monkeypatch.setenv(ENVIRONMENT, str(folder / "two"))
    with pytest.raises(Faults) as caught:
        sources.add([folder / "three", folder.parent / "one"])
    named = {ENVIRONMENT: folder / "two", "benchmark.toml:": folder.parent / "one", "--extra": folder / "three"}
    named = [*named.items(), ("benchmark.toml:", folder.parent / "two")]
    assert set(caught.value.faults) == {f"{source} {path}: there is no such folder" for source, path in named}


def test_faults_name_the_file_where_it_lies(folder):
    sources.add([folder])
    protocol = folder / "configs" / "protocols" / "harder.yaml"
    content = yaml.safe_load(protocol.read_text())
    protocol.write_text(yaml.safe_dump({**content, "schedule": {"epoch": 3}}))
    stripes = folder / "configs" / "methods" / "stripes.yaml"
    stripes.parent.mkdir()
    stripes.write_text(yaml.safe_dump({"recipes": [{"dataset": "digits", "source": "mine", "set": {"widht": 3}}]}))
    with pytest.raises(Faults, match=f"^{protocol}: schedule: epoch: unknown key"):
        load_protocol("harder").components(load_dataset("digits"), full_data=False)
    with pytest.raises(Faults, match=rf"^{stripes}: recipes\[0\]\.set: widht: unknown key"):
        recipes.read_recipes("stripes")
    (folder / "methods" / "dots.py").write_text("raise ValueError('mine')\n")
    with pytest.raises(BenchmarkError, match=f"^{folder}/methods/dots.py: cannot be imported"):
        discovery.load_method("dots")


def test_files_that_nothing_reads_are_named(folder):
    sources.add([folder])
    for name in ("methods/stripe.yaml", "datasets/bugs.yml"):
        (folder / "configs" / name).parent.mkdir(exist_ok=True)
        (folder / "configs" / name).write_text("title: Mine\n")
    with pytest.raises(Faults, match=f"^{folder}/configs/datasets/bugs.yml: rename it to bugs.yaml$"):
        names("datasets")
    (folder / "configs/datasets/bugs.yml").unlink()
    with pytest.raises(Faults, match=f"^{folder}/configs/methods/stripe.yaml: unknown method 'stripe'. Did you mean"):
        engine.plan()


def test_hidden_files_are_no_components_and_no_configurations(folder):
    """As the locks of Emacs, which are links to nowhere, and the resource forks of macOS."""
    for hidden in ("methods/._stripes.py", "methods/parts/._tools.py", "configs/suites/._own.yaml"):
        (folder / hidden).parent.mkdir(exist_ok=True)
        (folder / hidden).write_bytes(b"\x00\x05")
        (folder.parent / "other" / hidden).parent.mkdir(parents=True, exist_ok=True)
        (folder.parent / "other" / hidden).write_bytes(b"\x00\x05")
    for hidden in ("methods/.#stripes.py", "methods/parts/.#tools.py", "configs/datasets/.#numerals.yml"):
        (folder / hidden).symlink_to("me@machine.1")
    sources.add([folder, folder.parent / "other"])
    found = [*discovery.method_names(), *map(Path, sources.parts()), *names("suites"), *names("datasets")]
    assert not [name for name in found if Path(name).name.startswith(".")]
    assert {"stripes", "numerals"} <= {*map(str, found)}
    engine.plan()


def test_a_run_marks_what_comes_from_outside(folder):
    """Through the command line, in a process of its own, as a user of the folder starts it."""
    block = {"datasets": ["numerals"], "ipc": [1], "methods": ["stripes", "noise"], "students": ["test_resnet"]}
    suite = {"version": 1, "title": "Own", "blocks": [{**block, "protocols": ["harder"], "seeds": 1}]}
    (folder / "configs" / "suites").mkdir()
    (folder / "configs" / "suites" / "own.yaml").write_text(yaml.safe_dump(suite))

    def command(*words: str) -> str:
        environment = {**os.environ, **short.ENVIRONMENT}
        line = [sys.executable, "-m", "short", *words]
        done = subprocess.run(line, env=environment, capture_output=True, text=True, cwd=folder.parent, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    shown = command("run", "--suite", "own", "--extra", "own", "--runner", "serial", "--device", "cpu")
    records = [json.loads(path.read_text()) for path in Path("runs").glob("*/record.json")]
    marked = {(record["stage"], *record["provenance"]["outside"]) for record in records}
    assert ("distill", "configs/datasets/numerals.yaml", *PYTHON) in marked
    assert ("evaluate", "configs/datasets/numerals.yaml") in marked
    board = report.summarise("runs", "own").leaderboard.set_index("method")["outside"]
    assert board["noise"] == ", ".join(f"configs/{name}.yaml" for name in FILES)
    assert board["stripes"] == ", ".join([board["noise"], *PYTHON])
    assert "From outside of this benchmark" in shown
    assert "methods/stripes.py: stripes" in shown
    assert "configs/suites/own.yaml: noise, stripes" in shown
    assert "From outside of this benchmark" in Path("runs/leaderboards/own/index.html").read_text()

    command("submit", "--suite", "own", "--extra", "own", "own.zip")
    with zipfile.ZipFile("own.zip") as archive:
        archive.extractall("clone")
    clone = Path("clone")
    for name in ("methods/stripes.py", "methods/parts/stripes_tools.py", *(f"configs/{name}.yaml" for name in FILES)):
        assert (clone / name).read_bytes() == (folder / name).read_bytes()
    published = publication.read("own", clone / "leaderboards" / "published")
    assert {cell["tier"] for cell in published.cells} == {"submitted"}
    assert publication.differing("own", publication.files(published), clone / "leaderboards" / "published") == []
    assert not list(verify.mismatches(published.records))
    assert "Submitted: run by their authors" in (clone / "leaderboards/published/own/README.md").read_text()
    sets = {path.parent.name: path.read_bytes() for path in clone.glob("sets/*/images.safetensors")}
    assert sets == {key: Path(f"runs/{key}/images.safetensors").read_bytes() for key in sets} and len(sets) == 2

    for name in PYTHON:
        with (folder / name).open("a") as file:
            file.write("# changed\n")
    shown = command("run", "--suite", "own", "--extra", "own", "--runner", "serial", "--device", "cpu", "--seeds", "2")
    for name in PYTHON:
        assert f"{name} has changed since 1 of its 2 records were made; if results change" in shown
        assert f"{name} (2 versions): stripes; if results change with it" in " ".join(shown.split())
