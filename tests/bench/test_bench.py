"""``make bench`` and ``make gpu-check`` at toy size on the CPU: every line of their output is there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def python(*words: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run Python where torch sees no GPU."""
    paths = os.pathsep.join(map(str, [ROOT, HERE.parent / "support"]))
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run([sys.executable, *words], env=environment, capture_output=True, text=True, cwd=cwd)


@pytest.mark.slow
def test_the_check_of_a_gpu_runs_on_a_cpu(tmp_path):
    few = "--methods random_real --ipc 1 --seeds 1 --protocols hard"
    words = ["--device", "cpu", "--size", "toy", "--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "out.md")]
    done = python(str(HERE / "gpu_check.py"), *words, f"--select={few}")
    text = (tmp_path / "out.md").read_text()
    assert done.returncode == 0, done.stdout + done.stderr + text
    assert "## digits, suite main: exit status 0" in text
    assert "torch 2" in text
    for work in ("student step, batch 10", "teacher step, batch 100", "sre2l iteration", "wmdd iteration", "JPEG"):
        (line,) = [line for line in text.splitlines() if line.startswith(f"| {work}")]
        assert 0.2 < float(line.split("|")[-3]) < 20


def test_a_table_replaces_the_last_one_of_its_device():
    lines = [
        "import bench",
        "page = 'a\\n<!-- bench cpu -->\\nold\\n<!-- /bench -->\\nb <!-- bench cuda -->\\nkept\\n<!-- /bench -->\\n'",
        "new = bench.replaced(page, 'cpu', ['| new |'])",
        "assert '| new |' in new and 'old' not in new and 'kept' in new, new",
        "assert bench.replaced(new, 'cpu', ['| new |']) == new",
    ]
    done = python("-c", f"import sys; sys.path.insert(0, {str(HERE)!r})\n" + "\n".join(lines))
    assert done.returncode == 0, done.stderr


def test_the_check_says_that_there_is_no_gpu(tmp_path):
    done = python(str(HERE / "gpu_check.py"), cwd=tmp_path)
    assert done.returncode == 2
    assert "there is no GPU" in done.stdout
    assert not (tmp_path / "gpu-check.md").exists()


@pytest.mark.slow
def test_the_throughput_of_a_card_is_written_as_plan_reads_it(tmp_path):
    lines = [
        "import bench, gpu_check, pathlib, torch, yaml",
        "types = {False: torch.float32, True: torch.bfloat16}",
        "cpu, size, folder = torch.device('cpu'), bench.SIZES['toy'], pathlib.Path('scratch')",
        "folder.mkdir()",
        "benches = {mixed: bench.Bench(cpu, size, folder, type_) for mixed, type_ in types.items()}",
        "pathlib.Path('mine.yaml').write_text(yaml.safe_dump(gpu_check.card(benches, 'mine')))",
        "from benchmark.config_files import load_named",
        "from benchmark.plan.cost import Card",
        "card = load_named(Card, 'cards', 'mine.yaml')",
        "assert {(row.work, row.mixed) for row in card.rows} == {",
        "    (kind, mixed) for kind in ('train', 'recover', 'forward') for mixed in (False, True)}",
        "assert all(row.measured and row.images_per_second[0] > 0 for row in card.rows)",
    ]
    done = python("-c", f"import sys; sys.path.insert(0, {str(HERE)!r})\n" + "\n".join(lines), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
