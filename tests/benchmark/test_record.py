"""Records: one flipped bit is found, wherever it is; equal values are equal records. Manifests: one reader for all."""

from __future__ import annotations

import json
import math
import random
from functools import partial

import pytest
from fake_store import FakeStore

from benchmark.errors import BenchmarkError
from benchmark.record import (
    CHANGED,
    DAMAGED,
    SEAL,
    cell_fault,
    fault,
    is_number,
    keys_of,
    manifest_name,
    parse_record,
    sealed,
)
from benchmark.run import find
from leaderboards.results import records

KEY = "0" * 32
RECORD = {
    "key": KEY,
    "stage": "evaluate",
    "identity": {"component": {"name": "accuracy", "version": 1, "params": {"betas": (0.5, 0.9), "teacher": None}}},
    "metrics": {"top1": 61.23456789012345, "top5": 90.0, "curve_loss": [2.5, 1e-7, 0.1 + 0.2], "missing": math.nan},
    "cost": {"seconds": 12.5, "exclusive": True, "device": "a GPU — one"},
    "provenance": {"started": "2026-01-01T00:00:00+00:00", "commit": "0123456789ab+"},
    "files": {"sub/b.txt": {"bytes": 4, "sha256": "ab" * 32}},
}


def text(indent: int | None = 1) -> bytes:
    return (json.dumps(sealed(RECORD), indent=indent, sort_keys=True, ensure_ascii=False) + "\n").encode()


@pytest.mark.parametrize("indent", [1, None])
def test_every_flipped_bit_is_found_or_changes_no_value(indent):
    whole = text(indent)
    record, harmless = parse_record(whole, KEY), 0
    assert record is not None
    for position in range(8 * len(whole)):
        flipped = bytearray(whole)
        flipped[position // 8] ^= 1 << position % 8
        found = parse_record(bytes(flipped), KEY)
        harmless += found is not None
        assert found is None or json.dumps(found, sort_keys=True) == json.dumps(record, sort_keys=True), position
    assert harmless < 0.05 * 8 * len(whole), "only white space and the letter of an exponent"


def test_a_checksum_is_of_values():
    record = json.loads(text())
    assert sealed(dict(reversed(record.items()))) == sealed(record)
    assert sealed(sealed(RECORD))[SEAL] == sealed(RECORD)[SEAL]
    assert fault(json.loads(json.dumps(record, indent=7)), KEY) == ""


def test_what_is_wrong_is_said():
    record = sealed(RECORD)
    unsealed = {name: value for name, value in record.items() if name != SEAL}
    assert fault(record, KEY) == ""
    assert fault(unsealed, KEY) == CHANGED
    assert fault({**record, "metrics": {"top1": 99.9}}, KEY) == CHANGED
    assert fault({**unsealed, "sha257": record[SEAL]}, KEY) == CHANGED, "the name of the checksum itself"
    assert fault(record, "1" * 32) == DAMAGED
    assert fault(None, KEY) == DAMAGED


@pytest.mark.parametrize(
    "field",
    [
        {"identity": []},
        {"identity": {"component": "wmdd"}},
        {"identity": {"parents": [1]}},
        {"metrics": 7},
        {"metrics": {"top1": 100.1}},
        {"metrics": {"top5": None}},
        {"cost": None},
        {"files": {"a.txt": "big"}},
        {"files": {"a.txt": {"bytes": "4", "sha256": ""}}},
        {"metrics": {"fgsm_top1": 50.0}},  # of an evaluation, without the accuracy that tables compare
    ],
)
def test_fields_of_a_wrong_type_are_damage(field):
    assert fault(sealed({**RECORD, **field}), KEY) == DAMAGED


def test_random_bytes_are_no_record():
    source = random.Random(0)
    assert parse_record(None, KEY) is None
    for size in range(200):
        assert parse_record(source.randbytes(size), KEY) is None


def test_numbers_are_finite():
    assert all(map(is_number, (0, -1.5, 10**400)))
    assert not any(map(is_number, (True, "1", None, [1], math.nan, math.inf, -math.inf)))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (None, "suite 'main' has not been run into this store"),
        ("{", "is damaged: run"),
        ({"cells": None}, "is damaged: run"),
        ('{"cells": []}', "is damaged: run again `python -m benchmark run --suite main --runs {root}`"),
        ({"cells": [{"dataset": "../x"}]}, "a cell is malformed: dataset"),
        ({"cells": [{**FakeStore("nowhere").cell(), "role": None}]}, "a cell is malformed: role"),
    ],
)
def test_reports_and_exports_read_manifests_alike(tmp_path, change, said):
    store = FakeStore(str(tmp_path))
    if isinstance(change, str):
        store.write(manifest_name("main"), change)
    elif change is not None:
        store.write_manifest(**change)
    messages = set()
    for read in (records.read, partial(find.find_set, query=find.SetQuery("digits", 1, "wmdd"))):
        with pytest.raises(BenchmarkError) as caught:
            read(store.root, "main")
        messages.add(str(caught.value))
    (message,) = messages
    assert said.replace("{root}", store.root) in message


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, ""),
        ({"skipped": "no data", "nodes": None}, ""),
        ({"teacher": True}, "teacher: True is not a number"),
        ({"base": None}, "base: None has another type"),
        ({"overrides": []}, "overrides: [] has another type"),
        ({"skipped": False}, "skipped: False has another type"),
        ({"role": "judge"}, "role: 'judge' is none of method, control, floor, bound"),
        ({"nodes": ["a"]}, "nodes: no lists of keys"),
        ({"nodes": {"distill": "a"}}, "nodes: no lists of keys"),
        ({"nodes": {"distill": ["a", "../b"]}}, "nodes: '../b' cannot be a part of a path"),
    ],
)
def test_what_is_wrong_with_a_cell_is_said(change, said):
    found = cell_fault(FakeStore("nowhere").cell(**change))
    assert found.startswith(said) and bool(found) == bool(said)


def test_a_cell_has_keys_of_the_stages_that_it_has():
    cell = {"nodes": {"distill": ["a"]}}
    assert [keys_of(cell, "distill"), keys_of(cell, "relabel"), keys_of({"nodes": None}, "distill")] == [["a"], [], []]
    assert keys_of({}, "distill") == []


def test_a_suite_that_has_not_run_is_not_called_unknown(tmp_path):
    store = FakeStore(str(tmp_path))
    store.cell()
    store.write_manifest()
    with pytest.raises(BenchmarkError, match=r"'ablation' has not been run into this store \(it has: main\)"):
        records.read(store.root, "ablation")
