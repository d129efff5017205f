"""Configuration files: every fault by file and key, all at once."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
from pydantic import Field, model_validator

from benchmark import config_files
from benchmark.api import Frozen
from benchmark.config_files import CONFIGS, display_path, names, read_yaml, validated
from benchmark.errors import BenchmarkError, Faults
from benchmark.plan.suite import load_suite


class Inner(Frozen):
    width: int
    kind: Literal["a", "b"] = "a"


class Outer(Frozen):
    name: str = ""
    title: str
    layers: tuple[Inner, ...] = Field(min_length=1)
    steps: int = Field(10, ge=1)
    other: Inner | None = None


def faults(values: object) -> tuple[str, ...]:
    with pytest.raises(Faults) as caught:
        validated(Outer, values, "x.yaml")
    return caught.value.faults


def test_right_values_pass():
    assert validated(Outer, {"title": "t", "layers": [{"width": 3}]}, "x.yaml").layers[0] == Inner(width=3)


def test_all_faults_come_at_once_each_with_its_key():
    found = faults({"titel": 1, "layers": [{"width": "wide"}, {"width": 1, "kind": "c", "wdth": 1}], "steps": 0})
    assert sorted(found) == sorted(
        [
            "x.yaml: title: is missing",
            "x.yaml: titel: unknown key. Did you mean 'title'?",
            "x.yaml: layers[0].width: input should be a valid integer, unable to parse string as an integer "
            "(given: 'wide')",
            "x.yaml: layers[1].kind: input should be 'a' or 'b' (given: 'c')",
            "x.yaml: layers[1].wdth: unknown key. Did you mean 'width'?",
            "x.yaml: steps: input should be greater than or equal to 1 (given: 0)",
        ]
    )


@pytest.mark.parametrize(("layers", "said"), [(1, ": [1]"), ("wide", ": [wide]"), ({"width": 1}, "")])
def test_a_value_in_place_of_a_list(layers, said):
    assert faults({"title": "t", "layers": layers}) == (f"x.yaml: layers: expected a list{said}",)


def test_an_unknown_key_that_is_near_nothing_lists_what_is_known():
    (fault,) = faults({"title": "t", "layers": [{"width": 1}], "zzz": 1})
    assert fault == "x.yaml: zzz: unknown key. Known: name, title, layers, steps, other"


def test_a_list_is_called_too_short_only_where_it_is():
    assert faults({"title": "t", "layers": []})[0].startswith("x.yaml: layers: tuple should have at least 1 item")


def test_a_fault_of_the_whole_has_no_key():
    class Whole(Frozen):
        @model_validator(mode="after")
        def _never(self):
            raise ValueError("These do not go together")

    with pytest.raises(Faults, match=r"^x\.yaml: these do not go together$"):
        validated(Whole, {}, "x.yaml")


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (b"a: [1", "not YAML"),
        (b"a: \xff", "not YAML"),
        (b"- 1\n- 2\n", "expected keys and values at the top"),
        (b"", "expected keys and values at the top"),
    ],
)
def test_files_that_are_no_mapping(tmp_path, text, word):
    path = tmp_path / "x.yaml"
    path.write_bytes(text)
    with pytest.raises(BenchmarkError, match=rf"x\.yaml: {word}") as caught:
        read_yaml(path)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(BenchmarkError, match=r"none\.yaml: cannot be read \(No such file or directory\)"):
        read_yaml(tmp_path / "none.yaml")


def test_a_name_is_the_files_stem(tmp_path, monkeypatch):
    monkeypatch.setattr(config_files, "CONFIGS", tmp_path / "configs")
    (tmp_path / "configs" / "things").mkdir(parents=True)
    (tmp_path / "configs" / "things" / "box.yaml").write_text("title: Box\nlayers: [{width: 1}]\n")
    assert names("things") == ["box"]
    assert config_files.load(Outer, "things", "box").name == "box"


def test_paths_are_shown_from_the_project():
    assert display_path(config_files.CONFIGS / "suites" / "main.yaml") == "configs/suites/main.yaml"
    assert display_path(Path("/elsewhere/a.yaml")) == "/elsewhere/a.yaml"


def test_a_file_named_by_its_path_has_a_name_of_its_own(tmp_path):
    path, own = tmp_path / "main.yaml", CONFIGS / "suites" / "main.yaml"
    path.write_text(own.read_text())
    with pytest.raises(BenchmarkError) as caught:
        load_suite(str(path))
    assert str(caught.value) == f"{path} and configs/suites/main.yaml: two files have one name; rename one"
    assert load_suite(str(own)).name == "main"
    assert load_suite(str(path.rename(tmp_path / "mine.yaml"))).name == "mine"
