"""Published results that are run again: cell by cell inside or not, what differs, and sets that are scored again."""

from __future__ import annotations

import json
import shutil
import sys
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
from engine import suite_file

from benchmark.cli import main
from benchmark.files import Folder
from benchmark.record import sealed
from benchmark.sources import ENVIRONMENT
from benchmark.vision import datasets
from leaderboards.publish import publication, verify

RUN = ["--runner", "serial", "--device", "cpu", "--extra", "own"]
BLOCK = {"methods": ["noise", "random_real"], "seeds": 2, "protocols": ["quick"]}
QUICK = """version: 1
title: Quick
description: Two epochs.
schedule: {epochs: 2, mix: none}
labels: {name: hard}
evaluator: {name: accuracy}
"""


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    """Run a command line in an empty folder; returns exit status and output."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(ENVIRONMENT, "")
    monkeypatch.setattr(publication, "FOLDER", tmp_path / "published")
    return partial(started, monkeypatch, capsys)


def started(monkeypatch, capsys, *words: str) -> tuple[int, str]:
    monkeypatch.setattr(sys, "argv", ["benchmark", *words])
    status = 0
    try:
        main.main()
    except SystemExit as ended:
        status = int(ended.code or 0)
    captured = capsys.readouterr()
    return status, " ".join((captured.out + captured.err).split())


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with a run of two methods with two seeds each and its publication, made once."""
    folder = tmp_path_factory.mktemp("made")
    protocols = folder / "own" / "configs" / "protocols"
    protocols.mkdir(parents=True)
    (protocols / "quick.yaml").write_text(QUICK)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv(ENVIRONMENT, "")
        patch.setattr(sys, "argv", ["benchmark", "run", "-s", suite_file(folder, BLOCK), *RUN, "--no-report"])
        with pytest.raises(SystemExit) as ended:
            main.main()
        assert not ended.value.code
        records = verify.verified(Folder("runs"), publication.done("runs", "tiny"))
        made = publication.files(publication.of_run("runs", "tiny", records))
        publication.write("tiny", made, folder / "published")
    return folder


@pytest.fixture
def suite(command, made, tmp_path):
    """Return the path of the published suite."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    return "tiny.yaml"


def change(**metrics: float) -> list[str]:
    """Change the published records of evaluations, as if they had given other numbers; return their keys."""
    path = publication.FOLDER / "tiny" / "records.jsonl"
    records = [json.loads(line) for line in path.read_text().splitlines()]
    for record in records:
        if record["stage"] == "evaluate":
            record["metrics"].update(metrics)
            record["provenance"]["versions"]["torch"] = "1.0"
    path.write_text("".join(json.dumps(sealed(record)) + "\n" for record in records))
    return [record["key"] for record in records if record["stage"] == "evaluate"]


def table(runs: str) -> pd.DataFrame:
    return pd.read_csv(f"{runs}/leaderboards/tiny/reproduction.csv")


def test_a_suite_that_is_run_again_gives_the_same_numbers(command, suite):
    status, shown = command("reproduce", "-s", suite, *RUN)
    assert status == 0, shown
    found = table("reproduced")
    assert list(found["verdict"]) == ["the same"] * 4
    assert (found["published"] == found["again"]).all()
    assert set(found["why"]) == {"nothing recorded differs"}
    assert "4 published cells: 4 the same" in shown
    assert "reproduced/leaderboards/tiny/reproduction.csv" in shown


def test_what_is_outside_is_said_with_what_differs(command, suite):
    change(top1=99.9)
    status, shown = command("reproduce", "-s", suite, "-m", "noise", *RUN)
    assert status == 1
    assert "2 published cells: 2 outside" in shown
    found = table("reproduced")
    assert list(found["verdict"]) == ["outside"] * 2 and set(found["method"]) == {"noise"}
    assert (found["again"] < found["low"]).all()
    assert set(found["high"]) == {100.0}, "no accuracy is above 100 %"
    assert found["surroundings"].str.contains("torch 1.0 ->").all()
    assert "Differs: torch 1.0 ->" in shown


def test_a_store_that_holds_the_published_run_reproduces_nothing(command, suite):
    command("reproduce", "-s", suite, "--runs", "runs", *RUN)
    assert set(table("runs")["verdict"]) == {"the published run"}


def test_a_cell_that_cannot_run_here_has_its_reason(command, suite, tmp_path):
    changed = suite_file(tmp_path, {**BLOCK, "methods": ["noise"]})
    status, shown = command("reproduce", "-s", changed, *RUN)
    found = table("reproduced").set_index("method")
    assert status == 0
    assert "Not run: 2 cells of digits: the suite has no such cell today" in shown
    assert list(found.loc["random_real", "verdict"]) == ["not run"] * 2
    assert set(found.loc["random_real", "why"]) == {"the suite has no such cell today"}
    assert list(found.loc["noise", "verdict"]) == ["the same"] * 2


def test_a_sample_is_scored_again_with_the_sets_at_hand(command, suite):
    for path in Path("runs").glob("*/images.safetensors"):
        shutil.copytree(path.parent, Path("sets") / path.parent.name)
    status, shown = command("rescore", "sets", "-s", suite, "--cells", "3", "--sample", "7", *RUN)
    assert status == 0, shown
    assert "Sample 7: 3 of 4 cells whose sets are in sets." in shown
    assert list(table("rescored")["verdict"]) == ["the same"] * 3
    records = [json.loads(path.read_text()) for path in Path("rescored").glob("*/record.json")]
    run = {path.parent.name: json.loads(path.read_text()) for path in Path("runs").glob("*/record.json")}
    stages = [record["stage"] for record in records]
    assert stages.count("evaluate") == 3 and stages.count("distill") == 4
    for record in records:
        taken = record["provenance"] == run[record["key"]]["provenance"]
        assert taken == (record["stage"] == "distill"), "sets are the published ones, all else is computed here"


def test_sets_that_are_no_such_sets_are_refused(command, suite):
    key = change(top1=50.0)[0]
    assert "there is no such folder" in command("rescore", "sets", "-s", suite, *RUN)[1]
    Path("sets", key).mkdir(parents=True)
    assert "it has no set of this suite" in command("rescore", "sets", "-s", suite, *RUN)[1]
    (source,) = list(Path("runs").glob("*/images.safetensors"))[:1]
    shutil.copytree(source.parent, Path("sets") / source.parent.name)
    Path("sets", source.parent.name, source.name).write_bytes(b"\0" * source.stat().st_size)
    status, shown = command("rescore", "sets", "-s", suite, *RUN)
    assert status == 2 and "not what was recorded" in shown
    assert not Path("rescored").exists()


def test_sets_whose_dataset_is_missing_are_refused_with_the_reason(command, suite, monkeypatch):
    for path in Path("runs").glob("*/images.safetensors"):
        shutil.copytree(path.parent, Path("sets") / path.parent.name)
    monkeypatch.setattr(datasets, "status", lambda *_: "not on disk: copy its images to data/digits")
    status, shown = command("rescore", "sets", "-s", suite, *RUN)
    assert status == 2
    assert "no cell of suite 'tiny.yaml' can run here digits: not on disk: copy its images to data/digits" in shown


def test_what_is_not_published_is_named(command, suite):
    status, shown = command("reproduce", "-s", "mine")
    assert status == 2 and "suite 'mine' is not published; published are: tiny" in shown
    assert command("reproduce", "-s", suite, "-d", "cifar10")[0] == 2
