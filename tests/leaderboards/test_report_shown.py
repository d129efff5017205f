"""What a user sees of a leaderboard: the terminal, the plots, and words where something is wrong."""

from __future__ import annotations

import html
import itertools
import re
import subprocess
import sys
from pathlib import Path

import pytest
from fake_store import FakeStore, measured, paper
from readable import readable
from rich.console import Console

from benchmark.errors import BenchmarkError
from leaderboards import report
from leaderboards.plots import ablation, accuracy, differences, palette
from leaderboards.results import records, variants
from leaderboards.results.cells import curves_table


@pytest.fixture
def store(tmp_path: Path) -> FakeStore:
    return FakeStore(str(tmp_path))


def test_without_a_manifest_the_remedy_is_named(store):
    with pytest.raises(BenchmarkError, match="python -m benchmark run --suite main"):
        report.build(store.root, "main")
    assert records.suites(store.root) == []
    store.build()
    assert records.suites(store.root) == ["main"]
    with pytest.raises(BenchmarkError, match="it has: main"):
        report.build(store.root, "mian")


def test_a_summary_has_the_same_tables_and_writes_nothing(store):
    measured(store, ipcs=(10,), datasets=("digits",))
    built = store.build()
    before = {path: path.stat().st_mtime_ns for path in Path(built.folder).rglob("*")}
    summary = report.summarise(store.root, "main")
    assert {path: path.stat().st_mtime_ns for path in Path(built.folder).rglob("*")} == before
    assert summary.leaderboard.equals(built.leaderboard)
    assert report.text(summary) in report.text(built)


def test_a_damaged_manifest_is_named(store):
    store.write("leaderboards/main/manifest.json", "{")
    with pytest.raises(BenchmarkError, match=r"manifest\.json is damaged"):
        report.build(store.root, "main")


def test_the_terminal_shows_the_best_in_bold_and_what_is_absent_once(store):
    measured(store, ipcs=(10, 50), datasets=("digits",))
    for ipc, method in itertools.product((1, 10), ("wmdd", "mmd")):
        store.cell("imagenette", ipc, method, skipped="not on disk: fetch it", nodes={})
    store.failed(store.cell(method="dm"), "distill", "exploded")
    built = store.build()
    shown = report.text(built)
    assert max(map(len, shown.splitlines())) <= 100
    assert shown.count("not on disk: fetch it") == 1
    assert "digits, dm at IPC 10: distill: exploded" in shown
    assert "teacher 99.0 %" in shown
    assert f"Files in {built.folder}"[:40] in shown
    coloured = Console(width=100, force_terminal=True, color_system="standard", no_color=True)
    with coloured.capture() as captured:
        coloured.print(report.render(built))
    bold = [line for line in captured.get().splitlines() if "\x1b[1m" in line and "±" in line]
    best = built.leaderboard.query("ipc == 10").iloc[0]["method"]
    assert len(bold) == 2  # one per IPC
    assert any(best in line for line in bold)


@pytest.mark.parametrize("width", [60, 80, 100, 140])
def test_a_narrow_terminal_drops_columns_but_never_a_name(store, width):
    measured(store, ipcs=(10,), datasets=("digits",))
    store.done(store.cell(method="a_method_with_a_long_name", protocol="hard"))
    shown = report.text(store.summarise(), width=width)
    assert max(map(len, shown.splitlines())) <= width
    for method in ("random_real", "wmdd+bn", "a_method_with_a_long_name"):
        assert f" {method} " in shown
    assert ("memory" in shown) or width < 100
    assert ("memory" not in shown) or width > 60
    assert "top-1 %" in shown


def test_a_label_with_brackets_is_shown_as_it_is(store):
    store.done(store.cell(method="wmdd[lambda=1]", base="wmdd", overrides={"lambda": 1}))
    assert "wmdd[lambda=1]" in report.text(store.summarise())


def test_a_selection_narrows_what_is_shown(store):
    measured(store, ipcs=(10,))
    shown = report.text(store.summarise(), {"dataset": ["imagenette64"]})
    assert "imagenette64" in shown
    assert "digits" not in shown


def test_plots_exist_per_protocol(store):
    measured(store)
    store.done(store.cell(protocol="hard"))
    names = {Path(path).name for path in store.build().paths}
    stems = {f"accuracy_against_ipc_{protocol}" for protocol in ("standard", "hard")}
    assert names >= {f"{stem}.{kind}" for stem in stems for kind in ("png", "svg")}


def test_texts_of_a_plot_do_not_overlap(store):
    measured(store, ipcs=(1, 10, 50, 100), datasets=("digits", "imagenette64", "tiny_imagenet"))
    for method, seed in itertools.product(("rded", "dm", "cda", "gvbsm", "wasserstein+pcbn", "ce+pcbn"), range(2)):
        store.done(store.cell(method=method, seed=seed), top1=30.0)
    board = store.summarise().leaderboard.replace({"test_resnet": "efficientnet_b0"})
    one_ipc = board[board["ipc"].isin([0, 10])]
    one_dataset = board[board["dataset"] == "digits"]
    for frame in (board, one_dataset, one_ipc):
        (figure,) = accuracy.accuracy_against_ipc(frame).values()
        readable(figure)


def test_texts_of_no_other_plot_overlap(store):
    paper(store, seeds=2)
    built = store.summarise()
    stored, board = records.read(store.root, built.suite), built.leaderboard
    main = variants.contestants(board)
    for frame in (board, board[board["dataset"] == "digits"], board[board["student"] == "resnet18"]):
        kept = frame.index.intersection(main.index)
        figures = [
            *accuracy.accuracy_against_bytes(frame.loc[kept]).items(),
            *accuracy.accuracy_against_seconds(frame.loc[kept]).items(),
            *(item for plot in QUESTIONS for item in plot(frame).items()),
        ]
        drawn = {name.removesuffix("_standard") for name, _ in figures}
        accuracies = {"accuracy_against_bytes", "accuracy_against_seconds"}
        assert drawn - {"networks"} == {"ablation", *accuracies, "sensitivity_wmdd_regulariser_weight"}
        for _, figure in figures:
            readable(figure)
    compared = differences.differences(store.results().compared)
    assert {name.partition("_")[0] for name in compared} == {"differences", "pairs"}
    (training,) = ablation.training(curves_table(stored)).values()
    for figure in [*compared.values(), training]:
        readable(figure)


def test_protocols_stand_in_the_order_of_the_bytes_of_their_labels(store):
    for place, protocol in enumerate(("standard", "hard", "soft")):
        for method in ("wmdd", "random_real"):
            store.done(store.cell(method=method, protocol=protocol), bytes={"labels": (3000, 0, 20)[place]})
    (figure,) = accuracy.accuracy_by_protocol(store.summarise().leaderboard).values()
    readable(figure)
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.get_xticklabels()] == ["hard", "soft", "standard"]


def test_a_method_may_be_absent_from_a_panel_of_protocols(store):
    for dataset, protocol in itertools.product(("digits", "cifar10"), ("standard", "hard", "soft")):
        for method in ("wmdd", "random_real") if dataset == "digits" else ("random_real", "mmd"):
            store.done(store.cell(dataset, method=method, protocol=protocol))
    (figure,) = accuracy.accuracy_by_protocol(store.summarise().leaderboard).values()
    assert len(figure.axes) == 2


def test_costs_that_tell_nothing_apart_are_not_plotted(store):
    for method in ("a", "b", "c"):
        store.done(store.cell(method=method))
    assert accuracy.accuracy_against_bytes(store.summarise().leaderboard) == {}


def test_a_hyperparameter_is_plotted_beside_random_images(store):
    paper(store, seeds=2)
    figures = ablation.sensitivity(store.summarise().leaderboard)
    assert figures
    for figure in figures.values():
        dotted = [line for axes in figure.axes for line in axes.lines if line.get_linestyle() == ":"]
        assert dotted
        assert "dotted: random_real" in " ".join(figure.get_suptitle().split())


def test_a_protocol_with_one_value_of_a_hyperparameter_has_no_plot_of_it(store):
    for weight, protocol in ((0.1, "standard"), (1.0, "standard"), (1.0, "hard"), (10.0, "standard")):
        overrides = {"regulariser_weight": weight}
        store.done(store.cell(method=f"wmdd {weight}", base="wmdd", overrides=overrides, protocol=protocol))
    assert list(ablation.sensitivity(store.summarise().leaderboard)) == ["sensitivity_wmdd_regulariser_weight_standard"]


def test_seconds_of_different_devices_are_not_plotted_together(store):
    for device, methods in (("one GPU", ("a", "b", "c", "d")), ("another GPU", ("e", "f", "g"))):
        for place, method in enumerate(methods):
            store.done(store.cell(method=method), device=device, seconds=2.0 + place)
    (figure,) = accuracy.accuracy_against_seconds(store.summarise().leaderboard).values()
    (legend,) = figure.legends
    assert {text.get_text() for text in legend.get_texts()} == {"a", "b", "c", "d"}
    assert "on one GPU" in " ".join(figure.get_suptitle().split())


def test_plots_without_data_are_not_plotted(store):
    store.done(store.cell())
    store.cell(method="mmd")
    built = store.build()
    names = {Path(path).stem for path in built.paths if path.endswith(".svg")}
    assert names == {"accuracy_against_ipc_standard", "training_standard"}


QUESTIONS = (ablation.ablation, ablation.networks, ablation.sensitivity)


def test_marker_styles_differ_between_methods_and_stay_the_same():
    assert len(set(palette.KNOWN.values())) == len(palette.KNOWN)
    assert palette.marker_style("WMDD") == palette.marker_style("wmdd")
    assert palette.marker_style("wmdd+bn").colour == palette.marker_style("wmdd").colour
    assert palette.marker_style("wmdd+bn").marker != palette.marker_style("wmdd").marker
    assert palette.marker_style("my_method") == palette.marker_style("my_method")
    assert palette.marker_style("my_method") not in palette.KNOWN.values()


def test_no_torch():
    code = (
        "import sys, leaderboards.report; print([name for name in ('torch', 'benchmark.api') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_what_is_missing_needs_the_options_of_the_run_and_a_published_table_none(store):
    measured(store, ipcs=(10,), datasets=("digits",))
    store.cell(method="dm")
    command = "`python -m benchmark run --suite main`"
    built = store.build()
    page = re.sub("</?code>", "`", html.unescape((Path(built.folder) / "index.html").read_text()))
    for shown in (" ".join(report.text(built).split()), page):
        assert f"{command}, with the options of your run, computes them" in shown
    tables = store.results().files
    assert f"{command} computes them".encode() in tables["tables/main_standard_test_resnet.md"]
