"""Values that a key hashes: they are the same in every process."""

from __future__ import annotations

from collections.abc import Set
from typing import Annotated, Any, Literal

import pytest
from pydantic import create_model

from benchmark.data import Frozen


@pytest.mark.parametrize(
    "kind",
    [set, frozenset[int], Set[str], set[str] | None, dict[str, list[set[str]]], Annotated[tuple[set[str], ...], "x"]],
)
def test_a_set_has_no_order_that_a_key_could_hash(kind: Any):
    with pytest.raises(TypeError, match=r"Own\.layers: a set has another order in each process; take a tuple"):
        create_model("Own", __base__=Frozen, layers=(kind, ...))


@pytest.mark.parametrize("kind", [tuple[str, ...], dict[str, list[int]], Literal["set"], str | None])
def test_what_has_an_order_is_a_field(kind: Any):
    assert "layers" in create_model("Own", __base__=Frozen, layers=(kind, ...)).model_fields
