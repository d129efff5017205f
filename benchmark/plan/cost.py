"""What a plan costs before it runs: the hours of a graphics card, from the work of its nodes and a card's throughput.

The work comes from the components (`Component.work`), the throughput from ``configs/cards/NAME.yaml``, in which every
row names its source and has a range. So do the hours.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from pydantic import Field

from benchmark.api import Component, DatasetInfo, Frozen, Job, LabelRegime, Work
from benchmark.identity import STAGES, Stage, precision_of
from benchmark.plan.discovery import load_evaluator, load_labels, load_measure, load_method, load_preparation
from benchmark.plan.nodes import Node
from benchmark.vision.descriptions import DatasetConfig, load_dataset
from benchmark.work import Pass

SIDE = 224  # pixels; throughput falls with the number of pixels
LOADERS: dict[Stage, Callable[[str], type[Component]]] = {
    "prepare": load_preparation,
    "distill": load_method,
    "relabel": load_labels,
    "evaluate": load_evaluator,
    "measure": load_measure,
}


@dataclass(frozen=True)
class Span:
    """A range of seconds."""

    low: float = 0.0
    high: float = 0.0

    def __add__(self, other: Span) -> Span:
        return Span(self.low + other.low, self.high + other.high)

    def __mul__(self, factor: float) -> Span:
        return Span(factor * self.low, factor * self.high)


class Throughput(Frozen):
    """How many images pass through ResNet-18 at 224 px in a second."""

    work: Pass  # `forward`; `recover`: forward and backward to the pixels; `train`: forward and backward to the weights
    mixed: bool = False  # True: bfloat16 or float16; False: float32, with TF32 in convolutions
    images_per_second: tuple[float, float]  # lowest and highest
    measured: bool = False  # True: by our own code on this card; False: derived from published numbers
    source: str  # where the numbers come from, and how they follow


class Card(Frozen):
    """The content of ``configs/cards/NAME.yaml``: a graphics card."""

    name: str  # the file's stem
    title: str  # its name in tables
    start_seconds: tuple[float, float]  # the start of a task (a process and its imports): lowest and highest
    start_source: str  # where these come from
    rows: tuple[Throughput, ...] = Field(min_length=1)  # the throughput by kind of work; the first that fits counts
    relative: dict[str, float] = Field(default_factory=dict)  # throughput of other networks, as a share of ResNet-18's
    relative_source: str = ""  # where these come from

    def seconds(self, work: Work, config: DatasetConfig, *, mixed: bool) -> Span | None:
        """Return how long some work takes; None for a network or a kind of work without a row."""
        networks = {"": config.teacher.arch, "neutral": config.neutral}
        share = {"resnet18": 1.0, **self.relative}.get(networks.get(work.arch, work.arch))
        row = next((row for row in self.rows if row.work == work.kind and row.mixed == mixed), None)
        if not work.images:
            return Span()
        if share is None or row is None:
            return None
        images = work.images / share * ((work.side or config.resolution) / SIDE) ** 2
        slow, fast = row.images_per_second
        return Span(images / fast, images / slow)


@dataclass
class Cost:
    """What the nodes of a stage cost.

    Attributes:
        nodes: number of nodes.
        work: seconds of one card, without the start of tasks.
        uncounted: nodes whose work or throughput is not known, by the name of the component; they add nothing.
        images: number of distilled images.
        image_bytes: the bytes of their pixels, one byte each.
    """

    nodes: int = 0
    work: Span = Span()
    uncounted: Counter[str] = field(default_factory=Counter)
    images: int = 0
    image_bytes: int = 0


class Costs:
    """The costs of nodes that run on a card, by stage.

    Attributes:
        stages: the cost of each stage.
        chain: seconds of the longest chain of nodes: no number of cards is faster.
    """

    def __init__(
        self,
        nodes: Mapping[str, Node],
        infos: Mapping[str, DatasetInfo],
        card: Card,
        *,
        todo: Collection[str],
        mixed: bool = False,
    ) -> None:
        """Count the nodes.

        Args:
            nodes: all nodes of a plan, parents first.
            infos: their datasets, by name.
            card: runs one node at a time.
            todo: keys of the nodes that count; the others are done.
            mixed: count all work as if it were done in mixed precision, whatever components say.
        """
        self.nodes, self.infos, self.card, self.mixed = nodes, infos, card, mixed
        self.components: dict[int, Component] = {}
        self.config = cache(load_dataset)
        self.stages = {stage: Cost() for stage in STAGES}
        chains: dict[str, Span] = {}
        for key, node in nodes.items():
            span = self._count(node) + Span(*card.start_seconds) if key in todo and node.needs.gpus else Span()
            chains[key] = _longest([chains[parent] for parent in node.parents]) + span
        self.chain = _longest(chains.values())

    @property
    def work(self) -> Span:
        """Seconds of one card for all nodes, without the start of tasks."""
        return sum((cost.work for cost in self.stages.values()), Span())

    def starts(self, task_seconds: float = 0.0) -> Span:
        """Return the seconds in which tasks start.

        Args:
            task_seconds: 0: one task for each node; else one task for every `task_seconds` of work in a stage.
        """
        tasks = [0.0, 0.0]
        for cost in self.stages.values():
            for end, seconds in enumerate((cost.work.low, cost.work.high)):
                tasks[end] += min(cost.nodes, 1 + seconds // task_seconds) if task_seconds else cost.nodes
        low, high = self.card.start_seconds
        return Span(tasks[0] * low, tasks[1] * high)

    def _count(self, node: Node) -> Span:
        """Add a node to its stage, and return the seconds of its work."""
        cost = self.stages[node.stage]
        config = self.config(node.identity["dataset"]["name"])
        mixed = self.mixed or precision_of(node.identity) != "float32"
        cost.nodes += 1
        if node.stage == "distill":
            job = self._job(node)
            cost.images += job.images
            cost.image_bytes += job.images * job.info.channels * job.info.resolution**2
        work = self.work_of(node)
        seconds = [None] if work is None else [self.card.seconds(part, config, mixed=mixed) for part in work]
        spans = [span for span in seconds if span is not None]
        if len(spans) < len(seconds):
            cost.uncounted[node.identity["component"]["name"]] += 1
            return Span()
        total = sum(spans, Span())
        cost.work += total
        return total

    def _job(self, node: Node) -> Job:
        config, unit = self.config(node.identity["dataset"]["name"]), node.identity.get("unit")
        info, ipc = self.infos[config.name], node.identity.get("ipc", 0)
        set_size = ipc * info.classes or sum(info.train_counts)
        return Job(
            info,
            images=len(unit["classes"]) * len(unit["slots"]) if unit and ipc else set_size,
            classes=tuple(unit["classes"]) if unit else (),
            ipc=ipc,
            student=node.identity.get("student", {}).get("arch", ""),
            test_images=config.images.test if config.images else 0,
        )

    def work_of(self, node: Node) -> tuple[Work, ...] | None:
        """Return the images that pass through networks in a node; None where its component does not say."""
        job = self._job(node)
        if node.stage == "teacher":
            recipe = node.identity["component"]["params"]["recipe"]
            epochs = 0 if recipe["pretrained"] else recipe["epochs"]
            training = Work("train", epochs * job.train_images, recipe["arch"])
            return training, Work("forward", job.test_images, recipe["arch"])
        work = self._component(node).work(job)
        online: tuple[Work, ...] | None = ()
        if node.stage == "evaluate":
            regimes = [self._component(self.nodes[key]) for key in node.identity["parents"]["labels"]]
            online = next((regime.online(job) for regime in regimes if isinstance(regime, LabelRegime)), ())
        return None if work is None or online is None else work + online

    def _component(self, node: Node) -> Component:
        fields: Mapping[str, Any] = node.identity["component"]
        if id(fields) not in self.components:
            self.components[id(fields)] = LOADERS[node.stage](fields["name"])(**fields["params"])
        return self.components[id(fields)]


def _longest(spans: Iterable[Span]) -> Span:
    lows, highs = zip((0.0, 0.0), *((span.low, span.high) for span in spans), strict=True)
    return Span(max(lows), max(highs))
