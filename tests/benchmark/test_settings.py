"""What a component changes in its process is restored; a change that makes its numbers wrong is an error."""

from __future__ import annotations

import io
import os
import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import methods
from benchmark.errors import BenchmarkError
from benchmark.plan.discovery import load_method
from benchmark.settings import restored, seeded


def state() -> tuple[Any, ...]:
    return (
        torch.get_default_dtype(),
        torch.empty(0).device,
        torch.is_grad_enabled(),
        torch.get_num_threads(),
        torch.get_float32_matmul_precision(),
        torch.are_deterministic_algorithms_enabled(),
        torch.backends.cudnn.benchmark,
        torch.backends.cudnn.allow_tf32,
        torch.backends.cudnn.enabled,
        Path.cwd(),
        sys.stdout,
        sys.stderr,
    )


SILENT = {
    "threads": lambda: torch.set_num_threads(torch.get_num_threads() + 1),
    "precision": lambda: torch.set_float32_matmul_precision("medium"),
    "algorithms": lambda: torch.use_deterministic_algorithms(True),
    "cudnn": lambda: setattr(torch.backends.cudnn, "benchmark", True),
    "tf32": lambda: setattr(torch.backends.cudnn, "allow_tf32", False),
    "cudnn off": lambda: setattr(torch.backends.cudnn, "enabled", False),
    "folder": lambda: os.chdir("/"),
    "another stream": lambda: setattr(sys, "stdout", io.StringIO()),
    "closed streams": lambda: (sys.stdout.close(), sys.stderr.close()),
}
LOUD = {
    "torch.set_default_dtype (torch.float32 became torch.float64)": lambda: torch.set_default_dtype(torch.float64),
    "torch.set_grad_enabled (True became False)": lambda: torch.set_grad_enabled(False),
    "torch.set_default_device (cpu became meta)": lambda: torch.set_default_device("meta"),
}


@pytest.mark.parametrize("change", SILENT.values(), ids=SILENT)
def test_what_changes_no_number_of_its_own_is_restored(change):
    before = state()
    with restored():
        change()
    assert state() == before
    assert not sys.stdout.closed and not sys.stderr.closed


@pytest.mark.parametrize(("said", "change"), LOUD.items(), ids=LOUD)
def test_what_makes_its_numbers_wrong_is_an_error_too(said, change):
    before = state()
    with pytest.raises(BenchmarkError) as caught, restored():
        change()
    assert said in str(caught.value)
    assert state() == before


@pytest.mark.parametrize("change", [*SILENT.values(), *LOUD.values()], ids=[*SILENT, *LOUD])
def test_after_an_error_everything_is_restored_and_the_error_stays(change):
    before = state()
    with pytest.raises(ZeroDivisionError), restored():
        change()
        raise ZeroDivisionError
    assert state() == before


def test_a_working_directory_that_is_gone_is_no_error(tmp_path, monkeypatch):
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    with restored():
        folder.rmdir()
    with restored():
        os.chdir(tmp_path)


def test_the_import_of_a_file_may_change_nothing_either(tmp_path, monkeypatch):
    (tmp_path / "doubles.py").write_text("import torch\ntorch.set_default_dtype(torch.float64)\n")
    monkeypatch.setattr(methods, "__path__", [*methods.__path__, str(tmp_path)])
    with pytest.raises(BenchmarkError, match=r"doubles\.py: cannot be imported \(it changed"):
        load_method("doubles")
    assert torch.get_default_dtype() == torch.float32


def test_a_global_generator_gives_the_same_numbers_in_every_run_of_a_node():
    def numbers() -> tuple[float, float, float]:
        return torch.rand(1).item(), random.random(), np.random.rand()  # noqa: NPY002

    def of(key: str) -> tuple[float, float, float]:
        with seeded(key):
            return numbers()

    with seeded("0" * 32):
        expected = numbers(), numbers()
    with seeded("0" * 32):
        first = numbers()
        of("a" * 32)  # of another node in the same process
        assert (first, numbers()) == expected
    assert of("a" * 32) == of("a" * 32) != of("b" * 32)
