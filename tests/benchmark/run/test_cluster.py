"""Clusters of Ray: who may connect, what listens where, what is left of a dead driver, which card a task gets."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from bucket import ROOT, python

from benchmark.errors import BenchmarkError
from benchmark.run import cluster, execution
from benchmark.run.cluster import Pulse, connect
from benchmark.run.options import NodeOptions

pytest.importorskip("ray")
ENVIRONMENT = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


@pytest.fixture
def port():
    """A port of this machine where something listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


class TestToken:
    @pytest.fixture(autouse=True)
    def _no_token(self, monkeypatch, tmp_path):
        monkeypatch.setenv("HOME", str(tmp_path))
        for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
            monkeypatch.setenv(name, "")  # so that it is restored: `connect` sets the mode itself
            monkeypatch.delenv(name)
        monkeypatch.setattr("ray.init", lambda **_: None)

    @pytest.mark.parametrize("mode", ["", "token", "disabled"])
    def test_a_cluster_without_a_token_is_asked_for_by_name(self, port, monkeypatch, mode):
        if mode:
            monkeypatch.setenv("RAY_AUTH_MODE", mode)
        with pytest.raises(BenchmarkError, match=r"no token is set, so whoever reaches the cluster.* --insecure"):
            connect(f"127.0.0.1:{port}", "cpu")
        connect(f"127.0.0.1:{port}", "cpu", insecure=True)

    @pytest.mark.parametrize("how", ["token", "file", "home"])
    def test_a_token_is_enough(self, port, monkeypatch, tmp_path, how):
        (tmp_path / ".ray").mkdir()
        (tmp_path / ("token" if how == "file" else ".ray/auth_token" if how == "home" else "x")).write_text("secret")
        if how != "home":
            name = "RAY_AUTH_TOKEN" if how == "token" else "RAY_AUTH_TOKEN_PATH"
            monkeypatch.setenv(name, "secret" if how == "token" else str(tmp_path / "token"))
        connect(f"127.0.0.1:{port}", "cpu")
        assert os.environ["RAY_AUTH_MODE"] == "token"
        monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
        with pytest.raises(BenchmarkError, match="--insecure"):
            connect(f"127.0.0.1:{port}", "cpu")


class TestPulse:
    def test_a_control_store_may_come_back(self, port, monkeypatch):
        pulse = Pulse("auto", {"raylet": ("127.0.0.1", port), "control store": ("127.0.0.1", 9)})
        assert not pulse.check() and not pulse.check()
        pulse.ports = {"raylet": ("127.0.0.1", port)}
        assert pulse.check() and not pulse.silent_since

    def test_but_not_for_ever(self, port, monkeypatch):
        pulse = Pulse("auto", {"raylet": ("127.0.0.1", port), "control store": ("127.0.0.1", 9)})
        monkeypatch.setattr(cluster, "GRACE", 0.0)
        with pytest.raises(BenchmarkError, match=r"--ray auto: the control store .* has died; finished nodes are kept"):
            pulse.check()

    def test_a_raylet_does_not(self):
        with pytest.raises(BenchmarkError, match="the raylet of the cluster has died"):
            Pulse("auto", {"raylet": ("127.0.0.1", 9)}).check()


def test_a_share_of_a_card_is_a_share_of_its_memory(monkeypatch):
    shares = []
    monkeypatch.setattr("torch.cuda.set_per_process_memory_fraction", shares.append)
    for device, share in (("cuda", 0.25), ("cuda", 1.0), ("cpu", 0.25), ("cuda", 2.0), ("cuda", 0.0)):
        execution._share_memory(NodeOptions("runs", "data", device, gpu_share=share))
    assert shares == [0.25, 1.0, 1.0, 1.0], "one process may run nodes with a part of the card and with all of it"


def marked(mark: str) -> dict[int, str]:
    """Return the command lines of the processes that have a mark in their environment, by process."""
    found = {}
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and mark.encode() in (folder / "environ").read_bytes():
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                if (folder / "stat").read_text().rpartition(")")[2].split()[0] != "Z":
                    found[int(folder.name)] = command
        except OSError:
            continue
    return found


def listening(processes: list[int]) -> set[str]:
    """Return the addresses at which some processes listen, as hexadecimal text of /proc/net/tcp."""
    inodes = set()
    for pid in processes:
        for link in Path(f"/proc/{pid}/fd").iterdir():
            try:
                inodes.add(str(link.readlink()).removeprefix("socket:[").rstrip("]"))
            except OSError:
                continue
    lines = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()]
    return {words[1].partition(":")[0] for words in lines if words[3] == "0A" and words[9] in inodes}


PRIVATE = """
import os, sys, time
from benchmark.run.runner import RayRunner
runner = RayRunner("local", "cpu")
body = runner.ray.remote(num_cpus=1)(lambda: time.sleep(1000))
tasks = [body.remote()]
time.sleep(3)
print(os.environ["BENCHMARK_CLUSTER"], flush=True)
time.sleep(1000)
"""
LOOPBACK = {"0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F"}


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="reads /proc")
def test_a_private_cluster_listens_on_the_loopback_only_and_ends_with_its_driver():
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")} | ENVIRONMENT
    driver = subprocess.Popen([sys.executable, "-c", PRIVATE], env=environment, cwd=ROOT, stdout=subprocess.PIPE)
    try:
        mark = driver.stdout.readline().decode().strip()
        processes = marked(mark)
        names = " ".join(processes.values())
        assert mark and all(word in names for word in ("gcs_server", "raylet", "agent"))
        addresses = listening([*processes, driver.pid])
        assert addresses and addresses <= LOOPBACK
    finally:
        os.kill(driver.pid, signal.SIGKILL)
        driver.wait()
    deadline = time.monotonic() + 15
    while left := marked(mark):
        assert time.monotonic() < deadline, left
        time.sleep(0.2)


DYING = """
import os, signal, sys, threading, time
from pathlib import Path
from benchmark.errors import BenchmarkError
from benchmark.plan.nodes import Needs, Node
from benchmark.run import cluster
from benchmark.run.options import NodeOptions
from benchmark.run.runner import RayRunner

name, grace, runs = sys.argv[1:]
cluster.GRACE = float(grace)
runner = RayRunner("local", "cpu")
mark = os.environ["BENCHMARK_CLUSTER"].encode()

def kill():
    time.sleep(4)
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and mark in (folder / "environ").read_bytes():
                if (folder / "comm").read_text().strip() == name:
                    os.kill(int(folder.name), signal.SIGKILL)
        except OSError:
            continue

runner.cpu_task = runner.ray.remote(num_cpus=1, max_retries=0)(lambda *_: time.sleep(1000))
node = Node("a", "distill", {"parents": {}, "dataset": {"name": "digits"}}, Needs(), "a")
threading.Thread(target=kill, daemon=True).start()
started = time.monotonic()
try:
    print([event.status for event in runner.run({"a": node}, NodeOptions(runs, runs))])
except BenchmarkError as error:
    print(error, f"({time.monotonic() - started:.0f} s)", flush=True)
    os._exit(2)
"""


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.parametrize(("process", "words"), [("raylet", "the raylet"), ("gcs_server", "the control store")])
def test_a_cluster_that_dies_ends_the_campaign_with_a_message(tmp_path, process, words):
    done = python(DYING, process, 3, tmp_path, **ENVIRONMENT)
    assert done.returncode == 2, done.stdout + done.stderr
    assert f"--ray local: {words} of the cluster has died; finished nodes are kept" in done.stdout


CARDS = """
import functools, json, os, sys, time
from pathlib import Path
import ray
from benchmark.plan.nodes import Needs, Node
from benchmark.run.options import NodeOptions, Outcome
from benchmark.run.runner import RayRunner

folder, init = Path(sys.argv[1]), ray.init
ray.init = lambda **options: init(**{**options, "num_cpus": 8, "num_gpus": 4})
runner = RayRunner("local", "auto")

def work():
    def run(key, identity, options):
        begun = time.time()
        time.sleep(0.5)
        cards = os.environ.get("CUDA_VISIBLE_DEVICES")
        facts = [cards, options.device, options.gpu_share, begun, time.time(), os.getpid()]
        (folder / key).write_text(json.dumps(facts))
        return Outcome(key, "done")
    return run

runner.cpu_task = ray.remote(num_cpus=1, max_retries=0)(work())
def works():
    one = work()
    def run(jobs):
        yield from (one(*job) for job in jobs)
    return run

own = {"num_gpus": 1, "max_calls": 1, "num_returns": "streaming"}
runner.gpu_task = ray.remote(num_cpus=1, max_retries=0, **own)(works())
shares = [0.5] * 4 + [1.0] * 2 + [2.0] + [0.25] * 2 + [0.0]
nodes = [Node(f"{i}", "distill", {"parents": {}, "dataset": {"name": "digits"}}, Needs(gpus=share), "t")
         for i, share in enumerate(shares)]
options = NodeOptions(str(folder), str(folder), "cuda")
events = list(runner.run({node.key: node for node in nodes}, options))
assert runner.has_gpu and sum(event.status == "done" for event in events) == len(nodes), events
runner.close()
"""


@pytest.mark.ray
@pytest.mark.slow
def test_no_card_is_given_twice(tmp_path):
    import json

    done = python(CARDS, tmp_path, **ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    tasks = [json.loads(path.read_text()) for path in tmp_path.iterdir() if path.name.isdigit()]
    assert len(tasks) == 10
    for visible, device, share, *_ in tasks:
        cards = [card for card in (visible or "").split(",") if card]
        assert device == ("cuda" if share else "cpu")
        assert len(cards) == (0 if not share else max(1, int(share)))
        assert set(cards) <= {"0", "1", "2", "3"}
    for moment in [begun for *_, begun, _, _ in tasks]:
        taken = dict.fromkeys("0123", 0.0)
        for visible, _, share, begun, ended, _ in tasks:
            for card in (visible or "").split(","):
                if card and begun <= moment < ended:
                    taken[card] += min(share, 1.0)
        assert max(taken.values()) <= 1.0
    processes = [pid for _, _, share, *_, pid in tasks if share]
    assert len(set(processes)) == len(processes), "a process ends with its task and frees the card's memory"


MANY = """
import json, os, resource, sys, threading, time
from ray.cluster_utils import Cluster
from benchmark.plan.nodes import Needs, Node
from benchmark.run.options import NodeOptions, Outcome
from benchmark.run.runner import RayRunner, machine_of

folder, count = sys.argv[1], int(sys.argv[2])
machines = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
runner = RayRunner(machines.address, "cpu")  # of two machines, Ray may choose either, and that of the driver must stay
second = machines.add_node(num_cpus=2)
runner.machines = [machine_of(machine) for machine in runner.ray.nodes() if machine["Alive"]]
assert len(runner.machines) == 2

def work():
    def run(key, identity, options):
        time.sleep(0.005)
        return Outcome(key, "done")
    return run

runner.cpu_task = runner.ray.remote(num_cpus=1, max_retries=0)(work())
nodes = {f"{i}": Node(f"{i}", "distill", {"parents": {"all": (f"{i - 50}",) if i >= 50 else ()},
         "dataset": {"name": "digits"}}, Needs(), "t") for i in range(count)}
begun, before, counts = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, {}
for event in runner.run(nodes, NodeOptions(folder, folder)):
    counts[event.status] = counts.get(event.status, 0) + 1
    if event.status == "done" and counts["done"] == count // 2:
        half = time.monotonic() - begun
        machines.remove_node(second, allow_graceful=False)
seconds = time.monotonic() - begun
grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
rates = {"first half, nodes a second": count / 2 / half, "second half": count / 2 / (seconds - half)}
print(json.dumps({"counts": counts, **rates, "grown, MB": grown, "address": machines.address}), flush=True)
sys.stdin.read(1)
machines.shutdown()
"""
OUTSIDER = """
import sys, ray
ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR")
print(ray.get(ray.remote(lambda: "inside").remote()))
"""


@pytest.mark.ray
@pytest.mark.slow
def test_two_machines_with_a_token_run_many_nodes_lose_a_machine_and_refuse_an_outsider(tmp_path):
    import json

    count = 1500
    clean = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")} | ENVIRONMENT
    mine = {**clean, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "a" * 32}
    command = [sys.executable, "-c", MANY, str(tmp_path), str(count)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    driver = subprocess.Popen(command, env=mine, cwd=ROOT, text=True, **pipes)
    line = next((line for line in driver.stdout if line.startswith("{")), "")  # Ray says that a machine died
    if not line:
        pytest.fail(driver.communicate()[1])
    facts = json.loads(line)
    print(facts)
    tokens = ({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "b" * 32}, {"RAY_AUTH_MODE": "disabled"})
    clean["RAY_NUM_REDIS_GET_RETRIES"] = "2"  # Ray tries 20 times to come in
    command = [sys.executable, "-c", OUTSIDER, facts["address"]]
    outsiders = [subprocess.Popen(command, env={**clean, **token}, text=True, **pipes) for token in tokens]
    for outsider in outsiders:
        shown, _ = outsider.communicate(timeout=120)
        assert outsider.returncode != 0 and "inside" not in shown
    driver.communicate("\n", timeout=120)
    assert facts["counts"]["done"] == count and not facts["counts"].keys() & {"failed", "blocked"}
    assert facts["grown, MB"] < 80
