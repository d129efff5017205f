"""What an interval covers: how many teachers, and the test images; and a partial row that is ahead of the best."""

from __future__ import annotations

import base64
from pathlib import Path

import numpy as np
import pytest
from fake_store import FakeStore, key

from leaderboards import report
from leaderboards.publish.agreement import leaks
from leaderboards.results import records
from leaderboards.results.correct_images import bits_by_key, correct_images
from leaderboards.results.text import covers_text, marks, marks_legend
from leaderboards.tables import layout

IMAGES = 500


@pytest.fixture
def store(tmp_path: Path) -> FakeStore:
    return FakeStore(str(tmp_path))


def fill(store: FakeStore, teachers: int, levels=(("wmdd", 70.0), ("mmd", 60.0)), seeds: int = 3) -> None:
    """Draw i meets teacher ``i mod teachers``."""
    noise = np.random.default_rng(0)
    for method, level in levels:
        for seed in range(seeds):
            cell = store.cell(method=method, seed=seed, teacher=seed % teachers)
            cell["nodes"]["teacher"] = [key("teacher", seed % teachers)]
            store.done(cell, top1=level + noise.normal())


def summary(store: FakeStore) -> report.Report:
    """Return the tables without files and plots, which take seconds."""
    store.write_manifest()
    return report.summarise(store.root, "main")


def packed(bits: np.ndarray) -> str:
    return base64.b64encode(np.packbits(bits).tobytes()).decode()


def with_bits(store: FakeStore, cell: dict, level: float, generator: np.random.Generator) -> None:
    right = generator.random(IMAGES) < level
    store.done(cell, top1=100 * right.mean())
    path = f"{cell['nodes']['evaluate'][0]}/record.json"
    record = store.read(path)
    record["metrics"]["correct"] = packed(right)
    store.write(path, record)


@pytest.mark.parametrize(
    ("teachers", "sentence"),
    [
        (
            1,
            "Intervals of means cover draws, seeds, one teacher. Another teacher may change numbers by more than that.",
        ),
        (3, "Intervals of means cover draws, seeds, 3 teachers."),
    ],
)
def test_tables_and_page_say_how_many_teachers_intervals_cover(store, teachers, sentence):
    fill(store, teachers)
    built = store.build()
    assert built.leaderboard["teachers"].tolist() == [teachers, teachers]
    table = report.results_of(records.read(store.root, "main")).tables[0]
    assert sentence in layout.to_sheet(table).legend
    assert sentence.split(".")[0] in (Path(built.folder) / "index.html").read_text()
    assert sentence.split(".")[0] in report.text(built, width=200)


def test_rows_that_cover_less_are_named(store):
    fill(store, 3)
    fill(store, 2, levels=[("random_real", 50.0)])
    board = summary(store).leaderboard
    assert covers_text(board.to_dict("records")) == (
        "Intervals of means cover draws, seeds, 3 teachers; of random_real: draws, seeds, 2 teachers."
    )


@pytest.mark.parametrize(("sums", "words"), [(("a", "a", "a"), "one set"), (("a", "b", "a"), "2 sets")])
def test_equal_sets_do_not_count_as_draws(store, sums, words):
    for seed, images in enumerate(sums):
        store.done(store.cell(seed=seed), top1=50.0 + seed, images=images)
    (row,) = summary(store).leaderboard.to_dict("records")
    assert (row["sets"], row["covers"]) == (len(set(sums)), f"{words} of images, seeds, one teacher")


def test_of_two_networks_the_one_with_fewer_teachers_counts(store):
    for seed in range(3):
        cell = store.cell(seed=seed, teacher=seed)
        cell["nodes"]["teacher"] = [key("teacher", seed), key("auxiliary")]
        store.done(cell, top1=50.0 + seed)
    assert summary(store).leaderboard["teachers"].tolist() == [1]


def test_cells_that_differ_in_the_teacher_only_are_different_cells(store):
    for teacher in range(3):
        cell = store.cell(seed=0, teacher=teacher)
        cell["nodes"] = {stage: [key(stage, teacher)] for stage in cell["nodes"]}
        store.done(cell, top1=50.0 + teacher)
    (row,) = summary(store).leaderboard.to_dict("records")
    assert (row["seeds"], row["teachers"], row["top1_mean"]) == (3, 3, 51.0)


def test_bits_of_the_records_reach_the_intervals(store):
    generator = np.random.default_rng(0)
    for method, level in (("wmdd", 0.7), ("mmd", 0.6)):
        for seed in range(3):
            with_bits(store, store.cell(method=method, seed=seed), level, generator)
    built = summary(store)
    (block,) = built.blocks.values()
    assert {len(bits) for cells in block.correct.values() for bits in cells.values()} == {IMAGES}
    assert set(built.leaderboard["covers"]) == {"draws, seeds, one teacher, test images"}
    assert block.correct.keys() == {"wmdd", "mmd"}


def test_a_row_without_a_verdict_is_not_marked_as_behind_the_best(store):
    for method, top1 in (("wmdd", 50.1), ("mmd", 50.0), ("random_real", 49.9)):
        for seed in range(3):
            store.done(store.cell(method=method, seed=seed), top1=top1)
    built = summary(store)
    assert [mark.sign for mark in marks(built.leaderboard.to_dict("records"), built.blocks)] == ["", "?", "?"]
    store.build()
    assert "50.1 %: no spread over seeds, no verdict" in (Path(built.folder) / "index.html").read_text()


@pytest.mark.parametrize("images", [1, 7, 8, 9, 355, 3925])
def test_padding_is_no_test_image(images):
    right = np.random.default_rng(images).random(images) < 0.8
    right[0] = True
    found = correct_images({"correct": packed(right), "top1": 100 * right.mean()})
    assert found.tolist() == right.tolist()


def test_bits_that_contradict_the_accuracy_count_for_nothing(store):
    assert correct_images({"correct": packed(np.ones(16, bool)), "top1": 50.0}) is None
    assert correct_images({"top1": 50.0}) is None
    assert correct_images({"correct": "?", "top1": 50.0}) is None
    fill(store, 1)
    store.write_manifest()
    assert bits_by_key(records.read(store.root, "main")) == {}


def test_bits_are_no_path_even_where_they_start_with_a_slash():
    text = packed(np.ones(48, bool))
    assert text.startswith("/")
    assert list(leaks({"k": {"metrics": {"correct": text}}})) == []
    assert list(leaks({"k": {"metrics": {"other": "/home/me"}}}))


def test_a_partial_row_that_is_ahead_of_the_best_mean_is_marked(store):
    """wmdd lacks the easy seed; over the seeds that both have, it is ahead."""
    numbers = {"mmd": [60.0, 50.0, 50.5, 99.0], "wmdd": [66.0, 56.1, 56.4], "noise": [10.0, 10.1, 10.2, 10.1]}
    numbers["random_real"] = [40.0, 30.1, 30.4, 79.2]
    for method, values in numbers.items():
        for seed, top1 in enumerate(values):
            store.done(store.cell(method=method, seed=seed), top1=top1)
    store.cell(method="wmdd", seed=3)
    built = summary(store)
    rows = built.leaderboard.to_dict("records")
    signs = {row["method"]: mark.sign for row, mark in zip(rows, marks(rows, built.blocks), strict=True)}
    assert built.leaderboard.iloc[0]["method"] == "mmd"
    assert signs["wmdd"] == "▲"


def test_the_legend_explains_the_signs_of_the_table_and_no_other():
    row = {"method": "wmdd", "ipc": 10, "top1_mean": 50.0, "top1_std": 1.0, "status": "ok", "cut": ""}
    full, single = {**row, "method": "full", "ipc": 0}, {**row, "top1_std": None, "status": "partial"}
    assert marks_legend([row, {**row, "method": "mmd"}], {"?", ""}) == (
        "Beside a number: ? not known from these seeds, "
        "no sign: behind the best, corrected for the number of comparisons (not said of the best itself)."
    )
    assert "(not said of the best itself, full)" in marks_legend([row, row, full], {""})
    assert marks_legend([row, {**row, "method": "dc (cut)", "cut": "10 of 100 iterations"}, full], {""}) == ""
    assert marks_legend([single], {""}) == (
        "A number without ± is one seed and has no verdict. n/N: n of N cells are done."
    )
