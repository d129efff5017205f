"""A method that is cut against the others is named so wherever it is shown, and stays out of ranks and verdicts."""

from __future__ import annotations

from pathlib import Path

import pytest
from engine import plan
from fake_store import FakeStore

from benchmark.plan import recipes
from leaderboards import report
from leaderboards.page.verdicts import verdicts
from leaderboards.results import records
from leaderboards.results.text import marks
from leaderboards.tables import layout

WHY = "300 of 1000 iterations"
LEVELS = {"gvbsm": 80.0, "wmdd": 70.0, "mmd": 60.0, "random_real": 50.0, "noise": 10.0, "full": 95.0}


@pytest.fixture
def store(tmp_path: Path) -> FakeStore:
    made = FakeStore(str(tmp_path))
    for method, level in LEVELS.items():
        for seed in range(3):
            changes = {"ipc": 0} if method == "full" else {}
            cell = made.cell(method=method, seed=seed, cut=WHY if method == "gvbsm" else "", **changes)
            made.done(cell, top1=level + 0.5 * seed)
    return made


def test_it_is_named_in_tables_page_plots_and_terminal(store):
    built = store.build()
    assert "gvbsm (cut)" in set(built.leaderboard["method"])
    assert "gvbsm" not in set(built.leaderboard["method"])
    folder = Path(built.folder)
    for name in ("index.html", "leaderboard.csv", "cells.csv", "costs.csv", "tables/main_standard_test_resnet.md"):
        assert "gvbsm (cut)" in (folder / name).read_text(), name
    assert "gvbsm (cut)" in report.text(built, {"method": ["gvbsm"]}, width=200)
    table = report.results_of(records.read(store.root, "main")).tables[0]
    assert f"No rank and no verdict for gvbsm (cut): {WHY}." in layout.to_sheet(table).legend


def test_it_has_no_rank_no_mark_and_no_part_in_verdicts(store):
    store.write_manifest()
    summary = report.summarise(store.root, "main")
    rows = summary.leaderboard.to_dict("records")
    by_method = {row["method"]: row for row in rows}
    cut, best = by_method["gvbsm (cut)"], by_method["wmdd"]
    assert cut["refused"] == f"rank refused: gvbsm (cut): {WHY}"
    assert (cut["verdict_best"], cut["verdict_control"]) == ("", "")
    assert best["rank"] == 1
    (block,) = [block for key, block in summary.blocks.items() if key[1] == 10]
    assert "gvbsm (cut)" not in block.rows
    ranks = {row["method"]: mark.rank for row, mark in zip(rows, marks(rows, summary.blocks), strict=True)}
    assert (ranks["gvbsm (cut)"], ranks["wmdd"], ranks["mmd"]) == (0, 1, 2)
    (verdict,) = verdicts(summary.leaderboard)
    assert verdict.sentence.startswith("wmdd is best")


def test_recipes_and_suites_carry_the_reason_and_no_key_holds_it(monkeypatch):
    planned = plan({"datasets": ["digits"], "methods": ["dm", {"method": "x", "base": "noise", "cut": WHY}]})
    reasons = {cell["method"]: cell["cut"] for cell in planned.manifest()["cells"]}
    assert reasons["x"] == WHY
    assert "300 of 20000" in reasons["dm"]
    without = [recipe.model_copy(update={"cut": "", "search": None}) for recipe in recipes.read_recipes("dm")]
    monkeypatch.setattr(recipes, "read_recipes", lambda name: without if name == "dm" else ())
    again = plan({"datasets": ["digits"], "methods": ["dm", {"method": "x", "base": "noise"}]})
    assert again.nodes.keys() == planned.nodes.keys()
    assert {cell["cut"] for cell in again.manifest()["cells"]} == {""}


def test_the_search_of_a_recipe_exists():
    recipe = {"dataset": "digits", "source": "ours", "set": {}}
    assert recipes.Recipe(**recipe, search="digits").search == "digits"
    with pytest.raises(ValueError, match=r"unknown search 'digit'\. Did you mean 'digits'"):
        recipes.Recipe(**recipe, search="digit")
