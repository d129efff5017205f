"""A campaign is one selection of a suite with its store: which nodes are done, and running the others."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch

from benchmark.api import Frozen
from benchmark.errors import BenchmarkError, Faults
from benchmark.files import parse_object
from benchmark.identity import ancestors
from benchmark.plan.graph import Plan, PlannedCell, Planner, PlanOptions
from benchmark.plan.nodes import Node
from benchmark.plan.suite import Selection, Suite, load_suite, name_fault
from benchmark.record import ROW_AXES, is_altered, manifest_name, sealed
from benchmark.run.manifest import left_out_line, merged
from benchmark.run.options import NodeOptions
from benchmark.run.queue import Event, group_of
from benchmark.run.runner import RayRunner, Runner, SerialRunner
from benchmark.run.store import Store
from benchmark.run.sweep import Sweep
from benchmark.sources import ROOT
from benchmark.vision.datasets import Report, silent


class RunOptions(Frozen):
    """The options of the command line that say how nodes are run."""

    runs: str = "runs"  # the store, a folder or an address
    data: Path = Path("data")  # the data directory
    runner: Literal["ray", "serial"] = "ray"  # runs the nodes
    ray: str = "local"  # ``local``, ``auto`` or the address of a cluster; see `RayRunner`
    insecure: bool = False  # use a cluster that asks for no token
    device: Literal["auto", "cpu", "cuda"] = "auto"  # ``auto`` takes a graphics card where there is one


@dataclass(frozen=True)
class Campaign:
    """A selection of a suite and the state of its nodes in a store.

    Attributes:
        plan: the plan of the selected cells.
        full_plan: the plan of the whole suite.
        planner: has made both, and plans cells of earlier runs again.
        store: where results are read and written.
        node_options: how nodes are run.
        done: keys of the selected nodes with a sound result.
        corrupt: keys of the selected nodes whose files are damaged.
    """

    plan: Plan
    full_plan: Plan
    planner: Planner
    store: Store
    node_options: NodeOptions
    done: frozenset[str]
    corrupt: frozenset[str]

    @cached_property
    def todo(self) -> dict[str, Node]:
        """The selected nodes that are not done, parents first, each with the seconds that it may take.

        These are the median of similar nodes in the store, or else among the published results of the suite: of the
        same stage, dataset, component, student and IPC, else of the same stage, dataset and component, else of the same
        stage and dataset.
        """
        nodes = {key: node for key, node in self.plan.nodes.items() if key not in self.done}
        times = defaultdict[tuple[str, ...], list[float]](list)
        records = list(self.store.records()) if nodes else []
        for record in records or (_published(self.plan.suite.name) if nodes else []):
            seconds = record.get("cost", {}).get("seconds")  # the record of an external set has none
            if isinstance(seconds, int | float):
                for group in _similarity_groups(record["stage"], record["identity"]):
                    times[group].append(float(seconds))
        medians = {group: statistics.median(values) for group, values in times.items()}
        return {key: replace(node, seconds=_seconds(node, medians)) for key, node in nodes.items()}

    def only(self, cells: Sequence[PlannedCell]) -> Campaign:
        """Return the campaign of some cells: of their evaluations, and of what these need that is not done."""
        evaluated = (key for cell in cells for key in cell.nodes["evaluate"])
        keys = ancestors(evaluated, lambda key: () if key in self.done else self.plan.nodes[key].parents)
        nodes = {key: node for key, node in self.plan.nodes.items() if key in keys}
        return replace(self, plan=replace(self.plan, cells=tuple(cells), nodes=nodes))

    def run(self, runner: Runner, say: Callable[[str], object] = str) -> Iterator[Event]:
        """Run the nodes that are not done and yield events; first write the manifest, which every report needs.

        Args:
            runner: runs the nodes.
            say: called with the line that `write_manifest` returns.
        """
        self.store.open()
        sweep = Sweep(self.store)
        say(self.write_manifest())
        for event in runner.run(self.todo, self.node_options):
            if event.status == "done" and self.store.record(event.node.key) is None:
                raise BenchmarkError(
                    f"--runs {self.store.files.root}: {event.node.stage} {event.node.title} is done, but this machine "
                    f"does not see {event.node.key}; name a folder that all machines share, or a bucket"
                )
            yield event
        sweep.finish()

    def write_manifest(self) -> str:
        """Write the manifest, and return a line about the cells of earlier runs that it leaves out, "" for none.

        It has all cells of the suite, and cells that this or an earlier selection added to it; see `merged`.
        """
        left_out = dict[str, str]()

        def change(earlier: dict[str, Any]) -> dict[str, Any]:
            plans = (self.full_plan, self.plan)
            manifest, reasons = merged(plans, {} if is_altered(earlier) else earlier, self.planner)
            left_out.update(reasons)  # `update_json` calls this again with its output: that leaves out none
            return sealed(manifest)

        self.store.update_json(manifest_name(self.plan.suite.name), change)
        return left_out_line(left_out)

    def selection(self) -> dict[str, set[Any]]:
        """Return which values of the leaderboard's columns were selected."""
        cells = [planned.cell for planned in self.plan.cells]
        return {name: {getattr(cell, name) for cell in cells} for name in ROW_AXES}

    def seconds_left(self) -> tuple[float, int]:
        """Return how long the nodes that are not done may take, one after the other, and of how many nothing is known.

        The time is in seconds, by the records of similar nodes in the store; see `todo`.
        """
        seconds = [node.seconds for node in self.todo.values()]
        return sum(seconds), seconds.count(0.0)


def open_campaign(
    suite: str | Suite,
    selection: Selection,
    options: RunOptions,
    *,
    has_gpu: bool | None = None,
    need_data: bool = True,
    report: Report = silent,
) -> Campaign:
    """Return the campaign of a suite.

    Args:
        suite: a suite, its name, or the path of its file.
        selection: the cells of it that run.
        options: how they are run.
        has_gpu: whether the runner has a graphics card; None: look for one on this machine.
        need_data: True: a selected dataset that is not on disk is an error; False: its cells are skipped.
        report: called with the files hashed and the files in total, where contents of a dataset have to be hashed.

    Raises:
        Faults: all faults of the command and the files at once.
    """
    suite = load_suite(suite) if isinstance(suite, str) else suite
    _check_names(selection, suite)
    store = Store(options.runs)
    nodes_run = node_options(options, store, has_gpu=has_gpu)
    planner = Planner(PlanOptions(options.data, nodes_run.device, options.device != "auto", report))
    selected_suite = selection.apply(suite)
    plan = planner.plan(selected_suite, required_datasets=selection.datasets if need_data else ())
    full_plan = plan if selected_suite == suite else planner.plan(suite)
    states = store.states(plan.nodes)
    return Campaign(
        plan,
        full_plan,
        planner,
        store,
        nodes_run,
        frozenset(key for key, state in states.items() if state == "done"),
        frozenset(key for key, state in states.items() if state == "corrupt"),
    )


def node_options(options: RunOptions, store: Store, *, has_gpu: bool | None) -> NodeOptions:
    """Return how nodes are run: on a device that there is, and with absolute paths, as a task runs in another folder.

    Args:
        options: the options of the command line.
        store: the store that they name.
        has_gpu: whether the runner has a graphics card; None: look for one on this machine.

    Raises:
        Faults: a graphics card is asked for, and there is none.
    """
    gpu = torch.cuda.is_available() if has_gpu is None else has_gpu
    if options.device == "cuda" and not gpu:
        raise Faults(["--device cuda: no graphics card is here; --device auto takes what there is"])
    device: Literal["cpu", "cuda"] = "cuda" if gpu and options.device != "cpu" else "cpu"
    return NodeOptions(store.files.path if store.files.is_local else options.runs, str(options.data.absolute()), device)


def connected(options: RunOptions) -> tuple[Runner, bool] | tuple[None, None]:
    """Return what `connect` returns for a cluster elsewhere: only the cluster knows whether it has graphics cards.

    For this machine it is (None, None): a private cluster is started when there is work, by `connect`.
    """
    return connect(options) if options.runner == "ray" and options.ray != "local" else (None, None)


def connect(options: RunOptions) -> tuple[Runner, bool]:
    """Return the runner that the options name, and whether it has a graphics card."""
    if options.runner == "serial":
        return SerialRunner(), torch.cuda.is_available()
    runner = RayRunner(options.ray, options.device, insecure=options.insecure)
    return runner, runner.has_gpu


def preflight(campaign: Campaign, runner: Runner) -> str:
    """Return a line about the cluster of a runner, once it is certain that it can run the nodes that are not done.

    Raises:
        BenchmarkError: see `RayRunner.preflight`.
    """
    if not isinstance(runner, RayRunner):
        return ""
    campaign.store.open()
    runner.preflight(campaign.todo, campaign.node_options)
    cpus, gpus = sum(one.cpus for one in runner.machines), sum(one.gpus for one in runner.machines)
    models = ", ".join(sorted({one.gpu_model for one in runner.machines if one.gpu_model}))
    memory = sum(one.memory_gb for one in runner.machines)
    cards = f"{gpus:g} GPUs{f' ({models})' if models else ''}"
    return (
        f"The cluster has {len(runner.machines)} machines, {cpus} CPUs, {cards} "
        f"and {memory:.0f} GB of memory; all see the store and the data, and every node finds a machine."
    )


def _similarity_groups(stage: str, identity: Mapping[str, Any]) -> tuple[tuple[str, ...], ...]:
    """Return the groups of similar nodes that a node belongs to, the most similar first."""
    group = group_of(stage, identity)
    return group, group[:3], group[:2]


def _published(suite: str) -> list[dict[str, Any]]:
    """Return the published records of a suite; [] where there are none, as in an installed wheel."""
    path = ROOT / "leaderboards" / "published" / suite / "records.jsonl"
    lines = path.read_bytes().splitlines() if path.is_file() else []
    return [record for line in lines if (record := parse_object(line))]


def _seconds(node: Node, medians: Mapping[tuple[str, ...], float]) -> float:
    """Return the median of the most similar nodes, at least a millisecond; 0 where there are none."""
    groups = _similarity_groups(node.stage, node.identity)
    return next((max(medians[group], 0.001) for group in groups if group in medians), 0.0)


def _check_names(selection: Selection, suite: Suite) -> None:
    faults = []
    for axis in ("datasets", "methods", "students", "protocols"):
        selected = getattr(selection, axis)
        faults += [f"--{axis}: {fault}" for name in selected if (fault := name_fault(axis, name, suite))]
    faults += [f"--ipc: {ipc} is impossible; images per class are 1 or more" for ipc in selection.ipc if ipc < 1]
    if faults:
        raise Faults(faults)
