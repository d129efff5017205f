"""Standings: ranks that need their controls, the part recovered, verdicts that all tables share, the diagram."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import numpy as np
import pytest
from fake_store import FakeStore
from readable import readable

from leaderboards import report
from leaderboards.plots import critical_difference
from leaderboards.results import pairwise, references
from leaderboards.results.leaderboard import LEADERBOARD_COLUMNS
from leaderboards.results.roles import rows_by_role
from leaderboards.tables import paper

CONTROLS = {"noise": [20, 21], "random_real": [60, 61, 59], "full": [90, 91]}
ABSENT = "not run on this dataset, IPC, protocol and student"


@pytest.fixture
def store(tmp_path: Path) -> FakeStore:
    return FakeStore(str(tmp_path))


def fill(store: FakeStore, numbers: dict[str, list[float]], **axes) -> None:
    for method, values in numbers.items():
        for seed, top1 in enumerate(values):
            ipc = {"ipc": 0} if method == "full" else {}
            store.done(store.cell(method=method, seed=seed, **{**axes, **ipc}), top1=top1)


def rows(store: FakeStore, name: str = "leaderboard", key: str = "method") -> dict[str, dict[str, str]]:
    file = io.StringIO(store.results().files[f"{name}.csv"].decode())
    return {row[key]: row for row in csv.DictReader(file)}


# Controls


def test_recovered_is_0_for_random_images_and_1_for_the_full_set(store):
    fill(store, {**CONTROLS, "half": [75.5, 74.5], "best": [90.5, 90.5]})
    found = rows(store)
    recovered = {name: float(found[name]["recovered"]) for name in ("random_real", "half", "best", "noise")}
    assert recovered["random_real"] == 0
    assert recovered["half"] == pytest.approx((75 - 60.5) / (90.5 - 60.5), abs=1e-3)  # over the two seeds that all have
    assert recovered["best"] == 1
    assert recovered["noise"] < 0
    assert (found["full"]["recovered"], found["full"]["rank"]) == ("", "")  # it competes with nobody
    assert [found[name]["rank"] for name in ("best", "half", "random_real", "noise")] == ["1", "2", "3", "4"]
    assert {row["refused"] for row in found.values()} == {""}


@pytest.mark.parametrize(
    ("missing", "reason"),
    [
        ({"noise": []}, f"noise {ABSENT}"),
        ({"random_real": [60, 61]}, "random_real has 2 of 3 draws"),
        ({"random_real": []}, f"random real images {ABSENT}"),
        ({"full": []}, f"the full set {ABSENT}"),
        ({"noise": [], "random_real": [60]}, f"noise {ABSENT}; random_real has 1 of 3 draws"),
    ],
)
def test_a_rank_is_refused_where_a_control_is_missing(store, missing, reason):
    fill(store, {**CONTROLS, "wmdd": [70, 71], **missing})
    built = store.summarise()
    row = rows(store)["wmdd"]
    assert (row["rank"], row["rank_low"], row["recovered"]) == ("", "", "")
    assert row["refused"] == f"rank refused: {reason}"
    assert " ".join(report.text(built).split()).count(f"rank refused: {reason}") == 1


@pytest.mark.parametrize(("state", "words"), [("missing", "noise not run"), ("failed", "noise failed")])
def test_a_control_that_was_not_measured_is_missing(store, state, words):
    fill(store, {**CONTROLS, "noise": [], "wmdd": [70, 71]})
    cell = store.cell(method="noise")
    if state == "failed":
        store.failed(cell, "distill")
    assert rows(store)["wmdd"]["refused"] == f"rank refused: {words}"


def test_controls_count_only_under_the_same_protocol_and_student(store):
    fill(store, {**CONTROLS, "wmdd": [70, 71]})
    fill(store, {"wmdd": [50, 51]}, protocol="hard")
    board = store.summarise().leaderboard.query("method == 'wmdd'").set_index("protocol")
    assert board.loc["standard", "rank"] == 1
    assert board.loc["hard", "refused"] == (f"rank refused: noise and random real images and the full set {ABSENT}")


def test_where_random_images_do_as_well_as_all_there_is_nothing_to_recover_but_a_rank(store):
    fill(store, {**CONTROLS, "full": [60.5, 60], "wmdd": [59, 61]})
    built = store.summarise()
    row = rows(store)["wmdd"]
    assert (row["recovered"], row["rank"]) == ("", "1")
    assert row["refused"] == "no part recovered: full against random_real: not known"
    assert row["refused"] in report.text(built)


def test_roles_decide_and_not_names(store):
    """Other methods may be the control, the floor and the bound."""
    roles = {"random_real": "shuffled", "noise": "grey", "full": "everything"}
    for method, values in {**CONTROLS, "wmdd": [75.5, 74.5]}.items():
        role = {"random_real": "control", "noise": "floor", "full": "bound"}.get(method, "method")
        ipc = 0 if method == "full" else 10
        for seed, top1 in enumerate(values):
            cell = store.cell(ipc=ipc, method=roles.get(method, method), seed=seed, role=role)
            store.done(cell, top1=top1)
    row = rows(store)["wmdd"]
    assert (row["role"], row["rank"], row["refused"]) == ("method", "1", "")
    assert float(row["recovered"]) == pytest.approx(14.5 / 30, abs=1e-3)


def test_the_control_is_the_one_that_is_no_variant():
    block = {"dataset": "digits", "ipc": 10, "protocol": "standard", "student": "test_resnet", "role": "control"}
    variant, plain = ({**block, "overrides": text} for text in ('{"pool": 1}', ""))
    assert list(rows_by_role([variant, plain, variant]).values()) == [plain]


# Intervals, ranks and ties


def test_new_columns_come_last(store):
    fill(store, CONTROLS)
    header = store.results().files["leaderboard.csv"].decode().splitlines()[0].split(",")
    assert header[: len(LEADERBOARD_COLUMNS)] == LEADERBOARD_COLUMNS
    assert header[len(LEADERBOARD_COLUMNS) :] == [
        *("ci_low", "ci_high", "recovered", "recovered_low", "recovered_high", "rank", "rank_low", "rank_high"),
        *("verdict_control", "seeds_needed_control", "verdict_best", "seeds_needed_best", "refused", "covers"),
        "rests_on_pool",
        *("needed_seconds", "amortised_seconds"),
    ]


def test_an_interval_holds_its_mean_and_ends_where_percentages_do(store):
    fill(store, {"steady": [50.0, 51.0, 50.5], "wild": [98.0, 60.0], "single": [50.0]})
    found = rows(store)
    assert 50.5 - float(found["steady"]["ci_low"]) == pytest.approx(float(found["steady"]["ci_high"]) - 50.5, abs=0.011)
    assert (found["wild"]["ci_low"], found["wild"]["ci_high"]) == ("0.0", "100.0")
    assert (found["single"]["ci_low"], found["single"]["ci_high"]) == ("", "")


def test_a_row_alone_has_the_interval_of_student(store):
    fill(store, {"full": [50.0, 51.0, 50.5]})
    assert float(rows(store)["full"]["ci_low"]) == pytest.approx(50.5 - 4.3027 * 0.5 / 3**0.5, abs=0.01)


CLOSE = {"ahead": [80, 81, 80.4], "close": [79.9, 81.1, 80.2], "noise": [20, 21, 20.2]}


def test_ranks_come_with_their_intervals_and_verdicts(store):
    fill(store, {**CONTROLS, **CLOSE})
    found = rows(store)
    bounds = {name: (row["rank_low"], row["rank_high"]) for name, row in found.items()}
    assert bounds["ahead"] == bounds["close"] == ("1", "2")
    assert bounds["noise"] == ("4", "4")
    best = {name: found[name]["verdict_best"] for name in ("ahead", "close", "random_real", "noise", "full")}
    assert best == {"ahead": "", "close": "not known", "random_real": "behind", "noise": "behind", "full": ""}
    assert int(found["close"]["seeds_needed_best"]) > 3
    assert found["noise"]["seeds_needed_best"] == ""
    control = {name: found[name]["verdict_control"] for name in ("ahead", "close", "random_real", "noise", "full")}
    assert control == {"ahead": "ahead", "close": "ahead", "random_real": "", "noise": "behind", "full": ""}


def test_rows_that_are_equal_within_a_point_are_tied(store):
    fill(store, {**CONTROLS, "a": [80, 80.1, 79.9], "b": [80.02, 80.1, 79.9], "random_real": [60, 60.1, 59.9]})
    found = rows(store)
    assert (found["b"]["verdict_best"], found["a"]["verdict_best"]) == ("", "tied")
    assert found["a"]["seeds_needed_best"] == ""


def test_one_seed_has_no_verdict_and_no_rank(store):
    fill(store, {**CONTROLS, **CLOSE, "single": [99]})
    found = rows(store)
    row = found["single"]
    assert (row["verdict_control"], row["verdict_best"], row["rank"], row["ci_low"]) == (
        "no verdict",
        "no verdict",
        "",
        "",
    )
    assert found["ahead"]["rank"] == "1"
    assert found["ahead"]["verdict_best"] == ""


def test_where_all_rows_have_one_seed_none_is_the_best(store):
    fill(store, {"a": [50], "b": [60], "random_real": [40]})
    found = rows(store)
    assert {row["verdict_best"] for row in found.values()} == {"no verdict"}
    assert found["a"]["verdict_control"] == "no verdict"


def test_the_part_recovered_has_an_interval(store):
    fill(store, {**CONTROLS, "half": [75.5, 74.5], "best": [90.5, 90.5]})
    row = rows(store)["half"]
    assert float(row["recovered_low"]) < float(row["recovered"]) < float(row["recovered_high"])


def test_a_verdict_is_the_same_verdict_everywhere(store):
    fill(store, {**CONTROLS, **CLOSE})
    built = store.summarise()
    (table,) = paper.tables(built.leaderboard, references.load(), built.blocks, ())
    compared = pairwise.table("main", built.blocks).set_index(["method", "other"])
    (entry,) = table.entries["close"].values()
    pair = compared.loc[("ahead", "close")]
    assert (pair["verdict"], entry.mark.sign, rows(store)["close"]["verdict_best"]) == ("not known", "?", "not known")
    assert pair["ci_low"] < 0 < pair["ci_high"]
    assert compared.loc[("ahead", "random_real"), "verdict"] == rows(store)["ahead"]["verdict_control"] == "ahead"


def test_every_pair_of_a_block_is_compared_once_and_the_bound_with_the_control(store):
    fill(store, {**CONTROLS, "wmdd": [70, 71]})
    built = store.summarise()
    compared = pairwise.table("main", built.blocks).query("ipc == 10")
    assert [frozenset(pair) for pair in zip(compared["method"], compared["other"], strict=True)] == [
        frozenset(pair)
        for pair in (("full", "random_real"), ("wmdd", "random_real"), ("wmdd", "noise"), ("random_real", "noise"))
    ]
    assert (compared["difference"] >= 0).all()
    assert list(compared["units"]) == [2, 2, 2, 2]
    assert set(rows(store, "pairwise", "other")) == {"random_real", "noise"}


# Variance


def test_every_row_of_a_block_brings_its_bits_and_so_does_the_bound_of_every_ipc(store):
    for ipc in (1, 10):
        fill(store, {**CONTROLS, "full": []}, ipc=ipc)
    fill(store, {"full": CONTROLS["full"]})
    cells = store.summarise().cells
    bits = {key: np.arange(100) < top1 for key, top1 in zip(cells["evaluate_key"], cells["top1"], strict=True)}
    blocks = pairwise.blocks(cells, bits)
    assert sorted(len(block.rows) for block in blocks.values()) == [1, 3, 3]  # the bound alone, and each IPC
    for block in blocks.values():
        right = {name: {cell: row[cell].sum() for cell in row} for name, row in block.correct.items()}
        assert right == block.rows


def test_components_need_crossed_draws_and_seeds(store):
    for draw in range(3):
        for seed in range(2):
            store.done(store.cell(method="crossed", seed=seed, draw=draw), top1=50.0 + 4 * draw + seed)
    fill(store, {"plain": [50, 52]})
    found = rows(store, "variance")
    parts = [float(found["crossed"][f"{name}_variance"]) for name in ("draw", "seed", "residual")]
    assert parts == pytest.approx([16, 0.5, 0])
    assert (found["crossed"]["draws"], found["crossed"]["seeds"], found["crossed"]["reason"]) == ("3", "2", "")
    assert found["plain"]["draw_variance"] == ""
    assert "draws have to meet the same seeds and teachers" in found["plain"]["reason"]


# The terminal and the diagram


def test_the_terminal_shows_the_part_recovered_and_ranks(store):
    fill(store, {**CONTROLS, "wmdd": [75.5, 74.5]})
    shown = report.text(store.summarise())
    line = next(line for line in shown.splitlines() if " wmdd " in line)
    assert " 48 % " in line
    assert re.search(r" 1( \(1\N{EN DASH}[234]\))? ", line)
    noise = next(line for line in shown.splitlines() if " noise " in line)
    assert " < -100 % " in noise  # far below random the quotient tells only how short the way is


def fill_blocks(store: FakeStore, methods: int, ipcs: tuple[int, ...]) -> None:
    for ipc in ipcs:
        levels = {f"long_method_{i}": [50.0 + 3 * i + ipc / 10, 51 + 3 * i + ipc / 10] for i in range(methods)}
        fill(store, levels, ipc=ipc)


@pytest.mark.parametrize(("methods", "ipcs"), [(3, (1, 10, 50)), (5, (1, 10, 50, 100)), (16, tuple(range(1, 13)))])
def test_the_diagram_is_readable_in_a_column(store, methods, ipcs):
    fill_blocks(store, methods, ipcs)
    (figure,) = critical_difference.critical_difference(store.summarise().leaderboard).values()
    assert figure.get_figwidth() <= 3.5
    readable(figure)


@pytest.mark.parametrize(
    ("methods", "ipcs", "why"),
    [
        (2, (1, 10, 50), "it needs 3 methods, and 2 are"),
        (3, (1, 10), "it needs 3 blocks (dataset, IPC, student), and 2 have all 3 methods"),
    ],
)
def test_where_there_is_no_diagram_the_report_says_why(store, methods, ipcs, why):
    fill_blocks(store, methods, ipcs)
    built = store.build()
    assert critical_difference.critical_difference(built.leaderboard) == {}
    assert f"critical difference, protocol standard: {why}" in " ".join(report.text(built).split())


def test_blocks_without_one_of_the_methods_do_not_count(store):
    fill_blocks(store, 3, (1, 10, 50))
    fill(store, {"long_method_0": [50, 51]}, ipc=100)
    (found,) = critical_difference.blocks(store.summarise().leaderboard).values()
    assert [ipc for _, ipc, _ in found.index] == [1, 10, 50]


def test_a_diagram_that_separates_nothing_is_not_plotted(store):
    for ipc, order in ((1, (0, 1, 2)), (10, (1, 2, 0)), (50, (2, 0, 1))):
        fill(store, {f"method_{i}": [50.0 + place, 50.5 + place] for i, place in enumerate(order)}, ipc=ipc)
    built = store.build()
    assert critical_difference.critical_difference(built.leaderboard) == {}
    assert "no two of 3 methods are told apart in 3 blocks" in " ".join(report.text(built).split())
