"""From the records of measures to tables and correlations."""

from __future__ import annotations

import itertools
from pathlib import Path

import pandas as pd
import pytest
from fake_store import COLUMNS, FakeStore, measure

from benchmark.errors import BenchmarkError
from leaderboards.results import measures, records
from leaderboards.results.cells import cells_table
from leaderboards.results.columns import declared_columns, parse_columns

METHODS = {"random_real": 1.0, "wmdd": 2.0, "rded": 3.0, "sre2l": 4.0, "noise": 9.0}  # distance in either network


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
        assert len(pd.read_csv(folder / "measures.csv")) == 20
        assert set(pd.read_csv(folder / "measure_correlation.csv")["n"]) == {5, 10}


class TestCorrelations:
    def rho(self, store, distance="teacher.w2", dataset="digits", ipc="10"):
        found = measures.correlations(table_of(store), DECLARED).set_index(["column", "dataset", "ipc"])
        return found.loc[(distance, dataset, ipc), ["rho", "n"]].tolist()

    def test_an_order_that_is_reversed(self, store):
        measured(store)
        assert self.rho(store) == pytest.approx([-1, 5])
        assert self.rho(store, "neutral.w2") == pytest.approx([1, 5])

    def test_one_exchange(self, store):
        swapped = {2.0: 3.0, 3.0: 2.0}
        measured(store, lambda w2, ipc: 90 - swapped.get(w2, w2))
        assert self.rho(store) == pytest.approx([-1 + 6 * 2 / (5 * 24), 5])  # 1 - 6 sum d^2 / (n (n^2 - 1))

    def test_pooled_ranks_do_not_see_the_levels_of_ipcs(self, store):
        measured(store)  # distances at IPC 1 are a hundred times those at IPC 10
        assert self.rho(store, dataset="all", ipc="all") == pytest.approx([-1, 10])

    def test_few_methods_make_no_correlation(self, store):
        for method in ("wmdd", "mmd", "noise"):
            cell = store.cell(method=method)
            store.done(cell, METHODS.get(method, 1.5))
            measure(store, cell, 1.0 + len(method))
        assert measures.correlations(table_of(store), DECLARED).empty

    def test_only_declared_columns_with_a_direction_are_correlated(self, store):
        measured(store)
        assert set(measures.correlations(table_of(store), DECLARED)["column"]) == {"teacher.w2", "neutral.w2"}
        undirected = [column._replace(better="") if column.name == "teacher.w2" else column for column in DECLARED]
        assert set(measures.correlations(table_of(store), undirected)["column"]) == {"neutral.w2"}
