"""Measures have nodes of their own, which all students of a set share, and never make a cell fail."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engine import campaign, finish, plan

import evaluators.measures
from benchmark.api import Context, Measure, SyntheticSet, TeacherSpec, TrainData
from benchmark.plan import discovery
from leaderboards.results import records
from leaderboards.results.cells import cells_table

pytestmark = pytest.mark.usefixtures("short_training")


class Brightness(Measure):
    """The mean pixel."""

    def teachers(self) -> tuple[TeacherSpec, ...]:
        return ()

    def measure(self, images: SyntheticSet, data: TrainData, context: Context, folder: Path) -> dict[str, Any]:
        if BROKEN:
            raise RuntimeError("too dark")
        np.save(folder / "pixels.npy", images.images.numpy())
        return {"mean": images.images.float().mean().item(), "real": len(data)}


class Opinion(Brightness):
    """The same through two networks."""

    def teachers(self) -> tuple[TeacherSpec, ...]:
        return (TeacherSpec(), TeacherSpec(neutral=True))


BROKEN = False


@pytest.fixture(autouse=True)
def installed(monkeypatch, tmp_path):
    """Both as files of ``evaluators/measures/``; classes that other tests loaded under these names do not count."""
    monkeypatch.setattr(discovery, "load_component", discovery.load_component.__wrapped__)
    monkeypatch.setattr(evaluators.measures, "__path__", [*evaluators.measures.__path__, str(tmp_path)])
    for kind in (Brightness, Opinion):
        name = f"evaluators.measures.{kind.__name__.lower()}"
        module, file = types.ModuleType(name), tmp_path / f"{kind.__name__.lower()}.py"
        module.__file__ = str(file)
        monkeypatch.setattr(kind, "__module__", name)
        setattr(module, kind.__name__, kind)
        monkeypatch.setitem(sys.modules, name, module)
        file.touch()


def stages_of(graph) -> list[str]:
    return sorted(node.stage for node in graph.nodes.values())


class TestPlan:
    def test_a_set_is_measured_once_for_all_its_students(self):
        block = {"students": ["test_resnet", "test_vit"], "seeds": 2}
        graph = plan(block, measures=["brightness"])
        assert stages_of(graph).count("measure") == stages_of(graph).count("distill") == 2
        assert all(len(cell.nodes["measure"]) == 1 for cell in graph.cells)

    def test_no_other_key_depends_on_it(self):
        without, with_ = plan({"seeds": 2}), plan({"seeds": 2}, measures=["brightness"])
        assert set(without.nodes) < set(with_.nodes)

    def test_its_networks_join_the_plan_and_not_the_cell(self):
        (cell,), nodes = (graph := plan(measures=["opinion"])).cells, graph.nodes
        trained = {node.identity["component"]["name"] for node in nodes.values() if node.stage == "teacher"}
        assert trained == {"test_resnet", "test_efficientnet"}
        assert cell.nodes["teacher"] == ()

    def test_the_whole_training_set_is_not_measured(self):
        graph = plan({"methods": ["full"]}, measures=["brightness"])
        assert "measure" not in stages_of(graph)


def test_it_is_recorded_beside_its_files(tmp_path):
    tiny = campaign(tmp_path, measures=["brightness"])
    assert {event.status for event in finish(tiny)} == {"started", "done"}
    key = next(key for key, node in tiny.plan.nodes.items() if node.stage == "measure")
    pixels = np.load(tiny.store.folder(key) / "pixels.npy")
    assert tiny.store.record(key)["metrics"] == {"mean": pytest.approx(pixels.mean()), "real": 1442}


def test_a_cell_is_fine_without_its_measure(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "BROKEN", True)
    tiny = campaign(tmp_path, measures=["brightness"])
    assert [event.status for event in finish(tiny)].count("failed") == 1
    (cell,) = records.rows_of(cells_table(records.read(str(tmp_path / "runs"), "tiny")))
    assert cell["status"] == "ok"
