"""The benchmark from Python: evaluate a set, distill one, run a suite, read a leaderboard.

    from benchmark import distill, evaluate

    images = distill("random_real", "digits", ipc=10)
    result = evaluate(images, dataset="digits", ipc=10, protocol="hard")
    print(result)

Everything runs in this process. Results go into a store (``runs``), as on the command line, so nothing is computed
twice. A mistake raises `benchmark.errors.BenchmarkError`; its text says what to do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, Literal, TypedDict, Unpack

import numpy as np
import pandas as pd
from torch import Tensor

from benchmark import sources
from benchmark.api import SyntheticSet
from benchmark.config_files import validated
from benchmark.errors import BenchmarkError, unknown
from benchmark.formats import arrays
from benchmark.formats.artifact import of_set
from benchmark.identity import ancestors
from benchmark.plan.suite import Block, Selection, Suite
from benchmark.run import external
from benchmark.run.campaign import Campaign, RunOptions, connect, connected, open_campaign
from benchmark.run.runner import SerialRunner
from benchmark.run.stages import IMAGES
from benchmark.vision import datasets
from leaderboards import report as reports
from leaderboards.publish import publication
from leaderboards.publish.controls import published_accuracies

NAME = "python"  # the suite that holds what is evaluated and distilled from Python
NO_CONTROLS = "  no published controls with its protocol, student, evaluator and files of the dataset"


class Options(TypedDict, total=False):
    """How nodes are run."""

    runs: str  # the store, ``runs`` by default
    data: str | Path  # the data directory, ``data`` by default
    device: Literal["auto", "cpu", "cuda"]  # ``auto``, the default, takes a graphics card where there is one
    runner: Literal["serial", "ray"]  # ``serial`` by default; ``ray`` runs nodes in parallel; only `run_suite` uses it
    ray: str  # ``local`` by default, ``auto`` or the address of a cluster
    insecure: bool  # True: use a cluster that asks for no token


@dataclass(frozen=True)
class Difference:
    """The mean accuracy of a set minus that of a published control, in percent points, with its 95 % interval.

    The interval is Welch's; None where one of both has a single seed, or neither has a spread.
    """

    value: float
    low: float | None
    high: float | None

    def __str__(self) -> str:
        """Return it as text."""
        interval = "" if self.low is None else f" [{self.low:+.1f}, {self.high:+.1f}]"
        return f"{self.value:+.1f}{interval}"


@dataclass(frozen=True)
class Result:
    """What the evaluation of a set gave.

    Attributes:
        top1: accuracy in percent, one per seed.
        controls: for each method, the difference from the published results of random real images, noise and the full
            set under the same protocol, with the same student, evaluator (its version and hyperparameters) and files of
            the dataset; {} where none are published.
        records: the records of the evaluations, as in the store.
    """

    top1: tuple[float, ...]
    controls: Mapping[str, Difference]
    records: tuple[Mapping[str, Any], ...]

    @property
    def mean(self) -> float:
        """The mean accuracy in percent."""
        return fmean(self.top1)

    def __str__(self) -> str:
        """Return the accuracy and the differences as text."""
        deviation = f" ± {stdev(self.top1):.1f}" if len(self.top1) > 1 else ""
        lines = [f"top-1 {self.mean:.1f}{deviation} % ({len(self.top1)} seeds)"]
        lines += [f"  against {name} (published): {gap}" for name, gap in self.controls.items()]
        return "\n".join(lines if self.controls else [*lines, NO_CONTROLS])


def evaluate(
    images: SyntheticSet | Tensor | np.ndarray[Any, Any],
    labels: Tensor | Sequence[int] | np.ndarray[Any, Any] | None = None,
    *,
    dataset: str,
    ipc: int,
    protocol: str = "standard",
    student: str | None = None,
    seeds: int = 1,
    **options: Unpack[Options],
) -> Result:
    """Train students on a distilled set, and test them.

    Args:
        images: the set, or its images [N, C, H, W]: whole numbers from 0 to 255, or floats from 0 to 1.
        labels: the class of every image, int [N], or soft labels, float [N, classes]; None for a `SyntheticSet`, which
            has its own.
        dataset: the dataset that the set replaces.
        ipc: images per class of the set.
        protocol: how the set is labelled and the student is trained.
        student: the network; None: that of the dataset's teacher.
        seeds: number of seeds of labels and student.
        options: see `Options`.

    Raises:
        BenchmarkError: the set is none of this dataset and IPC, its labels are missing or given twice, a name is
            unknown, or a node failed.
    """
    sources.add(())
    run_options = _run_options(options)
    config = datasets.load_dataset(dataset)
    arch = student or config.teacher.arch
    suite = _suite(dataset, ipc, "random_real", arch, protocol, seeds=seeds)
    info = datasets.info(config, run_options.data)
    artifact = of_set(arrays.as_set(images, labels), arrays.NAME, info, ipc)
    entry = external.suite_entry(artifact, f"set {artifact.checksum[:8]}", suite)
    campaign = open_campaign(suite, external.selection(entry, dataset, ipc, seeds=seeds), run_options)
    campaign = external.store_artifact(campaign, artifact)
    _run(campaign)
    keys = [key for planned in campaign.plan.cells for key in planned.nodes["evaluate"]]
    records = tuple(record for key in keys if (record := campaign.store.record(key)))
    top1 = tuple(float(record["metrics"]["top1"]) for record in records)
    controls = published_accuracies(records[0]["identity"], protocol, config.student.full_epochs)
    return Result(top1, {name: _difference(top1, accuracies) for name, accuracies in controls.items()}, records)


def distill(
    method: str,
    dataset: str,
    ipc: int,
    *,
    draw: int = 0,
    hyperparameters: Mapping[str, Any] | None = None,
    **options: Unpack[Options],
) -> SyntheticSet:
    """Return a distilled set, class by class; it is computed where the store does not have it.

    Args:
        method: the method.
        dataset: the dataset.
        ipc: images per class.
        draw: the seed of the set, from 0 on; draw i also uses teacher i.
        hyperparameters: values that replace those of the method's recipe.
        options: see `Options`.

    Returns:
        The set: images [N, C, H, W] (uint8, or float32 with 0 as black and 1 as white) and targets (int64 [N], or soft
        labels, float32 [N, classes]); N is ``ipc`` times the classes, unless the method does not depend on ``ipc``.

    Raises:
        BenchmarkError: a name or hyperparameter is unknown, the dataset is not on disk, or a node failed.
    """
    sources.add(())
    run_options = _run_options(options)
    if isinstance(draw, bool) or not isinstance(draw, Integral) or draw < 0:
        raise BenchmarkError(f"draw: a whole number, the first one is 0 (given: {draw!r})")
    if not isinstance(hyperparameters, Mapping | None):
        raise BenchmarkError(f"hyperparameters: should map names to values (given: {hyperparameters!r})")
    changed_entry = {"method": f"{method} changed", "base": method, "set": dict(hyperparameters or {})}
    entry: Any = changed_entry if hyperparameters else method
    arch = datasets.load_dataset(dataset).teacher.arch
    suite = _suite(dataset, ipc, entry, arch, "hard", seeds=1, first_seed=draw)
    campaign = open_campaign(suite, Selection(datasets=(dataset,)), run_options)
    planned = campaign.plan.cells[0]
    if planned.skipped:
        raise BenchmarkError(f"{method} on {dataset} at IPC {ipc}: {planned.skipped}")
    _run(campaign, planned.nodes["distill"])
    return SyntheticSet.merge(
        [SyntheticSet.load(campaign.store.folder(key) / IMAGES) for key in planned.nodes["distill"]]
    )


def run_suite(
    suite: str = "main", *, selection: Mapping[str, Any] | None = None, **options: Unpack[Options]
) -> pd.DataFrame:
    """Compute what the store lacks of a suite, write its report, and return its leaderboard.

    Args:
        suite: name of a suite, or the path of its file.
        selection: the values to run by axis, as in ``{"datasets": ["digits"], "methods": ["wmdd"], "seeds": 1}``; the
            names are those of the options of the command line. None: all.
        options: see `Options`.

    Raises:
        BenchmarkError: the suite or a name is wrong. A node that fails is a row with its reason, and no error.
    """
    sources.add(())
    _check_suite_name(suite)
    run_options, valid_selection = _run_options(options), validated(Selection, selection or {}, "selection")
    runner, has_gpu = connected(run_options)
    try:
        campaign = open_campaign(suite, valid_selection, run_options, has_gpu=has_gpu)
        if campaign.todo:
            runner = runner or connect(run_options)[0]
            for _ in campaign.run(runner):
                pass
        else:
            campaign.write_manifest()
    finally:
        if runner:
            runner.close()
    return reports.build(run_options.runs, campaign.plan.suite.name).leaderboard


def load_leaderboard(suite: str = "main", runs: str | None = None) -> pd.DataFrame:
    """Return a leaderboard: one row per dataset, IPC, method, protocol and student.

    Args:
        suite: name of a suite.
        runs: a store into which the suite has been run; None: the published results.

    Raises:
        BenchmarkError: there are no such results.
    """
    _check_suite_name(suite)
    if runs is not None:
        return reports.summarise(runs, suite).leaderboard
    published = publication.read(suite)
    if published is None:
        text = unknown("published suite", suite, publication.suites())
        raise BenchmarkError(f"{text}; published results are in a clone of the repository, runs='runs' reads a store")
    return published.results.report.leaderboard


def _check_suite_name(suite: object) -> None:
    if not isinstance(suite, str):
        raise BenchmarkError(f"suite: should be a text (given: {suite!r})")


def _run_options(options: Options) -> RunOptions:
    """Return the options as the engine takes them; a wrong one is an error."""
    return validated(RunOptions, {"runner": "serial", **options}, "options")


def _suite(
    dataset: str, ipc: int, method: Any, student: str, protocol: str, *, seeds: int, first_seed: int = 0
) -> Suite:
    """Return a suite of one method; a wrong name or number is an error."""
    axes = {"datasets": [dataset], "ipc": [ipc], "methods": [method], "students": [student], "protocols": [protocol]}
    blocks = (validated(Block, {**axes, "seeds": seeds, "first_seed": first_seed}, "arguments"),)
    return Suite(name=NAME, version=1, title="From Python", blocks=blocks)


def _run(campaign: Campaign, keys: Iterable[str] = ()) -> None:
    """Run the nodes of a campaign that are not done, or only some of them with all that they need.

    Raises:
        BenchmarkError: a node failed.
    """
    campaign.store.open()
    nodes = campaign.plan.nodes
    keys_to_run = ancestors(keys, lambda key: nodes[key].parents) or set(nodes)
    todo = {key: node for key, node in campaign.todo.items() if key in keys_to_run}
    for event in SerialRunner().run(todo, campaign.node_options):
        if event.status == "failed":
            raise BenchmarkError(f"{event.node.stage} {event.node.title} failed: {event.message}")


def _difference(one: Sequence[float], other: Sequence[float]) -> Difference:
    from scipy import stats

    gap = fmean(one) - fmean(other)
    if min(len(one), len(other)) < 2 or len({*one}) == len({*other}) == 1:
        return Difference(gap, None, None)
    interval = stats.ttest_ind(one, other, equal_var=False).confidence_interval()
    return Difference(gap, float(interval.low), float(interval.high))
