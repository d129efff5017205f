"""Bytes are those that would be sent: PNG beside raw, labels as stored, the teacher where labels are made online."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch
from fake_store import FakeStore

from benchmark.synthetic import SyntheticSet
from leaderboards import report
from leaderboards.plots import regimes


@pytest.fixture
def store(tmp_path: Path) -> FakeStore:
    return FakeStore(str(tmp_path))


def board(store: FakeStore) -> pd.DataFrame:
    store.write_manifest()
    return report.summarise(store.root, "main").leaderboard


def label(store: FakeStore, cell: dict, storage: str) -> None:
    (node,) = cell["nodes"]["relabel"]
    record = store.read(f"{node}/record.json")
    record["identity"]["component"]["params"] = {"storage": storage}
    stored = {"labels": 0 if storage == "online" else 5000, "teacher_if_online": 70000}
    record["cost"]["bytes"] = stored
    store.write(f"{node}/record.json", record)


@pytest.mark.parametrize("channels", [1, 3])
def test_png_bytes_are_those_of_files_without_loss(channels):
    flat = torch.full((3, channels, 32, 32), 7, dtype=torch.uint8)
    noisy = torch.randint(0, 256, (3, channels, 32, 32), dtype=torch.uint8)
    small, large = (SyntheticSet(images, torch.zeros(3, dtype=torch.int64)) for images in (flat, noisy))
    assert small.png_bytes < small.images_bytes / 3
    assert large.png_bytes > large.images_bytes * 0.95  # noise cannot be compressed
    assert SyntheticSet(noisy.float(), torch.zeros(3, dtype=torch.int64)).png_bytes is None


def test_a_teacher_that_labels_online_is_sent_too(store):
    for protocol, storage in (("standard", "disk"), ("online", "online")):
        cell = store.cell(protocol=protocol)
        store.done(cell, bytes={"images": 3000, "images_png": 1000})
        label(store, cell, storage)
    rows = board(store).set_index("protocol")
    sent = ["images_bytes", "images_png_bytes", "labels_bytes", "online_teacher_bytes", "total_bytes"]
    assert rows.loc["standard", sent].tolist() == [6000, 2000, 5000, 0, 7000]  # two units
    assert rows.loc["online", sent].tolist() == [6000, 2000, 0, 70000, 72000]


@pytest.mark.parametrize("known", [0, 1])  # of two units, those whose bytes as PNG are recorded
def test_records_without_png_count_raw_images(store, known):
    cell = store.cell()
    store.done(cell)
    for node in cell["nodes"]["distill"][:known]:
        record = store.read(f"{node}/record.json")
        record["cost"]["bytes"]["images_png"] = 1000
        store.write(f"{node}/record.json", record)
    (row,) = board(store).to_dict("records")
    assert pd.isna(row["images_png_bytes"])
    assert row["total_bytes"] == 6000 + 1000


def test_all_regimes_stand_in_one_picture(store):
    for number, protocol in enumerate(("hard", "soft", "standard", "online")):
        for method in ("wmdd", "mmd"):
            cell = store.cell(protocol=protocol, method=method)
            store.done(cell, top1=40.0 + 10 * number, bytes={"images": 3000, "images_png": 1000})
            label(store, cell, "online" if protocol == "online" else "disk")
    (figure,) = regimes.regimes(board(store)).values()
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert set(texts) == {"wmdd", "mmd", "hard", "soft", "standard", "online"}
    x = [float(line.get_xdata()[0]) for line in figure.axes[0].lines if len(line.get_xdata()) == 1]
    assert {7000.0, 72000.0} <= set(x)
