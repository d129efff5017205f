"""The graph: which nodes are shared, what changes a key, and which cells are skipped or refused."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
from engine import plan
from toy_folder import lay_down, toy

from benchmark.api import Column, TeacherSpec, Unit
from benchmark.errors import BenchmarkError, Faults
from benchmark.identity import STAGES, key_of
from benchmark.plan import discovery, nodes, protocol, recipes
from benchmark.plan.graph import Plan, PlanOptions
from benchmark.vision import datasets

NOISE = {"methods": ["noise"], "protocols": ["standard"]}


def keys(planned: Plan) -> dict[str, set[str]]:
    """Return the keys of each stage."""
    return {s: {node.key for node in planned.nodes.values() if node.stage == s} for s in STAGES}


def changed(before: Plan, after: Plan) -> set[str]:
    """Return the stages whose keys differ between two plans."""
    old, new = keys(before), keys(after)
    return {stage for stage in STAGES if old[stage] != new[stage]}


def on(device: str, **more) -> PlanOptions:
    return PlanOptions(Path("nowhere"), device, **more)


class TestSharing:
    BLOCK: dict = {  # noqa: RUF012
        "ipc": [1, 2],
        "methods": ["random_real", "sre2l", "wmdd"],
        "students": ["test_resnet", "test_vit"],
        "protocols": ["hard", "standard"],
        "seeds": 2,
    }

    def test_nodes_are_shared(self):
        planned = plan(self.BLOCK)
        assert len(planned.cells) == 2 * 3 * 2 * 2 * 2
        counts = {stage: len(stage_keys) for stage, stage_keys in keys(planned).items()}
        assert counts["teacher"] == 2, "one teacher for all methods of a seed"
        assert counts["prepare"] == 2, "what does not depend on IPC is prepared once for a teacher"
        assert counts["distill"] == 2 * 3 * 2, "one set for all students and protocols"
        assert counts["relabel"] == 2 * 3 * 2 * 2, "one labelling for all students"
        assert counts["evaluate"] == len(planned.cells)

    def test_parents_come_first_and_every_cell_has_its_nodes(self):
        planned = plan(self.BLOCK)
        seen: set[str] = set()
        for key, node in planned.nodes.items():
            assert key == node.key
            assert set(node.parents) <= seen
            seen.add(key)
        for cell in planned.cells:
            assert {key for stage in cell.nodes.values() for key in stage} <= seen

    def test_hard_labels_of_real_images_need_no_teacher(self):
        assert keys(plan())["teacher"] == set()

    def test_preparations_are_shared_among_equal_ones(self):
        variants = [
            {"base": "wmdd", "method": "a", "set": {"jitter": 1}},
            {"base": "wmdd", "method": "b", "set": {"jitter": 0}},
        ]
        by_stage = keys(plan({"methods": variants}))
        assert (len(by_stage["prepare"]), len(by_stage["distill"])) == (1, 2)

    def test_each_draw_has_its_own_scoring_run_and_the_same_statistics(self):
        block = {"methods": ["el2n", "aum", "wmdd"], "draws": 3, "teachers": 1}
        prepared = [node.identity for node in plan(block).nodes.values() if node.stage == "prepare"]
        assert [identity.get("seed") for identity in prepared] == [0, 1, 2, None]
        assert len({tuple(identity["parents"]["teachers"]) for identity in prepared}) == 1

    def test_every_teacher_has_its_own_sets_and_one_neutral_network_measures_all(self):
        planned = plan({"methods": ["sre2l"], "draws": 2, "teachers": 2}, measures=["distances"])
        taught = {
            (cell.cell.draw, cell.cell.teacher): [
                planned.nodes[parent].identity["seed"]
                for key in cell.nodes["distill"]
                for parent in planned.nodes[key].parents
            ]
            for cell in planned.cells
        }
        assert taught == {(draw, teacher): [teacher] for draw in (0, 1) for teacher in (0, 1)}
        measured = [node for node in planned.nodes.values() if node.stage == "measure"]
        assert len(measured) == 4
        assert len({node.identity["parents"]["teachers"][-1] for node in measured}) == 1

    def test_a_downloaded_teacher_is_of_its_own_network_alone(self):
        config = datasets.load_dataset("imagenet1k")
        assert config.teacher.pretrained
        recipes_of = [
            nodes.teacher_identity(config, TeacherSpec(arch=arch), 0)["component"]["params"]["recipe"]
            for arch in (None, "resnet50")
        ]
        assert [recipe["pretrained"] for recipe in recipes_of] == [config.teacher.pretrained, None]

    def test_full_data_are_not_measured(self):
        assert not keys(plan({"methods": ["full"]}, measures=["distances"]))["measure"]

    def test_one_plan_has_the_recipe_of_each_ipc(self):
        blocks = [{"ipc": ipc, "protocols": ["equal_steps"]} for ipc in ([1, 50], [1], [50])]
        both, one, two = (keys(plan(block)) for block in blocks)
        assert both["evaluate"] == one["evaluate"] | two["evaluate"]

    def test_a_teacher_in_place_of_a_tuple_of_teachers_is_refused(self, monkeypatch):
        monkeypatch.setattr(discovery.load_method("sre2l"), "teachers", lambda self: TeacherSpec())
        with pytest.raises(BenchmarkError, match=r"^sre2l: teachers\(\) must return a tuple of TeacherSpec"):
            plan({"methods": ["sre2l"]})


class TestManifest:
    def test_it_holds_what_json_can_hold(self):
        manifest = plan(TestSharing.BLOCK, measures=["distances"], pairs=[["wmdd", "sre2l"]]).manifest()
        assert json.loads(json.dumps(manifest)) == manifest
        assert len(manifest["cells"]) == 48
        assert manifest["pairs"] == [["wmdd", "sre2l"]]

    def test_it_names_classes_in_the_order_of_their_labels(self, tmp_path, monkeypatch):
        swapped = toy(class_names={"cat": "Cat", "ant": "Ant"})
        monkeypatch.setattr(datasets, "load_dataset", lambda name: swapped)
        options = PlanOptions(lay_down(tmp_path), "cpu")
        names = plan({"datasets": ["imagenette64"]}, options=options).manifest()["class_names"]
        assert names == {"imagenette64": ["Ant", "bee", "Cat"]}

    def test_a_cell_has_the_role_of_its_base(self):
        methods = ["wmdd", "random_real", "noise", "full", {"method": "real", "base": "random_real"}]
        roles = {cell["method"]: cell["role"] for cell in plan({"methods": methods}).manifest()["cells"]}
        expected = {"wmdd": "method", "random_real": "control", "noise": "floor", "full": "bound", "real": "control"}
        assert roles == expected

    def test_it_has_the_columns_of_the_evaluators_and_measures_that_cells_use(self, monkeypatch):
        accuracy = Column("top1", "top-1", "%")
        distance = Column("w1", "W1", better="lower", floor="w1_real")
        monkeypatch.setattr(discovery.load_evaluator("accuracy"), "columns", (accuracy,))
        monkeypatch.setattr(discovery.load_measure("distances"), "columns", (distance,))
        block = {"datasets": ["cifar10"], "protocols": ["standard", "hard"]}
        columns = plan(block, measures=["distances"]).manifest()["columns"]
        assert columns == {
            "evaluate": {"accuracy": [asdict(accuracy)]},
            "measure": {"distances": [asdict(distance)]},
        }
        assert plan({"protocols": ["robust", "native"]}).manifest()["columns"]["evaluate"].keys() == {
            "robustness",
            "native",
            "averaged",
            "grouped",
        }


class TestKeys:
    def test_every_key_is_recomputable_from_plain_json(self):
        for node in plan(TestSharing.BLOCK).nodes.values():
            assert key_of(json.loads(json.dumps(node.identity))) == node.key

    def test_no_runtime_knob_is_in_a_key(self, monkeypatch):
        reference = plan(NOISE)
        assert not changed(reference, plan(NOISE, version=9, title="Other", description="other", name="other"))
        assert not changed(reference, plan(NOISE, options=PlanOptions(Path("elsewhere"), "cuda", device_chosen=True)))
        config = datasets.load_dataset("digits")
        more = config.resources.model_copy(update={"cpus": 7, "gpus": 0.5, "memory_gb": 9.0})
        other = config.model_copy(update={"resources": more, "title": "Other"})
        monkeypatch.setattr(datasets, "load_dataset", lambda name: other)
        again = plan(NOISE)
        assert {node.needs.cpus for node in again.nodes.values() if node.stage == "distill"} == {7}
        assert not changed(reference, again)

    def test_a_variants_name_is_not_in_a_key(self):
        assert not changed(plan(NOISE), plan({**NOISE, "methods": [{"base": "noise", "method": "other"}]}))

    def test_spelled_out_defaults_are_not_in_a_key(self):
        plain = {"base": "sre2l", "method": "x"}
        default = recipes.resolve_method("sre2l", "digits", 1, {}).model_dump()
        assert not changed(plan({"methods": [plain]}), plan({"methods": [{**plain, "set": default}]}))

    def test_a_hyperparameter_changes_all_that_depends_on_it(self):
        one, two = ({**NOISE, "methods": [{"base": "sre2l", "method": "x", "set": {"jitter": j}}]} for j in (0, 1))
        assert changed(plan(one), plan(two)) == {"distill", "relabel", "evaluate"}

    def test_a_version_changes_all_that_depends_on_it(self, monkeypatch):
        before = plan(NOISE)
        monkeypatch.setattr(discovery.load_method("noise"), "version", 99)
        assert changed(before, plan(NOISE)) == {"distill", "relabel", "evaluate"}
        monkeypatch.setattr(nodes, "TEACHER_VERSION", 99)
        assert changed(before, plan(NOISE)) == {"teacher", "distill", "relabel", "evaluate"}

    def test_other_data_change_everything(self, monkeypatch):
        before, real = plan(NOISE), datasets.info
        monkeypatch.setattr(
            datasets, "info", lambda *a, **k: real(*a, **k).model_copy(update={"fingerprint": "other"}), raising=True
        )
        assert changed(before, plan(NOISE)) == {"teacher", "distill", "relabel", "evaluate"}

    @pytest.mark.parametrize(
        ("change", "stages"),
        [
            ({"version": 9, "title": "Other", "description": "other"}, set()),
            ({"evaluator": {"name": "accuracy", "temperature": 3.0}}, {"evaluate"}),
            ({"labels": {"name": "per_epoch", "storage": "online"}}, {"relabel", "evaluate"}),
            ({"schedule": {"mix": "none"}}, {"relabel", "evaluate"}),
        ],
    )
    def test_a_protocol_changes_labels_and_students_alone(self, monkeypatch, change, stages):
        before, real = plan(NOISE), protocol.load
        monkeypatch.setattr(protocol, "load", lambda *a, **k: real(*a, **k).model_copy(update=change))
        assert changed(before, plan(NOISE)) == stages

    def test_a_student_changes_its_evaluation_alone(self):
        assert changed(plan(NOISE), plan({**NOISE, "students": ["test_vit"]})) == {"evaluate"}


class TestFaults:
    def test_an_impossible_ipc(self):
        cells = plan({"ipc": [1, 500]}).cells
        assert {planned.skipped for planned in cells if planned.cell.ipc == 1} == {None}
        assert {planned.skipped for planned in cells if planned.cell.ipc == 500} == {
            "its smallest class has 140 images"
        }

    def test_wrong_hyperparameters_of_two_variants_come_at_once(self):
        wrong = [
            {"base": "sre2l", "method": "x", "set": {"jiter": 1}},
            {"base": "wmdd", "method": "y", "set": {"iterations": "many"}},
        ]
        with pytest.raises(Faults) as caught:
            plan({"methods": wrong, "ipc": [1, 2]})
        lines = caught.value.faults
        assert len(lines) == 2, "each once, however many cells it spoils"
        assert lines[0] == "suite tiny: x.set: jiter: unknown key. Did you mean 'jitter'?"
        assert lines[1].startswith("suite tiny: y.set: iterations: input should be a valid integer")

    @pytest.mark.parametrize(
        ("classes", "slots", "times"),
        [
            (range(10), range(10), 1),
            (range(3), range(1), 1),
            (range(10), range(1), 2),
            (range(10), (1,), 1),
            (range(10), (), 1),
            (range(-1, 9), range(1), 1),
            (range(11), range(1), 1),
        ],
    )
    def test_units_that_are_no_set_of_its_ipc(self, monkeypatch, classes, slots, times):
        units = [Unit(index=index, ipc=1, classes=tuple(classes), slots=tuple(slots)) for index in range(times)]
        monkeypatch.setattr("methods.noise.Noise.units", lambda self, info, ipc: units)
        with pytest.raises(Faults) as caught:
            plan({**NOISE, "seeds": 2})
        (line,) = caught.value.faults
        images = times * len(classes) * len(slots)
        assert line.startswith(f"method noise on digits at IPC 1: its units hold {images} images; ")

    @pytest.mark.parametrize(
        ("change", "fault"),
        [
            ({"labels": {"name": "per_epok"}}, "unknown label regime 'per_epok'. Did you mean 'per_epoch'?"),
            ({"labels": {}}, "configs/protocols/standard.yaml: labels: name: is missing"),
            ({"evaluator": {"name": "accuracy", "temprature": 1}}, "evaluator: temprature: unknown key. Did you mean"),
            ({"schedule": {"mixx": "none"}}, "schedule: mixx: unknown key. Did you mean 'mix'?"),
        ],
    )
    def test_a_wrong_protocol_is_named(self, monkeypatch, change, fault):
        real = protocol.load
        monkeypatch.setattr(protocol, "load", lambda *a, **k: real(*a, **k).model_copy(update=change))
        with pytest.raises(Faults) as caught:
            plan(NOISE)
        assert fault in str(caught.value)


class TestSkipping:
    def test_missing_data_skip_a_cell_with_the_remedy(self):
        planned = plan({"datasets": ["cifar10"]}, {})
        skipped, ran = planned.cells
        assert skipped.skipped == "not on disk: python -m benchmark data fetch cifar10 --data nowhere"
        assert ran.skipped is None
        assert {node.identity["dataset"]["name"] for node in planned.nodes.values()} == {"digits"}

    def test_missing_data_that_were_asked_for_are_a_fault(self):
        with pytest.raises(Faults, match="--datasets cifar10: not on disk: python -m benchmark data fetch"):
            plan({"datasets": ["cifar10"]}, options=on("cpu"), required=("cifar10",))

    def test_broken_data_stop_nobody_who_did_not_ask_for_them(self, tmp_path):
        for split in ("train", "val"):
            (tmp_path / "cifar10" / split / "only_one_class").mkdir(parents=True)
        both = {"datasets": ["digits", "cifar10"]}
        digits, cifar10 = plan(both, options=PlanOptions(tmp_path, "cpu")).cells
        assert digits.skipped is None
        assert "cifar10" in cifar10.skipped
        with pytest.raises(Faults, match="--datasets cifar10: "):
            plan(both, options=PlanOptions(tmp_path, "cpu"), required=("cifar10",))

    def test_excluded_and_unsupported_cells_say_why(self, monkeypatch):
        monkeypatch.setattr(discovery.load_method("noise"), "supports", lambda *a: "it is only noise")
        planned = plan({"methods": ["noise", "random_real"]}, exclude=[{"methods": ["random_real"], "why": "too real"}])
        assert [cell.skipped for cell in planned.cells] == ["it is only noise", "too real"]
        assert not planned.nodes

    def test_a_recipe_for_a_gpu_waits_for_one(self, monkeypatch):
        config = datasets.load_dataset("digits").model_copy(update={"needs_gpu": True})
        monkeypatch.setattr(datasets, "load_dataset", lambda name: config)
        (cell,) = plan().cells
        assert "--device cpu runs it anyway" in str(cell.skipped)
        assert cell.nodes, "a leaderboard made elsewhere is found under its keys"
        assert not plan().nodes
        assert plan(options=on("cpu", device_chosen=True)).nodes
        assert plan(options=on("cuda")).nodes

    def test_graphics_cards_are_asked_for_where_they_are(self, monkeypatch):
        config = datasets.load_dataset("digits")
        wants = config.resources.model_copy(update={"gpus": 0.5})
        monkeypatch.setattr(datasets, "load_dataset", lambda name: config.model_copy(update={"resources": wants}))
        assert {node.needs.gpus for node in plan().nodes.values()} == {0.0}
        assert {node.needs.gpus for node in plan(options=on("cuda")).nodes.values()} == {0.5}
