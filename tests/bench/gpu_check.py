"""``make gpu-check``: does the benchmark work on this GPU, and how fast? One file to attach to an issue.

It needs neither Ray nor a network: the digits of `main`, one cell of imagenette64 where its images are at hand, and the
pairs of ``make bench``. Under ten minutes on one recent GPU. A failed part is written down, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import bench
import torch
import yaml

from benchmark.config_files import load_named
from benchmark.plan.cost import SIDE, Card
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


def card(benches: dict[bool, bench.Bench], title: str) -> dict[str, Any]:
    """Return the throughput of this card, in the form of ``configs/cards/NAME.yaml``.

    Args:
        benches: by whether they compute in mixed precision.
        title: of the card.
    """
    source = f"make gpu-check, {date.today()}, commit {commit()}"
    imports = "import torch, benchmark.run.execution; torch.zeros(1, device='{}')"
    starts = []
    for _ in range(3):
        start = time.monotonic()
        subprocess.run([sys.executable, "-c", imports.format(benches[False].device)], check=True)
        starts.append(round(time.monotonic() - start, 2))
    rows = [
        {
            "work": kind,
            "mixed": mixed,
            "images_per_second": [round(speed, 1)] * 2,
            "measured": True,
            "source": source,
        }
        for mixed, one in benches.items()
        for kind, speed in one.throughput()
    ]
    others = load_named(Card, "cards", "H100")
    return {
        "title": title,
        "start_seconds": [min(starts), max(starts)],
        "start_source": f"{source}: the imports of a node and the first tensor, three times",
        "rows": rows,
        "relative": others.relative,
        "relative_source": others.relative_source,
    }


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
    size = bench.SIZES[options.size or options.device]
    if (size.arch, size.resolution) == ("resnet18", SIDE):
        with tempfile.TemporaryDirectory() as folder:
            device = torch.device(options.device)
            types = {False: torch.float32, True: torch.bfloat16}
            benches = {mixed: bench.Bench(device, size, Path(folder), type_) for mixed, type_ in types.items()}
            measured = card(benches, device_name(options.device))
        path = options.out.with_suffix(".yaml")
        path.write_text(yaml.safe_dump(measured, sort_keys=False))
        print(f"{path} is written: python -m benchmark plan --suite main --datasets imagenet1k --card {path}")
    return 0 if sound else 1


if __name__ == "__main__":
    sys.exit(main())
