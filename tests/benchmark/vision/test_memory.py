"""The peak memory of a training and of a recovery follows from what autograd keeps (docs/scale.md, "Memory")."""

import copy
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from memory import needs_linux
from torch import nn

from benchmark.vision.models import create_model

ROOT = Path(__file__).parents[3]
ALLOWANCE = {"cpu": 60e6, "cuda": 100e6}  # bytes: code that is loaded, and workspaces of convolutions
KEPT = {"cpu": 2.2, "cuda": 1.6}  # times what autograd keeps: the heap of a processor is fragmented after some steps
MEASURED = """
import sys
from dataclasses import replace
from pathlib import Path
import torch
from bench import SIZES, Bench
from memory import resident  # getrusage would give the peak of the process that started this one, if that was higher
from methods.sre2l import SRe2L

kind, folder, *images = sys.argv[1:]
torch.set_num_threads(1)
for n in map(int, images):
    bench = Bench(torch.device("cpu"), replace(SIZES["toy"], images=n, steps=1), Path(folder))
    work = bench.student(n) if kind == "training" else bench.recovery(SRe2L, n)
    if n == int(images[0]):
        start = resident("VmHWM")
    work()
    print(resident("VmHWM") - start)
"""


def kept_bytes(model: nn.Module, images: int, resolution: int) -> int:
    """Return the bytes that autograd keeps for the backward pass of a batch; nothing is computed."""
    model = copy.deepcopy(model).to("meta")
    own = {value.untyped_storage()._cdata for value in [*model.parameters(), *model.buffers()]}
    kept: dict[int, torch.Tensor] = {}

    def keep(value: torch.Tensor) -> torch.Tensor:
        kept[value.untyped_storage()._cdata] = value
        return value

    x = torch.empty(images, 3, resolution, resolution, device="meta").requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
        model(x)
    return sum(value.untyped_storage().nbytes() for key, value in kept.items() if key not in own)


def formula(kind: str, device: str, model: nn.Module, images: int, resolution: int) -> float:
    """Return the limit of docs/scale.md, in bytes: of a step of AdamW, or of the recovery of a unit."""
    weights = 4 * sum(value.numel() for value in model.parameters())
    pixels = 4 * images * 3 * resolution**2
    copies = {"training": 4, "recovery": 1}[kind]
    return ALLOWANCE[device] + copies * weights + 6 * pixels + KEPT[device] * kept_bytes(model, images, resolution)


@needs_linux
@pytest.mark.parametrize("kind", ["training", "recovery"])
def test_the_peak_on_a_processor_is_that_of_the_formula(kind, tmp_path):
    sizes = (250, 500, 1000)
    arguments = [sys.executable, "-c", MEASURED, kind, str(tmp_path), *map(str, sizes)]
    paths = [str(ROOT / part) for part in ("", "tests/support", "tests/bench")]
    variables = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    done = subprocess.run(arguments, capture_output=True, text=True, check=True, env=variables)
    model = create_model("test_resnet", classes=10, resolution=32)
    for images, measured in zip(sizes, map(int, done.stdout.split()), strict=True):
        limit = formula(kind, "cpu", model, images, 32)
        assert limit / 2.5 < measured < limit, (images, measured / 1e6, limit / 1e6)


@pytest.mark.parametrize(("suite", "resolution"), [("main", 64), ("reproduction", 224)])
def test_the_peak_of_recoveries_on_a_card_is_that_of_the_formula(suite, resolution):
    """Published records: units of ten images (one image per class) and of a hundred."""
    model, peaks = create_model("resnet18", classes=10, resolution=resolution), {10: 0.0, 100: 0.0}
    for line in (ROOT / "leaderboards" / "published" / suite / "records.jsonl").read_text().splitlines():
        record = json.loads(line)
        component = record["identity"].get("component", {}).get("name")
        if record["stage"] == "distill" and component in ("sre2l", "wmdd") and record["cost"].get("gpus"):
            hundred = component == "wmdd" and record["identity"]["ipc"] == 10
            images = 100 if hundred else 10 if record["identity"]["ipc"] == 1 else 0
            if images:
                peaks[images] = max(peaks[images], 1e6 * record["cost"]["peak_memory_mb"])
    for images, peak in peaks.items():
        limit = formula("recovery", "cuda", model, images, resolution)
        assert limit / 2.5 < peak < limit, (images, peak / 1e6, limit / 1e6)
