"""Submitted cells, and what makes them reproduced: every node run again here, with the difference beside the number."""

from __future__ import annotations

import pandas as pd
import pytest
from fake_store import FakeStore

from leaderboards.publish import publication
from leaderboards.publish.publication import files, merged, of_run
from leaderboards.results import records

AUTHORS, HERE = {"commit": "authors"}, {"commit": "here"}


def run(folder, top1: float, provenance: dict, *, submitted: bool = False, taken: tuple[str, ...] = ()):
    """Return the publication of a run of one method with two seeds and the control; `taken` stages are the authors'."""
    made = FakeStore(str(folder))
    for method, seed in (("wmdd", 0), ("wmdd", 1), ("random_real", 0)):
        made.done(made.cell(method=method, seed=seed), top1 + seed)
    made.write_manifest(title="Methods")
    known = {key: dict(record) for key, record in records.read(made.root, "main").nodes.records.items()}
    for record in known.values():
        origin = AUTHORS if record["stage"] in taken else provenance
        record["provenance"] = {**record["provenance"], **origin}
    return of_run(made.root, "main", known, submitted=submitted)


@pytest.fixture
def submitted(tmp_path):
    return merged(None, run(tmp_path / "theirs", 60.0, AUTHORS, submitted=True))


def tiers(found: publication.Publication) -> set[tuple[str, float | None]]:
    return {(cell.get("tier", ""), cell.get("reproduced_difference")) for cell in found.cells}


def test_all_cells_of_a_submission_are_marked(submitted):
    assert tiers(submitted) == {("submitted", None)}
    page = files(submitted)["README.md"].decode()
    assert "60.5 ± 0.7 (submitted)" in page
    assert "Submitted: run by their authors, with verified records; not run again here. wmdd, random\\_real" in page


def test_running_it_again_gives_the_difference_beside_the_submitted_number(submitted, tmp_path):
    found = merged(submitted, run(tmp_path / "ours", 59.7, HERE))
    assert tiers(found) == {("reproduced", -0.3)}
    made = files(found)
    assert "60.5 ± 0.7 (reproduced, \N{MINUS SIGN}0.3)" in made["README.md"].decode()
    board = pd.read_csv(pd.io.common.BytesIO(made["leaderboard.csv"])).set_index("method")
    assert board.loc["wmdd", ["tier", "reproduced_difference", "top1_mean"]].tolist() == ["reproduced", -0.3, 60.5]


def test_a_reproduced_cell_stays_one(submitted, tmp_path):
    ours = run(tmp_path / "ours", 59.7, HERE)
    found = merged(submitted, ours)
    assert tiers(merged(found, found)) == {("reproduced", -0.3)}
    assert tiers(merged(found, ours)) == {("reproduced", -0.3)}


@pytest.mark.parametrize(
    "taken", [("distill",), ("evaluate",), ("teacher", "prepare", "distill", "relabel", "evaluate")]
)
def test_what_rests_on_the_authors_records_is_not_reproduced(submitted, tmp_path, taken):
    again = merged(submitted, run(tmp_path / "ours", 60.0, HERE, taken=taken))
    assert tiers(again) == {("submitted", None)}


def test_a_submission_of_what_was_run_here_changes_nothing(submitted, tmp_path):
    ours = merged(None, run(tmp_path / "ours", 60.0, HERE))
    assert tiers(ours) == {("", None)}
    assert tiers(merged(ours, run(tmp_path / "theirs", 60.0, AUTHORS, submitted=True))) == {("", None)}
