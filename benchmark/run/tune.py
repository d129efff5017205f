"""Tuning: running the trials of a search, by Ray Tune or one after the other, and naming the best one of each method.

A trial computes ordinary nodes into the ordinary store. What is there is not computed again, and results are read from
there: both ways give the same numbers, and a search that was interrupted goes on. Ray Tune decides nothing; it runs
trials side by side on a machine or a cluster.
"""

from __future__ import annotations

import json
import os
import statistics
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from benchmark.errors import BenchmarkError
from benchmark.plan.nodes import Node
from benchmark.plan.protocol import load_protocol
from benchmark.plan.search import Search, Trial, plan
from benchmark.run.campaign import Machine
from benchmark.run.runner import SerialRunner
from benchmark.run.stages import Settings
from benchmark.run.store import Store

Say = Callable[[int], None]  # is told the number of a trial that has ended


@dataclass(frozen=True)
class Result:
    """What became of a trial: top-1 accuracy in percent on the hold-out, one per seed, or why there is none."""

    trial: Trial
    scores: tuple[float, ...] = ()
    why: str = ""

    @property
    def top1(self) -> float | None:
        """The mean over seeds, None where the trial failed."""
        return statistics.fmean(self.scores) if self.scores else None


@dataclass(frozen=True)
class Tuning:
    """A search beside a store."""

    search: Search
    trials: Sequence[Trial]
    store: Store
    settings: Settings

    @property
    def shared(self) -> dict[str, Node]:
        """The nodes to compute that several trials stand on (teachers, sets), which are therefore computed first."""
        counts = Counter(key for trial in self.trials for key in trial.nodes)
        nodes = {key: node for trial in self.trials for key, node in trial.nodes.items() if counts[key] > 1}
        return missing(nodes, self.store)

    @property
    def left(self) -> list[int]:
        """Numbers of the trials that are not done."""
        return [number for number, trial in enumerate(self.trials) if missing(trial.nodes, self.store)]

    def results(self) -> list[Result]:
        """Return what the store says of every trial."""
        return [self._result(trial) for trial in self.trials]

    def _result(self, trial: Trial) -> Result:
        records = [self.store.record(key) for key in trial.scores]
        if all(records):
            return Result(trial, tuple(record["metrics"]["top1"] for record in records if record))
        errors = [self.store.read_json(f"{key}/error.json") for key in trial.nodes if self.store.record(key) is None]
        return Result(trial, why=next((str(error["message"]) for error in errors if error), "has not run"))


def open_tuning(search: Search, machine: Machine, *, has_gpu: bool) -> Tuning:
    """Return a search beside a store, nothing computed yet.

    Raises:
        BenchmarkError: data that are not on disk, or values that a method does not take.
    """
    on_gpu = has_gpu and machine.device != "cpu"
    if machine.device == "cuda" and not has_gpu:
        raise BenchmarkError("--device cuda: no graphics card is here; --device auto takes what there is")
    store = Store(machine.runs)
    place = store.root if store.local else machine.runs  # a trial of Ray Tune runs in a folder of its own
    settings = Settings(place, str(machine.data.absolute()), "cuda" if on_gpu else "cpu")
    return Tuning(search, plan(search, machine.data, on_gpu=on_gpu), store, settings)


def missing(nodes: Mapping[str, Node], store: Store) -> dict[str, Node]:
    """Return the nodes that a store does not hold; what it holds damaged is thrown away."""
    states = {key: store.state(key) for key in nodes}
    for key in (key for key, state in states.items() if state == "corrupt"):
        store.discard(key)
    return {key: node for key, node in nodes.items() if states[key] != "done"}


def run_serially(tuning: Tuning, say: Say) -> None:
    """Run every trial in this process, one after the other."""
    for number in tuning.left:
        _attempt(tuning.trials[number].nodes, tuning.settings)
        say(number)


def run_by_tune(tuning: Tuning, most_cpus: int, say: Say) -> None:
    """Run every trial by Ray Tune on the cluster that this process is connected to.

    Args:
        tuning: what to run.
        most_cpus: of any machine of the cluster; a trial asks for no more.
        say: is told of every trial that has ended; a function of a module, for Tune pickles it.
    """
    quiet = {
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # else every trial leaves five files of its own
        "TUNE_DISABLE_SIGINT_HANDLER": "1",  # else an interruption looks like an end
        "RAY_AIR_NEW_OUTPUT": "0",
    }
    for name, value in quiet.items():
        os.environ.setdefault(name, value)
    from ray import tune

    class Ended(tune.Callback):  # type: ignore[misc]
        def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            say(trial.config["trial"])

        on_trial_error = on_trial_complete

    def attempt(config: Mapping[str, int]) -> None:
        _attempt(trials[config["trial"]].nodes, settings)
        tune.report({"done": True})

    trials, settings = tuning.trials, tuning.settings
    needs = [node.needs for number in tuning.left for node in trials[number].nodes.values()]
    if not needs:
        return
    resources = {"cpu": min(max(each.cpus for each in needs), most_cpus), "gpu": max(each.gpus for each in needs)}
    with tempfile.TemporaryDirectory() as folder:  # of Tune's own notes: what is durable is the store
        tune.Tuner(
            tune.with_resources(attempt, resources),
            param_space={"trial": tune.grid_search(tuning.left)},
            run_config=tune.RunConfig(name="search", storage_path=folder, verbose=0, callbacks=[Ended()]),
        ).fit()


def best(results: Sequence[Result]) -> dict[str, Result]:
    """Return the best trial of every method by its name; of equal ones the first in the order of the grid."""
    found: dict[str, Result] = {}
    for result in results:
        name = result.trial.method.method
        if result.top1 is not None and (name not in found or result.top1 > (found[name].top1 or 0)):
            found[name] = result
    return found


def write(tuning: Tuning) -> dict[str, Result]:
    """Write ``tuning/NAME.json``, all trials, and ``tuning/NAME.yaml``, a protocol with what won; return the winners.

    There is no protocol as long as a method has no winner.
    """
    results, search = tuning.results(), tuning.search
    winners = best(results)
    whole = {
        "search": search.model_dump(mode="json"),
        "view": "holdout",
        "trials": [_plain(result) for result in results],
        "best": {name: _plain(result) | {"edges": _edges(search, result)} for name, result in winners.items()},
    }
    tuning.store.write_text(f"tuning/{search.name}.json", json.dumps(whole, indent=1) + "\n")
    if len(winners) == len(search.methods):
        tuning.store.write_text(f"tuning/{search.name}.yaml", protocol_text(search, winners))
    return winners


def edge_lines(search: Search, winners: Mapping[str, Result]) -> list[str]:
    """Return a line for every best value beyond which nothing was tried: a better one may lie there."""
    return [
        f"{name}: {axis}: the best of {len(search.axes(result.trial.method)[axis])} values is the {edge} tried "
        f"({result.trial.values[axis]}); widen the grid"
        for name, result in winners.items()
        for axis, edge in _edges(search, result).items()
    ]


def protocol_text(search: Search, winners: Mapping[str, Result]) -> str:
    """Return a protocol file: that of the search with each method's best values, for those that were tuned only."""
    base = load_protocol(search.protocol)
    source = f"search {search.name} v{search.version}: best of {search.trials} trials on a hold-out of the training set"
    methods = {
        search.entry(result.trial.method, result.trial.values).method: search.deviation(
            result.trial.method, result.trial.values, f"{source}, {result.top1:.2f} %"
        ).model_dump(exclude_defaults=True)
        for result in winners.values()
    }
    own = {
        "version": search.version,
        "title": f"{base.title}, tuned",
        "description": f"{base.description} Tuned on {search.dataset} at IPC {search.ipc}: {search.title}.",
        "methods": methods,
        "only_listed": True,
    }
    kept = base.model_dump(mode="json", include={"schedule", "labels", "evaluator"})
    return yaml.safe_dump({**own, **kept}, sort_keys=False, width=120)


def suite_lines(search: Search, winners: Mapping[str, Result]) -> str:
    """Return the lines of a suite's block that name the tuned methods."""
    entries = [search.entry(result.trial.method, result.trial.values) for result in winners.values()]
    plain = [
        entry.model_dump(by_alias=True, exclude_defaults=True) if entry.method != entry.base else entry.method
        for entry in entries
    ]
    return yaml.safe_dump({"methods": plain}, default_flow_style=None, sort_keys=False, width=120)


def _attempt(nodes: Mapping[str, Node], settings: Settings) -> None:
    """Compute what the store lacks of a trial; how it ended is there to be read."""
    for _ in SerialRunner().run(missing(nodes, Store(settings.runs)), settings):
        pass


def _edges(search: Search, result: Result) -> dict[str, str]:
    return search.edges(result.trial.method, result.trial.values)


def _plain(result: Result) -> dict[str, Any]:
    trial = result.trial
    return {
        "method": trial.method.method,
        "values": dict(trial.values),
        "top1": result.top1,
        "top1_by_seed": list(result.scores),
        "why": result.why,
        "evaluate": list(trial.scores),
    }
