"""A measure and an evaluator that nobody has heard of: their columns are in tables, plots, terminal and page."""

from __future__ import annotations

import html
from pathlib import Path

import pytest
from fake_store import FakeStore, identity, key

from leaderboards import report
from leaderboards.report import Report

COLUMNS = {
    "evaluate": {
        "calibration": [
            {"name": "top1", "heading": "top-1", "unit": "%", "digits": 1},
            {"name": "ece", "heading": "calibration error", "unit": "%", "better": "lower", "digits": 1},
        ]
    },
    "measure": {
        "roundness": [
            {"name": "roundness", "heading": "roundness", "digits": 3, "floor": "roundness_real"},
            {"name": "search", "heading": "search", "unit": "s", "better": ""},
        ]
    },
}
METHODS = ("rded", "cda", "random_real", "sre2l", "mmd", "wmdd")  # from the worst to the best
SHORT = 'Line "real images": the same for as many random real images.'


def fill(store: FakeStore) -> None:
    """Write the records of an invented evaluator and an invented measure, two draws of six methods."""
    for position, method in enumerate(METHODS, start=-2):
        for seed in range(2):
            cell = store.cell(method=method, seed=seed)
            store.done(cell, top1=40.0 + 10 * position + seed)
            evaluated = f"{cell['nodes']['evaluate'][0]}/record.json"
            record = store.read(evaluated)
            store.write(evaluated, {**record, "metrics": {**record["metrics"], "ece": 9.0 - 2 * position + seed / 2}})
            node = key("roundness", method, seed)
            cell["nodes"]["measure"] = [node]
            made = {**identity(cell, "distill"), "component": {"name": "roundness", "version": 1, "params": {}}}
            numbers = {"roundness": 0.5 + position / 8, "roundness_real": 0.25, "search": 100.0}
            store.write(f"{node}/record.json", {"key": node, "stage": "measure", "identity": made, "metrics": numbers})


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Report:
    store = FakeStore(str(tmp_path_factory.mktemp("invented")))
    store.columns = COLUMNS
    fill(store)
    return store.build()


def folder(built: Report) -> Path:
    return Path(built.folder)


def test_tables_have_the_columns_with_heading_unit_digits_and_direction(built):
    text = (folder(built) / "tables/overview_digits_ipc10_test_resnet.md").read_text()
    headings = next(line for line in text.splitlines() if line.startswith("| method"))
    assert "| calibration error, % ↓ | roundness ↑ | search |" in headings
    (best,) = [line for line in text.splitlines() if line.startswith("| wmdd")]
    assert "| **3.2** | **0.875** | 1 min 40 s |" in best  # 3.25 rounds to even
    (floor,) = [line for line in text.splitlines() if line.startswith("| real images")]
    assert "|  | 0.250 |  |" in floor
    assert SHORT in text
    latex = (folder(built) / "tables/overview_digits_ipc10_test_resnet.tex").read_text()
    assert r"calibration error, \% $\downarrow$ & roundness $\uparrow$ & search" in latex
    assert r"\textbf{0.875}" in latex


def test_plots_show_every_column(built):
    names = {path.stem for path in (folder(built) / "plots").glob("*.svg")}
    assert {"accuracy_against_roundness_digits_standard", "numbers_digits_standard"} <= names
    against = (folder(built) / "plots/accuracy_against_roundness_digits_standard.svg").read_text()
    assert "rho = +1.00" in against
    assert "higher is better" in against
    assert "search" not in against  # has no better direction, so there is no correlation
    numbers = (folder(built) / "plots/numbers_digits_standard.svg").read_text()
    assert "calibration error" in numbers
    assert "%, lower is better" in numbers


def test_the_page_shows_the_table_and_the_plots(built):
    text = html.unescape((folder(built) / "index.html").read_text())
    assert "<th>calibration error, % ↓</th><th>roundness ↑</th>" in text
    assert "<strong>0.875</strong>" in text
    assert "Accuracy against what a measure finds: roundness digits standard" in text
    assert "Further numbers of an evaluator: digits standard" in text


def test_the_terminal_shows_them_where_it_has_room(built):
    wide = report.text(built, width=160)
    assert "calibration error, %" in wide
    assert "roundness" in wide
    (line,) = [line for line in wide.splitlines() if " wmdd " in line]
    assert "0.875" in line
    assert "roundness" not in report.text(built, width=60)


def test_top1_keeps_its_column_though_its_evaluator_returns_more(built):
    text = (folder(built) / "tables/overview_digits_ipc10_test_resnet.md").read_text()
    assert "| **70.5 ± 0.7** |" in text
