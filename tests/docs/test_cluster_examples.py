"""The examples for clusters: what they start is a command that this benchmark has."""

from __future__ import annotations

import os
import shlex
import stat
import subprocess
from pathlib import Path

import pytest
import typer
import yaml
from click import Command

from benchmark.cli.main import app

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "cluster.md").read_text()
JOB = yaml.safe_load((ROOT / "examples" / "kuberay.yaml").read_text())
STUBS = {  # of Slurm, and of the programs of the checkout
    "bin/scontrol": 'echo "first\nsecond"',
    "bin/srun": 'while [[ "$1" == --* ]]; do shift; done; exec "$@"',
    "bin/hostname": "echo 10.0.0.1 fe80::1",
    "bin/openssl": "echo secret",
    "checkout/.venv/bin/ray": 'printf "%s\\n" "$RAY_AUTH_MODE $RAY_AUTH_TOKEN $PWD" "$@" > "$LOG"',
}


def parsed(words: list[str]) -> dict[str, object]:
    """Return the options of a command line of the benchmark; unknown ones are refused."""
    commands = typer.main.get_command(app).commands
    where = words.index("benchmark")
    command: Command = commands[words[where + 1]]
    return command.make_context(words[where + 1], words[where + 2 :]).params


def test_slurm_starts_ray_with_a_token_on_all_machines_and_the_run_on_the_first(tmp_path):
    for name, text in STUBS.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/usr/bin/env bash\n{text}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    slurm = {"SLURM_JOB_NODELIST": "x", "SLURM_JOB_NUM_NODES": "2", "SLURM_JOB_ID": "123", "SLURM_SUBMIT_DIR": "/"}
    own = {"CHECKOUT": str(tmp_path / "checkout"), "LOG": str(tmp_path / "log"), "SUITE": "every_method"}
    path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
    script = ROOT / "examples" / "slurm.sh"
    subprocess.run(["bash", str(script)], env={**os.environ, **slurm, **own, "PATH": path}, check=True)
    facts, *words = (tmp_path / "log").read_text().splitlines()
    assert facts == f"token secret {tmp_path / 'checkout'}"
    assert words[:6] == ["symmetric-run", "--address", "10.0.0.1:20123", "--min-nodes", "2", "--"]
    options = parsed(words)
    assert (options["suite"], options["ray"], options["insecure"]) == ("every_method", "10.0.0.1:20123", False)
    assert options["runs"] == f"{tmp_path / 'checkout'}/runs"


def test_slurm_gives_whole_machines_to_the_job():
    text = (ROOT / "examples" / "slurm.sh").read_text()
    assert "#SBATCH --exclusive" in text, "ray stop ends every Ray of this user on a machine"


def test_kuberay_has_a_token_and_the_same_image_and_folders_everywhere():
    assert (JOB["apiVersion"], JOB["kind"]) == ("ray.io/v1", "RayJob")
    cluster = JOB["spec"]["rayClusterSpec"]
    assert cluster["authOptions"] == {"mode": "token"}
    head, worker = cluster["headGroupSpec"], cluster["workerGroupSpecs"][0]
    one, other = (group["template"]["spec"] for group in (head, worker))
    assert one["containers"][0]["image"] == other["containers"][0]["image"]
    assert one["volumes"] == other["volumes"]
    assert one["containers"][0]["volumeMounts"] == other["containers"][0]["volumeMounts"]
    options = parsed(shlex.split(JOB["spec"]["entrypoint"]))
    mount = one["containers"][0]["volumeMounts"][0]["mountPath"]
    assert options["runs"].startswith(mount) and str(options["data"]).startswith(mount)
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split())
    assert cluster["rayVersion"] == pins["ray"]


@pytest.mark.parametrize("line", [line for line in PAGE.splitlines() if "-m benchmark" in line and "`" not in line])
def test_a_command_of_the_page_is_one(line):
    words = shlex.split(line.partition("#")[0])
    words = shlex.split(words[-1]) if words[:2] == ["sh", "-c"] else words
    assert parsed(words)["ray"] == "auto"
