"""The commands that read results: publish, report --check, report --compare and export, on one small suite."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pandas as pd
import pytest
from engine import suite_file

from benchmark.cli import main
from benchmark.config_files import CONFIGS
from benchmark.formats import export
from benchmark.vision import datasets
from leaderboards.publish import publication, readme

pytestmark = pytest.mark.usefixtures("short_training")
README = "# Results\n<!-- results: tiny -->\n<!-- /results -->\n"


def command(folder: Path, *words: str) -> tuple[int, str, str]:
    """Run a command line in a folder, where it publishes as well; returns exit status, output and errors."""
    shown, errors, handler = io.StringIO(), io.StringIO(), signal.getsignal(signal.SIGTERM)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("BENCHMARK_DATA", raising=False)
        patch.setattr(publication, "FOLDER", folder / "published")
        patch.setattr(readme, "PATHS", (folder / "README.md",))
        patch.setattr(sys, "argv", ["benchmark", *words])
        with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(errors):
            try:
                main.main()
                status = 0
            except SystemExit as ended:
                status = int(ended.code or 0)
            finally:
                signal.signal(signal.SIGTERM, handler)
    return status, " ".join(shown.getvalue().split()), " ".join(errors.getvalue().split())


def suite(folder: Path) -> list[str]:
    """Return the options that name the small suite and its store."""
    return ["--suite", str(folder / "tiny.yaml"), "--runs", str(folder / "runs")]


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A folder in which a small suite has run; never written to again."""
    folder = tmp_path_factory.mktemp("finished")
    suite_file(folder, {"protocols": ["hard"], "seeds": 2})
    (folder / "README.md").write_text(README)
    assert command(folder, "run", *suite(folder), "--data", "data", "--runner", "serial")[0] == 0
    return folder


@pytest.fixture(scope="module")
def released(finished, tmp_path_factory) -> Path:
    """A copy of it that has been published; never written to again."""
    folder = shutil.copytree(finished, tmp_path_factory.mktemp("released"), dirs_exist_ok=True)
    assert command(folder, "publish", *suite(folder), "--note", "On two cores.")[0] == 0
    return folder


@pytest.fixture
def folder(released, tmp_path) -> Path:
    """A run and its publication, for one test to do with as it likes."""
    return shutil.copytree(released, tmp_path, dirs_exist_ok=True)


class TestPublishing:
    """From a run to files that are checked."""

    def test_nothing_is_published(self, tmp_path):
        (tmp_path / "README.md").write_text("no results")
        status, shown, _ = command(tmp_path, "report", "--check")
        assert (status, shown) == (0, "nothing published: every file is what its records give")

    def test_mistakes(self, tmp_path):
        (tmp_path / "README.md").write_text("")  # a clone of the repository has one
        for words, said in {
            "publish --suite tiny": "suite 'tiny' is not published; add --runs DIR",
            "publish --runs runs": "add --suite NAME",
            "publish -s mian --runs empty": "unknown suite 'mian'",
            "publish --suite tiny --datasets digits": "--datasets chooses among the results of a run; add --runs",
            "report --check --compare a b": "--check and --compare are two commands; give one of them",
            "report --csv x.csv": "--csv writes a comparison; add --compare A B",
            "publish --suite main --runs empty": "suite 'main' has not been run into this store",
        }.items():
            status, shown, errors = command(tmp_path, *words.split())
            assert (status, said in errors) == (2, True), errors
            assert "Traceback" not in shown + errors

    def test_published_results_are_in_a_clone(self, tmp_path):
        for words in (["report", "--check"], ["reproduce"]):
            status, _, errors = command(tmp_path, *words)
            assert (status, "in a clone of the repository" in errors) == (2, True), errors

    def test_the_status_of_some_datasets(self, finished):
        status, shown, _ = command(finished, "status", *suite(finished), "-d", "digits")
        assert (status, "digits" in shown) == (0, True)

    @pytest.mark.parametrize("words", ["status", "publish", "submit a.zip"])
    def test_a_dataset_that_is_not_in_the_suite(self, finished, words):
        status, _, errors = command(finished, *words.split(), *suite(finished), "-d", "digit")
        assert (status, errors) == (2, "--datasets: unknown dataset 'digit'. Did you mean 'digits'? Available: digits")

    def test_a_run_is_published(self, finished, tmp_path, tmp_path_factory):
        folder = shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
        status, shown, errors = command(folder, "publish", *suite(folder), "--note", "On two cores.")
        assert (status, errors) == (0, "")
        assert shown.startswith("tiny: 2 cells, 6 records;")
        board = pd.read_csv(folder / "published" / "tiny" / "leaderboard.csv")
        assert board["status"].tolist() == ["ok"]
        text = (folder / "README.md").read_text()
        assert "| random\\_real | " in text
        assert "On two cores." in text
        written = "".join(path.read_text() for path in (folder / "published").rglob("*.*"))
        assert str(tmp_path_factory.getbasetemp()) not in written

    def test_only_files_that_the_repository_lacks_are_named(self, folder):
        path = folder / "published" / "tiny" / "manifest.json"
        manifest = json.loads(path.read_text())
        for cell in manifest["cells"]:
            cell["outside"] = ["configs/suites/main.yaml", "methods/gone.py"]
        path.write_text(json.dumps(manifest))
        status, shown, errors = command(folder, "publish")
        assert (status, errors) == (0, "")
        assert "tiny: not in the repository: methods/gone.py; what needs them is shown as submitted" in shown

    def test_the_check_passes(self, folder):
        status, shown, errors = command(folder, "report", "--check")
        assert (status, errors) == (0, "")
        assert shown == "tiny published: every file is what its records give"

    @pytest.mark.parametrize("name", ["README.md", "published/tiny/cells.csv", "published/tiny/records.jsonl"])
    def test_a_change_by_hand_is_named_and_mended(self, folder, name):
        path = folder / name
        sound = path.read_text()
        path.write_text(sound.replace("On two", "On 64").replace('{"cost"', '{ "cost"').replace("ok", "OK"))
        assert path.read_text() != sound
        status, shown, _ = command(folder, "report", "--check")
        assert status == 1
        assert name.rpartition("/")[2] in shown
        assert "`python -m benchmark publish` writes them again" in shown
        assert command(folder, "publish")[0] == 0
        assert path.read_text() == sound
        assert command(folder, "report", "--check")[0] == 0

    def test_a_changed_identity_cannot_be_made_good(self, folder):
        path = folder / "published" / "tiny" / "records.jsonl"
        sound = path.read_text()
        path.write_text(sound.replace('"momentum":0.9', '"momentum":0.5'))
        assert path.read_text() != sound
        status, _, errors = command(folder, "report", "--check")
        assert status == 2
        assert "was changed after it was written" in errors

    def test_a_damaged_run_is_not_published(self, folder):
        path = next(folder.glob("runs/*/images.safetensors"))
        sound = path.read_bytes()
        path.write_bytes(sound[:-1] + b"?")
        status, _, errors = command(folder, "publish", *suite(folder))
        assert status == 2
        assert "images.safetensors: not what was recorded" in errors

    def test_the_run_is_compared_with_what_is_published(self, folder):
        where = ["--compare", str(folder / "published"), str(folder / "runs"), "--csv", "moved.csv"]
        status, shown, errors = command(folder, "report", "--suite", "tiny", *where)
        assert (status, errors) == (0, "")
        counts = "0 moved beyond noise, 0 moved or changed within noise, 1 are the same"
        assert f"Both runs have 2 cells in 1 rows: {counts}." in shown
        assert pd.read_csv(folder / "moved.csv")["difference"].tolist() == [0, 0]

    def test_a_submission_is_complete(self, finished, tmp_path):
        """Unpacked over a clone, it passes the check there, and the clone knows the suite."""
        archive = tmp_path / "tiny.zip"
        assert command(finished, "submit", *suite(finished), str(archive))[::2] == (0, "")
        zipfile.ZipFile(archive).extractall(tmp_path)
        (tmp_path / "leaderboards" / "published").rename(tmp_path / "published")
        (tmp_path / "README.md").write_text("")
        assert command(tmp_path, "report", "--check")[:2] == (0, "tiny published: every file is what its records give")
        assert (tmp_path / "published/tiny/figures/methods_digits.svg").is_file()
        assert (tmp_path / "configs/suites/tiny.yaml").read_text() == (finished / "tiny.yaml").read_text()
        status, _, errors = command(finished, "submit", "--suite", "tiny", "--runs", "runs", str(archive))
        assert (status, errors) == (2, "submit: the file of suite 'tiny' is needed; name it: --suite DIR/tiny.yaml")

    @pytest.mark.parametrize(
        ("changes", "count"), [({"protocols": ["hard_same_views"]}, 2), ({"seeds": 1}, 1), ({}, 2), (None, 2)]
    )
    def test_results_of_other_files_are_no_submission(self, finished, tmp_path, monkeypatch, changes, count):
        """The suite has lost cells, or its version has risen, or (None) the file of its dataset has changed."""
        folder = shutil.copytree(finished, tmp_path / "run")
        if changes is None:
            config = datasets.load_dataset("digits")
            longer = config.model_copy(update={"student": config.student.model_copy(update={"epochs": 11})})
            monkeypatch.setattr(datasets, "load_dataset", lambda name: longer)
        else:
            suite_file(folder, {"seeds": 2, **changes}, version=1 if changes else 2)
        status, shown, errors = command(folder, "submit", *suite(folder), "tiny.zip")
        assert (status, shown) == (2, "")
        assert errors.startswith(f"submit: {count} of 2 cells were run under other files than those that are here now")
        assert not (folder / "tiny.zip").exists()

    def test_published_sets_that_a_run_lacks_are_told_before_anything_is_packed(self, folder):
        place = ["--suite", "tiny.yaml", "--runs", "own"]
        assert command(folder, "run", *place, "--seeds", "1", "--data", "data", "--runner", "serial")[0] == 0
        status, shown, errors = command(folder, "submit", *place, "tiny.zip")
        assert (status, shown) == (2, "")
        assert errors.startswith("submit: suite 'tiny' is published already, with sets that are not in own; copy")

    def test_a_submission_says_which_keys_it_cannot_check(self, finished, tmp_path, monkeypatch):
        monkeypatch.setattr(datasets, "status", lambda config, root: "not on disk: fetch it")
        status, shown, _ = command(finished, "submit", *suite(finished), str(tmp_path / "tiny.zip"))
        assert (status, "keys of dataset digits are not checked: it is not in data" in shown) == (0, True)

    def test_a_suite_that_a_store_lacks_is_not_called_unknown(self, finished, tmp_path):
        said = (
            "suite 'tiny' has not been run into empty; first run "
            "`python -m benchmark run --suite {} --runs empty`, with the options of your run"
        )
        path = str(finished / "tiny.yaml")
        for words, name in {
            ("submit", "--suite", path, "--runs", "empty", "a.zip"): path,
            ("report", "--suite", "tiny", "--compare", str(finished / "runs"), "empty"): "tiny",
            ("report", "--suite", "tiny", "--compare", "empty", str(finished / "runs")): "tiny",
        }.items():
            status, _, errors = command(tmp_path, *words)
            assert (status, errors) == (2, said.format(name))

    @pytest.mark.parametrize("form", export.FORMATS)
    def test_a_set_is_exported_and_read_back(self, folder, form):
        which = ["--dataset", "digits", "--ipc", "1", "--method", "random_real", "--draw", "1", "--format", form]
        place = folder / ("set.pt" if form == "dcbench" else form)
        status, shown, errors = command(folder, "export", str(place), *suite(folder), *which, "--data", "data")
        assert (status, errors) == (0, "")
        assert "10 images, random_real on digits, 1 images per class, draw 1" in shown.replace(f"{place}: ", "")
        names = datasets.info(datasets.load_dataset("digits"), folder / "data").class_names
        exported = export.read_images(place, names)
        assert exported.targets.tolist() == list(range(10))

    @pytest.mark.parametrize(
        ("changed", "said"),
        [
            (("--method", "random_rea"), "unknown method 'random_rea'. Did you mean 'random_real'?"),
            (("--ipc", "7"), "unknown ipc '7'"),
            (("--draw", "2"), "unknown draw '2'. Available: 0, 1"),
            (("--format", "dcbench"), "whose name ends in .pt"),
            (("--format", "zip"), "Invalid value for '--format'"),
        ],
    )
    def test_what_cannot_be_exported(self, folder, changed, said):
        which = ["--dataset", "digits", "--ipc", "1", "--method", "random_real", *changed]
        status, _, errors = command(folder, "export", str(folder / "other"), *suite(folder), *which, "--data", "data")
        assert (status, said in errors.replace("│", "")) == (2, True), errors


def test_the_check_needs_no_torch(tmp_path):
    """On one published suite; .ci/run checks all of them where torch cannot be imported."""
    shutil.copytree(publication.FOLDER / "backbones", tmp_path / "backbones")
    script = (
        "import sys; sys.argv = ['benchmark', 'report', '--check']\n"
        "from pathlib import Path\n"
        "from benchmark.cli import main\n"
        "from leaderboards.publish import publication\n"
        f"publication.FOLDER = Path({str(tmp_path)!r})\n"
        "try: main.main()\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch', 'ray', 'timm'} & sys.modules.keys()))"
    )
    root = CONFIGS.parent
    done = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
