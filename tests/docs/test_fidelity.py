"""The page that compares us with the codes of the authors: current, complete, each difference explained."""

from __future__ import annotations

import fidelity
import pytest

from benchmark.plan import recipes
from benchmark.plan.protocol import load_protocol

FACTS = fidelity.load()
WITHOUT_CODE = {"mmd", "m3d", "random_real"}  # with a native protocol, but without a code of authors that we could read


def test_the_page_is_current():
    page = fidelity.PAGE.read_text(encoding="utf-8")
    assert page == fidelity.page(), "run: python docs/generate/fidelity.py --write"


def test_every_method_with_a_native_protocol_is_compared_with_its_code():
    native = {name.partition("@")[0].partition("+")[0] for name in load_protocol("native").methods}
    assert set(FACTS) == native - WITHOUT_CODE
    for name in (*FACTS, *WITHOUT_CODE):
        assert f"[{name}](#{name})" in fidelity.page() or f"`{name}`" in fidelity.page()


@pytest.mark.parametrize("name", FACTS)
def test_a_different_value_is_explained_in_the_source_of_its_recipe(name):
    facts = FACTS[name]
    native = load_protocol("native").methods
    mine = fidelity.ours(name, facts)
    sources = {
        "recipe": [recipe.source for recipe in recipes.read_recipes(name) if recipe.dataset == facts.dataset],
        "student": [native[key].source for key in (f"{name}@{facts.dataset}", name) if key in native][:1],
        "teacher": [],
    }
    for group, texts in sources.items():
        for field in fidelity.differences(getattr(facts, group), mine[group]):
            words = " ".join(texts).lower().replace("_", " ")
            assert field.replace("_", " ") in words, f"{name}: say in the source why {field} differs"


def test_a_value_of_the_code_that_we_do_not_have_is_an_error():
    with pytest.raises(KeyError, match="learning_rat"):
        fidelity.differences({"learning_rat": 1}, {"learning_rate": 1})
    assert fidelity.differences({"a": 1, "b": [0.5, 1.0]}, {"a": 2, "b": [0.5, 1.0]}) == {"a": (1, 2)}
