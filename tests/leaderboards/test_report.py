"""Records in, leaderboard out: every expected cell is accounted for, and equal records give equal bytes."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import fsspec
import pandas as pd
import pytest
from fake_store import FakeStore, measured
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.errors import Faults
from leaderboards import report
from leaderboards.results import records, references
from leaderboards.results.cells import CELL_COLUMNS
from leaderboards.results.leaderboard import absent, leaderboard

FIRST_COLUMNS = (
    "suite,dataset,ipc,method,protocol,student,status,reason,top1_mean,top1_std,top5_mean,seeds,reference_top1,"
    "reference_source,images_bytes,labels_bytes,distill_seconds,relabel_seconds,evaluate_seconds,peak_memory_mb,device"
)


@pytest.fixture
def store(tmp_path: Path) -> FakeStore:
    return FakeStore(str(tmp_path))


def rows(data: str | bytes | Path) -> list[dict[str, str]]:
    text = Path(data).read_text() if not isinstance(data, bytes) else data.decode()
    return list(csv.DictReader(io.StringIO(text)))


# What became of every cell


def test_the_precision_of_every_cell_is_said(store):
    for dataset, precision in {"digits": "bfloat16", "imagenette64": "float32"}.items():
        store.done(store.cell(dataset), precision=precision)
    built = store.build()
    assert list(built.cells["precision"]) == list(built.leaderboard["precision"]) == ["bfloat16", "float32"]


def test_every_cell_is_one_row_with_its_status(store):
    ok, failed, blocked, missing = (store.cell(method=name) for name in ("wmdd", "mmd", "sre2l", "random_real"))
    store.cell("imagenette", skipped="not on disk: python -m benchmark data fetch imagenette", nodes={})
    store.done(ok, top1=61.25)
    store.done(failed, stages=("teacher", "prepare", "distill"))
    store.failed(failed, "relabel", "out of\nmemory")
    store.failed(blocked, "prepare", "teacher is NaN")
    built = store.build()
    found = {(row["dataset"], row["method"]): row for row in rows(Path(built.folder) / "cells.csv")}
    assert len(found) == len(store.cells) == len(built.cells)
    states = {name: (row["status"], row["reason"]) for (_, name), row in found.items() if _ == "digits"}
    assert states == {
        "wmdd": ("ok", ""),
        "mmd": ("failed", "relabel: out of memory"),
        "sre2l": ("blocked", "prepare: teacher is NaN"),
        "random_real": ("missing", "not run yet"),
    }
    skipped = found["imagenette", "wmdd"]
    assert (skipped["status"], skipped["top1"]) == ("skipped", "")
    assert "data fetch imagenette" in skipped["reason"]
    assert float(found["digits", "wmdd"]["top1"]) == 61.25
    assert found["digits", "wmdd"]["evaluate_key"] == ok["nodes"]["evaluate"][0]
    assert missing["nodes"]["evaluate"][0] in {row["evaluate_key"] for row in found.values()}


def test_a_record_wins_over_an_older_error(store):
    cell = store.cell()
    store.failed(cell, "evaluate")
    store.failed(cell, "teacher")
    store.done(cell)
    assert list(store.summarise().cells["status"]) == ["ok"]


def test_the_first_failing_stage_gives_the_reason(store):
    cell = store.cell()
    store.failed(cell, "evaluate", "late")
    store.failed(cell, "distill", "early")
    assert store.summarise().cells.loc[0, "reason"] == "distill: early"


def test_a_damaged_record_is_a_failure_that_names_the_file(store):
    cell = store.cell()
    store.done(cell)
    store.write(f"{cell['nodes']['evaluate'][0]}/record.json", '{"key": ')
    row = store.summarise().cells.loc[0]
    assert row["status"] == "failed"
    assert cell["nodes"]["evaluate"][0] in row["reason"]


def test_costs_are_sums_over_the_nodes_of_a_stage_and_empty_until_all_are_done(store):
    whole, half = store.cell(method="wmdd"), store.cell(method="mmd")
    store.done(whole)
    half["nodes"]["distill"], units = half["nodes"]["distill"][:1], half["nodes"]["distill"]
    store.done(half, stages=("distill",))
    half["nodes"]["distill"] = units
    cells = store.summarise().cells.set_index("method")
    assert cells.loc["wmdd", ["distill_seconds", "relabel_seconds", "images_bytes"]].tolist() == [4.0, 2.0, 6000]
    assert cells.loc["wmdd", "labels_bytes"] == 1000
    assert cells.loc["mmd", ["distill_seconds", "images_bytes", "total_bytes"]].isna().all()


# The leaderboard


def test_leaderboard_has_the_promised_columns_first(store):
    measured(store)
    header = (Path(store.build().folder) / "leaderboard.csv").read_text().splitlines()[0]
    assert header.startswith(FIRST_COLUMNS + ",") or header == FIRST_COLUMNS


def test_cells_have_the_promised_columns(store):
    assert (Path(store.build().folder) / "cells.csv").read_text().strip() == ",".join(CELL_COLUMNS)


def test_mean_and_sample_deviation_over_cells(store):
    for seed, top1 in enumerate([40.0, 44.0, 48.0]):
        store.done(store.cell(seed=seed), top1=top1)
    store.done(store.cell(method="mmd"), top1=1 / 3)
    first, second = rows(Path(store.build().folder) / "leaderboard.csv")
    assert (first["top1_mean"], first["top1_std"], first["seeds"]) == ("44.0", "4.0", "3")
    assert (second["top1_mean"], second["top1_std"], second["seeds"]) == ("0.33", "", "1")


def test_a_row_is_ok_only_if_all_its_cells_are(store):
    store.done(store.cell(seed=0), top1=40.0)
    store.failed(store.cell(seed=1), "evaluate", "NaN loss")
    row = store.summarise().leaderboard.iloc[0]
    assert (row["status"], row["seeds"], row["cells"], row["top1_mean"]) == ("partial", 1, 2, 40.0)
    assert row["reason"] == "1 of 2 failed (evaluate: NaN loss)"


def test_a_row_without_a_finished_cell_has_the_worst_status_of_its_cells(store):
    store.cell(seed=0, skipped="no weights")
    store.cell(seed=1)
    store.failed(store.cell(seed=2), "evaluate", "NaN loss")
    row = store.summarise().leaderboard.iloc[0]
    assert row["status"] == "failed"
    assert row["reason"] == (
        "1 of 3 failed (evaluate: NaN loss); 1 of 3 missing (not run yet); 1 of 3 skipped (no weights)"
    )


def test_rows_are_sorted_as_a_reader_looks_for_them(store):
    store.cell("zebra", 1, "wmdd", skipped="not on disk")
    for dataset, ipc, method, top1 in [
        ("digits", 0, "full", 99.0),
        ("digits", 50, "wmdd", 70.0),
        ("digits", 10, "wmdd", 60.0),
        ("digits", 10, "mmd", 65.0),
        ("cifar10", 10, "mmd", 20.0),
    ]:
        store.done(store.cell(dataset, ipc, method), top1=top1)
    found = [
        (row["dataset"], row["ipc"], row["method"]) for row in rows(Path(store.build().folder) / "leaderboard.csv")
    ]
    assert found == [
        ("digits", "10", "mmd"),
        ("digits", "10", "wmdd"),
        ("digits", "50", "wmdd"),
        ("digits", "all", "full"),
        ("cifar10", "10", "mmd"),
        ("zebra", "1", "wmdd"),
    ]


@settings(max_examples=20, deadline=None)
@given(st.randoms(use_true_random=False))
def test_the_order_of_cells_does_not_matter(random):
    frame = pd.DataFrame(
        {
            **dict.fromkeys(CELL_COLUMNS, ""),
            "dataset": "digits",
            "ipc": 10,
            "method": [name for name in "abc" for _ in range(3)],
            "status": ["ok", "ok", "failed"] * 3,
            "reason": ["", "", "distill: no"] * 3,
            "top1": [1.0, 2.0, None, 1.5, 1.5, None, 9.0, 0.1, None],
        },
    )
    frame["seed"] = frame["draw"] = [0, 1, 2] * 3
    numeric = [
        name for name in CELL_COLUMNS if name.endswith(("_bytes", "_seconds", "_mb", "_steps", "top5", "teacher_top1"))
    ]
    frame = frame.assign(**dict.fromkeys(numeric, 1.0))
    order = list(range(len(frame)))
    random.shuffle(order)
    pd.testing.assert_frame_equal(leaderboard(frame, ()), leaderboard(frame.iloc[order], ()))


def test_equal_records_give_equal_files(store):
    measured(store, seeds=1)
    first = {path: Path(path).read_bytes() for path in store.build().paths}
    datasets = {"digits": 0, "imagenette64": 1}
    store.cells.sort(key=lambda cell: (datasets[cell["dataset"]], cell["seed"], cell["method"], -cell["ipc"]))
    assert {path: Path(path).read_bytes() for path in store.build().paths} == first
    assert not list(Path(store.root).rglob("*.part"))


def test_no_table_says_nan(store):
    store.cell("imagenette", skipped="not on disk", nodes={})
    store.done(store.cell(), stages=("teacher",))
    built = store.build()
    for path in built.paths:
        if path.endswith((".csv", ".md", ".tex")):
            assert "nan" not in Path(path).read_text().lower()
    assert "nan" not in report.text(built).replace("/", " ").lower().split()


def test_a_bucket_gives_the_same_tables_as_a_folder(store):
    measured(store, ipcs=(10,), datasets=("digits",))
    local = Path(store.build().folder) / "leaderboard.csv"
    remote = FakeStore("memory://bucket/runs")
    measured(remote, ipcs=(10,), datasets=("digits",))
    built = remote.build()
    with fsspec.open(f"{built.folder}/leaderboard.csv", "rb") as file:
        assert file.read() == local.read_bytes()
    assert records.suites(remote.root) == ["main"]


# Published numbers


def test_published_numbers_keep_every_source():
    found = references.load()
    assert len(found) >= 124
    assert {"WMDD poster, ICCV 2025, main table", "RDED README", "DM README"} <= {row.source for row in found}
    assert {row.method for row in found} >= {"ce+bn", "wasserstein+pcbn"}


@pytest.mark.parametrize(
    ("cell", "top1", "words"),
    [
        (("imagenette", 10, "wmdd", "resnet18", "standard"), 64.8, "FKD"),
        (("imagenette", 10, "WMDD", "resnet18", "standard"), 64.8, "ICCV 2025"),
        (("imagenette", 10, "wmdd+bn", "resnet18", "standard"), None, ""),
        (("imagenette64", 10, "wmdd", "resnet18", "standard"), None, ""),
        (("imagenette", 10, "wmdd", "resnet50", "standard"), None, ""),
        (("imagenette", 10, "wmdd", "resnet18", "hard"), None, "only under another protocol: 64.8"),
        (("imagenette", 10, "dm", "convnet_d5", "hard"), 58.1, "hard labels, ConvNet"),
        (("imagenette", 10, "dm", "convnet_d5", "standard"), None, "only under another protocol: 58.1"),
        (("imagenette", 10, "dm", "convnet_d5", "native"), 58.1, "hard labels"),
        (("imagenette", 10, "dm", "convnext_tiny", "hard"), None, ""),
        (("imagenet1k", 50, "wmdd", "resnet18", "standard"), 57.6, "also 57.83 (WMDD poster, cross-architecture"),
        (("tiny_imagenet", 0, "full", "resnet18", "standard"), 59.57, "also 63.48"),
        (("tiny_imagenet", 10, "ce+bn", "resnet18", "standard"), 38.0, "ablation"),
        (("tiny_imagenet", 1, "sre2l", "resnet18", "standard"), 2.6, "also 13.5 (CIM repository"),
        (("tiny_imagenet", 10, "sre2l", "resnet18", "standard"), 16.1, "also 43.6 (CIM repository"),
        (("tiny_imagenet", 50, "sre2l", "resnet18", "standard"), 41.1, "also 53.4 (CIM repository"),
        (("tiny_imagenet", 50, "cim", "resnet18", "standard"), 58.6, "online teacher logits, MSE"),
        (("cifar10", 10, "ncfm", "convnet_d3", "standard"), None, "users do not reach this"),
        (("cifar10", 10, "ncfm", "convnet_d3", "hard"), None, "only under another protocol: 71.8"),
        (("cifar10", 10, "ncfm", "convnet_d3", "native"), 71.8, "NCFM's own"),
        (("cifar10", 10, "rfad", "convnet_d3", "hard"), None, "width 1024, MSE, soft labels"),
    ],
)
def test_a_published_number_stands_only_beside_its_like(cell, top1, words):
    row = dict(zip(("dataset", "ipc", "method", "student", "protocol"), cell, strict=True))
    number, source = references.beside(references.load(), row)
    assert number == top1
    assert words in source
    assert bool(words) == bool(source)


def test_every_published_number_says_how_its_student_learns():
    """From hard labels or from a teacher; two papers have protocols of their own."""
    own = {row.method for row in references.load() if not re.search("hard|teacher", row.protocol)}
    assert own == {"ncfm", "rfad"}
    assert not [row for row in references.load() if "hard" in row.protocol and "teacher" in row.protocol]
    online = [row for row in references.load() if row.method in ("cim", "delt", "dwa")]
    assert len(online) == 31 and not [row for row in online if "online teacher" not in row.protocol]
    assert all("MSE" in row.protocol for row in online if row.method == "cim")


def test_the_leaderboard_shows_published_numbers(store):
    store.done(store.cell("imagenette", 10, "wmdd", student="resnet18"))
    row = rows(Path(store.build().folder) / "leaderboard.csv")[0]
    assert row["reference_top1"] == "64.8"
    assert row["reference_source"] == "WMDD poster, ICCV 2025, main table; per-epoch teacher labels (FKD)"


def test_every_fault_of_a_file_of_published_numbers_is_named(tmp_path):
    header = ",".join(references.COLUMNS)
    (tmp_path / "a.csv").write_text(f"{header}\ndigits,0,dm,resnet18,50,,p,s,\ndigits,1,dm,resnet18,150,,p,,\n")
    (tmp_path / "b.csv").write_text("dataset,ipc\n")
    with pytest.raises(Faults) as caught:
        references.load(tmp_path)
    first, second, third = caught.value.faults
    assert "a.csv, line 2: ipc is '0'" in first
    assert "a.csv, line 3: source is empty" in second
    assert "b.csv: columns must be dataset,ipc,method" in third


class TestReasons:
    def rows(self, *cells: tuple[str, int, str]) -> pd.DataFrame:
        columns = ["method", "ipc", "reason", "status", "dataset"]
        return pd.DataFrame([(*cell, "skipped", "cifar10") for cell in cells], columns=columns)

    def lines(self, board: pd.DataFrame) -> list[str]:
        return [line for _, reasons in absent(board) for line in reasons]

    def test_the_commonest_reason_speaks_for_a_dataset_of_which_nothing_was_measured(self):
        board = self.rows(("dm", 1, "no data"), ("mtt", 1, "no data"), ("mtt", 10, "too large"), ("dm", 10, "no data"))
        assert self.lines(board) == ["cifar10: no data", "cifar10, mtt at IPC 10: too large"]

    def test_methods_are_left_out_where_a_reason_holds_for_all_of_them(self):
        board = self.rows(("dm", 1, ""), ("mtt", 1, ""), ("dm", 10, "too large"), ("mtt", 10, "too large"))
        board.loc[board["ipc"] == 1, "status"] = "ok"
        assert self.lines(board) == ["cifar10 at IPC 10: too large"]
