"""One campaign: a selection of a suite at a place; what is done, what is to do, and running the rest."""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from benchmark.errors import Faults
from benchmark.identity import canonical
from benchmark.plan.graph import Place, Plan, build
from benchmark.plan.nodes import Node
from benchmark.plan.suite import Selection, Suite, load_suite, name_fault
from benchmark.run.runner import Event, RayRunner, Runner, SerialRunner
from benchmark.run.stages import Settings
from benchmark.run.store import Store


@dataclass(frozen=True)
class Machine:
    """Where and by whom nodes are run, as the command line says it."""

    runs: str = "runs"
    data: Path = Path("data")
    runner: Literal["ray", "serial"] = "ray"
    ray: str = "local"
    device: Literal["auto", "cpu", "cuda"] = "auto"


@dataclass(frozen=True)
class Campaign:
    """A plan beside a store: `whole` is the suite as it stands in its file, `plan` what was selected of it."""

    plan: Plan
    whole: Plan
    store: Store
    settings: Settings
    done: frozenset[str]
    corrupt: frozenset[str]

    @property
    def todo(self) -> dict[str, Node]:
        """The selected nodes that the store does not hold, parents first."""
        return {key: node for key, node in self.plan.nodes.items() if key not in self.done}

    def run(self, runner: Runner) -> Iterator[Event]:
        """Compute what is to do and yield events; the manifest comes first, so that a report can always be made."""
        self.store.open()
        self.write_manifest()
        for key in self.corrupt:
            self.store.discard(key)
        yield from runner.run(self.todo, self.settings)

    def write_manifest(self) -> None:
        """Write what the leaderboard expects: every cell of the suite, selected now or not, and what joined it."""
        name = f"leaderboards/{self.plan.suite.name}/manifest.json"
        manifest = merged([self.whole, self.plan], self.store.read_json(name) or {})
        self.store.write_text(name, json.dumps(manifest, indent=1) + "\n")

    def selection(self) -> dict[str, set[Any]]:
        """Return which values of the leaderboard's columns were selected."""
        cells = [planned.cell for planned in self.plan.cells]
        axes = ("dataset", "ipc", "method", "protocol", "student")
        return {name: {getattr(cell, name) for cell in cells} for name in axes}

    def seconds_left(self) -> tuple[float, int]:
        """Estimate the work that is left from the store's records.

        Returns:
            The seconds of the nodes whose like has run before (the same stage, dataset and component, or else the same
            stage and dataset), one after the other, and the number of nodes that nothing is known of.
        """
        known = defaultdict[tuple[str, ...], list[float]](list)
        for record in self.store.records():
            for like in _likes(record["stage"], record["identity"]):
                if "seconds" in record["cost"]:  # not known of what was made elsewhere
                    known[like].append(float(record["cost"]["seconds"]))
        total, unknown = 0.0, 0
        for node in self.todo.values():
            past = next((known[like] for like in _likes(node.stage, node.identity) if like in known), None)
            total += statistics.median(past) if past else 0.0
            unknown += past is None
        return total, unknown


def open_campaign(
    suite_name: str,
    selection: Selection,
    machine: Machine,
    *,
    has_gpu: bool | None = None,
    need_data: bool = True,
) -> Campaign:
    """Return the campaign of a suite.

    Args:
        suite_name: name of a suite, or the path of its file.
        selection: what of it is wanted.
        machine: where it would run.
        has_gpu: whether the runner has a graphics card; None: whether this machine has one.
        need_data: whether a dataset that was asked for by name must be here; else its cells are skipped.

    Raises:
        Faults: everything that is wrong with the command and the files, at once.
    """
    suite = load_suite(suite_name)
    _check_names(selection, suite)
    gpu = torch.cuda.is_available() if has_gpu is None else has_gpu
    if machine.device == "cuda" and not gpu:
        raise Faults(["--device cuda: no graphics card is here; --device auto takes what there is"])
    device: Literal["cpu", "cuda"] = "cuda" if gpu and machine.device != "cpu" else "cpu"
    place = Place(machine.data, device, machine.device != "auto", selection.datasets if need_data else ())
    plan = build(selection.apply(suite), place)
    whole = build(suite, replace(place, wanted=()))
    store = Store(machine.runs)
    states = {key: store.state(key) for key in plan.nodes}
    return Campaign(
        plan,
        whole,
        store,
        Settings(machine.runs, str(machine.data), device),
        frozenset(key for key, state in states.items() if state == "done"),
        frozenset(key for key, state in states.items() if state == "corrupt"),
    )


def connect(machine: Machine) -> tuple[Runner, bool]:
    """Return the runner that a command asks for, and whether it has a graphics card."""
    if machine.runner == "serial":
        return SerialRunner(), torch.cuda.is_available()
    runner = RayRunner(machine.ray, machine.device)
    return runner, runner.has_gpu


def merged(plans: Sequence[Plan], earlier: Mapping[str, Any]) -> dict[str, Any]:
    """Return the manifest of several plans of one suite, a later one winning, over an earlier manifest.

    What an earlier selection added to the suite stays, as long as the suite's version does; so do the keys of cells
    that cannot be planned at the moment, because their data are not at hand.
    """
    manifest = plans[0].manifest()
    same = earlier.get("version") == manifest["version"]
    cells = {_axes(cell): cell for cell in (earlier.get("cells", []) if same else [])}
    planned: dict[str, Any] = {}
    for cell in [cell for plan in plans for cell in plan.manifest()["cells"]]:
        known = cells.pop(_axes(cell), {}) or planned.get(_axes(cell), {})
        planned[_axes(cell)] = {**cell, "nodes": cell["nodes"] or known.get("nodes", {})}
    return {**manifest, "cells": [*planned.values(), *cells.values()]}


def _axes(cell: Mapping[str, Any]) -> str:
    return canonical(
        {name: value for name, value in cell.items() if name not in ("nodes", "skipped", "base", "overrides")}
    )


def _likes(stage: str, identity: Mapping[str, Any]) -> tuple[tuple[str, ...], ...]:
    student = identity.get("student", {}).get("arch", "")
    component, dataset = identity["component"]["name"], identity["dataset"]["name"]
    ipc = str(identity.get("ipc", ""))
    return (stage, dataset, component, student, ipc), (stage, dataset, component), (stage, dataset)


def _check_names(selection: Selection, suite: Suite) -> None:
    faults = []
    for axis in ("datasets", "methods", "students", "protocols"):
        wanted = getattr(selection, axis)
        faults += [f"--{axis}: {fault}" for name in wanted if (fault := name_fault(axis, name, suite))]
    faults += [f"--ipc: {ipc} is impossible; images per class are 1 or more" for ipc in selection.ipc if ipc < 1]
    if faults:
        raise Faults(faults)
