"""The commands that read records: publish, check, compare and export, on one small suite."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from engine import suite_file

from benchmark import cli, exports
from benchmark.vision import datasets
from leaderboards import publication, readme

README = "# Results\n<!-- results: tiny -->\n<!-- /results -->\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """One place for all commands."""
    return tmp_path_factory.mktemp("results")


@pytest.fixture
def command(folder, monkeypatch, capsys):
    """Run a command line; returns exit status, output and errors."""
    monkeypatch.chdir(folder)
    monkeypatch.delenv("BENCHMARK_DATA", raising=False)
    monkeypatch.setattr(publication, "PLACE", folder / "published")
    monkeypatch.setattr(readme, "PLACE", folder / "README.md")
    handler = signal.getsignal(signal.SIGTERM)

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["benchmark", *words])
        try:
            cli.main()
            status = 0
        except SystemExit as ended:
            status = int(ended.code or 0)
        shown = capsys.readouterr()
        return status, " ".join(shown.out.split()), " ".join(shown.err.split())

    yield run
    signal.signal(signal.SIGTERM, handler)


@pytest.fixture(scope="module")
def suite(folder) -> list[str]:
    """Return the options that name a suite which has been run."""
    return ["--suite", suite_file(folder, {"protocols": ["hard"], "seeds": 2}), "--runs", str(folder / "runs")]


class TestPublishing:
    """From a run to files that are checked, in order."""

    def test_nothing_is_published(self, command, folder):
        (folder / "README.md").write_text("no results")
        status, shown, _ = command("report", "--check")
        assert (status, shown) == (0, "nothing published: every file is what its records make")

    def test_mistakes(self, command, folder, suite):
        for words, said in {
            "publish --suite tiny": "nothing is published of suite 'tiny'; add --runs DIR",
            "publish --runs runs": "add --suite NAME",
            "publish --suite mian --runs empty": "unknown suite 'mian'",
            "publish --suite main --runs empty": "suite 'main' has not been run into this store",
        }.items():
            status, shown, errors = command(*words.split())
            assert (status, said in errors) == (2, True), errors
            assert "Traceback" not in shown + errors

    def test_a_run_is_published(self, command, folder, suite):
        (folder / "README.md").write_text(README)
        assert command("run", *suite, "--data", "data", "--runner", "serial")[0] == 0
        status, shown, errors = command("publish", *suite, "--note", "On two cores.")
        assert (status, errors) == (0, "")
        assert shown.startswith("tiny: 2 cells, 6 records;")
        board = pd.read_csv(folder / "published" / "tiny" / "leaderboard.csv")
        assert board["status"].tolist() == ["ok"]
        text = (folder / "README.md").read_text()
        assert "| random\\_real | " in text
        assert "On two cores." in text
        assert str(folder) not in "".join(path.read_text() for path in (folder / "published").rglob("*.*"))

    def test_the_check_passes(self, command):
        status, shown, errors = command("report", "--check")
        assert (status, errors) == (0, "")
        assert shown == "tiny published: every file is what its records make"

    @pytest.mark.parametrize("name", ["README.md", "published/tiny/cells.csv", "published/tiny/records.jsonl"])
    def test_a_change_by_hand_is_named_and_mended(self, command, folder, name):
        path = folder / name
        sound = path.read_text()
        path.write_text(sound.replace("On two", "On 64").replace('{"cost"', '{ "cost"').replace("ok", "OK"))
        assert path.read_text() != sound
        status, shown, _ = command("report", "--check")
        assert status == 1
        assert name.rpartition("/")[2] in shown
        assert "`python -m benchmark publish` makes them anew" in shown
        assert command("publish")[0] == 0
        assert path.read_text() == sound
        assert command("report", "--check")[0] == 0

    def test_a_changed_identity_cannot_be_made_good(self, command, folder):
        path = folder / "published" / "tiny" / "records.jsonl"
        sound = path.read_text()
        path.write_text(sound.replace('"momentum":0.9', '"momentum":0.5'))
        assert path.read_text() != sound
        status, shown, _ = command("report", "--check")
        path.write_text(sound)
        assert status == 1
        assert "its record says another identity than its key" in shown

    def test_a_damaged_run_is_not_published(self, command, folder, suite):
        path = next(folder.glob("runs/*/images.safetensors"))
        sound = path.read_bytes()
        path.write_bytes(sound[:-1] + b"?")
        status, _, errors = command("publish", *suite)
        path.write_bytes(sound)
        assert status == 2
        assert "images.safetensors: not what was recorded" in errors

    def test_the_run_is_compared_with_what_is_published(self, command, folder, suite):
        where = ["--compare", str(folder / "published"), str(folder / "runs"), "--csv", "moved.csv"]
        status, shown, errors = command("report", "--suite", "tiny", *where)
        assert (status, errors) == (0, "")
        assert (
            "2 cells in both, of 1 rows: 0 moved beyond noise, 0 moved or changed within it, 1 are the same." in shown
        )
        assert pd.read_csv(folder / "moved.csv")["difference"].tolist() == [0, 0]

    @pytest.mark.parametrize("form", exports.FORMATS)
    def test_a_set_is_exported_and_read_back(self, command, folder, suite, form):
        which = ["--dataset", "digits", "--ipc", "1", "--method", "random_real", "--draw", "1", "--format", form]
        place = folder / ("set.pt" if form == "dcbench" else form)
        status, shown, errors = command("export", str(place), *suite, *which, "--data", "data")
        assert (status, errors) == (0, "")
        assert "10 images, random_real on digits, 1 images per class, draw 1" in shown.replace(f"{place}: ", "")
        names = datasets.info(datasets.load_dataset("digits"), folder / "data").class_names
        found = exports.read_images(place, names)
        assert found.targets.tolist() == list(range(10))

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
    def test_what_cannot_be_exported(self, command, folder, suite, changed, said):
        which = ["--dataset", "digits", "--ipc", "1", "--method", "random_real", *changed]
        status, _, errors = command("export", str(folder / "other"), *suite, *which, "--data", "data")
        assert (status, said in errors.replace("│", "")) == (2, True), errors


def test_the_check_needs_no_torch():
    script = (
        "import sys; sys.argv = ['benchmark', 'report', '--check']\n"
        "from benchmark import cli\n"
        "try: cli.main()\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch', 'ray', 'timm'} & sys.modules.keys()))"
    )
    root = Path(cli.__file__).parent.parent
    done = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
