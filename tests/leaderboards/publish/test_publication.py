"""Published results: what is committed makes its tables again, and nothing that should not be there gets there."""

from __future__ import annotations

import json
import re
import socket
from dataclasses import replace
from pathlib import Path

import pytest
from fake_store import FakeStore

from benchmark.errors import BenchmarkError, Faults
from benchmark.identity import key_of
from benchmark.record import SEAL, sealed
from benchmark.run.store import Store
from leaderboards.publish import agreement, publication, readme, verify
from leaderboards.publish.publication import closure, differing, files, merged, of_run
from leaderboards.results import records


class Run(FakeStore):
    """A store without reports, which take seconds."""

    def __init__(self, root: str, version: int = 1) -> None:
        super().__init__(root)
        self.version = version

    def publication(self) -> publication.Publication:
        """Return the publication of all finished cells, without verifying their records."""
        self.write_manifest(version=self.version, title="Methods")
        keys = publication.done(self.root, "main")
        known = records.read(self.root, "main").nodes.records
        return of_run(self.root, "main", {key: known[key] for key in keys})


@pytest.fixture
def run(tmp_path):
    made = Run(str(tmp_path / "runs"))
    for method, top1 in {"wmdd": 60.0, "mmd": 50.0}.items():
        for seed in range(2):
            made.done(made.cell(method=method, seed=seed), top1 + seed)
    return made


def test_only_some_datasets_are_published_where_they_are_named(run):
    run.done(run.cell(dataset="imagenette64"), 70.0)
    run.publication()  # writes the manifest
    everything, digits = (publication.done(run.root, "main", names) for names in ((), ["digits"]))
    assert set(digits) < set(everything)
    known = records.read(run.root, "main").nodes.records
    found = of_run(run.root, "main", {key: known[key] for key in digits}, ["digits"])
    assert {cell["dataset"] for cell in found.cells} == {"digits"}


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setattr(publication, "FOLDER", tmp_path / "published")
    return tmp_path / "published" / "main"


def publish(run: Run, note: str = "") -> publication.Publication:
    found = merged(publication.read("main"), run.publication(), note)
    publication.write("main", files(found))
    return found


class TestFiles:
    def test_what_is_written_is_what_is_read(self, run, place):
        found = publish(run, "Two cores.")
        again = publication.read("main")
        assert (again.notes, again.cells) == (("Two cores.",), found.cells)
        assert again.records == found.records
        assert differing("main", files(again)) == []

    def test_the_same_run_changes_nothing(self, run, place):
        publish(run)
        assert publication.write("main", files(merged(publication.read("main"), run.publication()))) == []

    def test_tables_are_those_of_the_run(self, run, place):
        report = run.build()
        publish(run)
        for name in ("leaderboard.csv", "tables/main_standard_test_resnet.csv"):
            assert f"{report.folder}/{name}" in report.paths
            assert (place / name).read_text() == Path(f"{report.folder}/{name}").read_text()

    def test_one_line_per_record_sorted_by_key_without_curves(self, run, place):
        found = publish(run)
        lines = [json.loads(line) for line in (place / "records.jsonl").read_text().splitlines()]
        assert [line["key"] for line in lines] == sorted(found.records)
        assert all("curve_loss" not in line["metrics"] for line in lines)

    @pytest.mark.parametrize(
        "name", ["leaderboard.csv", "manifest.json", "tables/main_standard_test_resnet.csv", "README.md"]
    )
    def test_a_changed_or_a_missing_file_is_found(self, run, place, name):
        found = publish(run)
        original = (place / name).read_bytes()
        (place / name).write_bytes(original + b" ")
        assert differing("main", files(found)) == [name]
        (place / name).unlink()
        assert differing("main", files(found)) == [name]
        assert publication.write("main", files(found)) == [name]
        assert (place / name).read_bytes() == original

    def test_a_changed_number_is_refused(self, run, place):
        publish(run)
        path = place / "records.jsonl"
        path.write_text(path.read_text().replace('"top1":60.0', '"top1":90.0'))
        with pytest.raises(Faults) as caught:
            publication.read("main")
        (line,) = caught.value.faults
        assert re.fullmatch(rf"{path}: \w+: was changed after it was written; restore it by `git checkout .*`", line)

    def test_a_record_without_its_checksum_is_refused(self, run, place):
        found = publish(run)
        unsealed = [
            {name: value for name, value in record.items() if name != SEAL} for record in found.records.values()
        ]
        (place / "records.jsonl").write_text("".join(json.dumps(record) + "\n" for record in unsealed))
        with pytest.raises(Faults, match="was changed after it was written"):
            publication.read("main")

    def test_a_changed_number_is_found_in_the_tables(self, run, place):
        found = publish(run)
        path = place / "records.jsonl"
        changed = [
            {**record, "metrics": {name: 90.0 if value == 60.0 else value for name, value in record["metrics"].items()}}
            for record in found.records.values()
        ]
        path.write_text("".join(json.dumps(sealed(record)) + "\n" for record in changed))
        assert {"cells.csv", "leaderboard.csv"} <= set(differing("main", files(publication.read("main"))))

    def test_what_does_not_belong_there_goes(self, run, place):
        found = publish(run)
        (place / "tables" / "old.md").write_text("")
        assert differing("main", files(found)) == ["tables/old.md"]
        publication.write("main", files(found))
        assert not (place / "tables" / "old.md").exists()

    def test_damaged_files_are_named_with_the_remedy(self, run, place):
        publish(run)
        (place / "records.jsonl").write_text("{")
        with pytest.raises(BenchmarkError, match=r"damaged .* or remove it and publish again"):
            publication.read("main")


class TestWhatIsPublished:
    def test_what_failed_is_a_gap(self, run, place):
        broken = run.cell(method="sre2l")
        run.done(broken, stages=("teacher", "prepare", "distill"))
        run.failed(broken, "relabel")
        found = publish(run)
        (gap,) = (cell for cell in found.cells if cell["method"] == "sre2l")
        assert gap["nodes"] == {}
        assert not set(broken["nodes"]["distill"]) & set(found.records)
        assert "Not run yet. 1 of 3 rows" in (place / "README.md").read_text()

    def test_datasets_without_a_number_are_left_out(self, run, place):
        run.cell(dataset="imagenet1k", skipped="not on disk", nodes={})
        assert {cell["dataset"] for cell in publish(run).cells} == {"digits"}

    def test_a_reason_that_names_a_path_is_not_kept(self, run, place):
        run.cell(method="mtt", skipped="not on disk: python -m benchmark data fetch digits --data /home/me", nodes={})
        run.cell(method="dm", skipped="infeasible at 1/2 of the size", nodes={})
        reasons = {cell["method"]: cell["skipped"] for cell in publish(run).cells}
        assert reasons["mtt"] is None
        assert reasons["dm"] == "infeasible at 1/2 of the size"

    @pytest.mark.parametrize("text", ["/home/me/weights.pt", "read from ~/data", "C:\\data", "file:///x", "--d=/mnt/x"])
    def test_a_record_that_names_a_path_is_refused(self, run, place, text):
        run.done(run.cell(method="external", overrides={"path": text}))
        with pytest.raises(Faults, match=r"identity.component.params.path holds .* a path or a host"):
            publish(run)

    def test_a_record_that_names_the_host_is_refused(self, run, place, monkeypatch):
        monkeypatch.setattr(socket, "gethostname", lambda: "node-17.cluster")
        run.done(run.cell(method="external", overrides={"where": "on node-17.cluster"}))
        with pytest.raises(Faults, match="a path or a host"):
            publish(run)

    @pytest.mark.parametrize(
        ("text", "leaks"), [("on a.main", True), ("main", True), ("remaining domain", False), ("axmain", False)]
    )
    def test_a_host_is_a_word_of_its_own(self, monkeypatch, text, leaks):
        monkeypatch.setattr(socket, "gethostname", lambda: "main")
        assert agreement.names_machine(text) == leaks
        monkeypatch.setattr(socket, "gethostname", lambda: "a.main")
        assert agreement.names_machine(text) == (text == "on a.main")

    @pytest.mark.parametrize("text", ["timm/resnet18", "AMD EPYC 7/8", "https://arxiv.org/abs/1", "a / b", "2:1"])
    def test_other_texts_are_no_paths(self, run, place, text):
        run.done(run.cell(method="external", overrides={"where": text}))
        assert publish(run).done == 5

    def test_a_changed_record_of_a_run_is_refused(self, run, place):
        cell = run.cells[0]
        name = f"{cell['nodes']['evaluate'][0]}/record.json"
        run.write(name, json.dumps({**run.read(name), "metrics": {"top1": 99.9}}))
        with pytest.raises(Faults, match=rf"{name}: was changed after it was written; run again"):
            publish(run)
        row = run.build().cells.query("method == 'wmdd' and seed == 0").iloc[0]
        assert row["status"] == "failed"
        assert row["reason"].endswith(f"{name}: was changed after it was written; run again")

    def test_a_run_without_results_is_refused(self, tmp_path, place):
        made = Run(str(tmp_path / "empty"))
        made.cell()
        with pytest.raises(BenchmarkError, match="no cell of suite 'main' is finished"):
            made.publication()


class TestAdding:
    """A second run joins what is published."""

    def test_cells_of_both_are_there(self, run, place, tmp_path):
        publish(run)
        other = Run(str(tmp_path / "other"))
        other.cell(method="wmdd")  # not done here
        other.done(other.cell(method="rded"), 55.0)
        found = publish(other, "A second machine.")
        assert found.done == 5
        assert found.notes == ("A second machine.",)

    def test_a_recipe_that_changed_replaces_its_cells_and_their_records(self, run, place, tmp_path):
        before = publish(run)
        other = Run(str(tmp_path / "other"))
        nodes = {stage: [f"{stage}-new"] for stage in records.STAGES}
        other.done(other.cell(method="wmdd", nodes=nodes), 70.0)
        after = publish(other)
        assert "evaluate-new" in after.records
        (old,) = (cell for cell in before.cells if cell["method"] == "wmdd" and cell["seed"] == 0)
        assert not set(old["nodes"]["evaluate"]) & after.records.keys()
        assert set(old["nodes"]["teacher"]) <= after.records.keys(), "other cells stand on it"

    def test_another_version_of_the_suite_starts_anew(self, run, place, tmp_path):
        publish(run)
        other = Run(str(tmp_path / "other"), version=2)
        other.done(other.cell(method="rded"), 55.0)
        assert publish(other).done == 1

    @pytest.mark.parametrize(("top1", "fits"), [(60.5, True), (68.0, False)])
    def test_the_same_key_must_give_the_same_number(self, run, place, tmp_path, top1, fits):
        publish(run)
        other = Run(str(tmp_path / "other"))
        other.done(other.cell(method="wmdd"), top1)
        if fits:
            found = publish(other)
            assert 60.0 in [record["metrics"].get("top1") for record in found.records.values()], "the earlier one stays"
        else:
            with pytest.raises(Faults, match=r"top1 is published as 60\.0, and in this run it is 68\.0, with the same"):
                publish(other)

    def test_one_test_image_is_no_disagreement(self, place, tmp_path):
        """9.577 against 9.859 %: 34 and 35 of 355 images, of a row with one seed and of one with two."""
        for seeds in (1, 2):
            first, second = (Run(str(tmp_path / f"{name}{seeds}")) for name in ("first", "second"))
            for seed in range(seeds):
                first.done(first.cell(seed=seed), 100 * (34 + 4 * seed) / 355, precision="bfloat16")
            second.done(second.cell(), 100 * 35 / 355, precision="float32")
            found = merged(merged(None, first.publication()), second.publication())
            assert 100 * 34 / 355 in [record["metrics"].get("top1") for record in found.records.values()]

    def test_a_disagreement_says_what_differs(self, run, place, tmp_path):
        publish(run)
        other = Run(str(tmp_path / "other"))
        other.done(other.cell(method="wmdd"), 68.0, precision="bfloat16", device_class="cuda")
        with pytest.raises(Faults) as caught:
            publish(other)
        (line,) = (line for line in caught.value.faults if "top1" in line and line.startswith("evaluate"))
        assert "more than 6.21 apart, which seeds and 100 test images allow" in line
        words = "Published: cpu in not recorded, this run: cuda in bfloat16; device class and precision differ;"
        assert words in line

    @pytest.mark.parametrize("top1", [float("nan"), float("inf"), -500.0])
    def test_what_is_no_accuracy_is_refused(self, run, place, tmp_path, top1):
        publish(run)
        other = Run(str(tmp_path / "other"))
        other.done(other.cell(method="wmdd"), top1)
        with pytest.raises(Faults, match="is damaged; run again"):
            publish(other)

    def test_a_closure_has_all_that_a_record_stands_on(self):
        pool = {
            name: {"identity": {"parents": {"images": parents}}}
            for name, parents in {"a": ["b"], "b": ["c", "elsewhere"], "c": [], "d": ["c"]}.items()
        }
        assert list(closure(pool, ["a"])) == ["a", "b", "c"]


class TestVerification:
    @pytest.fixture
    def store(self, tmp_path):
        return Store(str(tmp_path / "store"))

    def put(self, store: Store, text: str = "pixels", parents=()) -> str:
        identity = {"stage": "distill", "component": {"name": text}, "parents": {"images": list(parents)}}
        key = key_of(identity)
        with store.writing(key) as folder:
            (folder / "images").write_text(text)
            store.commit(key, folder, {"stage": "distill", "identity": identity, "metrics": {}})
        return key

    def test_a_sound_node_and_its_parents(self, store):
        parent = self.put(store, "parent")
        key = self.put(store, parents=[parent])
        assert verify.verified(store.files, [key]).keys() == {key, parent}

    def test_files_may_be_gone_but_not_changed(self, store, tmp_path):
        key = self.put(store)
        path = tmp_path / "store" / key / "images"
        path.unlink()
        assert verify.verified(store.files, [key]).keys() == {key}
        path.write_text("PIXELS")
        with pytest.raises(Faults, match=f"{key}/images: not what was recorded"):
            verify.verified(store.files, [key])

    def test_an_identity_that_is_not_its_keys(self, store, tmp_path):
        key = self.put(store)
        path = tmp_path / "store" / key / "record.json"
        record = json.loads(path.read_text().replace('"pixels"', '"pixels2"'))
        path.write_text(json.dumps(record))
        with pytest.raises(Faults, match=rf"{path}: was changed after it was written; run again"):
            verify.verified(store.files, [key])
        path.write_text(json.dumps(sealed(record)))
        with pytest.raises(Faults, match=f"{key}: the key does not belong to the identity in its record"):
            verify.verified(store.files, [key])

    def test_a_missing_parent(self, store):
        with pytest.raises(Faults, match="nowhere: is missing; results that depend on it cannot be published"):
            verify.verified(store.files, [self.put(store, parents=["nowhere"])])


class TestReadme:
    def test_only_the_text_between_markers_changes(self, run, place):
        found = publish(run)
        before = "# T\n<!-- results: main -->\noutdated\n<!-- /results -->\nrest\n"
        after = readme.filled(before, {"main": found})
        assert after.startswith("# T\n<!-- results: main -->\n**Top-1")
        assert after.endswith("<!-- /results -->\nrest\n")
        assert "outdated" not in after
        assert readme.filled(after, {"main": found}) == after

    def test_the_block_has_two_protocols_side_by_side_and_every_datasets_first_student(self, run, place):
        run.done(run.cell(method="wmdd", protocol="hard"), 1.0)
        run.done(run.cell(method="wmdd", student="test_vit"), 2.0)
        run.done(run.cell(dataset="cifar10", method="wmdd", student="resnet18"), 33.0)
        run.done(run.cell(ipc=0, method="full"), 99.0)
        run.cell(method="absent")
        rows, text = self.table(run)
        assert "digits with test_resnet, cifar10 with resnet18." in text.replace("\\", "")
        assert rows[0] == [
            "method",
            "digits, standard<br>IPC 10",
            "digits, hard<br>IPC 10",
            "cifar10, standard<br>IPC 10",
        ]
        assert [row[0] for row in rows[2:]] == ["wmdd", "mmd", "full"], (
            "best first, controls last, what has no number not"
        )
        assert [value.split(" ")[0] for value in rows[2][1:]] == ["60.5", "1.0", "33.0"]
        assert [value.split(" ")[0] for value in rows[4][1:]] == ["99.0", "\N{EN DASH}", "\N{EN DASH}"]
        assert "Measured on a GPU. Version 1 of the evaluation. **Version 1 is superseded**: " in text

    def test_the_block_has_every_contestant_variants_too(self, run, place):
        """wmdd+real is a variant whose base is in the suite; a series of one number has a table of its own."""
        for seed in range(2):
            variant = {"start": "nearest_real", "learning_rate": 0.02}
            run.done(run.cell(method="wmdd+real", base="wmdd", overrides=variant, seed=seed), 70.0 + seed)
            for protocol in ("soft_plain", "hard"):
                run.done(run.cell(method="mmd", protocol=protocol, seed=seed), 20.0)
        rows, _ = self.table(run)
        assert [row[0] for row in rows[2:]] == ["wmdd+real", "wmdd", "mmd"]
        assert rows[0][1:] == ["digits, standard<br>IPC 10", "digits, soft_plain<br>IPC 10"]

    def table(self, run: Run) -> tuple[list[list[str]], str]:
        text = readme.results_text(merged(None, run.publication(), "Two cores."))
        lines = [line.replace("\\", "").split("|")[1:-1] for line in text.splitlines() if "|" in line]
        return [[part.strip(" *").removeprefix("<u>").split("</u>")[0] for part in line] for line in lines], text

    def test_what_labels_are_worth_comes_from_protocols_that_differ_in_nothing_else(self, run, place):
        for protocol, top1 in {"hard": 34.0, "soft": 40.0, "standard": 59.0}.items():
            run.done(run.cell(method="random_real", protocol=protocol), top1)
        text = readme.labels_text(merged(None, run.publication()))
        assert text == (
            "- digits, `random_real` at IPC 10: "
            "40.0 % with one soft label per image, 59.0 % with a soft label per view.\n"
        )

    def test_pairs_have_their_differences_with_intervals_and_verdicts(self, run, place):
        for seed, (best, other) in enumerate([(90.0, 50.0), (91.0, 51.5), (92.0, 51.0)]):
            run.done(run.cell(method="wmdd", seed=seed, draw=seed), best)
            run.done(run.cell(method="mmd", seed=seed, draw=seed), other)
        found = replace(merged(None, run.publication()), pairs=(("mmd", "wmdd"), ("mmd", "absent")))
        *_, line = readme.pairs_text(found).splitlines()
        method, other, cell, difference, interval, verdict = [part.strip() for part in line.strip("|").split("|")]
        assert (method, other, verdict) == ("mmd", "wmdd", "behind")
        assert cell == "digits, IPC 10, standard, test\\_resnet"
        assert difference == "\N{MINUS SIGN}40.2"
        low, high = (float(end.replace("\N{MINUS SIGN}", "-")) for end in interval.split(" to "))
        assert low < -40.2 < high < 0

    def test_markers_can_name_a_dataset(self, run, place):
        for dataset in ("digits", "cifar10"):
            for method in ("random_real", "wmdd"):
                for seed, top1 in enumerate((60.0, 61.0, 62.0)):
                    run.done(run.cell(dataset=dataset, method=method, seed=seed), top1)
        found = {"main": publish(run)}
        for kind in ("results", "control"):
            text = readme.filled(f"<!-- {kind}: main cifar10 -->\n<!-- /{kind} -->", found)
            assert "| cifar10, " in text or "cifar10 with" in text
            assert "digits" not in text

    def test_gains_of_several_suites_stand_side_by_side(self, run, place):
        accuracies = {"random_real": (50.0, 51.0, 52.0), "wmdd": (90.0, 91.5, 92.0), "sre2l": (20.0, 21.0, 22.5)}
        for dataset in ("digits", "cifar10"):
            for method in [*accuracies][: 3 if dataset == "digits" else 2]:
                for seed, top1 in enumerate(accuracies[method]):
                    run.done(run.cell(dataset=dataset, method=method, seed=seed), top1)
                    run.done(run.cell(dataset=dataset, method=method, seed=seed, protocol="soft"), top1)
        found = {"main": publish(run)}
        text = readme.filled("<!-- gains: main digits, main cifar10 -->\n<!-- /gains -->", found)
        table = [[part.strip() for part in line.split("|")[1:-1]] for line in text.splitlines() if "|" in line]
        assert [column.split("<br>")[1].split(",")[0] for column in table[0][1:]] == ["digits", "cifar10"]
        assert [row for row in table[2:] if row[0] != "mmd"] == [  # of the fixture
            ["wmdd", "**+40.2**", "**+40.2**"],
            ["sre2l", "*\N{MINUS SIGN}29.8*", ""],
        ]

    def test_links_are_relative_to_the_text(self, run, place):
        found = {"main": publish(run)}
        folder = publication.FOLDER / "docs" / "results"
        text = readme.filled("<!-- results: main -->\n<!-- /results -->", found, folder)
        assert "[leaderboards/published/main](../../main)" in text

    def test_markers_without_results_are_an_error(self):
        text = "<!-- results: main -->\n<!-- /results -->"
        with pytest.raises(BenchmarkError, match=r"markers for results of 'main', which has none published"):
            readme.filled(text, {})


class TestVersions:
    """Results of two versions of the evaluation never stand in one row."""

    @staticmethod
    def version(run: Run, dataset: str, version: int, teachers: int, top1: float) -> None:
        for seed in range(2):
            nodes = {stage: [key_of({"of": [stage, dataset, version, seed]})] for stage in records.STAGES}
            extra = {"dataset": dataset, "evaluation": version, "nodes": nodes}
            run.done(run.cell(seed=seed, teacher=seed if teachers > 1 else 0, **extra), top1 + seed)

    @pytest.mark.parametrize("suite_version", [1, 2])
    def test_a_new_version_replaces_the_dataset_that_it_measured_and_leaves_the_others(
        self, place, tmp_path, suite_version
    ):
        old, new = Run(str(tmp_path / "old")), Run(str(tmp_path / "new"), suite_version)
        self.version(old, "digits", 1, 1, 60.0)
        self.version(old, "imagenette64", 1, 1, 30.0)
        publish(old)
        self.version(new, "digits", 2, 2, 80.0)
        for seed in range(2):
            new.cell(dataset="imagenette64", seed=seed, teacher=seed)
        found = publish(new)
        cells = found.results.report.cells
        assert cells[cells["dataset"] == "digits"]["top1"].tolist() == [80.0, 81.0]
        assert cells[cells["dataset"] == "imagenette64"]["top1"].tolist() == [30.0, 31.0]
        assert "Version of the evaluation: 2 on digits, 1 on imagenette64." in (place / "README.md").read_text()

    def test_one_version_is_said_once(self, run, place):
        publish(run)
        assert "Version 1 of the evaluation." in (place / "README.md").read_text()

    def test_methods_are_compared_with_the_control(self, run, place):
        for seed in range(3):
            run.done(run.cell(method="wmdd", seed=seed, draw=seed), 90.0 + seed)
            run.done(run.cell(method="random_real", seed=seed, draw=seed), 60.0 - seed)
        _, _, *lines = readme.control_text(merged(None, run.publication())).splitlines()
        parts = [[part.strip() for part in line.strip("|").split("|")] for line in lines]
        verdicts = {(method, other): (difference, verdict) for method, other, _, difference, _, verdict in parts}
        assert verdicts["wmdd", "random\\_real"] == ("+32.0", "ahead")
        assert {other for _, other in verdicts} == {"random\\_real"}
        assert "random\\_real" not in {method for method, _ in verdicts}
