"""Accuracy against what measures find: which points, which correlation, which panels."""

from __future__ import annotations

import itertools
from pathlib import Path

import pandas as pd
import pytest
from fake_store import COLUMNS, FakeStore, measure
from readable import readable

from benchmark.columns import Column
from leaderboards.plots import declared
from leaderboards.results import correlations, measures, records
from leaderboards.results.cells import cells_table
from leaderboards.results.columns import parse_columns

METHODS = {"random_real": 1.0, "wmdd": 2.0, "rded": 3.0, "sre2l": 4.0, "mmd": 5.0, "cda": 6.0, "noise": 9.0}  # distance
DECLARED = parse_columns(COLUMNS)["measure"]


@pytest.fixture
def sets(tmp_path: Path) -> pd.DataFrame:
    """Two draws of seven methods at two IPCs: the nearer a set, the more accurate its student."""
    store = FakeStore(str(tmp_path))
    for (method, w2), ipc, seed in itertools.product(METHODS.items(), (1, 10), range(2)):
        cell = store.cell(ipc=ipc, method=method, seed=seed)
        store.done(cell, 90 - 5 * w2 + ipc + seed)
        measure(store, cell, w2 * (100 if ipc == 1 else 1) + 0.1 * seed, **{"teacher.mmd_rbf": None})
    store.write_manifest()
    stored = records.read(store.root, "main")
    return correlations.contenders(stored, measures.table(stored, cells_table(stored)))


def test_a_point_per_method_and_the_floor(sets):
    ((name, figure),) = declared.accuracy_against_measures(sets, DECLARED).items()
    assert name == "accuracy_against_distances_digits_standard"
    titles = ["W2, teacher\nrho = \N{MINUS SIGN}1.00", "W2, neutral\nrho = +1.00"]  # MMD has no numbers
    assert [axes.get_title(loc="left") for axes in figure.axes] == titles
    assert [axes.get_xlabel() for axes in figure.axes] == ["lower is better"] * 2
    *points, floor = figure.axes[0].lines
    assert sorted(float(line.get_xdata()[0]) for line in points) == pytest.approx(
        sorted(w2 + 0.05 for name, w2 in METHODS.items() if name != "noise")
    )
    assert floor.get_xdata()[0] == pytest.approx(1.1)
    assert "digits, IPC 10, protocol standard" in figure.get_suptitle()
    readable(figure)


@pytest.mark.parametrize("methods", [["wmdd", "rded", "sre2l"], ["wmdd", "rded", "sre2l", "mmd"]])
def test_where_nothing_can_be_said_nothing_is_plotted(sets, methods):
    """Of four methods even a rho of 1 has two of 24 orders: p = 0.083."""
    assert declared.accuracy_against_measures(sets[sets["method"].isin(methods)], DECLARED) == {}


def test_a_correlation_that_is_not_shown_is_not_plotted(sets):
    accuracy = "top1.standard.test_resnet"
    unrelated = sets.sort_values("method")[accuracy].to_numpy()
    assert declared.accuracy_against_measures(sets.assign(**{accuracy: unrelated}), DECLARED) == {}


def test_the_number_of_an_evaluator_has_the_best_on_top():
    axes = {"dataset": "digits", "protocol": "robust", "student": "resnet18"}
    column = Column("loss", "loss", better="lower")
    losses = {"a": 2.0, "b": 1.0, "c": 3.0}
    rows = [{**axes, "ipc": 10, "method": name, "loss": loss, "loss_std": 0.1} for name, loss in losses.items()]
    rows += [{**axes, "ipc": 1, "method": "a", "loss": 9.0, "loss_std": 0.1}]  # only the largest IPC is plotted
    ((name, figure),) = declared.numbers(pd.DataFrame(rows), [column]).items()
    assert name == "numbers_digits_robust"
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == ["c", "a", "b"]
    readable(figure)
    constant = pd.DataFrame(rows).assign(loss=10.0)
    assert declared.numbers(constant, [column]) == {}, "a number that all rows share tells nothing"
