"""Two runs compared: what moved, beyond noise or not, and what changed in what was measured."""

from __future__ import annotations

import io

import pytest
from fake_store import FakeStore, key
from rich.console import Console

from leaderboards.results import records, run_diff
from leaderboards.results.run_diff import BEYOND, SAME, UNKNOWN, WITHIN, compare
from leaderboards.tables import run_diff as run_diff_table


class Run:
    """A run whose nodes have the identities that a test says."""

    def __init__(self, root: str) -> None:
        self.store, self.root = FakeStore(root), root

    def cell(
        self, top1: float, seed: int = 0, method: str = "wmdd", device: str = "a GPU", torch: str = "2.6", **params
    ):
        """Add a finished cell; ``params`` are of the method, `epochs` of the evaluation and `arch` of the teacher."""
        epochs, arch = params.pop("epochs", 300), params.pop("arch", "resnet18")
        chain = {
            "teacher": (arch, {"epochs": 50}, {}),
            "distill": (method, {"iterations": 1000, **params}, {"teachers": "teacher"}),
            "relabel": ("per_epoch", {"epochs": epochs}, {"images": "distill", "teachers": "teacher"}),
            "evaluate": ("accuracy", {"epochs": epochs}, {"images": "distill", "labels": "relabel"}),
        }
        keys: dict[str, str] = {}
        for stage, (name, values, roles) in chain.items():
            parents = {role: [keys[parent]] for role, parent in roles.items()}
            keys[stage] = f"{stage}-{key(name, values, seed, parents)}"
            identity = {
                "stage": stage,
                "component": {"name": name, "version": 1, "params": values},
                "parents": parents,
            }
            provenance = {"versions": {"torch": torch}, "commit": "abc"}
            record = {"key": keys[stage], "stage": stage, "identity": identity, "provenance": provenance}
            record |= {"metrics": {"top1": top1}, "cost": {"device": device, "seconds": 1.0}}
            self.store.write(f"{keys[stage]}/record.json", record)
        self.store.cell(method=method, seed=seed, nodes={stage: [name] for stage, name in keys.items()})

    def stored(self) -> records.Stored:
        self.store.write_manifest()
        return records.read(self.root, "main")


@pytest.fixture
def runs(tmp_path):
    return Run(str(tmp_path / "a")), Run(str(tmp_path / "b"))


def compared(runs) -> run_diff.RunDiff:
    return compare(*(run.stored() for run in runs))


def only(found: run_diff.RunDiff) -> run_diff.Change:
    (change,) = found.changes
    return change


class TestNoise:
    def fill(self, runs, a, b, **changes):
        for seed, top1 in enumerate(a):
            runs[0].cell(top1, seed)
        for seed, top1 in enumerate(b):
            runs[1].cell(top1, seed, **changes)
        return only(compared(runs))

    def test_equal_numbers_are_the_same(self, runs):
        change = self.fill(runs, [60.0, 50.0], [60.0, 50.0])
        assert (change.verdict, change.identity) == (SAME, ())

    def test_pairs_cancel_what_seeds_share(self, runs):
        change = self.fill(runs, [60.0, 50.0, 40.0], [61.0, 51.1, 41.1])
        assert change.verdict == BEYOND
        assert change.gap.value == pytest.approx(1.0667, abs=1e-3)

    def test_the_same_mean_difference_may_be_noise(self, runs):
        assert self.fill(runs, [60.0, 50.0, 40.0], [65.0, 48.0, 40.2]).verdict == WITHIN

    def test_a_single_pair_is_held_against_the_deviation_within_rows(self, runs):
        runs[0].cell(50.0)
        runs[1].cell(54.0)
        assert only(compared(runs)).verdict == UNKNOWN
        for seed, top1 in enumerate((30.0, 31.0, 29.0, 30.5)):  # deviation 0.85
            for run in runs:
                run.cell(top1, seed, "mmd")
        verdicts = {change.row[2]: change.verdict for change in compared(runs).changes}
        assert verdicts == {"wmdd": BEYOND, "mmd": SAME}

    def test_cells_that_one_run_has_alone_do_not_count(self, runs):
        change = self.fill(runs, [60.0, 10.0], [60.0])
        assert (len(change.cells), change.verdict) == (1, SAME)
        assert compared(runs).only == {"A": {change.row: 1}, "B": {}}


class TestIdentity:
    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"iterations": 2000}, ("distill wmdd params.iterations 1000 -> 2000",)),
            ({"solver": "exact"}, ("distill wmdd params.solver absent -> exact",)),
            ({"epochs": 150}, ("evaluate accuracy params.epochs 300 -> 150",)),
            ({"arch": "resnet50"}, ("teacher resnet18 -> resnet50",)),
            (
                {"epochs": 150, "iterations": 5},
                ("evaluate accuracy params.epochs 300 -> 150", "distill wmdd params.iterations 1000 -> 5"),
            ),
        ],
    )
    def test_the_first_place_of_every_change_is_named(self, runs, changes, said):
        runs[0].cell(60.0)
        runs[1].cell(60.0, **changes)
        assert only(compared(runs)).identity == said

    def test_device_and_versions_are_no_part_of_it(self, runs):
        runs[0].cell(60.0)
        runs[1].cell(61.0, device="another GPU", torch="2.15")
        found = compared(runs)
        assert only(found).identity == ()
        assert dict(found.surroundings) == {"device a GPU -> another GPU": 1, "torch 2.6 -> 2.15": 1}

    def test_a_missing_record_is_named(self, runs, tmp_path):
        runs[0].cell(60.0)
        runs[1].cell(60.0, iterations=7)
        for path in (tmp_path / "b").glob("distill-*/record.json"):
            path.unlink()
        assert "of which a record is missing" in only(compared(runs)).identity[0]


def shown(found: run_diff.RunDiff) -> str:
    console = Console(file=io.StringIO(), width=160)
    console.print(run_diff_table.render(found, "runs_a", "runs_b"))
    return console.file.getvalue()


def test_the_terminal_shows_what_moved_and_why(runs):
    for seed in range(3):
        runs[0].cell(60.0 + seed, seed)
        runs[1].cell(65.0 + seed + seed / 10, seed, iterations=2000, torch="2.15")
        for run in runs:
            run.cell(50.0 + seed, seed, "mmd")
    runs[1].cell(40.0, 0, "rded")
    text = shown(compared(runs))
    counts = "1 moved beyond noise, 0 moved or changed within noise, 1 are the same"
    assert f"Both runs have 6 cells in 2 rows: {counts}." in text
    (line,) = (line for line in text.splitlines() if "digits/10 wmdd standard test_resnet" in line)
    assert "+5.1 ± 0.2" in line
    assert "distill wmdd params.iterations 1000 -> 2000" in line
    assert "torch 2.6 -> 2.15 (3 cells)" in text
    assert text.split("Only in B")[1].strip() == "digits/10 rded standard test_resnet: 1 cells"
    assert "mmd" not in text


def test_the_table_has_a_line_per_cell(runs):
    for seed in range(2):
        runs[0].cell(60.0, seed)
        runs[1].cell(61.0, seed, iterations=2000)
    found = run_diff.table(compared(runs))
    assert list(found.columns) == run_diff.COLUMNS
    assert found["difference"].tolist() == [1.0, 1.0]
    assert set(found["identity"]) == {"distill wmdd params.iterations 1000 -> 2000"}


def test_two_runs_with_nothing_in_common(runs):
    runs[0].cell(60.0)
    runs[1].cell(60.0, method="mmd")
    found = compared(runs)
    assert found.changes == ()
    assert [len(rows) for rows in found.only.values()] == [1, 1]
    assert "Both runs have 0 cells" in shown(found)
    assert run_diff.table(found).empty
