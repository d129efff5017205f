"""A report is made again only where records, pictures, code or files have changed."""

from __future__ import annotations

from pathlib import Path

import pytest
from fake_store import FakeStore
from hostile_sets import png

from leaderboards import report
from leaderboards.plots.images import Picture
from leaderboards.results import kept

FILES = {"plots/accuracy.png": b"png", "plots/accuracy.svg": b"<svg/>"}


@pytest.fixture
def store(tmp_path):
    made = FakeStore(str(tmp_path))
    for method in ("wmdd", "random_real"):
        made.done(made.cell(method=method), 60.0)
    return made


@pytest.fixture
def drawn(monkeypatch):
    """Count how often plots are drawn."""
    calls = []
    monkeypatch.setattr(report, "_plots", lambda *_: (calls.append(1), (FILES, ("one is missing",)))[1])
    return calls


def test_equal_records_are_reported_once(store, drawn):
    first, again = store.build(), store.build()
    assert len(drawn) == 1
    assert again.notes == first.notes == ("one is missing",)
    assert again.paths == first.paths
    assert Path(store.root, "leaderboards/main/plots/accuracy.png").read_bytes() == b"png"


def test_other_records_are_reported_again(store, drawn):
    store.build()
    store.done(store.cells[0], 61.0)
    store.build()
    assert len(drawn) == 2


def test_a_node_that_failed_since_is_reported(store, drawn):
    cell = store.cell(method="mmd")
    store.build()
    store.failed(cell, "distill", "out of memory")
    store.build()
    assert len(drawn) == 2
    assert "out of memory" in Path(store.root, "leaderboards/main/cells.csv").read_text()


def test_other_code_is_reported_again(store, drawn, monkeypatch, tmp_path):
    store.build()
    (tmp_path / "new.py").write_text("")
    monkeypatch.setattr(kept, "_code", lambda: [tmp_path / "new.py"])
    store.build()
    assert len(drawn) == 2


def test_a_picture_that_came_later_is_reported(store, drawn, monkeypatch):
    store.build()
    picture = Picture("later.png", "digits", 10, "wmdd", "sheet")
    monkeypatch.setattr(report, "_pictures", lambda *_: [(picture, png())])
    store.build()
    assert len(drawn) == 2


@pytest.mark.parametrize("change", [b"", b"{", b"[]", b'{"source": 1}', b'{"files": [], "notes": []}'])
@pytest.mark.parametrize("name", ["report.json", "plots/accuracy.svg", "index.html"])
def test_damaged_files_are_reported_again(store, drawn, name, change):
    store.build()
    path = Path(store.root, "leaderboards/main", name)
    path.write_bytes(change)
    store.build()
    assert len(drawn) == 2
    path.unlink()
    store.build()
    assert len(drawn) == 3
    assert Path(store.root, "leaderboards/main/plots/accuracy.svg").read_bytes() == b"<svg/>"
