"""Tuning: run the trials of a search, serially or by Ray Tune, and name the best trial of each method.

A trial computes ordinary nodes into an ordinary store, and its scores are read from there. Both ways therefore give the
same numbers, and an interrupted search continues. Ray Tune only runs trials in parallel; it chooses no values.
"""

from __future__ import annotations

import json
import os
import statistics
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import yaml

from benchmark.plan.nodes import Needs, Node
from benchmark.plan.protocol import load_protocol
from benchmark.plan.search import Search, Trial, plan
from benchmark.run.campaign import RunOptions, node_options
from benchmark.run.options import NodeOptions
from benchmark.run.runner import MODEL_LABEL, SerialRunner
from benchmark.run.store import Store

Report = Callable[[int], None]  # is called with the number of every trial that has ended


@dataclass(frozen=True)
class Result:
    """The result of a trial.

    Attributes:
        trial: the trial.
        scores: top-1 accuracy in percent on the hold-out, one per seed; () where the trial failed or has not run.
        why: the reason where there are no scores.
        sharing: for the best trial of a method, how many trials have its accuracy.
    """

    trial: Trial
    scores: tuple[float, ...] = ()
    why: str = ""
    sharing: int = 1

    @property
    def top1(self) -> float | None:
        """The mean of the scores, or None where there are none."""
        return statistics.fmean(self.scores) if self.scores else None


@dataclass(frozen=True)
class Tuning:
    """A search, its trials, and the store of their results."""

    search: Search
    trials: Sequence[Trial]
    store: Store
    node_options: NodeOptions

    @property
    def shared(self) -> dict[str, Node]:
        """The missing nodes that several trials use (teachers, distilled sets); they are computed before the trials."""
        counts = Counter(key for trial in self.trials for key in trial.nodes)
        nodes = {key: node for trial in self.trials for key, node in trial.nodes.items() if counts[key] > 1}
        return missing(nodes, self.store)

    @property
    def todo(self) -> dict[str, Node]:
        """The missing nodes of all trials."""
        return missing({key: node for trial in self.trials for key, node in trial.nodes.items()}, self.store)

    @property
    def unfinished(self) -> list[int]:
        """The numbers of the trials that are not done."""
        return [number for number, trial in enumerate(self.trials) if missing(trial.nodes, self.store)]

    def results(self) -> list[Result]:
        """Return the result of every trial, from the records in the store."""
        return [self._result(trial) for trial in self.trials]

    def _result(self, trial: Trial) -> Result:
        records = [self.store.record(key) for key in trial.scores]
        if all(records):
            return Result(trial, tuple(record["metrics"]["top1"] for record in records if record))
        errors = [self.store.read_json(f"{key}/error.json") for key in trial.nodes if self.store.record(key) is None]
        return Result(trial, why=next((str(error["message"]) for error in errors if error), "has not run"))


def open_tuning(search: Search, options: RunOptions, *, has_gpu: bool | None) -> Tuning:
    """Return the tuning of a search; nothing is computed yet.

    Raises:
        BenchmarkError: the dataset is not on disk, a method does not accept a value of the search, or see
            `node_options`, which explains the arguments.
    """
    store = Store(options.runs)
    options_of_nodes = node_options(options, store, has_gpu=has_gpu)
    return Tuning(search, plan(search, options.data, on_gpu=options_of_nodes.device == "cuda"), store, options_of_nodes)


def missing(nodes: Mapping[str, Node], store: Store) -> dict[str, Node]:
    """Return the nodes without a sound result in a store."""
    return {key: node for key, node in nodes.items() if store.state(key) != "done"}


def run_serially(tuning: Tuning, report: Report) -> None:
    """Run every unfinished trial in this process, one after the other."""
    for number in tuning.unfinished:
        _run_trial(tuning.trials[number].nodes, tuning.node_options)
        report(number)


def run_by_tune(tuning: Tuning, needs: Iterable[Needs], report: Report) -> None:
    """Run every unfinished trial by Ray Tune on the cluster that this process is connected to.

    Args:
        tuning: the search with its trials.
        needs: what the nodes of all trials need, as `RayRunner.preflight` returns it. A trial asks for that of the node
            with the most processors: in other respects all nodes of a dataset have the same.
        report: called when a trial has ended; it must be a function of a module, because Tune pickles it.
    """
    environment = {
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # otherwise Tune writes five files for every trial
        "TUNE_DISABLE_SIGINT_HANDLER": "1",  # otherwise Tune returns after an interruption as after the last trial
        "RAY_AIR_NEW_OUTPUT": "0",
    }
    for name, value in environment.items():
        os.environ.setdefault(name, value)
    from ray import tune

    class Ended(tune.Callback):  # type: ignore[misc]
        def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            report(trial.config["trial"])

        on_trial_error = on_trial_complete

    def run_trial(config: Mapping[str, int]) -> None:
        _run_trial(trials[config["trial"]].nodes, node_options)
        tune.report({"done": True})

    trials, node_options = tuning.trials, tuning.node_options
    if not tuning.unfinished:
        return
    most = max(needs, key=lambda node_needs: node_needs.cpus)
    bundle = {"CPU": most.cpus, "GPU": most.gpus, "memory": int(most.memory_gb * 2**30)}
    labels = {MODEL_LABEL: most.gpu_model} if most.gpu_model else {}
    resources = tune.PlacementGroupFactory([bundle], bundle_label_selector=[labels])
    with tempfile.TemporaryDirectory() as folder:  # for Tune's own files; results are in the store
        tune.Tuner(
            tune.with_resources(run_trial, resources),
            param_space={"trial": tune.grid_search(tuning.unfinished)},
            run_config=tune.RunConfig(name="search", storage_path=folder, verbose=0, callbacks=[Ended()]),
        ).fit()


def best(results: Sequence[Result]) -> dict[str, Result]:
    """Return the best trial of every method, by the method's name; of equal trials, the first one in the grid."""
    winners: dict[str, Result] = {}
    for result in results:
        name = result.trial.method.method
        if result.top1 is not None and (name not in winners or result.top1 > (winners[name].top1 or 0)):
            winners[name] = result
    counts = Counter((result.trial.method.method, result.top1) for result in results)
    return {name: replace(result, sharing=counts[name, result.top1]) for name, result in winners.items()}


def write(tuning: Tuning) -> dict[str, Result]:
    """Write ``tuning/NAME.json`` with all trials and ``tuning/NAME.yaml``, a protocol with the best values.

    The protocol is not written while a method has no winner.

    Returns:
        The best trial of every method, by the method's name.
    """
    results, search = tuning.results(), tuning.search
    winners = best(results)
    contents = {
        "search": search.model_dump(mode="json"),
        "view": "holdout",
        "trials": [_as_json(result) for result in results],
        "best": {name: _as_json(result) | {"edges": _edges(search, result)} for name, result in winners.items()},
    }
    tuning.store.write_text(f"tuning/{search.name}.json", json.dumps(contents, indent=1) + "\n")
    if len(winners) == len(search.methods):
        tuning.store.write_text(f"tuning/{search.name}.yaml", protocol_text(search, winners))
    return winners


def note_lines(search: Search, winners: Mapping[str, Result]) -> list[str]:
    """Return a line for every tie, and for every best value at an end of its grid: a better value may lie beyond."""
    ties = [f"{name}: {text}" for name, result in winners.items() if (text := _tie(search, result))]
    return ties + [
        f"{name}: {axis}: the best of {len(search.axes(result.trial.method)[axis])} values is the {edge} tried "
        f"({result.trial.values[axis]}); widen the grid"
        for name, result in winners.items()
        for axis, edge in _edges(search, result).items()
    ]


def protocol_text(search: Search, winners: Mapping[str, Result]) -> str:
    """Return a protocol file: the protocol of the search with the best values of each tuned method, and no others."""
    base = load_protocol(search.protocol)
    source = f"search {search.name} v{search.version}: best of {search.trials} trials on a hold-out of the training set"
    methods = {
        search.entry(result.trial.method, result.trial.values).method: search.deviation(
            result.trial.method,
            result.trial.values,
            "; ".join(filter(None, (f"{source}, {result.top1:.2f} %", _tie(search, result)))),
        ).model_dump(exclude_defaults=True)
        for result in winners.values()
    }
    fields = {
        "version": search.version,
        "title": f"{base.title}, tuned",
        "description": f"{base.description} Tuned on {search.dataset} at IPC {search.ipc}: {search.title}.",
        "methods": methods,
        "only_listed": True,
    }
    base_fields = base.model_dump(mode="json", exclude={"name", *fields}, exclude_defaults=True)
    return yaml.safe_dump({**fields, **base_fields}, sort_keys=False, width=120)


def suite_lines(search: Search, winners: Mapping[str, Result]) -> str:
    """Return the lines for a suite's block that name the tuned methods."""
    entries = [search.entry(result.trial.method, result.trial.values) for result in winners.values()]
    methods = [
        entry.model_dump(by_alias=True, exclude_defaults=True) if entry.method != entry.base else entry.method
        for entry in entries
    ]
    return yaml.safe_dump({"methods": methods}, default_flow_style=None, sort_keys=False, width=120)


def _run_trial(nodes: Mapping[str, Node], options: NodeOptions) -> None:
    """Compute the missing nodes of a trial; the store then holds their records or errors."""
    for _ in SerialRunner().run(missing(nodes, Store(options.runs)), options):
        pass


def _tie(search: Search, result: Result) -> str:
    if result.sharing == 1:
        return ""
    return f"{result.sharing} of {search.trials} trials share the best accuracy; the first is taken"


def _edges(search: Search, result: Result) -> dict[str, str]:
    return search.edges(result.trial.method, result.trial.values) if result.sharing == 1 else {}


def _as_json(result: Result) -> dict[str, Any]:
    trial = result.trial
    return {
        "method": trial.method.method,
        "values": dict(trial.values),
        "top1": result.top1,
        "top1_by_seed": list(result.scores),
        "why": result.why,
        "evaluate": list(trial.scores),
    }
