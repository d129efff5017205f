"""Protocols: the same for every method, except where they name a deviation."""

from __future__ import annotations

import math
from typing import Any

import pytest
from engine import plan
from pydantic import ValidationError

from benchmark.config_files import names
from benchmark.errors import BenchmarkError
from benchmark.plan import protocol as protocols
from benchmark.plan.protocol import Protocol, load_protocol
from benchmark.plan.suite import MethodEntry
from benchmark.vision.datasets import load_dataset

DIGITS = load_dataset("digits")
STANDARD = load_protocol("standard").model_dump()
OWN = {"source": "a paper", "schedule": {"batch_size": 7}, "evaluator": {"learning_rate": 0.5}}


def protocol(**changes: Any) -> Protocol:
    return Protocol.model_validate({**STANDARD, **changes})


@pytest.mark.parametrize("name", names("protocols"))
def test_every_protocol_fits_its_datasets(name):
    loaded = load_protocol(name)
    for key in loaded.methods or ["random_real"]:
        method, _, dataset = key.partition("@")
        config = load_dataset(dataset or "digits")
        own = loaded.for_method(MethodEntry(method=method, base=method.partition("+")[0]), dataset)
        assert own is not None
        regime, evaluator = own.components(config, full_data=False)
        assert regime.schedule == evaluator.schedule, "labels and student see the same views"
        assert evaluator.schedule.flip <= config.flip, "a mirrored 2 is not a 2"
        assert evaluator.schedule.crop_scale[0] >= config.smallest_crop


def test_crops_that_a_dataset_does_not_allow_are_named():
    small = protocol(schedule={"crop_scale": [0.1, 0.3]})
    with pytest.raises(BenchmarkError, match=r"crop_scale: crops of at most 0.3, but digits needs 0.5 or more"):
        small.components(load_dataset("digits"), full_data=False)


class TestDeviations:
    def test_a_method_without_one_follows_the_protocol(self):
        base = protocol(methods={"wmdd": OWN})
        assert base.for_method(MethodEntry(method="sre2l")) is base
        assert protocol(methods={"wmdd": OWN}, only_listed=True).for_method(MethodEntry(method="sre2l")) is None

    def test_a_deviation_changes_what_it_names_and_nothing_else(self):
        base, own = protocol(), protocol(methods={"wmdd": OWN}).for_method(MethodEntry(method="wmdd"))
        assert own.schedule == {**base.schedule, "batch_size": 7}
        assert own.evaluator == {**base.evaluator, "learning_rate": 0.5}
        assert own.labels == base.labels

    def test_a_variant_has_its_own_before_that_of_its_method(self):
        entry = MethodEntry.model_validate({"base": "wmdd", "method": "wmdd+bn", "set": {"regulariser": "bn"}})
        other = {"source": "another paper", "schedule": {"batch_size": 9}}
        both = protocol(methods={"wmdd": OWN, "wmdd+bn": other})
        assert both.for_method(entry).schedule["batch_size"] == 9
        assert protocol(methods={"wmdd": OWN}).for_method(entry).schedule["batch_size"] == 7

    def test_an_entry_for_a_dataset_holds_in_place_of_that_of_its_method(self):
        other = {"source": "another paper", "schedule": {"epochs": 9}}
        both, entry = protocol(methods={"wmdd": OWN, "wmdd@digits": other}), MethodEntry(method="wmdd")
        assert both.for_method(entry, "digits").schedule == {**STANDARD["schedule"], "epochs": 9}
        assert both.for_method(entry, "cifar10").schedule == {**STANDARD["schedule"], "batch_size": 7}

    def test_an_ipc_may_have_its_own_schedule(self):
        own = {**OWN, "by_ipc": {1: {"batch_size": 2}, 10: {"epochs": 3}}}
        base, entry = protocol(methods={"wmdd": own}), MethodEntry(method="wmdd")
        assert base.for_method(entry).schedule == {**STANDARD["schedule"], "batch_size": 7}
        assert base.for_method(entry, "digits", 1).schedule == {**STANDARD["schedule"], "batch_size": 2}
        assert base.for_method(entry, "digits", 10).schedule == {**STANDARD["schedule"], "batch_size": 7, "epochs": 3}
        assert base.for_method(entry, "digits", 50).schedule == {**STANDARD["schedule"], "batch_size": 7}

    def test_an_ipc_may_have_its_own_evaluator(self):
        own = {**OWN, "evaluator": {"zeta": 2.0}, "evaluator_by_ipc": {50: {"zeta": 1.0}}}
        base, entry = protocol(methods={"wmdd": own}), MethodEntry(method="wmdd")
        shares = [base.for_method(entry, "digits", ipc).evaluator["zeta"] for ipc in (None, 1, 50)]
        assert shares == [2.0, 2.0, 1.0]
        assert base.for_method(entry, "digits", 50).schedule["batch_size"] == 7

    def test_sre2l_pp_and_fadrm_have_the_students_of_their_codes(self):
        native = load_protocol("native")
        shares = {
            (method, dataset): [
                native.for_method(MethodEntry(method=method, base=method.rstrip("+")), dataset, ipc).evaluator.get(
                    "zeta", 1
                )
                for ipc in (1, 10, 50)
            ]
            for method in ("sre2l_pp", "fadrm", "fadrm+")
            for dataset in ("cifar10", "imagenette", "tiny_imagenet", "imagenet1k")
        }
        late, middle = [2, 2, 1], [2, 1, 2]
        assert list(shares.values()) == [[1, 1, 1], middle, middle, late, *[late, middle, late, late] * 2]

    def test_rded_has_the_batches_of_its_code(self):
        native, entry = load_protocol("native"), MethodEntry(method="rded")
        sizes = {
            (dataset, ipc): native.for_method(entry, dataset, ipc).schedule["batch_size"]
            for dataset in (
                *("digits", "imagenette64", "imagenette", "imagewoof", "tiny_imagenet"),
                *("cifar100", "imagenet100", "imagenet1k"),
            )
            for ipc in (1, 10, 50)
        }
        ten, tiny, many = (10, 50, 100), (100, 100, 100), (20, 100, 200)
        assert list(sizes.values()) == [*ten, *ten, *ten, *ten, *tiny, *many, *many, *many]

    @pytest.mark.parametrize("method", ["rded", "delt"])
    def test_single_crops_are_not_shown_as_mosaics(self, method):
        native, entry = load_protocol("native"), MethodEntry(method=method)
        for dataset in ("digits", "imagenette32", "imagenette64", "cifar10", "cifar10_small", "cifar100"):
            schedule = native.for_method(entry, dataset).schedule
            assert schedule["crop_scale"] == [1.0, 1.0] and schedule.get("mix") != "swap_cutmix", dataset

    def test_a_dataset_may_have_the_recipes_of_another(self):
        native = load_protocol("native")
        for method, dataset, other in (("sre2l", "cifar100", "cifar10"), ("edc", "imagewoof", "imagenette")):
            entry = MethodEntry(method=method)
            assert native.for_method(entry, dataset) == native.for_method(entry, other)
        own = native.for_method(MethodEntry(method="edc"), "cifar100")
        assert own != native.for_method(MethodEntry(method="edc"), "cifar10")

    def test_a_deviation_names_its_source(self):
        with pytest.raises(ValidationError, match="source"):
            protocol(methods={"wmdd": {"schedule": {"batch_size": 7}}})

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"methods": {"nope": OWN}}, "unknown method 'nope'"),
            ({"methods": {"wmddx": OWN}}, "unknown method 'wmddx'. Did you mean 'wmdd'?"),
            ({"methods": {"wmdd@nowhere": OWN}}, "unknown dataset 'nowhere'"),
            ({"methods": {"wmdd@": OWN}}, "unknown dataset ''"),
            ({"methods": {"wmdd": {**OWN, "source": " "}}}, "is blank"),
            ({"only_listed": True}, "only_listed: methods lists none"),
            ({"version": 0}, "greater than or equal to 1"),
        ],
    )
    def test_what_no_protocol_can_mean_is_refused(self, change, said):
        with pytest.raises(ValidationError) as caught:
            protocol(**change)
        assert said in str(caught.value)

    @pytest.mark.parametrize("value", [{"learning_rate": 1e300}, {"temperature": 1e-300}, {"temperature": 1e300}])
    def test_numbers_that_no_student_can_train_with_are_refused(self, value):
        with pytest.raises(BenchmarkError, match=next(iter(value))):
            protocol(evaluator={**STANDARD["evaluator"], **value}).components(DIGITS, full_data=False)

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            (
                {"labels": {"name": "soft"}, "evaluator": {"name": "native", "divergence": "mse"}},
                "evaluator: divergence mse needs labels of kind per_epoch, and soft makes soft",
            ),
            (
                {"labels": {"name": "per_epoch"}, "schedule": {"mix": "dsa_of_cells"}},
                "labels: schedule: mix: dsa_of_cells: labels of cells cannot be stored",
            ),
            (
                {"labels": {"name": "pool"}, "schedule": {"mix": "cutmix_of_cells"}},
                "labels: schedule: mix: cutmix_of_cells: labels of cells cannot be stored",
            ),
            (
                {"labels": {"name": "train_mode"}, "schedule": {"batch_size": 1}},
                "labels: schedule: batch_size: 2 or more",
            ),
            ({"schedule": {"epochs": 0}}, "evaluator: schedule.epochs must be 1 or more"),
            (
                {"evaluator": {"name": "accuracy", "schedule": {"epochs": 2, "batch_size": 5}}},
                "evaluator: schedule: it must be that of the labels",
            ),
        ],
    )
    def test_parts_that_do_not_fit_are_a_fault_of_the_file(self, changes, said):
        with pytest.raises(BenchmarkError, match=rf"configs/protocols/standard.yaml: {said}"):
            protocol(**changes).components(DIGITS, full_data=False)

    @pytest.mark.parametrize("name", ["hard", "soft", "per_epoch"])
    def test_cells_may_have_labels_that_are_not_stored(self, name):
        labels = {"name": name, **({"storage": "online"} if name == "per_epoch" else {})}
        regime, _ = protocol(labels=labels, schedule={"mix": "dsa_of_cells"}).components(DIGITS, full_data=False)
        assert regime.name() == name

    def test_it_changes_the_keys_of_its_method_alone(self, monkeypatch):
        block = {"methods": ["random_real", "noise"], "protocols": ["standard"]}
        before = plan(block)
        monkeypatch.setattr(protocols, "load", lambda *_: protocol(methods={"noise": OWN}))
        after = plan(block)
        same = [a.nodes == b.nodes for a, b in zip(before.cells, after.cells, strict=True)]
        assert same == [True, False]

    def test_a_method_that_is_not_listed_is_skipped_with_words(self, monkeypatch):
        monkeypatch.setattr(protocols, "load", lambda *_: protocol(methods={"noise": OWN}, only_listed=True))
        cells = plan({"methods": ["random_real", "noise"], "protocols": ["standard"]}).cells
        assert [cell.skipped for cell in cells] == ["protocol standard has no recipe for random_real", None]


class TestBudget:
    def test_the_dataset_gives_the_epochs_unless_the_protocol_does(self):
        assert protocol().components(DIGITS, full_data=False)[1].schedule.epochs == DIGITS.student.epochs
        longer = protocol(schedule={"epochs": 400})
        assert longer.components(DIGITS, full_data=False)[1].schedule.epochs == 400

    def test_the_whole_training_set_is_never_visited_as_often(self):
        longer = protocol(schedule={"epochs": 400})
        assert longer.components(DIGITS, full_data=True)[1].schedule.epochs == DIGITS.student.full_epochs

    def test_equal_steps_are_those_of_one_ipc_to_the_nearest_epoch(self):
        equal = protocol(steps_as_ipc=10)
        wanted = DIGITS.student.epochs * math.ceil(100 / DIGITS.student.batch_size)
        for ipc in range(1, 101):
            schedule = equal.components(DIGITS, full_data=False, ipc=ipc)[1].schedule
            assert abs(schedule.steps(10 * ipc) - wanted) <= schedule.batches(10 * ipc) / 2
        assert equal.components(DIGITS, full_data=True)[1].schedule.epochs == DIGITS.student.full_epochs


class TestWhatIsMeasured:
    """Results under these protocols are published: another value here is another protocol, and another name."""

    VIEWS: dict[str, Any] = {"epochs": 150, "batch_size": 50, "flip": False}  # noqa: RUF012

    def components(self, name: str) -> list[dict[str, Any]]:
        """Return what decides the labels and the scores of random images of digits."""
        nodes = plan({"protocols": [name]}).nodes.values()
        return [node.identity["component"] for node in nodes if node.stage in ("relabel", "evaluate")]

    def test_standard_stays_what_it_is(self):
        schedule = {**self.VIEWS, "crop_scale": [0.5, 1.0], "mix": "cutmix"}
        student = {"optimizer": "adamw", "learning_rate": 0.001, "weight_decay": 0.01, "momentum": 0.9}
        divergence, precision = {"temperature": 20.0, "t_squared": False}, {"precision": "float32"}
        assert self.components("standard") == [
            {"name": "per_epoch", "version": 2, "params": {"schedule": schedule, "storage": "disk", **precision}},
            {"name": "accuracy", "version": 2, "params": {"schedule": schedule, **student, **divergence, **precision}},
        ]

    def test_hard_stays_what_it_is(self):
        schedule = {**self.VIEWS, "crop_scale": [0.5, 1.0], "mix": "none"}
        labels, student = self.components("hard")
        assert labels == {"name": "hard", "version": 1, "params": {"schedule": schedule}}
        assert student["name"] == "accuracy" and student["params"]["schedule"] == schedule
