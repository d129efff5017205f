"""``make sanity``: what must hold before a result is believed, into docs/sanity.md; a failed check ends in status 1.

It distills one set of digits (random real images), labels it and trains students on it: five minutes of two cores.
The numbers beside published ones come from ``leaderboards/published``.
"""

from __future__ import annotations

import argparse
import math
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from scipy.special import stdtrit
from torch import nn

from benchmark.api import Labels
from benchmark.run.options import NodeOptions
from benchmark.run.provenance import device_name, now, versions
from benchmark.run.stages import NodeRun
from benchmark.run.store import Store
from benchmark.vision.augment import Schedule
from leaderboards.publish import publication
from leaderboards.results import references, roles
from leaderboards.results.cells import cells_table
from leaderboards.results.leaderboard import leaderboard
from leaderboards.results.records import rows_of
from leaderboards.results.text import accuracy_text, difference_text

ROOT = Path(__file__).resolve().parents[2]
CELL = ["--datasets", "digits", "--methods", "random_real", "--ipc", "1", "--seeds", "1", "--protocols", "standard"]
TESTS = {  # check -> the tests of tests/benchmark/vision/test_models.py that make it
    "Networks start as torchvision's and timm's do": "starts_as or start_as or every_batch_norm_starts",
    "Networks with torchvision's weights compute what its networks do": "computes_what_torchvisions",
}
EPSILON, STARTS = 1e-7, 6
ROUNDING = 2e-3  # of logits, which are stored as float16, relative to the largest
CLOSE = 2.0  # points, between an accuracy of a paper and ours of the same setting


@dataclass(frozen=True)
class Check:
    """A check, what it measured, and whether it holds; None where it has not been run."""

    name: str
    measured: str
    holds: bool | None


def first_states() -> Iterator[Check]:
    """Run the tests that compare networks with the libraries that the papers used."""
    for name, selection in TESTS.items():
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "no:cacheprovider",
            "tests/benchmark/vision/test_models.py",
            "-k",
            selection,
        ]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
        yield Check(name, done.stdout.strip().splitlines()[-1].strip("= "), done.returncode == 0)


def published() -> Iterator[Check]:
    """Compare random real images, the full training set and teachers with papers, where both have the same setting."""
    suites, papers = publication.read_all().values(), references.load()
    boards = [leaderboard(cells_table(item.stored().with_cut_named()), papers) for item in suites]
    records = {key: record for item in suites for key, record in item.records.items() if record["stage"] == "teacher"}
    networks = defaultdict[tuple[str, str], list[float]](list)
    for record in records.values():
        identity = record["identity"]
        networks[identity["dataset"]["name"], identity["component"]["name"]].append(record["metrics"]["top1"])
    rows = [row for board in boards for row in rows_of(board[board["role"].isin([roles.CONTROL, roles.BOUND])])]
    for paper in papers:
        if paper.method not in ("random_real", "full"):
            continue
        name = (
            f"{paper.method}, {paper.dataset}, IPC {paper.ipc or 'all'}, {paper.student}: {paper.top1} ({paper.source})"
        )
        same = [row for row in rows if row["top1_mean"] == row["top1_mean"] and references.comparable([paper], row)]
        for row in same:
            gap = row["top1_mean"] - paper.top1
            text = f"{accuracy_text(row)} under {row['protocol']}: {difference_text(gap)}"
            yield Check(name, text, abs(gap) <= max(CLOSE, paper.std or 0))
        trained = networks[paper.dataset, paper.student] if paper.method == "full" else []
        if trained:
            gap = statistics.mean(trained) - paper.top1
            text = f"{statistics.mean(trained):.1f}, teacher ({len(trained)}): {difference_text(gap)}"
            yield Check(name, text, abs(gap) <= CLOSE)
        if not same and not trained:
            yield Check(name, "not run", None)


class Perturbed(NodeRun):
    """The run of an evaluation whose student starts from weights that are changed by 1e-7 of themselves."""

    def __init__(self, key: str, store: Store, data: Path, threads: int = 1, perturbation: int | None = None) -> None:
        record = store.record(key)
        assert record is not None
        super().__init__(key, record["identity"], NodeOptions(store.files.path, str(data)), store)
        self.perturbation, self.threads = perturbation, threads

    def _network(self, arch: str, stem: Mapping[str, Any], seed: int) -> nn.Module:
        network = super()._network(arch, stem, seed)
        if self.perturbation is not None:
            generator = torch.Generator().manual_seed(self.perturbation)
            with torch.no_grad():
                for weights in network.parameters():
                    weights.mul_(1 + EPSILON * torch.randn(weights.shape, generator=generator))
        return network

    def top1(self, folder: Path) -> float:
        """Train the student, commit nothing, and return its accuracy."""
        torch.set_num_threads(self.threads)
        self.evaluate(folder)
        return float(self.metrics["top1"])


def one_cell(folder: Path, words: list[str]) -> Iterator[Check]:
    """Run a cell, train its student again in other ways, and compute the labels of its first views again."""
    store = Store(str(folder / "runs"))
    command = [sys.executable, "-m", "benchmark", "run", "--suite", "main", "--runner", "serial", "--no-report"]
    where = ["--runs", store.files.path, "--data", str(folder), "--device", "cpu"]
    subprocess.run([*command, *where, *words], check=True, cwd=ROOT)
    (record,) = (record for record in store.records() if record["stage"] == "evaluate")
    key = record["key"]
    one, two = (Perturbed(key, store, folder, threads).top1(folder) for threads in (1, 2))
    starts = [Perturbed(key, store, folder, 1, number).top1(folder) for number in range(STARTS)]
    yield Check(
        "A cell that is run again is equal",
        f"{record['metrics']['top1']:.2f} % and {one:.2f} %",
        one == record["metrics"]["top1"],
    )
    yield rounding(two, starts)
    yield training(record["metrics"]["curve_loss"])
    yield labels(Perturbed(key, store, folder))


def rounding(two: float, starts: list[float]) -> Check:
    """Compare two threads, which add sums in another order, with starts that differ by rounding."""
    mean, deviation = statistics.mean(starts), statistics.stdev(starts)
    reach = stdtrit(len(starts) - 1, 0.995) * deviation * math.sqrt(1 + 1 / len(starts))
    text = f"two threads {two:.2f} %; {len(starts)} starts that differ by 1e-7: {mean:.2f} ± {deviation:.2f} %"
    return Check("Two threads change a student no more than rounding does", text, abs(two - mean) <= reach)


def training(losses: list[float]) -> Check:
    """Look at the loss of a student: it falls, and it stays finite."""
    quarters = [losses[round(part * (len(losses) - 1) / 4)] for part in range(5)]
    text = "loss at the start, after each quarter, at the end: " + ", ".join(f"{loss:.3f}" for loss in quarters)
    return Check("A student's training curve", text, quarters[-1] < quarters[0] and max(losses) < 2 * losses[0])


@torch.no_grad()
def labels(run: NodeRun) -> Check:
    """Compare the stored labels of the first epoch's views with the teacher's output for these views."""
    stored = Labels.load(run.parents("labels")[0])
    assert stored.logits is not None
    images, info = run.images(), run.info
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (info.mean, info.std))
    normal = (images.images / 255 - mean) / std
    (teacher,) = run.context().teachers
    views = Schedule.model_validate(stored.views).views(stored.seed, 0, len(images))
    answers = torch.cat([teacher(view.apply(normal[view.indices])) for view in views])
    gap = (answers - torch.tensor(stored.logits[0]).float()).abs().max() / answers.abs().max()
    return Check(
        "Labels of a view are the teacher's output for that view", f"differ by {gap:.1e}", bool(gap < ROUNDING)
    )


def page(checks: list[Check]) -> str:
    """Return the page of all checks."""
    words = {True: "holds", False: "**does not hold**", None: "open"}
    lines = [f"| {check.name} | {check.measured} | {words[check.holds]} |" for check in checks]
    made_by = ", ".join(f"{name} {version}" for name, version in versions().items())
    return "\n".join(
        [
            "# Sanity",
            "",
            "What must hold before a result is believed. `make sanity` writes this page. "
            f"A comparison with a published number holds if the two differ by at most {CLOSE:g} points; "
            "docs/preregistration.md sometimes allows only a smaller difference.",
            "",
            f"{now()[:10]}, {device_name('cpu')}, {made_by}.",
            "",
            "| check | measured | |",
            "| :-- | :-- | :-- |",
            *lines,
            "",
        ]
    )


def main() -> int:
    """Make all checks, write the page, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "sanity.md")
    parser.add_argument("--cell", default=" ".join(CELL), help="Options of the run of one cell, as one word.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        checks = [*first_states(), *one_cell(Path(folder), options.cell.split()), *published()]
    text = page(checks)
    options.out.write_text(text)
    print(text)
    return 1 if any(check.holds is False for check in checks) else 0


if __name__ == "__main__":
    sys.exit(main())
