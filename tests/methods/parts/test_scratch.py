"""A saved file is complete, even where two drivers save it at once."""

from __future__ import annotations

import torch

from methods.parts.scratch import save


def test_two_drivers_that_save_at_once_leave_one_complete_file(tmp_path, monkeypatch):
    path, write = tmp_path / "state.pt", torch.save

    def overtaken(value, file):
        write(value, file)
        monkeypatch.setattr(torch, "save", write)
        save({"step": 2}, path)  # the other driver, before this one renames its file

    monkeypatch.setattr(torch, "save", overtaken)
    save({"step": 1}, path)
    assert torch.load(path, weights_only=True) == {"step": 1}
    assert list(tmp_path.iterdir()) == [path]
