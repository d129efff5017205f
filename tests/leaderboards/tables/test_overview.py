"""The overview of a dataset at an IPC: which columns and lines it has, in which order, and the same in every format."""

from __future__ import annotations

import csv
import io
import itertools
from pathlib import Path

import pytest
from fake_store import FakeStore, measure

from leaderboards import report
from leaderboards.results import scores
from leaderboards.tables import overview, typeset
from leaderboards.tables.sheet import Sheet

LEVELS = {"random_real": 60.0, "wmdd": 70.0, "noise": 10.0}


@pytest.fixture
def store(tmp_path: Path) -> FakeStore:
    return FakeStore(str(tmp_path))


def fill(store: FakeStore, protocols=("standard", "hard"), seeds=3) -> None:
    for (method, level), protocol, seed in itertools.product(LEVELS.items(), protocols, range(seeds)):
        below = 20 if protocol == "hard" and method != "noise" else 0
        store.done(store.cell(method=method, protocol=protocol, seed=seed), top1=level - below + seed)
    for protocol in protocols:
        for seed in range(seeds):
            store.done(store.cell(method="full", ipc=0, protocol=protocol, seed=seed), top1=95.0 + seed)


def tables(store: FakeStore) -> list[Sheet]:
    sheets = store.results().overviews
    return [sheet for sheet in sheets if sheet.name.startswith("overview_")]


def headings(table: Sheet) -> list[str]:
    return [heading for _, heading in table.columns]


def column(table: Sheet, name: str) -> dict[str, str]:
    position = headings(table).index(name)
    return {line.heading: line.cells[position].text for line in table.lines}


def test_a_row_per_method_the_best_first_and_the_full_set_last(store):
    fill(store)
    (table,) = tables(store)
    assert [line.heading for line in table.lines] == ["wmdd", "random_real", "noise", "full", overview.LABELS]
    assert column(table, "standard") == {
        "wmdd": "71.0 ± 1.0",
        "random_real": "61.0 ± 1.0",
        "noise": "11.0 ± 1.0",
        "full": "96.0 ± 1.0",
        overview.LABELS: "1 kB",
    }
    ranks = {line.heading: [cell.mark.rank for cell in line.cells[:2]] for line in table.lines}
    assert ranks["wmdd"] == [1, 1]
    assert ranks["full"] == [0, 0]  # competes with nobody


def test_bytes_of_labels_that_differ_are_a_range(store):
    fill(store)
    store.done(store.cell(method="mmd"), bytes={"images": 3000, "labels": 900})
    (table,) = tables(store)
    assert column(table, "standard")[overview.LABELS] == "900 B to 1 kB"
    assert column(table, "hard")[overview.LABELS] == "1 kB"


def test_what_is_judged_stands_beside_the_accuracies(store):
    fill(store)
    (table,) = tables(store)
    made = report.summarise(store.root, "main")
    scored = scores.table(made.leaderboard, made.blocks).set_index("method").loc["wmdd"]
    assert column(table, "HLR ↓")["wmdd"] == f"{scored['hlr']:.2f}" == "0.45"
    assert column(table, "IOR ↑")["wmdd"] == f"{scored['ior']:.2f}" == "0.10"
    assert column(table, "LRS ↑")["wmdd"] == f"{scored['lrs_w0.5']:.2f}"
    assert column(table, "recovered")["wmdd"] == f"{100 * 10 / 35:.0f} %"
    assert column(table, "rank")["wmdd"].startswith("1")
    assert column(table, "recovered")["full"] == ""


def test_a_row_with_missing_cells_says_so(store):
    fill(store)
    store.cell(method="wmdd", protocol="hard", seed=3)
    (table,) = tables(store)
    assert column(table, "hard")["wmdd"] == "51.0 ± 1.0 (3/4)"


def test_the_legend_claims_no_advantage_for_ars_only(store):
    fill(store, protocols=("standard", "hard", "soft", "soft_plain"))
    (table,) = tables(store)
    assert [text[:3] for text in table.legend if "0.269" in text] == ["ARS"]


def test_distances_stand_above_what_real_images_reach(store):
    fill(store, protocols=("standard",))
    for cell in [cell for cell in store.cells if cell["method"] == "wmdd"]:
        measure(store, cell, 2.0)
    (table,) = tables(store)
    assert column(table, "W2, teacher ↓") == {
        "wmdd": "2.00",
        "random_real": "",
        "noise": "",
        "full": "",
        overview.LABELS: "",
        overview.FLOOR: "1.10",
    }
    assert f'Line "{overview.FLOOR}": the same for as many random real images.' in table.legend


def test_the_best_of_what_competes_is_marked_and_no_cost(store):
    fill(store, protocols=("standard",))
    store.done(store.cell(method="mmd", cut="300 of 1000 iterations"), top1=65.0)
    for cell in store.cells:
        if cell["ipc"] and cell["method"] != "noise":
            measure(store, cell, {"mmd": 1.0, "wmdd": 2.0, "random_real": 3.0}[cell["method"]])
    (table,) = tables(store)
    marked = {
        (heading, line.heading)
        for line in table.lines
        for heading, cell in zip(headings(table)[1:], line.cells[1:], strict=True)  # the first has accuracies
        if cell.mark.rank
    }
    assert marked == {("IOR ↑", "wmdd"), ("W2, teacher ↓", "wmdd"), ("W2, neutral ↓", "random_real")}


def test_what_is_left_under_attack_stands_in_place_of_its_protocol(store):
    fill(store, protocols=("standard",))
    for seed in range(2):
        cell = store.cell(method="wmdd", protocol="robust", seed=seed)
        store.done(cell, top1=71.0)
        node = cell["nodes"]["evaluate"][0]
        metrics = {"top1": 71.0, "fgsm_top1": 40.0 + seed, "pgd_top1": 30.0, "corruption_top1": 50.0, "jpeg_top1": 60.0}
        store.write(f"{node}/record.json", {**store.read(f"{node}/record.json"), "metrics": metrics})
    measure(store, cell, 2.0)
    (table,) = tables(store)
    assert "robust" not in headings(table)
    assert {method: text for method, text in column(table, "FGSM, % ↑").items() if text} == {"wmdd": "40.5"}
    (row,) = csv.DictReader((Path(store.build().folder) / "evaluations.csv").open())
    assert (row["method"], row["seeds"], row["jpeg_top1"], row["fgsm_top1_std"]) == ("wmdd", "2", "60.0", "0.7071")


def test_what_no_row_has_is_left_out(store):
    fill(store)
    (table,) = tables(store)
    assert not {"ARS ↑", "W2, teacher ↓", "soft"} & set(headings(table))
    assert overview.FLOOR not in [line.heading for line in table.lines]
    assert not any("random real images" in text for text in table.legend if text.startswith("Line"))


def test_one_protocol_and_no_distance_make_no_table(store):
    fill(store, protocols=("standard",))
    assert tables(store) == []


def test_formats_hold_the_same(store):
    fill(store)
    (table,) = tables(store)
    made = {**overview.files([table]), **typeset.files([table])}
    rows = list(csv.DictReader(io.StringIO(made[f"tables/{table.name}.csv"].decode())))
    assert [row["method"] for row in rows] == [line.heading for line in table.lines]
    assert rows[0]["standard"] == "71.0 ± 1.0"
    text = made[f"tables/{table.name}.md"].decode()
    assert "| wmdd | **71.0 ± 1.0** |" in text
    assert r"random\_real" in text
    latex = made[f"tables/{table.name}.tex"].decode()
    assert r"\textbf{71.0 $\pm$ 1.0}" in latex
    assert r"29 \%" in latex
    assert latex.count(r"\\") >= len(table.lines) + 1


def test_the_page_shows_it_with_rank_and_what_is_recovered(store):
    fill(store)
    page = (Path(store.build().folder) / "index.html").read_text()
    assert "Overview: digits, IPC 10" in page
    assert "<td>29 %</td>" in page


def test_solvers_of_a_barycenter_are_compared_by_what_transport_costs(store):
    names = ("exact", "sinkhorn", "damped")
    for place, name in enumerate(names):
        cell = store.cell(method=name, base="wmdd", overrides={"solver": name})
        store.done(cell, top1=50.0 + place)
        for node in cell["nodes"]["distill"]:
            record = store.read(f"{node}/record.json")
            record["identity"]["component"]["params"]["weights"] = "uniform"
            record["metrics"] = {"transport_cost": {"uniform": 3.0 + place, "learned": 1.0}}
            record["cost"]["parts"] = {"barycenter_uniform": 0.25}
            store.write(f"{node}/record.json", record)
    (table,) = tables(store)
    costs = {method: text for method, text in column(table, "transport cost ↓").items() if text}
    assert costs == {"damped": "5.00", "sinkhorn": "4.00", "exact": "3.00"}
    assert set(column(table, "barycenter ↓").values()) == {"0.5 s", ""}  # two parts of a set
