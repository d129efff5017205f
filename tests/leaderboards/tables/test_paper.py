"""Tables as in a paper: who is best, what is tied, what was published, what is missing; in every format."""

from __future__ import annotations

import csv
import re
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest
from fake_store import PAIRS, FakeStore, measured, paper

from leaderboards.report import Report, build
from leaderboards.results import references, text, variants
from leaderboards.tables import layout, typeset
from leaderboards.tables.paper import Table, tables


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Report:
    store = FakeStore(str(tmp_path_factory.mktemp("paper")))
    paper(store)
    return store.summarise()


@pytest.fixture(scope="module")
def board(built) -> pd.DataFrame:
    return built.leaderboard


@pytest.fixture(scope="module")
def found(built) -> dict[str, Table]:
    return {table.name: table for table in made(built)}


def made(built: Report) -> list[Table]:
    return tables(built.leaderboard, references.load(), built.blocks, PAIRS)


def one(tmp_path: Path, numbers: dict[str, list[float]], **axes) -> Table:
    store = FakeStore(str(tmp_path))
    for method, values in numbers.items():
        for seed, top1 in enumerate(values):
            store.done(store.cell(method=method, seed=seed, **axes), top1=top1)
    (table,) = made(store.summarise())
    return table


def marks(table: Table) -> dict[str, tuple[int, str]]:
    return {method: tuple(entry.mark) for method, line in table.entries.items() for entry in line.values()}


# Who is best


def test_best_second_and_what_may_be_as_good_are_marked(tmp_path):
    table = one(tmp_path, {"a": [50, 52], "b": [50, 51], "c": [40, 41]})
    assert marks(table) == {"a": (1, ""), "b": (2, "?"), "c": (0, "")}


def test_ties_are_marked(tmp_path):
    table = one(tmp_path, {"a": [50, 50.1, 50.2], "b": [50.1, 50.1, 50.2], "c": [40, 40.1, 40.2]})
    assert marks(table) == {"b": (1, ""), "a": (2, "≈"), "c": (0, "")}


def test_one_seed_is_the_best_only_among_single_seeds(tmp_path):
    assert marks(one(tmp_path / "mixed", {"a": [50, 52], "b": [99]})) == {"a": (1, ""), "b": (0, "")}
    assert marks(one(tmp_path / "single", {"a": [50], "b": [50], "c": [49.5]})) == {
        "a": (1, ""),
        "b": (1, ""),
        "c": (2, ""),
    }


def test_a_control_that_alone_has_several_seeds_is_not_compared_with_itself(tmp_path):
    table = one(tmp_path, {"random_real": [50, 52], "a": [60]})
    assert marks(table) == {"random_real": (1, ""), "a": (0, "")}


def test_where_the_best_row_is_not_in_the_table_the_best_of_the_table_is_compared(built):
    row = {"dataset": "digits", "ipc": 10, "protocol": "standard", "student": "resnet18"}
    board = built.leaderboard
    block = board[(board[list(row)] == pd.Series(row)).all(axis=1) & board["top1_std"].notna()].to_dict("records")
    below = text.marks(block[1:], built.blocks)
    assert below[0] == (1, "")
    key = tuple(row.values())
    for shown, mark in zip(block[2:], below[1:], strict=True):
        verdict = built.blocks[key].compare(shown["method"], block[1]["method"]).verdict
        assert mark.sign == {"tied": "≈", "not known": "?"}.get(verdict, "")


def test_a_single_contestant_is_not_ranked(tmp_path):
    assert marks(one(tmp_path, {"a": [50, 51]})) == {"a": (0, "")}


# What a table holds


def test_a_full_set_stands_last_at_every_ipc_and_competes_with_nobody(found):
    table = found["main_standard_resnet18"]
    assert list(table.entries)[-1] == "full"
    assert set(table.entries["full"]) == set(table.columns)
    assert {entry.mark.rank for entry in table.entries["full"].values()} == {0}


def test_every_kind_of_table_is_made(found):
    assert {table.kind for table in found.values()} == {"main", "ablation", "sensitivity", "networks", "pairs"}
    assert "wasserstein+bn" not in found["main_standard_resnet18"].entries
    assert {"wasserstein+bn", "wmdd", "ce+pcbn"} <= set(found["ablation_standard_resnet18"].entries)
    assert "ablation_standard_vit_tiny" not in found  # nothing was varied there
    assert {name for _, name in found["networks_standard_digits"].columns} == {"resnet18", "vit_tiny"}


def test_members_of_a_series_are_no_ablation(board, found):
    (key,) = variants.series(board)
    assert key == ("wmdd", "regulariser_weight")
    others = [table for table in found.values() if table.kind != "sensitivity"]
    assert not any("lambda" in method for table in others for method in table.entries)
    values = variants.series(board)[key]
    assert set(values["value"]) == {0.1, 1.0, 5.0, 10.0, 50.0, 500.0}  # 10 is the recipe's own


def test_the_values_of_a_hyperparameter_stand_in_their_order_above_the_control(found):
    table = found["sensitivity_wmdd_regulariser_weight_standard_resnet18"]
    values = [next(iter(line.values())).row["value"] for line in table.entries.values()]
    assert values[:-1] == sorted(values[:-1])
    assert list(table.entries)[-1] == "random_real"
    assert "wmdd by regulariser weight" in table.caption


def test_an_ablation_is_read_beside_random_images(found):
    assert "random_real" in found["ablation_standard_resnet18"].entries


def test_a_control_alone_makes_no_ablation(tmp_path):
    store = FakeStore(str(tmp_path))
    for regulariser in ("bn", "none"):
        store.cell(method=f"wmdd+{regulariser}", base="wmdd", overrides={"regulariser": regulariser})
    store.done(store.cell(method="random_real"))
    assert [table.kind for table in made(store.summarise())] == ["main"]


def test_a_variant_that_stands_for_its_method_alone_is_a_contestant(tmp_path):
    store = FakeStore(str(tmp_path))
    for method, params in (("dm", {"iterations": 100}), ("random_real", {}), ("sre2l", {})):
        store.done(store.cell(method=f"{method} (cut)" if params else method, base=method, overrides=params))
    (table,) = made(store.summarise())
    assert (table.kind, set(table.entries)) == ("main", {"dm (cut)", "random_real", "sre2l"})


def test_no_table_repeats_a_part_of_another(tmp_path):
    store = FakeStore(str(tmp_path))
    for weight in (0.1, 1.0, 10.0):
        store.done(store.cell(method=f"lambda={weight}", base="wmdd", overrides={"regulariser_weight": weight}))
    store.done(store.cell(method="random_real"))
    assert [table.kind for table in made(store.summarise())] == ["sensitivity"]


def test_differences_of_distances_are_those_of_the_means_and_of_the_verdicts(found, built):
    table = found["pairs_standard_resnet18"]
    heading, line = table.differences[0]
    assert heading == "wmdd \N{MINUS SIGN} mmd"
    for column, (gap, error) in line.items():
        ours, theirs = table.entries["wmdd"][column], table.entries["mmd"][column]
        assert gap == pytest.approx(ours.mean - theirs.mean, abs=0.011)  # means are rounded
        block = (column[0], int(column[1].removeprefix("IPC ")), "standard", "resnet18")
        assert error == pytest.approx(built.blocks[block].compare("wmdd", "mmd").gap.error)


def test_what_was_not_run_is_visibly_absent_with_its_reason(found):
    table = found["main_standard_resnet18"]
    text = typeset.to_markdown(layout.to_sheet(table)).decode()
    assert "failed" in text
    assert "rded at IPC 1, 10, 50: distill: out of memory" in text
    assert "imagenet1k: not on disk" in text
    assert not any(group == "imagenet1k" for group, _ in table.columns)


def test_disagreeing_publications_are_both_shown(found):
    text = typeset.to_markdown(layout.to_sheet(found["main_standard_resnet18"])).decode()
    line = text[text.index("| full") :]
    assert "59.6 (+33.5)" in line
    assert "63.5 (+29.6)" in line
    for source in ("SRe2L README", "WMDD run logs"):
        assert re.search(rf"^\d\. {source}", text, re.M)


# Formats


def test_csv_holds_every_number_once_with_its_publications(found, board):
    rows = list(csv.DictReader(layout.to_csv(found["main_standard_resnet18"]).decode().splitlines()))
    full = [row for row in rows if (row["dataset"], row["method"]) == ("tiny_imagenet", "full")]
    assert sorted(row["published_top1"] for row in full) == ["59.57", "63.48"]
    assert {row["ipc"] for row in full} == {"all"}
    wanted = board[(board["dataset"] == "digits") & (board["method"] == "wmdd") & (board["student"] == "resnet18")]
    shown = [float(row["top1_mean"]) for row in rows if (row["dataset"], row["method"]) == ("digits", "wmdd")]
    assert shown == [round(mean, 2) for mean in wanted["top1_mean"]]
    for row in rows:
        if row["published_top1"] and row["top1_mean"]:
            gap = float(row["top1_mean"]) - float(row["published_top1"])
            assert float(row["difference"]) == pytest.approx(gap, abs=0.006)


def test_markdown_lines_have_one_cell_per_column(found):
    for table in found.values():
        lines = [
            line for line in typeset.to_markdown(layout.to_sheet(table)).decode().splitlines() if line.startswith("|")
        ]
        assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {len(table.columns) + 2}


def test_latex_lines_have_one_cell_per_column_and_nothing_unescaped(found):
    for table in found.values():
        text = typeset.to_latex(layout.to_sheet(table)).decode()
        body = text[text.index("\\midrule") : text.index("\\bottomrule")]
        rows = [line for line in body.splitlines() if line.endswith("\\\\")]
        assert len(rows) >= len(table.entries)
        assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {len(table.columns)}
        assert not re.search(r"(?<!\\)([_#]|%(?!\n))", text.split("\n", 1)[1].replace(f"tab:{table.name}", ""))


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="pdflatex is not installed")
def test_latex_compiles(found, tmp_path):
    parts = []
    for table in found.values():
        (tmp_path / f"{table.name}.tex").write_bytes(typeset.to_latex(layout.to_sheet(table)))
        parts.append(f"\\input{{{table.name}.tex}}")
    head = "\\documentclass{article}\n\\usepackage{booktabs,graphicx}\n\\begin{document}\n"
    (tmp_path / "all.tex").write_text(head + "\n".join(parts) + "\n\\end{document}\n")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]


# The folder


def test_the_folder_is_what_the_report_says(tmp_path):
    store = FakeStore(str(tmp_path))
    measured(store, ipcs=(1, 10), datasets=("digits",))
    extra = store.cell(protocol="hard")
    store.done(extra)
    built = store.build()
    assert any("hard" in path for path in built.paths)
    mine = Path(built.folder) / "notes.txt"
    mine.write_text("mine")
    store.cells.remove(extra)
    built = store.build()
    there = {str(path) for path in Path(built.folder).rglob("*") if path.is_file()}
    assert there == {*built.paths, str(mine), f"{built.folder}/manifest.json"}
    assert not any("hard" in path for path in there)
    assert build(store.root, "main").paths == built.paths


@pytest.mark.parametrize(
    ("overrides", "kind"),
    [({"start": "nearest_real", "learning_rate": 0.02}, "main"), ({"iterations": 0}, "main"), ({"lr": 1}, "ablation")],
)
def test_a_method_with_another_start_stands_in_the_main_table(tmp_path, overrides, kind):
    store = FakeStore(str(tmp_path))
    for method, changed in (("wmdd", {}), ("random_real", {}), ("wmdd+x", overrides)):
        store.done(store.cell(method=method, base=method.removesuffix("+x"), overrides=changed))
    assert {table.kind for table in made(store.summarise()) if "wmdd+x" in table.entries} == {kind}
