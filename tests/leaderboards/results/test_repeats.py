"""A protocol that repeats another's numbers says so; what is kept under attack; the compute of a curve over IPC."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from engine import plan
from fake_store import COLUMNS, FakeStore

from leaderboards import report
from leaderboards.plots import accuracy
from leaderboards.results import cells, records

LEVELS = {"wmdd": 70.0, "random_real": 60.0}
SENTENCE = "Protocol online gives the same accuracy as standard in every cell: digits, test_resnet."


@pytest.fixture
def store(tmp_path: Path) -> FakeStore:
    return FakeStore(str(tmp_path))


def fill(store: FakeStore, shift=0.0, protocols=("online", "standard", "hard")) -> None:
    for (method, level), protocol, seed in itertools.product(LEVELS.items(), protocols, range(3)):
        lower = {"hard": 20.0, "online": shift}.get(protocol, 0.0)
        store.done(store.cell(method=method, protocol=protocol, seed=seed), top1=level - lower + seed)


def results(store: FakeStore) -> report.Results:
    store.write_manifest()
    return report.results_of(records.read(store.root, "main"))


def test_it_has_no_table_and_says_so(store):
    fill(store)
    found = results(store)
    assert not [table.name for table in found.tables if "online" in table.name]
    assert SENTENCE in found.tables[0].absent
    (overview,) = [sheet for sheet in found.overviews if sheet.name.startswith("overview")]
    assert "online" not in [heading for _, heading in overview.columns]
    assert SENTENCE in overview.absent
    assert SENTENCE in report.text(found.report, width=200)
    board = found.report.leaderboard
    assert set(board.loc[board["protocol"] == "online", "repeats"]) == {"standard"}
    assert set(board.loc[board["protocol"] != "online", "repeats"]) == {""}


def test_a_protocol_that_differs_in_one_cell_repeats_nothing(store):
    fill(store)
    store.done(store.cells[0], top1=0.5)
    assert set(results(store).report.leaderboard["repeats"]) == {""}


def test_two_equal_cells_are_no_repetition(store):
    for protocol in ("standard", "online"):
        store.done(store.cell(protocol=protocol), top1=50.0)
    assert set(results(store).report.leaderboard["repeats"]) == {""}


def test_what_is_left_of_clean_accuracy_stands_beside_the_accuracy_under_attack(store):
    columns = [{**column, "part_of": "clean"} if column["name"] == "fgsm_top1" else column for column in ACCURACY]
    store.columns = {**COLUMNS, "evaluate": {"accuracy": columns}}
    for method, (clean, attacked) in {"strong": (80.0, 40.0), "weak": (20.0, 15.0)}.items():
        for seed in range(2):
            cell = store.cell(method=method, protocol="robust", seed=seed)
            store.done(cell, top1=clean)
            path = f"{cell['nodes']['evaluate'][0]}/record.json"
            metrics = {"top1": clean, "clean": clean, "fgsm_top1": attacked}
            store.write(path, {**store.read(path), "metrics": metrics})
    found = results(store).report
    numbers = found.evaluations.set_index("method")
    assert numbers["fgsm_top1"].to_dict() == {"strong": 40.0, "weak": 15.0}
    assert numbers["fgsm_top1.kept"].to_dict() == {"strong": 50.0, "weak": 75.0}
    assert "FGSM kept, %" in [column.title for column in found.declared.columns]


ACCURACY = COLUMNS["evaluate"]["accuracy"]


def test_curves_over_ipc_show_the_steps_of_students(store):
    for ipc, seed in itertools.product((1, 10, 50), range(2)):
        for method in LEVELS:
            cell = store.cell(method=method, ipc=ipc, seed=seed)
            store.done(cell, top1=10.0 + ipc / 10)
            for stage, change in (
                ("distill", {"metrics": {"images": 5 * ipc}}),
                ("evaluate", {}),
            ):
                for node in cell["nodes"][stage]:
                    record = {**store.read(f"{node}/record.json"), **change}
                    record["identity"]["component"]["params"]["schedule"] = {"epochs": 300, "batch_size": 50}
                    store.write(f"{node}/record.json", record)
    board = results(store).report.leaderboard
    steps = board.groupby("ipc")["student_steps"].first().to_dict()
    assert steps == {1: 300, 10: 600, 50: 3000}  # two units of 5 images per IPC, batches of 50
    (figure,) = accuracy.accuracy_against_ipc(board).values()
    assert [text.get_text() for text in figure.axes[0].get_xticklabels()] == ["1\n300", "10\n600", "50\n3k"]


@pytest.mark.parametrize(
    ("metrics", "steps"),
    [({"student_steps": 24, "images_shown": 40.0}, 24), ({"images_shown": 40.0}, 20), ({}, 5)],
    ids=["recorded", "from the images of an epoch", "from the images"],
)
def test_steps_are_those_that_the_evaluator_took(metrics, steps):
    params = {"schedule": {"epochs": 5, "batch_size": 10, "mix": "dsa_of_cells"}}
    evaluated = {"identity": {"component": {"params": params}}, "metrics": metrics}
    assert cells._steps([evaluated], [{"metrics": {"images": 10}}]) == steps
    assert cells._steps([], []) is None


def test_equal_steps_holds_the_steps_of_students_at_every_ipc():
    steps = {}
    for protocol in ("standard", "equal_steps"):
        planned = plan({"ipc": [1, 10, 50], "protocols": [protocol], "methods": ["random_real"]})
        for node in planned.nodes.values():
            if node.stage == "evaluate":
                schedule = node.identity["component"]["params"]["schedule"]
                batches = -(-10 * node.identity["ipc"] // schedule["batch_size"])
                steps[protocol, node.identity["ipc"]] = schedule["epochs"] * batches
    assert steps["standard", 1] < steps["standard", 10] < steps["standard", 50]
    assert steps["equal_steps", 1] == steps["equal_steps", 10] == steps["equal_steps", 50] == steps["standard", 10]


def test_protocols_on_labels_alone_have_the_same_views_and_steps():
    schedules = {}
    for protocol in ("hard_same_views", "soft", "standard"):
        planned = plan({"ipc": [10], "protocols": [protocol]})
        (node,) = [node for node in planned.nodes.values() if node.stage == "evaluate"]
        params = node.identity["component"]["params"]
        schedules[protocol] = {
            name: params[name] for name in ("schedule", "optimizer", "learning_rate", "weight_decay")
        }
    assert schedules["hard_same_views"] == schedules["soft"] == schedules["standard"]
    kinds = {protocol: protocol_labels(protocol) for protocol in schedules}
    assert kinds == {"hard_same_views": "hard", "soft": "soft", "standard": "per_epoch"}


def protocol_labels(name: str) -> str:
    planned = plan({"ipc": [10], "protocols": [name]})
    (node,) = [node for node in planned.nodes.values() if node.stage == "relabel"]
    return node.identity["component"]["name"]
