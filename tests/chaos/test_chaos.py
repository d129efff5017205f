"""A sample of ``make chaos``: after every fault, the campaign ends with the bytes of a run without faults."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.mark.slow
def test_a_round_of_chaos():
    paths = os.pathsep.join([str(HERE.parents[1]), str(HERE.parent / "support")])
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(HERE / "chaos.py"), "--seed", "1", "--processes", "20", "--flips", "20"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=HERE.parents[1])
    assert done.returncode == 0, done.stdout + done.stderr
    for kind in ("flip of a record", "kill at an operation", "kill at a time", "full disk", "flip", "four drivers"):
        assert f"\n| {kind}" in done.stdout
