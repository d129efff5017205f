"""Intervals that a cell which is run again should meet, worked out by hand."""

from __future__ import annotations

import math

import pytest
from fake_store import FakeStore

from benchmark.record import EXTERNAL
from leaderboards.publish import publication, reproduction
from leaderboards.results import records


def test_a_new_cell_has_its_own_variance_and_one_test_image(tmp_path):
    run = FakeStore(str(tmp_path))
    for method, numbers in {"wmdd": (60.0, 61.0, 62.0), "mmd": (40.0,)}.items():
        for seed, top1 in enumerate(numbers):
            run.done(run.cell(method=method, seed=seed), top1)
    run.write_manifest()
    known = records.read(run.root, "main").nodes.records
    published = publication.of_run(run.root, "main", {key: known[key] for key in publication.done(run.root, "main")})
    table = reproduction.compare(published, published.stored(), reproduction.finished(published)).table
    one_image, student = 1.0, 4.30265  # 100 test images; 2 degrees of freedom
    for method, mean, error in (("wmdd", 61.0, math.sqrt(1 + 1 / 3)), ("mmd", 40.0, math.sqrt(2))):
        found = table[table["method"] == method]
        assert found["low"].tolist() == pytest.approx([mean - student * error - one_image] * len(found), abs=1e-3)
        assert found["high"].tolist() == pytest.approx([mean + student * error + one_image] * len(found), abs=1e-3)


def test_a_set_that_was_brought_in_is_not_called_a_cell_of_the_suite(tmp_path):
    run, again = FakeStore(str(tmp_path / "run")), FakeStore(str(tmp_path / "again"))
    for method, base in {"theirs": EXTERNAL, "mmd": "mmd"}.items():
        run.done(run.cell(method=method, base=base), 60.0)
    again.done(again.cell(), 60.0)
    run.write_manifest()
    again.write_manifest()
    known = records.read(run.root, "main").nodes.records
    published = publication.of_run(run.root, "main", {key: known[key] for key in publication.done(run.root, "main")})
    cells = reproduction.finished(published)
    table = reproduction.compare(published, records.read(again.root, "main"), cells).table.set_index("method")
    assert table["why"].to_dict() == {
        "theirs": "its set was made elsewhere, so it cannot be made again here",
        "mmd": "the suite has no such cell today",
    }
