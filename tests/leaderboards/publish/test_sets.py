"""The sets of published tables are the files that their records name."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
from fake_store import FakeStore

from benchmark.files import Folder
from leaderboards.publish import publication, sets
from leaderboards.results import records

IMAGES = b"images of a set"


@pytest.fixture
def store(tmp_path):
    return tmp_path / "runs"


@pytest.fixture
def published(store):
    """A publication of one cell, whose two units have one file each in the store."""
    fake = FakeStore(str(store))
    cell = fake.cell()
    fake.done(cell, 60.0)
    fake.write_manifest(title="Methods")
    known = records.read(str(store), "main").nodes.records
    facts = {"images.safetensors": {"bytes": len(IMAGES), "sha256": hashlib.sha256(IMAGES).hexdigest()}}
    for key in cell["nodes"]["distill"]:
        known[key] = {**known[key], "files": facts}
        (store / key / "images.safetensors").write_bytes(IMAGES)
    return publication.of_run(str(store), "main", {key: known[key] for key in publication.done(str(store), "main")})


def test_sets_are_copied_and_sound(published, store, tmp_path):
    assert sets.copy(published, Folder(str(store)), tmp_path / "sets") == 2
    key = published.cells[0]["nodes"]["distill"][0]
    assert (tmp_path / "sets" / "main" / key / "images.safetensors").read_bytes() == IMAGES
    assert sets.damaged(published, tmp_path / "sets") == []


def test_a_changed_set_and_a_stray_file_are_named(published, store, tmp_path):
    sets.copy(published, Folder(str(store)), tmp_path / "sets")
    key = published.cells[0]["nodes"]["distill"][0]
    (tmp_path / "sets" / "main" / key / "images.safetensors").write_bytes(IMAGES + b"!")
    (tmp_path / "sets" / "main" / "notes.txt").write_text("mine")
    expected = [f"sets/main/{key}/images.safetensors", "sets/main/notes.txt"]
    assert sorted(sets.damaged(published, tmp_path / "sets")) == sorted(expected)


def test_sets_that_the_store_has_lost_stay_and_those_of_old_cells_go(published, store, tmp_path):
    sets.copy(published, Folder(str(store)), tmp_path / "sets")
    lost, other = published.cells[0]["nodes"]["distill"]
    (store / lost / "images.safetensors").unlink()
    assert sets.copy(published, Folder(str(store)), tmp_path / "sets") == 1
    assert (tmp_path / "sets" / "main" / lost).is_dir()
    fewer = {key: record for key, record in published.records.items() if key != other}
    (tmp_path / "sets" / "main" / "README.md").write_text("mine")
    sets.copy(replace(published, records=fewer), Folder(str(store)), tmp_path / "sets")
    assert not (tmp_path / "sets" / "main" / other).exists()
