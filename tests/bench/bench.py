"""``make bench``: what the benchmark adds to the work that cannot be avoided, as ratios measured in one process.

Each pair does the same work twice: as the benchmark does it, and bare. The two take turns, and the ratio is the median
over the turns, so it can be compared between machines where the seconds cannot.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from engine import BLOCK, campaign, finish, suite
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from benchmark.api import Context, DatasetInfo, SyntheticSet, TrainData, Unit
from benchmark.errors import BenchmarkError
from benchmark.plan.graph import Planner, PlanOptions
from benchmark.run.cluster import MARK
from benchmark.run.provenance import device_name
from benchmark.run.runner import RayRunner
from benchmark.run.store import Store
from benchmark.vision.augment import Schedule, pixel_bounds
from benchmark.vision.models import create_model
from benchmark.vision.reading import decode
from benchmark.vision.training import Stream, TeacherTraining, fit, from_pixels, make_optimizer, train_classifier
from evaluators.parts.stored import view_logits
from methods.parts.recover import Recovery
from methods.parts.statistics import ClassStatistics
from methods.sre2l import SRe2L
from methods.wmdd import WMDD

CLASSES = 10


@dataclass(frozen=True)
class Size:
    """How large the work of a pair is.

    Attributes:
        arch: of teacher and student.
        resolution: of the images, in pixels.
        images: of the training set.
        steps: of one turn.
        cells: of the plan, and nodes of the store.
        turns: of each pair, after one that warms up.
    """

    arch: str
    resolution: int
    images: int
    steps: int
    cells: int
    turns: int


SIZES = {
    "toy": Size("test_resnet", 32, 100, 3, 20, 1),
    "cpu": Size("test_resnet", 32, 1000, 20, 1000, 5),
    "cuda": Size("resnet18", 224, 2000, 40, 1000, 5),
}
PHOTOGRAPHS = Size("resnet18", 64, 100, 8, 0, 3)  # the recovery of imagenette64, on a CPU

GOALS = {  # by the start of a row's name
    "student step": "1.20",
    "sre2l iteration": "1.05",
    "wmdd iteration": "1.05",
    "wmdd at 64 px, bfloat16": "1.00",
    "wmdd at 64 px": "1.05",
    "JPEG": "2 ms: 16 cores feed 8,000 images/s",
    "plan of a cell": "0.8 ms",
    "state of a node": "0.03 ms",
    "Ray: a small node": "1.15 in digits' main, where nodes are long",
}


@dataclass(frozen=True)
class Row:
    """A line of the table: seconds (of a step, a cell, a file) here and bare; ``bare`` is None where there is none."""

    name: str
    seconds: float
    bare: float | None = None

    def __str__(self) -> str:
        ratio = "" if self.bare is None else f"{self.seconds / self.bare:.2f}"
        bare = "" if self.bare is None else f"{1000 * self.bare:.3g}"
        goal = next((goal for start, goal in GOALS.items() if self.name.startswith(start)), "")
        return f"| {self.name} | {1000 * self.seconds:.3g} | {bare} | {ratio} | {goal} |"


class Noise(TrainData):
    """A training set of uniform noise."""

    def __init__(self, size: Size) -> None:
        self.labels = torch.arange(CLASSES).repeat(size.images // CLASSES)
        shape = (len(self.labels), 3, size.resolution, size.resolution)
        self.images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
        self.info = DatasetInfo(
            name="noise",
            class_names=tuple("abcdefghij"),
            train_counts=(size.images // CLASSES,) * CLASSES,
            resolution=size.resolution,
            mean=(0.5, 0.5, 0.5),
            std=(0.25, 0.25, 0.25),
            fingerprint="noise",
        )

    def read(self, indices: Tensor) -> Tensor:
        """Return uint8 [n, 3, S, S]."""
        return self.images[indices]


class Bench:
    """The pairs on one device.

    Args:
        device: of networks and images; on a CPU, seconds are those of the processor.
        size: of the work.
        folder: an empty folder.
        precision: of our own passes; the bare ones are in float32.
    """

    def __init__(self, device: torch.device, size: Size, folder: Path, precision: torch.dtype = torch.float32) -> None:
        self.device, self.size, self.folder, self.precision = device, size, folder, precision
        self.data = Noise(size)
        self.teacher = self.network(seed=1).eval().requires_grad_(False)
        self.context = Context(device, precision, seed=0, scratch=folder, teachers=(self.teacher,))

    def network(self, seed: int = 0) -> nn.Module:
        """Return a network with random weights on the device."""
        return create_model(self.size.arch, classes=CLASSES, resolution=self.size.resolution, seed=seed).to(self.device)

    def rows(self) -> Iterator[Row]:
        """Yield the rows of the table, one after the other."""
        for batch in (10, 50):
            yield self.pair(f"student step, batch {batch}", self.student(batch), self.bare_training(batch))
        batch = min(128, self.size.images)
        yield self.pair(f"teacher step, batch {batch}", self.training(batch), self.bare_training(batch, "sgd"))
        images = min(100, self.size.images)
        for method in (SRe2L, WMDD):
            recover = self.recovery(method, images)
            yield self.pair(f"{method.name()} iteration, {images} images", recover, self.bare_recovery(images))
        yield self.pair(f"labels of views, batch {batch}", self.labels(batch), self.bare_forward(batch))
        files = self.jpegs()
        yield self.pair("JPEG of 500 x 375 to 224, one thread a core", self.reader(files), self.bare_reader(files))
        yield Row("plan of a cell", self.planning())
        yield Row("state of a node of the store", self.states())
        if self.device.type == "cpu":
            if self.size is SIZES["cpu"]:
                yield from self.photographs()
            yield from ray_rows(self.folder.parent, 2 if self.size is SIZES["toy"] else 12)

    def photographs(self) -> Iterator[Row]:
        """Yield the rows of a recovery of photographs, in both precisions."""
        for precision in (torch.float32, torch.bfloat16):
            bench = Bench(self.device, PHOTOGRAPHS, self.folder, precision)
            name = f"wmdd at 64 px, {str(precision).removeprefix('torch.')}, {PHOTOGRAPHS.arch}, 100 images"
            yield bench.pair(name, bench.recovery(WMDD, 100), bench.bare_recovery(100))

    def pair(self, name: str, ours: Callable[[], int], bare: Callable[[], int]) -> Row:
        """Return a row; each function works once and returns the steps that it took."""
        turns = [(self.seconds(ours), self.seconds(bare)) for _ in range(self.size.turns + 1)][1:]
        return Row(name, *(statistics.median(column) for column in zip(*turns, strict=True)))

    def seconds(self, work: Callable[[], int]) -> float:
        """Return the seconds of one step of the work, from `started` to `ended`, which the work may set itself."""
        self.started, self.ended = self.now(), 0.0
        steps = work()
        return ((self.ended or self.now()) - self.started) / steps

    def now(self) -> float:
        """Return the seconds of the clock, after the device has done all its work."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()
            return time.perf_counter()
        return time.process_time()

    def student(self, batch: int) -> Callable[[], int]:
        """Return the training of a student on stored pixels with crops, flips and CutMix."""
        schedule = Schedule(epochs=1, batch_size=batch)
        n = min(batch * self.size.steps, self.size.images) // batch * batch
        read = from_pixels(self.data.images[:n], self.data.info, self.device)
        target = torch.full((batch, CLASSES), 1 / CLASSES, device=self.device)
        model = self.network()
        optimizer = make_optimizer(model, "adamw", learning_rate=1e-3, weight_decay=0.01)

        def loss(logits: Tensor, _: object) -> Tensor:
            return F.kl_div(F.log_softmax(logits, 1), target[: len(logits)], reduction="batchmean")

        def work() -> int:
            fit(model, Stream(schedule, 0, n, read), loss, optimizer, self.context)
            return schedule.steps(n)

        return work

    def training(self, batch: int) -> Callable[[], int]:
        """Return the training of a teacher on a dataset."""
        training, model = TeacherTraining(arch=self.size.arch, epochs=1, batch_size=batch), self.network()

        def work() -> int:
            train_classifier(model, self.data, training, self.context)
            return -(-len(self.data.labels) // batch)

        return work

    def bare_training(self, batch: int, optimizer: str = "adamw") -> Callable[[], int]:
        """Return forward pass, backward pass and optimiser step on one batch that lies ready."""
        model = self.network().train()
        images = self.batch(batch)
        labels = self.data.labels[:batch].to(self.device)
        kind = torch.optim.AdamW if optimizer == "adamw" else torch.optim.SGD
        steps = kind(model.parameters(), lr=1e-3)

        def work() -> int:
            for _ in range(self.size.steps):
                steps.zero_grad(set_to_none=True)
                F.cross_entropy(model(images), labels).backward()
                steps.step()
            return self.size.steps

        return work

    def labels(self, batch: int) -> Callable[[], int]:
        """Return the labelling of the views of some epochs."""
        epochs = max(1, self.size.steps * batch // self.size.images)
        n = min(self.size.images, self.size.steps * batch) // batch * batch
        schedule = Schedule(epochs=epochs, batch_size=batch, flip=True)
        images = SyntheticSet(self.data.images[:n], self.data.labels[:n])

        def work() -> int:
            return sum(1 for _ in view_logits(images, schedule, self.data.info, self.context))

        return work

    def bare_forward(self, batch: int) -> Callable[[], int]:
        """Return the forward pass of the teacher on one batch that lies ready."""
        images = self.batch(batch)

        @torch.no_grad()
        def work() -> int:
            for _ in range(self.size.steps):
                self.teacher(images)
            return self.size.steps

        return work

    def throughput(self) -> Iterator[tuple[str, float]]:
        """Yield the kinds of `Work`, and how many images of it pass in a second, as the benchmark does it."""
        batch = min(100, self.size.images)
        kinds = {"train": self.student(batch), "recover": self.recovery(SRe2L, batch), "forward": self.labels(batch)}
        for kind, work in kinds.items():
            seconds = [self.seconds(work) for _ in range(self.size.turns + 1)][1:]
            yield kind, batch / statistics.median(seconds)

    def batch(self, n: int) -> Tensor:
        """Return normalised images on the device."""
        read = from_pixels(self.data.images[:n], self.data.info, self.device)
        return read(torch.arange(n)).contiguous(memory_format=torch.channels_last)

    def recovery(self, method: type[Recovery], images: int) -> Callable[[], int]:
        """Return the recovery of one unit, without its first iteration, start and end: a real one has thousands."""
        steps = 4 * self.size.steps
        recover = method(iterations=steps + 1, batch_images=images, start="noise")
        prepared = ClassStatistics().prepare(self.data, self.context)

        def report(step: int, *_: object) -> None:
            if step == 1:
                self.started = self.now()
            if step == steps + 1:
                self.ended = self.now()

        context = Context(self.device, self.precision, 0, self.folder, (self.teacher,), prepared, report)
        ipc = images // CLASSES
        unit = Unit(index=0, ipc=ipc, classes=tuple(range(CLASSES)), slots=tuple(range(ipc)))

        def work() -> int:
            recover.distill(self.data, unit, context)
            for path in self.folder.glob("*"):
                path.unlink()
            return steps

        return work

    def bare_recovery(self, images: int) -> Callable[[], int]:
        """Return forward and backward pass to the pixels, Adam and the clamp; no view and no statistics."""
        pixels = self.batch(images).requires_grad_()
        labels = self.data.labels[:images].to(self.device)
        adam = torch.optim.Adam([pixels], lr=0.25, betas=(0.5, 0.9))
        low, high = pixel_bounds(self.data.info, self.device)

        def work() -> int:
            for _ in range(self.size.steps):
                adam.zero_grad(set_to_none=True)
                F.cross_entropy(self.teacher(pixels), labels).backward()
                adam.step()
                with torch.no_grad():
                    pixels.copy_(torch.minimum(torch.maximum(pixels, low), high))
            return self.size.steps

        return work

    def jpegs(self) -> list[str]:
        """Write photographs, as far as smooth noise is like one, and return their paths."""
        folder = Path(tempfile.mkdtemp(dir=self.folder.parent))
        numbers = np.random.default_rng(0)
        paths = [folder / f"{index}.jpg" for index in range(4 * self.size.steps)]
        for path in paths:
            coarse = Image.fromarray(numbers.integers(0, 256, (24, 32, 3), np.uint8))
            coarse.resize((500, 375), Image.Resampling.BICUBIC).save(path, quality=90)
        return [str(path) for path in paths]

    def reader(self, paths: list[str]) -> Callable[[], int]:
        """Return the reading of image files as datasets do it."""

        def work() -> int:
            pixels, faults = decode(paths, 256, 224)
            assert not faults, faults
            return len(pixels)

        return work

    def bare_reader(self, paths: list[str]) -> Callable[[], int]:
        """Return the decoding of image files at full size, no scaling."""

        def work() -> int:
            for path in paths:
                with Image.open(io.BytesIO(Path(path).read_bytes())) as image:
                    image.load()
            return len(paths)

        return work

    def planning(self) -> float:
        """Return the seconds that the plan of a cell takes."""
        block = {**BLOCK, "methods": ["sre2l"], "protocols": ["standard"], "seeds": self.size.cells}
        planner = Planner(PlanOptions(self.folder, "cpu"))
        return self.seconds(lambda: len(planner.plan(suite(block), ()).cells))

    def states(self) -> float:
        """Return the seconds that the state of a node takes, of a store that holds half of the nodes."""
        store = Store(str(self.folder / "runs"))
        keys = [f"{index:032x}" for index in range(self.size.cells)]
        for key in keys[::2]:
            (self.folder / "runs" / key).mkdir(parents=True)
        return self.seconds(lambda: len(store.states(keys)))


def ray_rows(folder: Path, cells: int) -> Iterator[Row]:
    """Yield what Ray adds to small cells of digits, on a private cluster that has just started.

    The first ratio is 1 over the parallel efficiency: wall time times cores over the seconds in nodes. The second is
    Ray's own processor time (control store, raylet, agents, driver) over that of the nodes in one process.
    """
    if find_spec("ray") is None or not Path("/proc").is_dir():
        return
    block, runs = {"methods": ["random_real", "noise"], "protocols": ["hard"], "seeds": cells // 2}, {}
    for name in ("serial", "ray"):
        (folder / name).mkdir()
        runs[name] = campaign(folder / name, block)
    start = time.process_time()
    finish(runs["serial"])
    bare = time.process_time() - start
    try:
        runner = RayRunner("local", "cpu")
    except BenchmarkError as error:  # a busy machine
        print(error, file=sys.stderr)
        return
    start, begun = time.monotonic(), time.process_time()
    seconds = sum(event.seconds for event in runs["ray"].run(runner))
    wall, own = time.monotonic() - start, time.process_time() - begun + own_seconds()
    cores, nodes = sum(machine.cpus for machine in runner.machines), len(runs["ray"].plan.nodes)
    runner.close()
    yield Row("Ray: a small node on all cores, with the start", wall / nodes, seconds / cores / nodes)
    yield Row("Ray: its own processor time of a small node", own / nodes, bare / nodes)


def own_seconds() -> float:
    """Return the processor time of the processes of the private cluster, without the workers that run nodes."""
    mark, ticks = f"{MARK}={os.environ[MARK]}".encode(), 0
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if mark in (process / "environ").read_bytes() and b"ray::" not in (process / "cmdline").read_bytes():
                ticks += sum(map(int, (process / "stat").read_text().rpartition(")")[2].split()[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


def table(bench: Bench) -> Iterator[str]:
    """Yield the lines of the table."""
    machine = f"{device_name(bench.device.type)}, threads: {torch.get_num_threads()}"
    yield f"{machine}, torch {torch.__version__}, {date.today()}, {bench.size.arch}."
    yield ""
    yield "| work | ms here | ms bare | ratio | goal |"
    yield "| :-- | --: | --: | --: | :-- |"
    yield from map(str, bench.rows())


def run(device: str, size: str = "") -> Iterator[str]:
    """Yield the lines of the table of a device; `size` names an entry of `SIZES`, by default that of the device."""
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder) / "scratch"
        scratch.mkdir()
        yield from table(Bench(torch.device(device), SIZES[size or device], scratch))


def main() -> None:
    """Print the table, and write it into a page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--size", choices=SIZES, default="")
    parser.add_argument("--write", type=Path, help="A page in which the table replaces the last one of this device.")
    options = parser.parse_args()
    if options.device == "cpu":
        torch.set_num_threads(1)  # as nodes of small networks have: `cpus: 1` in the files of their datasets
    lines = []
    for line in run(options.device, options.size):
        print(line, flush=True)
        lines.append(line)
    if options.write:
        options.write.write_text(replaced(options.write.read_text(), options.device, lines))


def replaced(page: str, device: str, lines: Iterable[str]) -> str:
    """Return a page with other lines between ``<!-- bench DEVICE -->`` and ``<!-- /bench -->``."""
    before, mark, rest = page.partition(f"<!-- bench {device} -->\n")
    _, end, after = rest.partition("<!-- /bench -->")
    if not end:
        raise SystemExit(f"the page has no marks <!-- bench {device} --> and <!-- /bench -->")
    return "\n".join([before + mark, *lines, "", end + after])


if __name__ == "__main__":
    sys.exit(main())
