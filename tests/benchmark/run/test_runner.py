"""Runners: which nodes run, which a failure blocks, which are tried again; Ray writes the serial runner's records."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest
from engine import campaign, finish

from benchmark.errors import BenchmarkError
from benchmark.identity import STAGES
from benchmark.plan.nodes import Needs, Node
from benchmark.run import execution
from benchmark.run import runner as running
from benchmark.run.heartbeat import Heartbeat
from benchmark.run.options import NodeOptions, Outcome
from benchmark.run.queue import RETRIES, TASK_SECONDS, Event, Queue
from benchmark.run.runner import RayRunner, SerialRunner, machine_of, needs_here
from benchmark.run.store import Store

pytestmark = pytest.mark.usefixtures("short_training")
NOWHERE = NodeOptions("nowhere", "nowhere")


def node(
    key: str,
    stage: str = "distill",
    parents: tuple[str, ...] = (),
    needs: Needs | None = None,
    seconds: float = 0.0,
) -> Node:
    identity = {"parents": {"all": parents}, "dataset": {"name": "digits"}}
    return Node(key, stage, identity, needs or Needs(), f"number {key}", seconds)


def graph(*nodes: Node) -> dict[str, Node]:
    return {node.key: node for node in nodes}


DIAMOND = graph(
    node("a", "teacher"), node("b", parents=("a",)), node("c", parents=("a",)), node("d", "evaluate", ("b", "c"))
)


def words(events: list[Event]) -> list[str]:
    return [f"{event.node.key} {event.status}" for event in events]


def scripted(**outcomes: list[str]):
    """Return a substitute for `execute`: ``outcomes`` has one word per attempt of a node; without one, it is done."""

    def run(key: str, _identity: object, _options: object) -> Outcome:
        word = outcomes.get(key, []).pop(0) if outcomes.get(key) else "done"
        return Outcome(key, "done" if word == "done" else "failed", word, transient=word == "transient")

    return run


def test_the_serial_runner_has_the_processors_that_its_process_may_use(monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 64)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 5}, raising=False)
    threads = []
    done = lambda key, _, options: threads.append(options.threads) or Outcome(key, "done")  # noqa: E731
    monkeypatch.setattr(running, "execute", done)
    list(SerialRunner().run(graph(node("a", needs=Needs(cpus=8))), NOWHERE))
    assert threads == [2]


class TestQueue:
    def test_a_node_waits_for_all_its_parents(self):
        queue = Queue(DIAMOND)
        first = queue.pop()
        assert first.key == "a"
        assert queue.pop() is None
        list(queue.finish(first, Outcome("a", "done")))
        b, c = queue.pop(), queue.pop()
        assert (b.key, c.key, queue.pop()) == ("b", "c", None)
        list(queue.finish(b, Outcome("b", "done")))
        assert queue.pop() is None
        list(queue.finish(c, Outcome("c", "done")))
        assert queue.pop().key == "d"

    def test_late_stages_go_first_so_that_results_appear(self):
        nodes = [node(f"{stage}{i}", stage) for stage in STAGES for i in range(9)]
        queue = Queue(graph(*nodes))
        assert [queue.pop().stage for _ in nodes] == [stage for stage in reversed(STAGES) for _ in range(9)]

    def test_the_longest_chain_goes_first_where_all_would_wait_for_it(self):
        """Two slots: seven short chains, and one as long as half of them, whose last node is long."""
        short = [node(f"s{i}", "distill", seconds=10.0) for i in range(7)]
        chain = [node("t", "teacher", seconds=1.0), node("d", "distill", parents=("t",), seconds=60.0)]
        assert Queue(graph(*short, *chain), slots=2).pop().key == "t"
        again = [node(f"s{i}", "distill", seconds=10.0) for i in range(70)]
        assert Queue(graph(*again, *chain), slots=2).pop().key == "s0", "there is time for it later"

    def test_a_finished_set_is_evaluated_before_the_next_one_is_distilled(self):
        sets = [node(f"d{i}", "distill", seconds=5.0) for i in range(9)]
        students = [node(f"e{i}", "evaluate", parents=(f"d{i}",), seconds=5.0) for i in range(9)]
        queue, order = Queue(graph(*sets, *students)), []
        while (following := queue.pop()) is not None:
            order.append(following.key)
            list(queue.finish(following, Outcome(following.key, "done")))
        assert order[:4] == ["d0", "e0", "d1", "e1"]
        assert len(order) == 18

    def test_a_chain_becomes_urgent_as_the_other_work_is_done(self):
        short = [node(f"e{i}", "evaluate", seconds=10.0) for i in range(8)]
        queue = Queue(graph(*short, node("d", "distill", seconds=12.0)))
        order = []
        while (following := queue.pop()) is not None:
            order.append(following.key)
            list(queue.finish(following, Outcome(following.key, "done")))
        assert order.index("d") == 5, "when it is a quarter of what remains"

    def test_of_urgent_chains_the_longest_goes_first(self):
        assert Queue(graph(node("a", seconds=30.0), node("b", seconds=40.0))).pop().key == "b"

    def test_a_chain_is_as_long_as_its_longest_way_and_not_as_all_its_branches(self):
        branches = [node(f"b{i}", parents=("t",), seconds=10.0) for i in range(8)]
        assert Queue(graph(node("t", "teacher", seconds=1.0), *branches, node("d", seconds=31.0))).pop().key == "d"

    def test_what_a_failure_blocks_no_longer_remains(self):
        short = [node(f"e{i}", "evaluate", seconds=10.0) for i in range(4)]
        chain = [node("t", "teacher", seconds=1.0), node("dt", "distill", parents=("t",), seconds=100.0)]
        queue = Queue(graph(*short, *chain, node("d", "distill", seconds=20.0)))
        teacher = queue.pop()
        assert teacher.key == "t"
        list(queue.finish(teacher, Outcome("t", "failed")))
        assert queue.pop().key == "d", "it is a third of what remains"

    def test_parents_outside_the_graph_count_as_done(self):
        assert Queue(graph(node("b", parents=("elsewhere",)))).pop().key == "b"


class TestCompany:
    """Nodes that share a task: enough for its time, alike, known, and never all of them."""

    def of(self, queue: Queue, places: float = 1.0) -> list[str]:
        return [found.key for found in queue.company(queue.pop(), places)]

    def test_nodes_share_a_task_until_its_time_is_full(self):
        queue = Queue(graph(*(node(f"u{i}", seconds=TASK_SECONDS / 4) for i in range(9))))
        assert self.of(queue) == ["u1", "u2", "u3"]
        assert queue.pop().key == "u4"

    def test_each_place_gets_its_part(self):
        queue = Queue(graph(*(node(f"u{i}", seconds=1.0) for i in range(8))))
        assert self.of(queue, places=4) == ["u1"], "two of eight nodes for each of four places"

    def test_a_node_of_which_nothing_is_known_runs_alone_until_one_like_it_has_ended(self):
        queue = Queue(graph(*(node(f"u{i}") for i in range(9))))
        first = queue.pop()
        assert queue.company(first, 1) == []
        list(queue.finish(first, Outcome("u0", "done", seconds=TASK_SECONDS / 3)))
        assert self.of(queue) == ["u2", "u3"]

    def test_a_node_that_another_process_did_does_not_tell_how_long_such_nodes_take(self):
        queue = Queue(graph(*(node(f"u{i}", seconds=TASK_SECONDS / 3) for i in range(9))))
        list(queue.finish(queue.pop(), Outcome("u0", "done")))
        assert self.of(queue) == ["u2", "u3"]

    @pytest.mark.parametrize(
        "other",
        [
            node("b", "relabel", seconds=1.0),
            node("b", needs=Needs(gpus=0.5), seconds=1.0),
            replace(node("b", seconds=1.0), identity={"parents": {"teachers": ("t",)}, "dataset": {"name": "digits"}}),
            replace(node("b", seconds=1.0), identity={"parents": {}, "dataset": {"name": "cifar10"}}),
        ],
    )
    def test_only_nodes_of_one_stage_dataset_teacher_and_needs_share(self, other):
        queue = Queue(graph(node("a", seconds=1.0), other))
        assert self.of(queue, places=0.5) == []

    def test_a_node_that_is_tried_again_runs_alone(self):
        queue = Queue(graph(*(node(f"u{i}", seconds=1.0) for i in range(3))))
        first = queue.pop()
        list(queue.finish(first, Outcome("u0", "failed", transient=True)))
        assert self.of(queue) == ["u2"], "u0 waits behind them, alone"

    def test_nodes_that_did_not_start_wait_again(self):
        queue = Queue(graph(*(node(f"u{i}", seconds=1.0) for i in range(3))))
        queue.pop()
        queue.give_back([queue.pop()])
        assert {queue.pop().key, queue.pop().key} == {"u1", "u2"}


class TestSerialRunner:
    @pytest.fixture(autouse=True)
    def _outcomes(self, monkeypatch):
        self.script = lambda **told: monkeypatch.setattr(running, "execute", scripted(**told))

    def run(self, nodes: dict[str, Node]) -> list[str]:
        return words(list(SerialRunner().run(nodes, NOWHERE)))

    def test_all_is_done(self):
        self.script()
        assert [word for word in self.run(DIAMOND) if "done" in word] == ["a done", "b done", "c done", "d done"]

    def test_a_failure_blocks_what_depends_on_it_once_and_nothing_else(self):
        self.script(b=["broken"], c=["broken"])
        nodes = {**DIAMOND, **graph(node("e"), node("f", "evaluate", ("d",)))}
        events = list(SerialRunner().run(nodes, NOWHERE))
        statuses = words(events)
        assert {"e done", "b failed", "c failed", "d blocked", "f blocked"} <= set(statuses)
        assert statuses.count("d blocked") == statuses.count("f blocked") == 1
        assert "d started" not in statuses
        (blocked,) = [event for event in events if words([event]) == ["d blocked"]]
        assert blocked.message in ("waits for distill number b", "waits for distill number c")

    def test_a_transient_fault_is_tried_again(self):
        self.script(a=["transient"])
        assert self.run(graph(node("a")))[1:] == ["a retried", "a started", "a done"]

    def test_but_not_for_ever(self):
        self.script(a=["transient"] * 99)
        statuses = self.run(DIAMOND)
        assert statuses.count("a started") == RETRIES + 1
        assert statuses[-4:] == ["a failed", "b blocked", "d blocked", "c blocked"]

    def test_a_lasting_fault_is_not_tried_again(self):
        self.script(a=["broken"])
        assert self.run(graph(node("a"))) == ["a started", "a failed"]

    def test_what_takes_no_share_of_a_graphics_card_runs_on_the_cpu(self, monkeypatch):
        devices = {}

        def note(key: str, _identity: object, options: NodeOptions) -> Outcome:
            devices[key] = options.device
            return Outcome(key, "done")

        monkeypatch.setattr(running, "execute", note)
        nodes = graph(node("a", needs=Needs(gpus=0.5)), node("b", needs=Needs(gpus=0)))
        list(SerialRunner().run(nodes, NodeOptions("nowhere", "nowhere", "cuda")))
        assert devices == {"a": "cuda", "b": "cpu"}


def report_device():
    """Return a substitute for `execute` in a worker: its message is the device it was told to use."""
    return lambda key, _identity, options: Outcome(key, "done", options.device)


def deadly():
    """Return a substitute for `execute` in a worker: "dies" kills the worker, "dies once" only in its first attempt."""

    def run(key: str, identity: dict, options: NodeOptions) -> Outcome:
        mark = Path(options.data) / key
        if key == "dies" or (key == "dies once" and not mark.exists()):
            mark.touch()
            os._exit(1)
        return Outcome(key, "done")

    return run  # Ray pickles an inner function by value: workers cannot import this file


def deadly_in_turn():
    """Return a substitute for `execute_in_turn` in a worker, with `deadly` in place of `execute`."""
    one = deadly()

    def run(nodes):
        import time

        for each in nodes:
            yield one(*each)
            time.sleep(0.5)  # so that the outcome is on its way before the process dies

    return run


def test_nothing_runs_after_a_failure_in_the_same_process(monkeypatch):
    def one(key, identity, options):
        return Outcome(key, "failed" if key == "b" else "done")

    monkeypatch.setattr(execution, "execute", one)
    outcomes = execution.execute_in_turn([(key, {}, NOWHERE) for key in "abc"])
    assert [(outcome.key, outcome.status) for outcome in outcomes] == [("a", "done"), ("b", "failed")]


def stopping():
    """Return a substitute for `execute` in a worker: in its first attempt, it stops after its first heartbeat."""

    def run(key: str, identity: dict, options: NodeOptions) -> Outcome:
        import signal

        mark = Path(options.runs) / "stopped"
        if not mark.exists():
            mark.touch()
            Heartbeat(Store(options.runs), key, options.owner)(0, 1, {})
            os.kill(os.getpid(), signal.SIGSTOP)
        return Outcome(key, "done")

    return run


@pytest.fixture(scope="module")
def cluster():
    if find_spec("ray") is None:
        pytest.skip("Ray is not installed")
    runner = RayRunner("local", "cpu")
    yield runner
    runner.close()


@pytest.mark.ray
class TestRayRunner:
    def test_it_does_as_the_serial_runner_does(self, cluster, tmp_path):
        block = {"methods": ["random_real", "noise"], "seeds": 2}
        for name in ("serial", "ray"):
            (tmp_path / name).mkdir()
        one, two = (campaign(tmp_path / name, block) for name in ("serial", "ray"))
        finish(one)
        events = list(two.run(cluster))
        assert {event.status for event in events} == {"started", "done"}
        first, second = list(one.store.records()), list(two.store.records())
        assert [record["key"] for record in first] == [record["key"] for record in second]
        for serial, ray in zip(first, second, strict=True):
            assert serial["identity"] == ray["identity"]
            assert serial["files"] == ray["files"], "the same bytes"
            assert serial["metrics"] == ray["metrics"]

    def test_a_worker_that_dies_becomes_a_row_and_the_others_finish(self, cluster, tmp_path, monkeypatch):
        monkeypatch.setattr(cluster, "cpu_task", cluster.ray.remote(num_cpus=1, max_retries=0)(deadly()))
        nodes = graph(node("dies", "teacher"), node("child", parents=("dies",)), node("lives"), node("dies once"))
        events = list(cluster.run(nodes, NodeOptions(str(tmp_path / "runs"), str(tmp_path))))
        statuses = words(events)
        assert statuses.count("dies retried") == RETRIES
        assert statuses.count("dies failed") == statuses.count("child blocked") == 1
        assert {"lives done", "dies once retried", "dies once done"} <= set(statuses)
        (failed,) = [event for event in events if event.status == "failed"]
        assert "WorkerCrashedError" in failed.message
        assert "\n" not in failed.message
        assert Store(str(tmp_path / "runs")).read_json("dies/error.json")["message"] == failed.message

    def test_a_worker_that_is_stopped_is_ended_and_its_node_tried_again(self, cluster, tmp_path, monkeypatch):
        monkeypatch.setattr("benchmark.run.silence.LOOK", 0.5)
        monkeypatch.setattr(cluster, "cpu_task", cluster.ray.remote(num_cpus=1, max_retries=0)(stopping()))
        events = list(cluster.run(graph(node("a", needs=Needs(silent_seconds=3))), NodeOptions(str(tmp_path), "data")))
        assert words(events) == ["a started", "a retried", "a started", "a done"]
        assert "WorkerCrashedError" in events[1].message

    def test_a_death_in_a_task_of_several_nodes_loses_one_of_them(self, cluster, tmp_path, monkeypatch):
        task = cluster.ray.remote(num_cpus=1, max_retries=0, max_calls=1, num_returns="streaming")(deadly_in_turn())
        names: list[str] = []

        def without_card(num_gpus: float, **resources: object) -> object:
            names.append(str(resources["name"]))
            return task.options(**resources)

        monkeypatch.setattr(cluster, "gpu_task", SimpleNamespace(options=without_card))
        monkeypatch.setattr(cluster, "machines", [Needs(1, 1.0)])
        nodes = graph(*(node(name, needs=Needs(gpus=1.0), seconds=1.0) for name in ("a", "b", "dies once", "d", "e")))
        events = list(cluster.run(nodes, NodeOptions(str(tmp_path / "runs"), str(tmp_path))))
        statuses = words(events)
        assert names[0] == "distill number a and 4 more"
        assert [word for word in statuses if "retried" in word] == ["dies once retried"]
        assert all(statuses.count(f"{name} done") == 1 for name in nodes)
        assert statuses[:4] == ["a started", "a done", "b started", "b done"], "outcomes come one after the other"

    def test_what_takes_no_share_of_a_graphics_card_runs_on_the_cpu(self, cluster, monkeypatch):
        monkeypatch.setattr(cluster, "cpu_task", cluster.ray.remote(num_cpus=1, max_retries=0)(report_device()))
        *_, done = cluster.run(graph(node("a")), NodeOptions("nowhere", "nowhere", "cuda"))
        assert (done.status, done.message) == ("done", "cpu")

    def test_a_worker_that_lacks_the_code_fails_once_and_says_so(self, cluster, monkeypatch, tmp_path):
        def lacking(*_args):
            raise ModuleNotFoundError("No module named 'benchmark'")

        monkeypatch.setattr(cluster, "cpu_task", cluster.ray.remote(num_cpus=1, max_retries=0)(lacking))
        *_, failed = cluster.run(graph(node("a")), NodeOptions(str(tmp_path / "runs"), str(tmp_path)))
        said = "the worker cannot run it: ModuleNotFoundError: No module named 'benchmark'"
        assert (failed.status, failed.message) == ("failed", said)

    @pytest.mark.parametrize("needs", [Needs(gpus=1.0), Needs(memory_gb=1e6)])
    def test_what_no_machine_has_is_said_before_anything_starts(self, cluster, needs):
        nodes = graph(node("a", "teacher"), node("b", needs=needs))
        with pytest.raises(BenchmarkError, match=r"configs/datasets/digits\.yaml: resources: no machine .* has 1 CPUs"):
            next(cluster.run(nodes, NOWHERE))

    def test_more_processors_than_there_are_is_as_many_as_there_are(self, cluster):
        most = max(machine.cpus for machine in cluster.machines)
        assert needs_here(node("a", needs=Needs(cpus=999)), cluster.machines).cpus == most

    def test_only_a_machine_with_the_right_card_will_do(self):
        machines = [
            machine_of({"Resources": {"CPU": 8.0, "GPU": 2.0}, "Labels": {"ray.io/accelerator-type": "A100"}}),
            machine_of({"Resources": {"CPU": 8.0, "memory": 2.0**33}}),
        ]
        assert machines == [Needs(8, 2.0, 0.0, "A100"), Needs(8, 0.0, 8.0)]
        needs = Needs(4, 0.5, 0.0, "A100")
        assert needs_here(node("a", needs=needs), machines) == needs
        with pytest.raises(BenchmarkError, match=r"0\.5 GPUs of the model H100 and"):
            needs_here(node("a", needs=Needs(4, 0.5, 0.0, "H100")), machines)

    def test_tasks_on_a_graphics_card_end_their_process(self, cluster):
        assert cluster.gpu_task._default_options["max_calls"] == 1
        assert not cluster.has_gpu, "--device cpu keeps a private cluster off the graphics cards"


@pytest.mark.ray
@pytest.mark.slow
def test_a_private_cluster_writes_nothing_below_the_home_folder(tmp_path):
    script = (
        "from benchmark.run.runner import RayRunner\n"
        "runner = RayRunner('local', 'cpu')\n"
        "print(runner.ray.get(runner.ray.remote(lambda: 42).remote()))\n"
        "runner.close()"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    done = subprocess.run(
        [sys.executable, "-c", script], env={**environment, "HOME": str(tmp_path)}, capture_output=True, text=True
    )
    assert done.stdout.strip() == "42", done.stderr
    assert list(tmp_path.rglob("*")) == []


def test_a_cluster_that_does_not_answer_is_said_at_once():
    for address in ("127.0.0.1:1", "ray://127.0.0.1:1"):
        with pytest.raises(BenchmarkError, match=f"--ray {address}: no cluster answers .*--ray local starts one"):
            RayRunner(address, "cpu")


def test_ray_that_is_not_installed_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(BenchmarkError, match=r"--runner ray: Ray is not installed .* or use --runner serial"):
        RayRunner("local", "cpu")


@pytest.mark.parametrize(
    "error",
    [
        Exception("The current node timed out during startup."),  # what Ray raises where its raylet is late
        TimeoutError("Timed out after 30 seconds while waiting for node to startup."),
        RuntimeError("Failed to start GCS."),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_private_cluster_that_does_not_start_is_said(monkeypatch, error):
    def init(**_options):
        raise error

    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(init=init))
    with pytest.raises(BenchmarkError) as caught:
        RayRunner("local", "cpu")
    reason = f"{type(error).__name__}: {error}"
    assert str(caught.value) == (
        f"--ray local: the private cluster did not start ({reason}); try again, or use --runner serial"
    )
