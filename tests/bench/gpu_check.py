"""``make gpu-check``: does the benchmark work on this GPU, and how fast? One file to attach to an issue.

It needs neither Ray nor a network: the digits of `main`, one cell of imagenette64 where its images are at hand, and the
pairs of ``make bench``. Under ten minutes on one recent GPU. A failed part is written down, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import bench
import torch

from benchmark.run.provenance import commit, device_name, versions


def facts(device: str) -> Iterator[str]:
    """Yield what a reader of the file has to know first: card, versions, and what changes rounding."""
    yield f"# GPU check: {device_name(device)}"
    yield ""
    yield f"- commit {commit()}; " + ", ".join(f"{name} {version}" for name, version in versions().items())
    if device == "cuda":
        card = torch.cuda.get_device_properties(0)
        yield f"- CUDA {torch.version.cuda}, compute {card.major}.{card.minor}, {card.total_memory / 2**30:.0f} GiB"
    yield f"- TF32: convolutions {torch.backends.cudnn.allow_tf32}, products {torch.backends.cuda.matmul.allow_tf32}"
    yield f"- cudnn.benchmark {torch.backends.cudnn.benchmark}"


def part(title: str, command: list[str]) -> tuple[bool, list[str]]:
    """Run a command; return its lines under a heading, and whether it succeeded or its images are not at hand."""
    start = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True)
    lines = (done.stdout + (done.stderr if done.returncode else "")).strip().splitlines()
    heading = f"## {title}: exit status {done.returncode}, {time.monotonic() - start:.0f} s"
    sound = done.returncode == 0 or "not on disk" in done.stderr
    return sound, ["", heading, "", "```", " ".join(command[1:]), *lines[-60:], "```"]


def main() -> int:
    """Run all parts, write the file, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--runs", default="runs/gpu-check", help="The store of results; a second run goes on.")
    parser.add_argument("--out", type=Path, default=Path("gpu-check.md"))
    parser.add_argument("--size", default="", choices=["", *bench.SIZES])
    parser.add_argument("--select", default="", help="Further options of the run on digits, as one word.")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        print("there is no GPU that torch can use; --device cpu tries the check itself")
        return 2
    run = [sys.executable, "-m", "benchmark", "run", "--suite", "main", "--runner", "serial", "--no-report"]
    run += ["--device", options.device, "--runs", options.runs]
    one_cell = ["--datasets", "imagenette64", "--ipc", "1", "--seeds", "1", "--protocols", "hard"]
    parts = {
        "digits, suite main": [*run, "--datasets", "digits", *shlex.split(options.select)],
        "imagenette64, one cell": [*run, *one_cell, "--methods", "random_real"],
    }
    lines, sound = [*facts(options.device), ""], True
    for title, command in parts.items():
        print(f"{title} ...", flush=True)
        fine, text = part(title, command)
        sound &= fine
        lines += text
    print("bench ...", flush=True)
    lines += ["", "## Bench", "", *bench.run(options.device, options.size)]
    options.out.write_text("\n".join(lines) + "\n")
    print(f"{options.out} is written; attach it to an issue")
    return 0 if sound else 1


if __name__ == "__main__":
    sys.exit(main())
