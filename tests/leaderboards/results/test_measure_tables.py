"""From the records of measures to tables and correlations."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fake_store import COLUMNS, FakeStore, measure
from scipy.stats import spearmanr

from benchmark.columns import Column
from benchmark.errors import BenchmarkError
from leaderboards.results import correlations, leaderboard, measures, records
from leaderboards.results.cells import cells_table
from leaderboards.results.columns import declared_columns, parse_columns

METHODS = {"random_real": 1.0, "wmdd": 2.0, "rded": 3.0, "sre2l": 4.0, "mmd": 5.0, "cda": 6.0, "noise": 9.0}  # distance


def measured(store: FakeStore, accuracy=lambda w2, ipc: 90 - 5 * w2 + ipc, ipcs=(1, 10)) -> None:
    for (method, w2), ipc, seed in itertools.product(METHODS.items(), ipcs, range(2)):
        cell = store.cell(ipc=ipc, method=method, seed=seed)
        store.done(cell, accuracy(w2, ipc) + seed)
        measure(store, cell, w2 * (100 if ipc == 1 else 1) + 0.1 * seed, **{"teacher.mmd_rbf": None})


@pytest.fixture
def store(tmp_path: Path) -> FakeStore:
    return FakeStore(str(tmp_path))


def table_of(store: FakeStore) -> pd.DataFrame:
    store.write_manifest()
    stored = records.read(store.root, "main")
    return measures.table(stored, cells_table(stored))


DECLARED = declared_columns(parse_columns(COLUMNS), "measure")


class TestTable:
    def test_a_row_per_set_with_its_accuracies_and_distances(self, store):
        measured(store)
        found = table_of(store)
        assert len(found) == len(METHODS) * 2 * 2
        row = found[(found["method"] == "wmdd") & (found["ipc"] == 10) & (found["draw"] == 1)].iloc[0]
        assert row["top1.standard.test_resnet"] == pytest.approx(91)
        assert row["teacher.w2"] == pytest.approx(2.1)
        assert found["teacher.mmd_rbf"].isna().all()

    def test_a_set_that_teachers_share_has_the_accuracies_of_each(self, store):
        for teacher, top1 in ((0, 40.0), (1, 60.0)):
            cell = store.cell(teacher=teacher, draw=0, protocol="standard", seed=teacher)
            store.done(cell, top1)
            measure(store, cell, 2.0)
        table = table_of(store)
        assert table["top1.standard.test_resnet"].tolist() == [40, 60]
        assert table["teacher.w2"].tolist() == [2, 2]

    def test_a_measure_that_fails_is_named(self, store):
        cell = store.cell()
        store.done(cell, 40.0)
        node = measure(store, cell, 2.0)
        (Path(store.root) / node / "record.json").unlink()
        store.failed(cell, "measure", "no memory")
        board = store.summarise().leaderboard
        assert board[["status", "reason"]].to_numpy().tolist() == [["ok", "measure: no memory"]]
        assert list(leaderboard.absent(board)) == [("Measures that failed", ["digits: measure: no memory"])]

    def test_the_seeds_of_a_set_are_averaged(self, store):
        for seed, top1 in ((0, 40.0), (1, 60.0)):
            cell = store.cell(seed=seed, draw=0)
            store.done(cell, top1)
            measure(store, cell, 2.0)
        (top1,) = table_of(store)["top1.standard.test_resnet"]
        assert top1 == 50

    def brightness(self, store, cell: dict, node: str, **numbers: float) -> None:
        """Record a second measure of a cell's set."""
        record = {"key": node, "identity": {"component": {"name": "brightness"}}, "metrics": numbers}
        store.write(f"{node}/record.json", record)
        cell["nodes"]["measure"].append(node)

    def test_a_store_without_measures_has_no_file_of_them(self, store):
        store.done(store.cell())
        assert table_of(store).empty
        store.build()
        assert not list(Path(store.root).glob("leaderboards/main/measure*"))

    def test_all_measures_of_a_set_stand_in_one_row(self, store):
        cell = store.cell()
        store.done(cell)
        measure(store, cell, 2.0)
        self.brightness(store, cell, "b" * 32, brightness_gap=0.25)
        (row,) = table_of(store).to_dict("records")
        assert (row["teacher.w2"], row["brightness_gap"]) == (2.0, 0.25)

    def test_two_measures_with_one_name_are_refused(self, store):
        cell = store.cell()
        store.done(cell)
        measure(store, cell, 2.0)
        self.brightness(store, cell, "b" * 32, **{"teacher.w2": 3.0})
        with pytest.raises(BenchmarkError, match=r"'distances' and 'brightness' both return 'teacher\.w2'"):
            table_of(store)

    def test_the_report_writes_both_tables(self, store):
        measured(store)
        folder = Path(store.build().folder)
        assert len(pd.read_csv(folder / "measures.csv")) == 2 * 2 * len(METHODS)
        assert set(pd.read_csv(folder / "measure_correlation.csv")["n"]) == {6, 12}


class TestCorrelations:
    def table(self, store) -> pd.DataFrame:
        store.write_manifest()
        stored = records.read(store.root, "main")
        return correlations.correlations(correlations.contenders(stored, table_of(store)), DECLARED)

    def row(self, store, distance="teacher.w2", dataset="digits", ipc="10") -> dict:
        found = self.table(store)
        (row,) = found[(found["column"] == distance) & (found["dataset"] == dataset) & (found["ipc"] == ipc)].to_dict(
            "records"
        )
        return row

    def test_an_order_that_is_reversed(self, store):
        measured(store)
        assert self.row(store)["rho"] == pytest.approx(-1)
        assert self.row(store, "neutral.w2")["rho"] == pytest.approx(1)

    def test_one_exchange(self, store):
        swapped = {2.0: 3.0, 3.0: 2.0}
        measured(store, lambda w2, ipc: 90 - swapped.get(w2, w2))
        assert self.row(store)["rho"] == pytest.approx(-1 + 6 * 2 / (6 * 35))  # 1 - 6 sum d^2 / (n (n^2 - 1))

    def test_noise_makes_no_correlation(self, store):
        """It is far from everything and bad at everything: with it, rho would be -0.5."""
        order = dict(zip([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [50.0, 40.0, 70.0, 45.0, 65.0, 55.0], strict=True))
        measured(store, lambda w2, ipc: order.get(w2, 10.0))
        row = self.row(store)
        assert row["n"] == 6
        assert row["rho"] > 0

    def test_places_are_never_pooled_by_value(self, store):
        measured(store)  # distances at IPC 1 are a hundred times those at IPC 10
        row = self.row(store, dataset="all", ipc="all")
        assert (row["rho"], row["n"]) == (pytest.approx(-1), 12)

    def test_places_of_opposite_order_say_nothing_together(self, store):
        measured(store, lambda w2, ipc: 90 - 5 * w2 if ipc == 1 else 40 + 5 * w2)
        assert self.row(store, dataset="all", ipc="all")["rho"] == pytest.approx(0, abs=1e-9)
        assert self.row(store, dataset="all", ipc="all")["p"] > 0.5

    @pytest.mark.parametrize("methods", [3, 4])
    def test_where_no_rho_could_be_significant_nothing_is_said(self, store, methods):
        for number, method in enumerate(["wmdd", "mmd", "cda", "rded"][:methods]):
            cell = store.cell(method=method)
            store.done(cell, 40.0 + number)
            measure(store, cell, 1.0 + number)
        assert self.table(store).empty

    def test_only_declared_columns_with_a_direction_are_correlated(self, store):
        measured(store)
        assert set(self.table(store)["column"]) == {"teacher.w2", "neutral.w2"}
        undirected = [replace(column, better="") if column.name == "teacher.w2" else column for column in DECLARED]
        found = correlations.correlations(table_of(store), undirected)
        assert set(found["column"]) == {"neutral.w2"}


class TestChance:
    """Distances that have nothing to do with the accuracies: how often is any of them called a predictor?"""

    def sets(self, generator: np.random.Generator, methods: int, distances: int) -> pd.DataFrame:
        axes = {"dataset": "digits", "ipc": 10, "teacher": 0, "draw": 0}
        rows = [{**axes, "method": f"m{i}", "top1.standard.r": generator.normal()} for i in range(methods)]
        values = generator.normal(size=(methods, distances))
        return pd.DataFrame(rows).join(pd.DataFrame(values, columns=[f"d{i}" for i in range(distances)]))

    def test_any_of_twenty_distances_is_shown_by_chance_in_one_of_twenty_suites_at_most(self):
        generator = np.random.default_rng(0)
        columns = [Column(f"d{i}", f"d{i}", better="lower") for i in range(20)]
        shown, naive = [], []
        for _ in range(60):
            sets = self.sets(generator, 7, 20)
            found = correlations.correlations(sets, columns)
            shown.append(bool((found["p"] <= correlations.LEVEL).any()))
            alone = [spearmanr(sets[column.name], sets["top1.standard.r"]).pvalue for column in columns]
            naive.append(min(alone) < correlations.LEVEL)
        assert np.mean(shown) <= 0.1  # of 60 suites; 3 are expected
        assert np.mean(naive) > 0.4

    def test_a_distance_that_predicts_is_shown(self):
        generator = np.random.default_rng(1)
        sets = self.sets(generator, 9, 20)
        sets["d0"] = -sets["top1.standard.r"]
        found = correlations.correlations(sets, [Column(f"d{i}", f"d{i}", better="lower") for i in range(20)])
        assert list(found.loc[found["p"] <= correlations.LEVEL, "column"]) == ["d0"]
        assert found.iloc[0]["null_low"] == -found.iloc[0]["null_high"] > -1


def test_places_together_have_the_mean_of_their_correlations_each_place_that_of_its_students():
    null = np.random.default_rng(0).uniform(-0.1, 0.1, (correlations.SAMPLES + 1, 1))
    rhos = {("a", "digits"): 0.2, ("b", "digits"): 0.4, ("a", "cifar10"): 0.9}
    places = [
        correlations.Place(("soft", student, dataset, "10"), ("w2",), np.array([rho]), null, 9)
        for (student, dataset), rho in rhos.items()
    ]
    (row,) = correlations._together(places)
    assert row["rho"] == pytest.approx((0.3 + 0.9) / 2)
    assert row["n"] == 9 + 9
