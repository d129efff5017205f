"""Pictures of distilled images among real ones: which neighbours, which frames, which points."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from fake_store import FakeStore, measure
from PIL import Image

from leaderboards.plots import feature_map, images, neighbours
from leaderboards.results import records


@pytest.fixture
def store(tmp_path: Path) -> FakeStore:
    return FakeStore(str(tmp_path))


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
        figure = feature_map.feature_map(map_arrays(atoms), "wmdd", ())
        assert [axes.get_title(loc="left") for axes in figure.axes] == ["3 (50%)", "7 (25%)"]
        lines = figure.axes[0].lines
        sizes = {line.get_markerfacecolor(): len(line.get_xdata()) for line in lines if line.get_marker() == "o"}
        assert sizes == {"white": 2, "#0072B2": 2}
        assert sum(len(line.get_xdata()) for line in lines) == 20 + 4 + 4 * atoms
        words = [text.get_text() for text in figure.legends[0].get_texts()]
        assert ("atom of the barycenter" in words) == atoms

    def test_a_set_has_both_and_they_are_not_painted_again(self, store):
        cell = store.cell()
        store.done(cell)
        node = measure(store, cell, 1.0)
        for name, arrays in (("neighbours", neighbour_arrays()), ("map", map_arrays())):
            np.savez(Path(store.root) / node / f"{name}.npz", **arrays)
        folder = Path(store.build().folder)
        names = sorted(path.name for path in (folder / "pictures").iterdir())
        assert [name.split("_")[3] for name in names] == ["map", "neighbours"]
        stored = records.read(store.root, "main")
        assert [png for _, png in neighbours.paint(stored, names)] == [None, None]
        page = (folder / "index.html").read_text()
        assert "Beside the nearest real images: digits, IPC 10" in page
        assert "Among the real images of a class: digits, IPC 10" in page

    def test_a_set_whose_arrays_are_gone_has_none(self, store):
        cell = store.cell()
        store.done(cell)
        measure(store, cell, 1.0)
        store.build()
        assert list(neighbours.paint(records.read(store.root, "main"), ())) == []
