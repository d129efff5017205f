"""Tensors of a file are those that were saved, and take no more memory than the part that is read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from benchmark.synthetic import TensorFile

MEGABYTE = 2**20


def test_tensors_are_those_that_were_saved(tmp_path: Path):
    saved = {"rows": torch.arange(6.0).view(2, 3), "counts": torch.tensor([1, 2]), "none": torch.zeros(0, 4)}
    save_file(saved, tmp_path / "a.safetensors")
    tensors = TensorFile(tmp_path / "a.safetensors")
    assert len(tensors) == 3
    assert set(tensors) == set(saved)
    for name, value in tensors.items():
        assert value.dtype == saved[name].dtype
        assert torch.equal(value, saved[name])
    with pytest.raises(KeyError):
        tensors["columns"]


def test_a_tensor_may_be_changed_without_changing_the_file(tmp_path: Path):
    save_file({"rows": torch.ones(3)}, tmp_path / "a.safetensors")
    tensors = TensorFile(tmp_path / "a.safetensors")
    tensors["rows"].zero_()
    assert tensors["rows"].tolist() == [1, 1, 1]


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="asks the Linux kernel for resident memory")
def test_memory_holds_what_is_read_and_not_the_file(tmp_path: Path):
    path = tmp_path / "large.safetensors"
    save_file({"rows": torch.ones(64, MEGABYTE // 4)}, path)  # 64 rows of 1 MB
    tensors, before = TensorFile(path), _resident()
    assert sum(float(tensors["rows"][row].sum()) for row in range(64)) == 16 * MEGABYTE
    assert _resident() - before < 16 * MEGABYTE
    whole = load_file(path)["rows"]
    assert float(whole.sum()) == 16 * MEGABYTE
    assert _resident() - before > 48 * MEGABYTE, "held at once, all of it counts"


def _resident() -> int:
    """Return the bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
