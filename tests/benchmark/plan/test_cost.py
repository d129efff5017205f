"""The cost of a plan: work agrees with what records counted, and hours follow from the table of a card."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmark.config_files import load_named
from benchmark.identity import STAGES
from benchmark.plan.cost import Card, Costs, Span
from benchmark.plan.discovery import load_evaluator, load_labels, load_measure, load_method, load_preparation
from benchmark.plan.graph import Planner, PlanOptions
from benchmark.plan.nodes import TEACHER_VERSION, Needs, Node
from benchmark.plan.suite import Selection, load_suite
from benchmark.vision.datasets import info, load_dataset, nominal_info

PUBLISHED = Path(__file__).parents[3] / "leaderboards" / "published"
LOADERS = {
    "prepare": load_preparation,
    "distill": load_method,
    "relabel": load_labels,
    "evaluate": load_evaluator,
    "measure": load_measure,
}
# components that do not say what their work is
SILENT = {"robustness", "external", "dc", "dsa", "mtt", "tesla", "ftd", "datm", "idm", "m3d", "hdd", "ncfm", "pairs"}


def records(suite: str) -> list[dict]:
    lines = (PUBLISHED / suite / "records.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def node_of(record: dict) -> Node:
    return Node(record["key"], record["stage"], record["identity"], Needs(gpus=1.0), record["key"])


def is_current(record: dict) -> bool:
    component = record["identity"]["component"]
    if record["stage"] == "teacher":
        return component["version"] == TEACHER_VERSION
    return component["version"] == LOADERS[record["stage"]](component["name"]).version


@pytest.fixture(scope="module")
def card() -> Card:
    return load_named(Card, "cards", "H100")


@pytest.mark.parametrize("suite", sorted(path.name for path in PUBLISHED.iterdir()))
def test_work_is_what_records_counted(suite, card):
    digits = [record for record in records(suite) if record["identity"]["dataset"]["name"] == "digits"]
    nodes = {record["key"]: node_of(record) for record in sorted(digits, key=lambda one: STAGES.index(one["stage"]))}
    known = {key: node for key, node in nodes.items() if all(parent in nodes for parent in node.parents)}
    costs = Costs(known, {"digits": info(load_dataset("digits"), Path("nowhere"))}, card, todo=())
    equal, other = set(), set()
    for record in digits:
        if record["key"] in known and is_current(record) and "images_forwarded" in record["cost"]:
            name, counted = record["identity"]["component"]["name"], record["cost"]["images_forwarded"]
            work = costs.work_of(known[record["key"]])
            assert (work is None) is (name in SILENT), name
            images = counted if work is None else sum(part.images for part in work)
            (equal if images == counted else other).add(name)
            assert images >= counted, name  # a node that was interrupted counts the images since its last save
    assert other <= equal


def planned(data: Path, *methods: str, ipc: int = 10) -> tuple[Costs, Costs]:
    """Return the costs of some methods on ImageNet-1K, which is not on disk: of all nodes, and of the evaluations."""
    suite = Selection(datasets=("imagenet1k",), methods=methods, ipc=(ipc,), protocols=("standard",), seeds=1)
    planner = Planner(PlanOptions(data, "cuda", nominal=True))
    plan, card = planner.plan(suite.apply(load_suite("main"))), load_named(Card, "cards", "H100")
    infos = {"imagenet1k": planner.dataset("imagenet1k")[1]}
    evaluations = [key for key, node in plan.nodes.items() if node.stage == "evaluate"]
    return Costs(plan.nodes, infos, card, todo=plan.nodes), Costs(plan.nodes, infos, card, todo=evaluations)


def test_hours_follow_from_the_table(tmp_path, card):
    costs, evaluations = planned(tmp_path, "random_real")
    rows = {(row.work, row.mixed): row.images_per_second for row in card.rows}
    slow = 10 * 1000 * 300 / rows["train", False][0] + 50_000 / rows["forward", False][0]
    assert costs.stages["evaluate"].work.high == pytest.approx(slow)
    assert costs.stages["relabel"].work.low == pytest.approx(10 * 1000 * 300 / rows["forward", False][1])
    assert costs.stages["distill"].work == Span()
    assert evaluations.work == costs.stages["evaluate"].work
    assert evaluations.starts() == Span(*card.start_seconds)
    assert costs.chain.high <= costs.work.high + costs.starts().high


def test_what_has_no_row_is_named(tmp_path):
    costs, _ = planned(tmp_path, "dm", "sre2l")
    assert set(costs.stages["distill"].uncounted) == {"dm"}
    assert costs.stages["distill"].work.low > 0


def test_tasks_that_share_a_process_start_less_often(tmp_path):
    costs, _ = planned(tmp_path, "sre2l")
    assert costs.starts(420).low < costs.starts().low / 2  # 103 nodes, in tasks of seven minutes: three a task


def test_a_dataset_that_is_not_on_disk_has_the_size_of_its_file():
    nominal = nominal_info(load_dataset("imagenet1k"))
    assert (sum(nominal.train_counts), min(nominal.train_counts), nominal.classes) == (1281167, 732, 1000)


def test_the_sizes_in_files_are_those_on_disk():
    config = load_dataset("digits")
    assert sum(info(config, Path("nowhere")).train_counts) == config.images.train
