"""Suites: what a file may contain, which cells it has, and which of them a selection keeps."""

from __future__ import annotations

import pytest
from engine import suite, suite_file

from benchmark.config_files import names
from benchmark.errors import BenchmarkError, Faults
from benchmark.plan import suite as suites
from benchmark.plan.discovery import load_method
from benchmark.plan.suite import Selection, Suite, load_suite, name_fault


def axes(source: Suite, *names_: str) -> list[tuple]:
    """Return the distinct values of some axes over the cells of a suite, in order."""
    return list(dict.fromkeys(tuple(getattr(cell, name) for name in names_) for cell in source.cells()))


class TestFiles:
    @pytest.mark.parametrize("name", names("suites"))
    def test_every_suite_of_the_house_is_sound(self, name):
        assert load_suite(name).cells()

    @pytest.mark.parametrize(
        ("change", "fault"),
        [
            ({"datasets": ["digit"]}, "blocks[0].datasets: unknown dataset 'digit'. Did you mean 'digits'?"),
            ({"methods": ["wmd"]}, "blocks[0].methods[0]: unknown method 'wmd'. Did you mean 'wmdd'?"),
            ({"students": ["resnet81"]}, "blocks[0].students: unknown student 'resnet81'. Did you mean 'resnet18'?"),
            ({"protocols": ["standart"]}, "blocks[0].protocols: unknown protocol 'standart'. Did you mean 'standard'?"),
            ({"ipc": [0]}, "blocks[0].ipc: images per class are 1 or more"),
            ({"ipc": ["ten"]}, "blocks[0].ipc[0]: input should be a valid integer"),
            ({"ipc": []}, "blocks[0].ipc: tuple should have at least 1 item"),
            ({"seeds": 0}, "blocks[0].seeds: input should be greater than or equal to 1 (given: 0)"),
            ({"seeds": 10**9}, "blocks[0].seeds: input should be less than or equal to 1000"),
            ({"draws": 10**9}, "blocks[0].draws: input should be less than or equal to 1000"),
            ({"teachers": 10**9}, "blocks[0].teachers: input should be less than or equal to 1000"),
            ({"seeds": 100, "draws": 100}, "blocks[0]: seeds x draws x teachers are 10000, more than 1000"),
            ({"methods": [{"method": "wmdd", "base": "noise"}]}, "blocks[0].methods[0]: 'wmdd' is a method of its own"),
            ({"methods": [{"method": "a,b", "base": "noise"}]}, "blocks[0].methods[0]: 'a,b': a name has no comma"),
            (
                {"methods": [{"method": " a", "base": "noise"}]},
                "blocks[0].methods[0]: ' a': a name has no comma and no b",
            ),
            ({"methods": [{"method": "=1+1", "base": "noise"}]}, "blocks[0].methods[0]: '=1+1': a name does not begin"),
            ({"seed": 2}, "blocks[0].seed: unknown key. Did you mean 'seeds'?"),
            (
                {"methods": [{"method": "wmdd", "set": {"a": 1}}]},
                "blocks[0].methods[0]: a variant needs a name",
            ),
            (
                {"methods": [{"method": "wmdd", "sett": {}}]},
                "blocks[0].methods[0].sett: unknown key. Did you mean 'set'?",
            ),
        ],
    )
    def test_a_wrong_block_is_named_by_file_and_key(self, tmp_path, change, fault):
        path = suite_file(tmp_path, change)
        with pytest.raises(Faults) as caught:
            load_suite(path)
        (line,) = caught.value.faults
        assert line.startswith(f"{path}: {fault}")

    @pytest.mark.parametrize(
        ("rule", "fault"),
        [
            (
                {"datasets": ["digit"], "why": "w"},
                "exclude[0]: datasets: unknown dataset 'digit'. Did you mean 'digits'?",
            ),
            (
                {"methods": ["random"], "why": "w"},
                "exclude[0]: methods: unknown method 'random'. Did you mean 'random_",
            ),
            ({"why": "w"}, "exclude[0]: names no axis"),
            ({"datasets": ["digits"]}, "exclude[0].why: is missing"),
            ({"datasets": ["digits"], "why": " "}, "exclude[0].why: is blank"),
            ({"datasets": ["cifar10"], "why": "w"}, "exclude[0]: excludes nothing"),
            ({"datasets": ["digits"], "ipc": [7], "why": "w"}, "exclude[0]: excludes nothing"),
        ],
    )
    def test_a_wrong_exclusion_is_named(self, tmp_path, rule, fault):
        with pytest.raises(Faults) as caught:
            load_suite(suite_file(tmp_path, exclude=[rule]))
        assert fault in str(caught.value)

    @pytest.mark.parametrize(
        ("pair", "fault"),
        [
            (["wmdd", "mmdd"], "pairs[0]: unknown method 'mmdd'. Did you mean 'mmd'? Available: mmd, wmdd"),
            (["wmdd", "noise"], "pairs[0]: unknown method 'noise'. Available: mmd, wmdd"),
            (["wmdd", "wmdd"], "pairs[0]: compares 'wmdd' with itself"),
            (["wmdd"], "pairs[0][1]: is missing"),
        ],
    )
    def test_a_wrong_pair_is_named(self, tmp_path, pair, fault):
        with pytest.raises(Faults) as caught:
            load_suite(suite_file(tmp_path, {"methods": ["wmdd", "mmd"]}, pairs=[pair]))
        assert [line.removeprefix(f"{tmp_path}/tiny.yaml: ") for line in caught.value.faults] == [fault]

    def test_a_wrong_measure_is_named(self, tmp_path):
        with pytest.raises(Faults) as caught:
            load_suite(suite_file(tmp_path, {}, measures=["distances", "distancs"]))
        fault = "measures[1]: unknown measure 'distancs'. Did you mean 'distances'? Available: distances"
        assert list(caught.value.faults) == [f"{tmp_path}/tiny.yaml: {fault}"]

    def test_pairs_are_methods_of_the_suite(self, tmp_path):
        variant = {"method": "wmdd+bn", "base": "wmdd", "set": {"regulariser": "bn"}}
        path = suite_file(tmp_path, {"methods": ["wmdd", variant]}, pairs=[["wmdd", "wmdd+bn"]])
        assert load_suite(path).pairs == (("wmdd", "wmdd+bn"),)

    def test_all_faults_come_at_once(self, tmp_path):
        wrong = {"datasets": ["digit"], "methods": ["wmd", {"method": "wmdd", "set": {"a": 1}}], "students": ["tset"]}
        with pytest.raises(Faults) as caught:
            load_suite(suite_file(tmp_path, wrong, {"ipc": [-1]}, titel="x"))
        assert len(caught.value.faults) == 6

    def test_one_name_stands_for_one_variant(self, tmp_path):
        variants = [{"base": "wmdd", "method": "mine", "set": {"jitter": 1}}, {"base": "sre2l", "method": "mine"}]
        with pytest.raises(Faults, match="two variants are called 'mine'"):
            load_suite(suite_file(tmp_path, {"methods": variants}))

    @pytest.mark.parametrize("version", [0, -1, 10**6 + 1, True])
    def test_a_version_is_a_small_number_from_1_on(self, tmp_path, version):
        with pytest.raises(Faults, match="version: "):
            load_suite(suite_file(tmp_path, version=version))

    def test_an_unknown_suite(self, tmp_path):
        with pytest.raises(Faults, match=r"unknown suite 'mian'. Did you mean 'main'\?"):
            load_suite("mian")
        with pytest.raises(BenchmarkError, match=r"none\.yaml: cannot be read"):
            load_suite(str(tmp_path / "none.yaml"))


class TestCells:
    def test_a_block_is_a_cross_product(self):
        block = {
            "ipc": [1, 2],
            "methods": ["random_real", "noise"],
            "students": ["test_vit", "test_resnet"],
            "seeds": 3,
        }
        cells = suite(block).cells()
        assert len(cells) == 2 * 2 * 2 * 3
        assert {(cell.teacher, cell.draw, cell.seed) for cell in cells} == {(0, 0, 0), (1, 1, 1), (2, 2, 2)}

    def test_fresh_seeds_follow_the_first(self):
        names = "draw", "seed", "teacher"
        assert axes(suite({"seeds": 2, "first_seed": 3}), *names) == [(3, 3, 3), (4, 4, 4)]
        crossed = {"seeds": 1, "draws": 2, "teachers": 1, "first_seed": 3}
        assert axes(suite(crossed), *names) == [(3, 3, 3), (4, 3, 3)]

    def test_draws_are_crossed_with_seeds(self):
        assert axes(suite({"seeds": 2, "draws": 3}), "draw", "seed") == [(d, s) for d in range(3) for s in range(2)]

    def test_teachers_are_crossed_with_draws_and_seeds(self):
        crossed = axes(suite({"seeds": 2, "draws": 2, "teachers": 3}), "draw", "seed", "teacher")
        assert crossed == [(d, s, t) for d in range(2) for s in range(2) for t in range(3)]

    def test_a_seed_takes_its_own_teacher_unless_all_meet_all(self):
        assert axes(suite({"seeds": 2, "draws": 3, "first_seed": 4}), "seed", "teacher") == [(4, 4), (5, 5)]

    def test_what_two_blocks_share_is_one_cell(self):
        assert len(suite({"ipc": [1, 2]}, {"ipc": [2, 3]}).cells()) == 3

    def test_full_has_one_cell_whatever_the_ipc(self):
        assert axes(suite({"ipc": [1, 10, 50], "methods": ["full"]}), "ipc", "method") == [(0, "full")]

    def test_a_method_is_loaded_once_and_not_once_a_cell(self, monkeypatch):
        loaded = []
        monkeypatch.setattr(suites, "load_method", lambda name: (loaded.append(name), load_method(name))[1])
        assert len(suite({"ipc": [1, 2, 3], "methods": ["noise", "full"], "seeds": 4}).cells()) == 3 * 4 + 4
        assert loaded == ["noise", "full"]

    def test_variants_are_methods_of_their_own(self):
        variant = {"base": "wmdd", "method": "wmdd+bn", "set": {"jitter": 1}}
        assert axes(suite({"methods": ["wmdd", variant]}), "method") == [("wmdd",), ("wmdd+bn",)]

    def test_an_exclusion_covers_what_matches_all_its_axes(self):
        rules = [{"methods": ["noise"], "ipc": [2], "why": "no"}]
        built = suite({"ipc": [1, 2], "methods": ["random_real", "noise"]}, exclude=rules)
        reasons = {(cell.method, cell.ipc): built.why_excluded(cell) for cell in built.cells()}
        assert {cell for cell, why in reasons.items() if why} == {("noise", 2)}

    def test_an_exclusion_calls_a_variant_by_its_name(self):
        variant = {"base": "noise", "method": "noise+"}
        built = suite({"methods": ["noise", variant]}, exclude=[{"methods": ["noise+"], "why": "no"}])
        assert [bool(built.why_excluded(cell)) for cell in built.cells()] == [False, True]


class TestSelection:
    """A suite of two blocks: digits at IPC 1 and 10, cifar10 at IPC 10 and 50 with a variant."""

    VARIANT: dict = {"base": "wmdd", "method": "wmdd+", "set": {"jitter": 1}}  # noqa: RUF012
    SUITE = suite(
        {"ipc": [1, 10], "methods": ["random_real"], "protocols": ["hard", "standard"]},
        {"datasets": ["cifar10"], "ipc": [10, 50], "methods": ["random_real", VARIANT], "students": ["resnet18"]},
    )

    def select(self, *names_: str, **chosen) -> list[tuple]:
        return axes(Selection(**chosen).apply(self.SUITE), *names_)

    def test_nothing_chosen_is_everything(self):
        assert Selection().apply(self.SUITE).cells() == self.SUITE.cells()

    def test_a_listed_value_keeps_its_places(self):
        assert self.select("dataset", "ipc", ipc=(50,)) == [("cifar10", 50)]
        assert self.select("dataset", "ipc", ipc=(10,)) == [("digits", 10), ("cifar10", 10)]
        assert self.select("dataset", "protocol", protocols=("standard",)) == [("digits", "standard")]
        assert self.select("dataset", "method", methods=("wmdd+",)) == [("cifar10", "wmdd+")]

    def test_a_value_that_no_block_lists_joins_them_all(self):
        both = [("digits", "noise"), ("cifar10", "noise")]
        assert self.select("dataset", "method", methods=("noise",)) == both
        assert self.select("dataset", "student", students=("convnet_d3",)) == [
            ("digits", "convnet_d3"),
            ("cifar10", "convnet_d3"),
        ]
        assert self.select("ipc", datasets=("imagenette",)) == [(1,), (10,), (50,)]

    def test_the_plain_method_is_not_its_variant(self):
        cells = Selection(methods=("wmdd",)).apply(self.SUITE).cells()
        assert {(cell.method, cell.base) for cell in cells} == {("wmdd", "wmdd")}
        assert all(cell.overrides == {} for cell in cells)

    def test_what_is_listed_only_elsewhere_joins_a_chosen_dataset(self):
        assert self.select("dataset", "ipc", datasets=("digits",), ipc=(50,)) == [("digits", 50)]
        both = [("digits", 50), ("cifar10", 50)]
        assert self.select("dataset", "ipc", datasets=("digits", "cifar10"), ipc=(50,)) == both
        (cell, *_) = Selection(datasets=("digits",), methods=("wmdd+",)).apply(self.SUITE).cells()
        assert cell.overrides == {"jitter": 1}

    def test_seeds_are_a_number(self):
        assert self.select("seed", seeds=3) == [(0,), (1,), (2,)]


def test_names_are_answered_with_near_ones():
    assert name_fault("students", "resnet18") is None
    assert name_fault("students", "resnet26") is None, "any network of timm is a student"
    assert name_fault("methods", "wmdd+", TestSelection.SUITE) is None
    assert "Did you mean 'digits'?" in str(name_fault("datasets", "digts"))
