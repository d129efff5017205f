"""Every malformed or hostile input is refused in clear words: none is accepted, hangs or ends in another error."""

from __future__ import annotations

import time

import hostile
import pytest

from benchmark.errors import Faults


@pytest.mark.parametrize("case", hostile.cases(), ids=str)
def test_it_is_refused_in_clear_words(case, tmp_path):
    assert hostile.outcome(case, tmp_path) == ""


def accept(folder):
    """Take the input."""


def fail(folder):
    raise ValueError("x")


def hang(folder):
    time.sleep(9)


def refuse(*lines: str):
    def run(folder):
        raise Faults(lines)

    return run


@pytest.mark.parametrize(
    ("run", "found"),
    [
        (refuse("dataset x: is missing"), ""),
        (accept, "it is accepted"),
        (fail, "ValueError: x"),
        (hang, "it hangs"),
        (refuse("other words"), "it does not say 'missing'"),
        (refuse("missing", "x" * 1000), "its lines are not clear"),
        (refuse("missing", " "), "its lines are not clear"),
        (refuse("missing\nTraceback"), "its lines are not clear"),
    ],
)
def test_the_checker_sees_what_is_not_clear(run, found, tmp_path, monkeypatch):
    monkeypatch.setattr(hostile, "LIMIT", 1)
    outcome = hostile.outcome(hostile.Case("a kind", "an input", run, "missing"), tmp_path)
    assert outcome.startswith(found) and bool(outcome) == bool(found)
