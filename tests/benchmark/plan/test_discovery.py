"""Recipe files: what an entry may say, and that no entry takes the place of another one unseen."""

from __future__ import annotations

import pytest
import yaml

from benchmark.errors import Faults
from benchmark.plan import discovery


def read(folder, *changes):
    """Read a recipe file of wmdd whose entries have these changes."""
    path = folder / "wmdd.yaml"
    entries = [{"dataset": "digits", "source": "mine", "set": {"batch_images": 5}, **change} for change in changes]
    path.write_text(yaml.safe_dump({"recipes": entries}))
    return discovery._read_recipes(path, path.stat().st_mtime_ns)


def test_an_entry_for_some_ipc_goes_over_that_for_all(tmp_path):
    assert len(read(tmp_path, {}, {"ipc": [1, 10]}, {"ipc": [50]}, {"dataset": "cifar10"})) == 4


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ([{}, {}], "recipes[1]: recipes[0] holds for digits at every IPC too"),
        ([{"ipc": [1, 10]}, {"ipc": [10, 50]}], "recipes[1]: recipes[0] holds for digits at IPC 10 too"),
        ([{"ipc": []}], "recipes[0]: ipc: tuple should have at least 1 item"),
        ([{"ipc": [0]}], "recipes[0]: ipc[0]: input should be greater than or equal to 1"),
        ([{"ipc": [-1]}], "recipes[0]: ipc[0]: input should be greater than or equal to 1"),
        ([{"source": ""}], "recipes[0]: source: is blank"),
        ([{"source": " \t"}], "recipes[0]: source: is blank"),
    ],
)
def test_a_wrong_entry_is_named(tmp_path, changes, said):
    with pytest.raises(Faults) as caught:
        read(tmp_path, *changes)
    assert f"wmdd.yaml: {said}" in str(caught.value)
