"""The command line: exit statuses, one clear message for a mistake, and every command on a small suite."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pandas as pd
import pytest
from engine import suite_file
from toy_folder import write_image

import methods
from benchmark.cli import main
from benchmark.config_files import names
from benchmark.vision.datasets import load_dataset
from leaderboards.results.leaderboard import LEADERBOARD_COLUMNS

BROKEN = '''
"""Fails."""

from methods.noise import Noise


class Broken(Noise):
    """Fails at once: ``1 / 0``."""

    def distill(self, data, unit, context):
        raise ZeroDivisionError("it was asked to divide by zero")
'''


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    """Run a command line in an empty folder; returns exit status, output and errors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BENCHMARK_DATA", raising=False)
    handler = signal.getsignal(signal.SIGTERM)

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["benchmark", *words])
        try:
            main.main()
            status = 0
        except SystemExit as ended:
            status = int(ended.code or 0)
        return status, *capsys.readouterr()

    yield run
    signal.signal(signal.SIGTERM, handler)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--suite mian", "unknown suite 'mian'. Did you mean 'main'?"),
        ("--suite nowhere/none.yaml", "nowhere/none.yaml: cannot be read (No such file or directory)"),
        ("--datasets digit", "--datasets: unknown dataset 'digit'. Did you mean 'digits'?"),
        ("--methods wmd", "--methods: unknown method 'wmd'. Did you mean 'wmdd'?"),
        ("--students resnet81", "--students: unknown student 'resnet81'. Did you mean 'resnet18'?"),
        ("--protocols hardd", "--protocols: unknown protocol 'hardd'. Did you mean 'hard'?"),
        ("--ipc ten,1,2x", "--ipc: 'ten' is not a whole number from 1"),
        ("--ipc=-1", "--ipc: '-1' is not a whole number from 1"),
        ("--methods ,,", "',,' names nothing; leave the option out to select everything"),
        ("--ipc 0", "--ipc: 0 is impossible; images per class are 1 or more"),
        ("--seeds 0", "Invalid value for '--seeds'"),
        ("--seeds two", "Invalid value for '--seeds'"),
        ("--seeds 100000000", "is not a whole number from 1 to 1000"),
        ("--device tpu", "Invalid value for '--device'"),
        ("--bogus", "No such option: --bogus"),
        ("--runs nothing://here", "--runs nothing://here: cannot be opened"),
    ],
)
@pytest.mark.parametrize("name", ["run", "plan"])
def test_a_mistake_is_one_message_and_status_2(command, name, words, said):
    status, shown, errors = command(name, *words.split())
    assert status == 2
    assert said in " ".join(errors.replace("│", " ").split())
    assert "Traceback" not in shown + errors


def test_an_ipc_above_the_smallest_class_is_skipped_with_its_reason(command):
    status, shown, _ = command("plan", "--datasets", "digits", "--ipc", "500", "--methods", "random_real")
    assert status == 0
    assert "its smallest class has 140 images" in shown
    assert "labels of the largest set" not in shown, "skipped cells have no labels"
    assert "Nothing to do here: every cell is skipped." in shown


def test_data_that_were_asked_for_and_are_not_here_are_planned_but_not_run(command, tmp_path):
    block = {"datasets": ["imagenette"], "ipc": [10], "methods": ["wmdd"], "protocols": ["standard"], "seeds": 2}
    which = ["--suite", suite_file(tmp_path, block), "--datasets", "imagenette"]
    how = "not on disk: python -m benchmark data fetch imagenette --data data"
    status, shown, errors = command("plan", *which)
    assert (status, errors) == (0, "")
    assert f"skipped imagenette (wmdd): {how}" in " ".join(shown.split())
    assert ["imagenette", "2", "2"] in [line.split()[:3] for line in shown.splitlines()]
    sizes = [line.split()[2:4] for line in shown.splitlines() if line.split()[:2] == ["imagenette", "standard"]]
    assert sizes == [["600.0", "kB"]], "300 epochs of 100 images, 10 classes, 2 bytes"
    (hours,) = [line.split()[1:5] for line in shown.splitlines() if line.split()[:1] == ["evaluate"]]
    assert hours == ["2", "0.0", "accuracy", "(2)"], "the card's table has no row for this student"
    assert "200 distilled images take 30.1 MB" in shown
    assert "Nothing to do here: every cell is skipped." in shown
    status, shown, errors = command("run", *which)
    assert (status, shown) == (2, "")
    assert f"--datasets imagenette: {how}" in " ".join(errors.split())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("status --suite mian", "unknown suite 'mian'"),
        ("report --suite mian", "unknown suite 'mian'"),
        ("data check digit", "unknown dataset 'digit'. Did you mean 'digits'?"),
        ("data fetch digit", "unknown dataset 'digit'. Did you mean 'digits'?"),
        ("data check imagenette", "dataset 'imagenette' is not on disk"),
        ("data fetch imagenet1k", "ImageNet may not be redistributed"),
        ("list nothing", "Invalid value"),
        ("fly", "No such command 'fly'"),
        ("status --runs empty", "empty"),
        ("report --runs empty", "empty"),
        ("submit --suite main sub.tar", "submit: 'sub.tar': the name of the archive ends in .zip"),
        ("plan --datasets digits --card nosuch", "unknown card 'nosuch'"),
        ("submit --suite main .zip", "the name of the archive ends in .zip"),
    ],
)
def test_mistakes_of_other_commands(command, words, said):
    status, shown, errors = command(*words.split())
    assert status == 2
    assert said in " ".join(errors.replace("│", " ").split())
    assert "Traceback" not in shown + errors


def test_a_wrong_suite_file_is_told_all_its_faults(command, tmp_path):
    path = suite_file(tmp_path, {"datasets": ["digit"], "students": ["tset"], "seed": 3}, titel="x")
    status, _, errors = command("run", "--suite", path)
    assert status == 2
    lines = [line for line in errors.splitlines() if line.startswith(path)]
    assert len(lines) == 4, errors


@pytest.mark.parametrize("kind", ["methods", "datasets", "students", "protocols", "suites", "searches"])
def test_everything_that_exists_is_listed(command, kind):
    status, shown, _ = command("list", kind)
    assert status == 0
    listed = {line.split()[0] for line in shown.splitlines() if line and not line.startswith(" ")}
    expected = {
        "methods": {"random_real", "full", "sre2l", "mmd", "wmdd"},
        "students": {"resnet18", "resnet50", "vit_tiny", "convnet_d3", "test_resnet"},
    }
    assert listed >= (expected.get(kind) or set(names(kind)))


def test_a_student_may_be_any_network_of_timm(command):
    errors = command("plan", "--students", "convnext_attoo")[2]
    assert "any name of timm's; a network of your own: docs/outside.md" in " ".join(errors.split())
    assert command("list", "students")[1].splitlines()[-1] == "and every network of timm, by its name there"


def test_a_plan_without_stored_labels_has_no_table_of_them(command):
    words = ("plan", "--datasets", "digits", "--methods", "random_real", "--ipc", "1")
    assert "labels of the largest set" not in command(*words, "--protocols", "hard")[1]
    assert "labels of the largest set" in command(*words, "--protocols", "standard")[1]


def test_help_without_a_command(command):
    status, shown, errors = command()
    assert status in (0, 2)
    assert "Usage" in shown + errors


def test_data_list_says_how_to_get_what_is_missing(command):
    status, shown, _ = command("data", "list")
    assert status == 0
    lines = {line.split()[0]: line for line in shown.splitlines() if line and not line.startswith(" ")}
    assert "on disk" in lines["digits"]
    assert "not on disk: python -m benchmark data fetch cifar10 --data data" in lines["cifar10"]


def test_data_check_counts_images(command):
    status, shown, _ = command("data", "check", "digits")
    assert status == 0
    assert "1442 training and 355 test images, all readable" in shown


@pytest.mark.parametrize(("card", "text"), [("H100", "All rows of the card's"), ("H200", "3 of 6 rows of the card's")])
def test_the_cost_says_how_much_of_a_card_is_measured(command, card, text):
    status, shown, errors = command("plan", "--suite", "reproduction", "--ipc", "1", "--card", card)
    assert status == 0, errors
    assert f"{text} table were measured on it" in " ".join(shown.split())


def test_a_card_that_is_not_known_is_an_error_before_anything_is_printed(command):
    status, shown, errors = command("plan", "--suite", "reproduction", "--card", "A100")
    assert (status, shown) == (2, "")
    assert "unknown card 'A100'" in errors


@pytest.mark.parametrize(("side", "enlarged"), [(224, True), (256, False)])
def test_data_check_says_that_files_are_smaller_than_the_dataset_reads_them(command, tmp_path, side, enlarged):
    config = load_dataset("imagenette")  # reads a short side of 256 px
    for split in ("train", "val"):
        for label, name in enumerate(config.class_names):
            file = tmp_path / "imagenette" / split / name / f"{split}.png"
            write_image(file, 20 * label + (split == "val"), (side, side))
    status, shown, errors = command("data", "check", "imagenette", "--data", str(tmp_path))
    assert status == 0, errors
    assert f"every file has {side} x {side} pixels" in shown
    assert ("20 files are smaller than imagenette reads them (256 px): they are enlarged" in shown) == enlarged


def test_an_interruption_keeps_what_is_done_and_says_so(command, monkeypatch):
    def interrupt(*_args, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr("benchmark.run.campaign.open_campaign", interrupt)
    status, _, errors = command("plan")
    assert status == 130
    assert "interrupted; finished nodes are kept" in errors


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """One place for all commands on the small suite."""
    return tmp_path_factory.mktemp("run")


class TestARun:
    """Every command on one small suite, in order."""

    @pytest.fixture
    def on(self, command, folder):
        """Run a command on the suite; what is written lies in one folder for the whole class."""

        def run(name: str, *words: str) -> tuple[int, str, str]:
            where = ["--suite", suite_file(folder, {"protocols": ["hard"]}), "--runs", str(folder / "runs")]
            data = ["--data", str(folder / "data")] if name in ("run", "plan") else []
            how = ["--runner", "serial"] if name == "run" else []
            return command(name, *where, *data, *how, *words)

        return run

    def board(self, folder: Path) -> pd.DataFrame:
        return pd.read_csv(folder / "runs" / "leaderboards" / "tiny" / "leaderboard.csv")

    def test_plan_before(self, on):
        status, shown, _ = on("plan")
        assert status == 0
        assert "To do: 3 nodes" in shown

    def test_run(self, on, folder):
        status, shown, errors = on("run")
        assert (status, errors) == (0, "")
        assert "[3/3] evaluate digits/1 random_real hard seed 0 test_resnet done" in shown
        assert str(folder / "runs" / "leaderboards" / "tiny") in shown
        assert "random_real" in shown or "Random real" in shown, "a name is cut where there is room"
        board = self.board(folder)
        assert list(board.columns)[: len(LEADERBOARD_COLUMNS)] == LEADERBOARD_COLUMNS
        (row,) = board.to_dict("records")
        assert row["status"] == "ok"
        assert row["top1_mean"] > 20, "ten classes: twice what guessing gives"

    def test_nothing_to_do(self, on):
        status, shown, _ = on("plan")
        assert (status, "Nothing to do." in shown) == (0, True)
        status, shown, _ = on("run")
        assert status == 0
        assert "evaluate digits" not in shown, "no node ran"

    def test_status_and_report(self, on):
        status, shown, _ = on("status")
        assert status == 0
        assert "digits" in shown
        status, shown, _ = on("report")
        assert status == 0
        assert "leaderboard.csv" in shown

    def test_a_damaged_result_is_named(self, on, folder):
        (path,) = folder.glob("runs/*/images.safetensors")
        path.write_bytes(b"")
        status, shown, _ = on("run")
        assert status == 0
        assert "damaged, will be computed again: distill digits/1 random_real" in shown

    def test_a_failing_method_is_a_row_with_its_reason_and_status_1(self, on, folder, monkeypatch):
        (folder / "broken.py").write_text(BROKEN)
        monkeypatch.setattr(methods, "__path__", [*methods.__path__, str(folder)])
        status, shown, errors = on("run", "--methods", "random_real,broken")
        assert status == 1
        assert "Traceback" not in shown + errors
        rows = self.board(folder).set_index("method")
        assert rows.loc["random_real", "status"] == "ok"
        assert rows.loc["broken", "status"] == "failed"
        assert "it was asked to divide by zero" in rows.loc["broken", "reason"]

    def test_a_method_that_cannot_be_imported_is_named(self, on, folder, monkeypatch):
        (folder / "typo.py").write_text("import nothing_like_it\n")
        monkeypatch.setattr(methods, "__path__", [*methods.__path__, str(folder)])
        status, _, errors = on("plan", "--methods", "typo")
        assert status == 2
        assert f"{folder}/typo.py: cannot be imported (ModuleNotFoundError" in errors


@pytest.mark.ray
@pytest.mark.slow
def test_a_run_by_ray(command, tmp_path, short_training):
    where = ["--suite", suite_file(tmp_path), "--runs", str(tmp_path / "runs"), "--data", str(tmp_path / "data")]
    try:
        status, shown, errors = command("run", *where, "--device", "cpu")
    finally:
        import ray

        ray.shutdown()
    assert (status, errors) == (0, "")
    assert "[3/3] evaluate" in shown
