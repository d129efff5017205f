"""Machines that see another store or other data than the driver are named before anything runs."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
from engine import campaign, suite_file

from benchmark.errors import BenchmarkError, Faults
from benchmark.plan.suite import Selection
from benchmark.run import visibility
from benchmark.run.campaign import RunOptions, open_campaign
from benchmark.run.runner import Event, RayRunner
from benchmark.run.store import Store
from benchmark.run.visibility import FOLDER, check, look

pytestmark = pytest.mark.usefixtures("short_training")


@pytest.fixture
def data(tmp_path) -> Path:
    (tmp_path / "data" / "imagenette").mkdir(parents=True)
    (tmp_path / "data" / ".cache").mkdir()
    return tmp_path / "data"


def driver(root: Path) -> Store:
    store = Store(str(root))
    store.write_text(f"{FOLDER}/driver", "")
    return store


def test_the_same_folders_are_seen(tmp_path, data):
    store = driver(tmp_path / "runs")
    sight = look(str(tmp_path / "runs"), str(data), "driver", "machine")
    assert (sight.sees_store, sight.data, sight.error) == (True, ("imagenette",), "")
    check(store, str(data), [sight])


def test_another_store_is_named_in_one_line(tmp_path, data):
    store = driver(tmp_path / "runs")
    sight = look(str(tmp_path / "elsewhere"), str(data), "driver", "machine")
    with pytest.raises(
        Faults, match=rf"^--runs {tmp_path}/runs: machine .* sees another folder of this name"
    ) as caught:
        check(store, str(data), [sight])
    assert len(caught.value.faults) == 1


def test_a_store_that_is_seen_one_way_only_is_not_enough(tmp_path, data):
    store = driver(tmp_path / "runs")
    sight = look(str(tmp_path / "runs"), str(data), "driver", "machine")
    store.files.remove(f"{FOLDER}/machine")  # the driver does not see what the machine writes
    with pytest.raises(Faults, match="sees another folder"):
        check(store, str(data), [sight])


def test_data_that_a_machine_lacks_are_named(tmp_path, data):
    store = driver(tmp_path / "runs")
    sight = look(str(tmp_path / "runs"), str(tmp_path / "nothing"), "driver", "machine")
    with pytest.raises(Faults, match=rf"^--data {data}: machine .* does not see imagenette"):
        check(store, str(data), [sight])


def test_a_machine_that_cannot_write_says_why(tmp_path, data):
    store = driver(tmp_path / "runs")
    (tmp_path / "file").touch()
    with pytest.raises(Faults, match="cannot be written"):
        check(store, str(data), [look(str(tmp_path / "file" / "runs"), str(data), "driver", "machine")])


def test_relative_paths_become_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = RunOptions(runs="runs", data=Path("data"), runner="serial", device="cpu")
    opened = open_campaign(suite_file(tmp_path), Selection(), options)
    assert (opened.node_options.runs, opened.node_options.data) == (str(tmp_path / "runs"), str(tmp_path / "data"))
    assert opened.store.files.path == str(tmp_path / "runs")


def test_done_elsewhere_is_not_done(tmp_path):
    class Elsewhere:
        def run(self, nodes, options):
            yield from (Event(node, "done") for node in nodes.values())

    with pytest.raises(BenchmarkError, match="is done, but this machine does not see "):
        list(campaign(tmp_path).run(Elsewhere()))


@pytest.mark.ray
@pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed")
def test_a_cluster_that_sees_another_store_runs_nothing(tmp_path, monkeypatch):
    cluster = RayRunner("local", "cpu")
    try:
        monkeypatch.setattr(cluster, "is_private", False)
        opened = campaign(tmp_path)
        assert {event.status for event in opened.run(cluster)} == {"started", "done"}
        assert opened.store.files.files(FOLDER) == []
        elsewhere, here = str(tmp_path / "elsewhere"), visibility.look
        other = campaign(tmp_path, {"methods": ["noise"]})
        monkeypatch.setattr(visibility, "look", lambda runs, *rest, here=here: here(elsewhere, *rest))
        with pytest.raises(BenchmarkError, match="sees another folder of this name"):
            list(other.run(cluster))
        assert not list(Path(elsewhere).glob("*/record.json"))
    finally:
        cluster.close()
