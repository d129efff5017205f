"""``make bench`` and ``make gpu-check`` at toy size on the CPU: every line of their output is there."""

from __future__ import annotations

import dataclasses
import itertools
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import torch
import yaml
from short import ENVIRONMENT

from benchmark.config_files import load_named
from benchmark.plan.cost import Card

HERE = Path(__file__).parent


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(str(HERE))
    return import_module("bench")


@pytest.fixture
def gpu_check(bench):
    return import_module("gpu_check")


@pytest.mark.slow
@pytest.mark.usefixtures("short_training")
def test_the_check_of_a_gpu_runs_on_a_cpu(gpu_check, tmp_path, monkeypatch):
    few = "--methods random_real --ipc 1 --seeds 1 --protocols hard"
    words = ["--device", "cpu", "--size", "toy", "--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "out.md")]
    part = gpu_check.part

    def shortened(title, command):
        return part(title, ["short" if word == "benchmark" else word for word in command])

    monkeypatch.setattr(gpu_check, "part", shortened)
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["gpu_check.py", *words, f"--select={few}"])
    status, text = gpu_check.main(), (tmp_path / "out.md").read_text()
    assert status == 0, text
    assert "## digits, suite main: exit status 0" in text
    assert "torch 2" in text
    for work in ("student step, batch 10", "teacher step, batch 100", "sre2l iteration", "wmdd iteration", "JPEG"):
        (line,) = [line for line in text.splitlines() if line.startswith(f"| {work}")]
        assert 0.2 < float(line.split("|")[-3]) < 20


def test_a_table_replaces_the_last_one_of_its_device(bench):
    page = "a\n<!-- bench cpu -->\nold\n<!-- /bench -->\nb <!-- bench cuda -->\nkept\n<!-- /bench -->\n"
    new = bench.replaced(page, "cpu", ["| new |"])
    assert "| new |" in new and "old" not in new and "kept" in new
    assert bench.replaced(new, "cpu", ["| new |"]) == new


def test_the_check_says_that_there_is_no_gpu(gpu_check, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["gpu_check.py"])
    assert gpu_check.main() == 2
    assert "there is no GPU" in capsys.readouterr().out
    assert not (tmp_path / "gpu-check.md").exists()


@pytest.mark.slow
def test_the_throughput_of_a_card_is_written_as_plan_reads_it(bench, gpu_check, tmp_path, monkeypatch):
    run, starts = subprocess.run, []

    def once(words, **options):
        starts.append(words)
        return run(words, **options) if len(starts) == 1 else None

    monkeypatch.setattr(subprocess, "run", once)
    monkeypatch.setattr(gpu_check, "commit", lambda: "c0ffee")
    cpu, size = torch.device("cpu"), dataclasses.replace(bench.SIZES["toy"], images=20, steps=1)
    types = {False: torch.float32, True: torch.bfloat16}
    benches = {mixed: bench.Bench(cpu, size, tmp_path, type_) for mixed, type_ in types.items()}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(gpu_check.card(benches, "mine")))
    assert len(starts) == 3
    card = load_named(Card, "cards", str(tmp_path / "mine.yaml"))
    assert {(row.work, row.mixed) for row in card.rows} == set(
        itertools.product(("train", "recover", "forward"), (False, True))
    )
    assert all(row.measured and row.images_per_second[0] > 0 for row in card.rows)
