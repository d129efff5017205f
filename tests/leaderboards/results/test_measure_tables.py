"""From the records of measures to tables, a plot and pictures."""

from __future__ import annotations

import io
import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fake_store import COLUMNS, FakeStore, measure
from PIL import Image

from benchmark.errors import BenchmarkError
from leaderboards.plots import distances as distance_plots
from leaderboards.plots import images, neighbours
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


class TestPlot:
    def test_a_point_per_method_and_the_floor(self, store):
        measured(store)
        ((name, figure),) = distance_plots.accuracy_against_distance(table_of(store), DECLARED).items()
        assert name == "accuracy_against_distance_digits_standard"
        assert [axes.get_title(loc="left") for axes in figure.axes] == [
            "teacher's features, rho = -1.00",
            "neutral features, rho = +1.00",
        ]
        *points, floor = figure.axes[0].lines
        assert sorted(float(line.get_xdata()[0]) for line in points) == pytest.approx(
            sorted(w2 + 0.05 for w2 in METHODS.values())
        )
        assert floor.get_xdata()[0] == pytest.approx(1.1)

    def test_three_methods_are_not_drawn(self, store):
        measured(store)
        table = table_of(store)
        three = table[table["method"].isin(["wmdd", "rded", "noise"])]
        assert distance_plots.accuracy_against_distance(three, DECLARED) == {}


def neighbour_arrays(side: int = 32) -> dict[str, np.ndarray]:
    """Two classes: the image of class c has the grey value 100 c, its neighbour j by extractor e 100 c + 10 e + j."""
    grey = np.array([[[10 * e + j for j in range(3)] for e in range(2)] for _ in range(2)])
    grey[1] += 100
    labels = np.array([[[0, 0, 0], [0, 0, 1]], [[1, 1, 1], [1, 1, 1]]])
    return {
        "labels": np.array([0, 1]),
        "synthetic": np.full((2, 3, side, side), [[[[0]]], [[[100]]]], np.uint8),
        "real": np.broadcast_to(grey[..., None, None, None], (*grey.shape, 3, side, side)).astype(np.uint8),
        "real_labels": labels,
        "extractors": np.array(["teacher", "neutral"]),
    }


def map_arrays(atoms: bool = True) -> dict[str, np.ndarray]:
    kinds = np.array([0] * 20 + [1] * 4 + [2] * 4 * atoms)
    points = np.random.default_rng(0).normal(size=(2 * len(kinds), 2))
    off = np.tile(np.where(kinds == 1, [0.5, 99.0] * (len(kinds) // 2), 1.0), 2)  # half of the synthetic images far off
    return {
        "points": points.astype(np.float32),
        "off": off.astype(np.float32),
        "labels": np.repeat([3, 7], len(kinds)),
        "kinds": np.tile(kinds, 2),
        "shown": np.array([3, 7]),
        "explained": np.array([0.5, 0.25]),
    }


class TestPictures:
    def test_neighbours_stand_beside_their_image(self):
        sheet = np.asarray(Image.open(io.BytesIO(neighbours.neighbours(neighbour_arrays(), "wmdd", ()))).convert("RGB"))
        step, margin = neighbours.TILE + images.GAP, sheet.shape[1] - 7 * (64 + 2) - 3 * neighbours.COLUMN_GAP
        lefts = [margin, *(margin + step + 14 + e * (3 * step + 14) + j * step for e in range(2) for j in range(3))]
        for row in range(2):
            middle = 2 * neighbours.LINE + row * step + 32
            found = [int(sheet[middle, left + 32, 0]) for left in lefts]
            assert found == [100 * row + value for value in (0, 0, 1, 2, 10, 11, 12)]
        framed = [bool((sheet[2 * neighbours.LINE + 32, left + 1] == [0xD5, 0x5E, 0]).all()) for left in lefts]
        assert framed == [False] * 6 + [True]  # the one neighbour of another class

    @pytest.mark.parametrize("atoms", [True, False])
    def test_a_map_shows_what_lies_off_its_plane(self, atoms):
        figure = distance_plots.feature_map(map_arrays(atoms), "wmdd", ())
        assert [axes.get_title(loc="left") for axes in figure.axes] == ["3 (50%)", "7 (25%)"]
        lines = figure.axes[0].lines
        sizes = {line.get_markerfacecolor(): len(line.get_xdata()) for line in lines if line.get_marker() == "o"}
        assert sizes == {"white": 2, "#0072B2": 2}
        assert sum(len(line.get_xdata()) for line in lines) == 20 + 4 + 4 * atoms
        words = [text.get_text() for text in figure.legends[0].get_texts()]
        assert ("atom of the barycenter" in words) == atoms

    def test_a_set_has_both_and_they_are_not_drawn_again(self, store):
        cell = store.cell()
        store.done(cell)
        node = measure(store, cell, 1.0)
        for name, arrays in (("neighbours", neighbour_arrays()), ("map", map_arrays())):
            np.savez(Path(store.root) / node / f"{name}.npz", **arrays)
        folder = Path(store.build().folder)
        names = sorted(path.name for path in (folder / "pictures").iterdir())
        assert [name.split("_")[3] for name in names] == ["map", "neighbours"]
        stored = records.read(store.root, "main")
        assert [png for _, png in neighbours.draw(stored, names)] == [None, None]
        page = (folder / "index.html").read_text()
        assert "Beside the nearest real images: digits, IPC 10" in page
        assert "Among the real images of a class: digits, IPC 10" in page

    def test_a_set_whose_arrays_are_gone_has_none(self, store):
        cell = store.cell()
        store.done(cell)
        measure(store, cell, 1.0)
        store.build()
        assert list(neighbours.draw(records.read(store.root, "main"), ())) == []
