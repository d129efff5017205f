"""The figures of a publication: all methods are on them, and each names the leaderboard that it was drawn from."""

from __future__ import annotations

import re

import pytest
from fake_store import FakeStore

from leaderboards.plots import differences, methods, palette
from leaderboards.publish import figures
from leaderboards.report import results_of
from leaderboards.results import records

BOTH = ["differences_digits.svg", "methods_digits.svg"]


def results(root: str, top1: float):
    store = FakeStore(root)
    for method, accuracy in {"wmdd": top1, "random_real": 50.0}.items():
        for protocol, ipc, seed in (("standard", 1, 0), ("standard", 1, 1), ("hard", 1, 0), ("standard", 10, 0)):
            cell = store.cell(method=method, protocol=protocol, ipc=ipc, seed=seed)
            store.done(cell, accuracy + seed + ipc)
    store.write_manifest(title="Methods")
    return results_of(records.read(root, "main"))


@pytest.fixture
def drawn(tmp_path):
    made = results(str(tmp_path / "runs"), 60.0)
    assert figures.write(made, tmp_path / "figures") == BOTH
    return made


def test_a_figure_names_all_methods_and_protocols(drawn, tmp_path):
    text = (tmp_path / "figures" / "methods_digits.svg").read_text()
    words = set(re.findall(r">([^<>]+)</text>", text))
    assert {"wmdd", "random_real", "standard", "hard"} <= words


def test_a_figure_explains_only_the_lines_that_it_has(drawn, tmp_path):
    assert "dotted: the control" in (text := (tmp_path / "figures" / "methods_digits.svg").read_text())
    assert "dashed" not in text  # no row has full data


def test_a_figure_is_drawn_again_only_from_another_leaderboard(drawn, tmp_path):
    folder = tmp_path / "figures"
    assert figures.outdated(drawn, folder) == figures.write(drawn, folder) == []
    other = results(str(tmp_path / "others"), 61.0)
    assert figures.outdated(other, folder) == figures.write(other, folder) == BOTH
    assert figures.outdated(other, folder) == []


def test_a_figure_that_is_missing_or_does_not_belong_is_named(drawn, tmp_path):
    folder = tmp_path / "figures"
    (folder / "old.svg").write_text("")
    assert figures.outdated(drawn, folder) == ["old.svg"]
    (folder / "methods_digits.svg").unlink()
    assert figures.outdated(drawn, folder) == ["methods_digits.svg", "old.svg"]
    figures.write(drawn, folder)
    assert sorted(path.name for path in folder.iterdir()) == BOTH


def test_panels_are_students_and_ipcs_with_the_best_method_on_top(tmp_path):
    board = results(str(tmp_path / "runs"), 60.0).report.leaderboard
    (figure,) = methods.methods(board).values()
    assert len(figure.axes) == 2
    for axes in figure.axes:
        assert [label.get_text() for label in axes.get_yticklabels()] == ["random_real", "wmdd"]
    dots = [line.get_xdata()[-1] for line in figure.axes[1].lines if line.get_marker() == "o"]
    assert dots == [70.0]


def test_differences_have_the_intervals_of_the_verdicts(tmp_path):
    made = results(str(tmp_path / "runs"), 60.0)
    (figure,) = differences.differences(made.compared).values()
    (axes,) = figure.axes  # IPC 10 has one seed, so no interval
    assert [label.get_text() for label in axes.get_yticklabels()] == ["wmdd"]
    (bar,) = [line for line in axes.lines if line.get_marker() == "None" and line.get_color() == palette.BLUE]
    block = made.report.blocks["digits", 1, "standard", "test_resnet"]
    assert tuple(bar.get_xdata()) == block.compare("wmdd", "random_real").interval


def test_pairs_have_a_figure_in_the_order_of_the_suite_where_there_is_no_control(tmp_path):
    store = FakeStore(str(tmp_path))
    for method, accuracy in {"wmdd": 60.0, "mmd": 50.0, "sre2l": 40.0}.items():
        for seed in (0, 1):
            store.done(store.cell(method=method, seed=seed), accuracy + seed)
    store.write_manifest(title="Methods", pairs=[["sre2l", "mmd"], ["wmdd", "mmd"], ["wmdd", "cda"]])
    made = results_of(records.read(str(tmp_path), "main"))
    (figure,) = differences.differences(made.compared).values()
    assert list(figures.names(made).values()) == ["pairs_digits.svg", "methods_digits.svg"]
    (axes,) = figure.axes
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == ["wmdd\n\N{MINUS SIGN} mmd", "sre2l\n\N{MINUS SIGN} mmd"]  # the last is on top
    dots = {line.get_xdata()[0] for line in axes.lines if line.get_marker() == "o"}
    assert dots == {10.0, -10.0}


@pytest.mark.parametrize(
    ("top1", "others", "face", "style"),
    [
        (60.0, 0, palette.BLUE, "full"),
        (50.85, 6, palette.BLUE, "left"),  # only the variance that rows share decides it
        (50.2, 0, palette.WHITE, "full"),
    ],
)
def test_a_dot_is_filled_where_the_verdict_is_decided_and_half_where_it_rests_on_the_pool(
    tmp_path, top1, others, face, style
):
    store = FakeStore(str(tmp_path))
    for seed, (one, other) in enumerate([(0.0, 0.4), (0.5, 0.1), (0.2, 0.3)]):
        store.done(store.cell(method="wmdd", seed=seed), top1 + one)
        store.done(store.cell(method="random_real", seed=seed), 50.0 + other)
        for number in range(others):
            store.done(store.cell(method=f"other{number}", seed=seed), 50.0 + (one, other, other - one)[number % 3])
    store.write_manifest(title="Methods")
    (figure,) = differences.differences(results_of(records.read(str(tmp_path), "main")).compared).values()
    dots = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    dot = max(dots, key=lambda line: line.get_xdata()[0])
    assert (dot.get_markerfacecolor(), dot.get_fillstyle()) == (face, style)
