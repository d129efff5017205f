"""What a method saves is whole and unchanged, or not there, even where two drivers save it at once."""

from __future__ import annotations

import random
import resource

import pytest
import torch

from benchmark.vision.scratch import load, save


def test_what_is_saved_is_loaded(tmp_path):
    value = {"images": torch.randn(50, 3, 8, 8), "step": 7, "frames": [torch.arange(4, dtype=torch.uint8)], "none": {}}
    save(value, tmp_path / "state.pt")
    found = load(tmp_path / "state.pt")
    assert torch.equal(found["images"], value["images"])
    assert torch.equal(found["frames"][0], value["frames"][0])
    assert (found["step"], found["none"]) == (7, {})


def test_what_was_never_saved_is_none(tmp_path, caplog):
    assert load(tmp_path / "state.pt") is None
    assert caplog.text == ""


def test_every_damage_is_found_and_logged(tmp_path, caplog):
    path, source = tmp_path / "state.pt", random.Random(0)
    save({"images": torch.randn(20), "step": 7}, path)
    whole = path.read_bytes()
    for _ in range(300):
        damaged = bytearray(whole)
        damaged[source.randrange(len(whole))] ^= 1 << source.randrange(8)
        path.write_bytes(damaged)
        assert load(path) is None
    for size in (*range(0, 50), *(source.randrange(len(whole)) for _ in range(50))):
        path.write_bytes(whole[:size])
        assert load(path) is None
    assert caplog.text.count("state.pt: saved progress is damaged; starts afresh") == 400
    path.write_bytes(whole)
    assert load(path)["step"] == 7


def test_a_file_of_another_kind_is_no_progress(tmp_path, caplog):
    torch.save({"step": 7}, tmp_path / "state.pt")
    assert load(tmp_path / "state.pt") is None
    assert "damaged; starts afresh" in caplog.text


@pytest.fixture
def small_files():
    """Let the system refuse files of more than 100 kB, as a full disk would."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.usefixtures("small_files")
@pytest.mark.parametrize("tensors", [1, 20])  # torch has an error of its own where it closes its archive
def test_an_error_of_the_disk_keeps_the_old_file(tmp_path, tensors):
    path = tmp_path / "state.pt"
    save({"step": 1}, path)
    with pytest.raises(OSError, match="File too large"):
        save({str(index): torch.zeros(50_000) for index in range(tensors)}, path)
    assert load(path) == {"step": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_of_torch_stays_one(tmp_path):
    with pytest.raises(AttributeError):
        save({"step": lambda: 1}, tmp_path / "state.pt")
    assert not list(tmp_path.iterdir())


def test_two_drivers_that_save_at_once_leave_one_complete_file(tmp_path, monkeypatch):
    path, write = tmp_path / "state.pt", torch.save

    def overtaken(value, file):
        write(value, file)
        monkeypatch.setattr(torch, "save", write)
        save({"step": 2}, path)  # the other driver, before this one renames its file

    monkeypatch.setattr(torch, "save", overtaken)
    save({"step": 1}, path)
    assert load(path) == {"step": 1}
    assert list(tmp_path.iterdir()) == [path]
