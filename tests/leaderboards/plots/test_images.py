"""Contact sheets: the same classes for every method, the right images in the right rows, nothing painted twice."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from fake_store import FakeStore, key
from PIL import Image
from safetensors.numpy import save

from leaderboards.plots import images
from leaderboards.results import records


def saved(store: FakeStore, cell: dict, units: list[dict], kind=np.uint8, snapshots=0, learned=False) -> None:
    """Store a set whose image of class c and slot s has the grey value 20 c + s.

    The targets are classes, or learned soft labels that all favour class 0.
    """
    cell["nodes"]["distill"] = [key("distill", cell["method"], cell["ipc"], unit["index"]) for unit in units]
    store.done(cell)
    for node, unit in zip(cell["nodes"]["distill"], units, strict=True):
        name = f"{store.root}/{node}/record.json"
        record = json.loads(Path(name).read_text())
        record["identity"]["unit"] = unit
        store.write(f"{node}/record.json", record)
        targets = np.repeat(unit["classes"], len(unit["slots"]))
        grey = 20 * targets + np.tile(unit["slots"], len(unit["classes"]))
        images = np.broadcast_to(grey[:, None, None, None], (len(grey), 3, 16, 16)).astype(np.uint8)
        tensors = {"images": images if kind == np.uint8 else images.astype(kind) / 255, "targets": targets}
        if learned:
            tensors |= {"targets": np.eye(10, dtype=np.float32)[targets * 0], "extra.classes": targets}
        if snapshots:
            tensors["extra.snapshots"] = np.full((len(grey), snapshots, 3, 16, 16), 250, np.uint8)
        (Path(store.root) / node / "images.safetensors").write_bytes(save(tensors))


def unit(index=0, classes=range(10), slots=range(10)) -> dict:
    return {"index": index, "classes": list(classes), "slots": list(slots)}


def painted(store: FakeStore, known=()) -> dict[str, bytes | None]:
    store.build()
    return {picture.name: png for picture, png in images.paint(records.read(store.root, "main"), known)}


def grey_values(png: bytes, rows: int, columns: int) -> list[list[int]]:
    """Return the value in the middle of every image of a sheet."""
    sheet = np.asarray(Image.open(io.BytesIO(png)).convert("L"))
    side = images.SMALLEST + images.GAP
    start = sheet.shape[1] - columns * side
    return [[int(sheet[r * side + 16, start + c * side + 16]) for c in range(columns)] for r in range(rows)]


@pytest.fixture
def store(tmp_path: Path) -> FakeStore:
    return FakeStore(str(tmp_path))


@pytest.mark.parametrize(("kind", "learned"), [(np.uint8, False), (np.float32, False), (np.uint8, True)])
def test_a_sheet_has_a_row_per_class(store, kind, learned):
    saved(store, store.cell(ipc=10), [unit()], kind, learned=learned)
    ((name, png),) = painted(store).items()
    assert name.startswith("digits_ipc10_wmdd_sheet_")
    assert grey_values(png, 10, 10) == [[20 * c + s for s in range(10)] for c in range(10)]


def test_units_are_joined_and_classes_spread_over_all(store):
    units = [unit(0, range(6), range(2)), unit(1, range(6), range(2, 4)), unit(2, range(6, 12), range(4))]
    saved(store, store.cell(ipc=4), units)
    (png,) = painted(store).values()
    shown = grey_values(png, 10, 4)
    assert [row[0] // 20 for row in shown] == [0, 1, 2, 4, 5, 6, 7, 9, 10, 11]
    assert all(row == [row[0] + slot for slot in range(4)] for row in shown)


def test_snapshots_become_a_strip_that_ends_with_the_finished_image(store):
    saved(store, store.cell(ipc=2), [unit(slots=range(2))], snapshots=3)
    names = painted(store)
    (strip,) = (png for name, png in names.items() if "_strip_" in name)
    assert len(names) == 2
    assert grey_values(strip, 10, 4) == [[250, 250, 250, 20 * c] for c in range(10)]


def test_what_exists_is_not_painted_again_and_a_new_set_has_a_new_name(store):
    cell = store.cell(ipc=1)
    saved(store, cell, [unit(slots=[0])])
    (name,) = painted(store)
    assert painted(store, [name]) == {name: None}
    saved(store, cell, [unit(5, slots=[0])])
    assert name not in painted(store)


def test_a_set_whose_images_are_gone_has_no_sheet(store):
    store.done(store.cell())
    assert painted(store) == {}


def test_the_report_keeps_only_the_sheets_of_its_sets(store):
    saved(store, store.cell(ipc=1), [unit(slots=[0])])
    folder = Path(store.build().folder) / "pictures"
    (sheet,) = folder.iterdir()
    before = sheet.stat().st_mtime_ns, sheet.read_bytes()
    (folder / "old_sheet.png").write_bytes(b"")
    store.build()
    assert list(folder.iterdir()) == [sheet]
    assert sheet.read_bytes() == before[1]


def test_rows_are_named_by_the_manifest_and_new_names_paint_a_new_sheet(store, monkeypatch):
    shown = []
    monkeypatch.setattr(images, "_grid", lambda rows, names: shown.append(names) or Image.new("RGB", (1, 1)))
    saved(store, store.cell(ipc=1), [unit(classes=(0, 2), slots=[0])])
    sheets = []
    for names in ({}, {"digits": ["zero", "one", "two"]}):
        store.write_manifest(class_names=names)
        sheets += [picture.name for picture, _ in images.paint(records.read(store.root, "main"), ())]
    assert shown == [["0", "2"], ["zero", "two"]]
    assert len(set(sheets)) == 2
