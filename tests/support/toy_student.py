"""A toy set that tells its class by a bright quarter, networks that are trained on it, and a teacher."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from benchmark.api import Context, DatasetInfo, LabeledSet, Labels, SyntheticSet, TestData
from benchmark.vision.augment import Schedule
from benchmark.vision.models import Stem, create_model
from evaluators.labels.hard import Hard
from evaluators.students.accuracy import Accuracy

CLASSES, N = 4, 24
INFO = DatasetInfo(
    name="toy",
    class_names=("a", "b", "c", "d"),
    train_counts=(N // CLASSES,) * CLASSES,
    resolution=8,
    mean=(0.5,) * 3,
    std=(0.25,) * 3,
    fingerprint="0",
)
CUTMIX = Schedule(epochs=4, batch_size=10)
PLAIN = Schedule(epochs=4, batch_size=10, crop_scale=(0.5, 1.0), mix="none")
CPU = torch.device("cpu")


class Toy(TestData):
    """A bright quarter per class, under noise; counts reads and remembers the student's state at the first one."""

    def __init__(self, n: int = N, seed: int = 0, student: nn.Module | None = None) -> None:
        self.info = INFO
        self.labels = torch.arange(n) % CLASSES
        self.pixels = torch.randint(0, 100, (n, 3, 8, 8), generator=torch.Generator().manual_seed(seed)).byte()
        for pixels, label in zip(self.pixels, self.labels.tolist(), strict=True):
            pixels[:, 4 * (label // 2) :][:, :4, 4 * (label % 2) :][..., :4] += 150
        self.reads = torch.zeros(n, dtype=torch.int64)
        self.student, self.state_at_first_read = student, None

    def read(self, indices: Tensor) -> Tensor:
        if self.state_at_first_read is None and self.student is not None:
            self.state_at_first_read = {k: v.clone() for k, v in self.student.state_dict().items()}
        self.reads[indices] += 1
        return self.pixels[indices]


def toy_set(n: int = N, **fields) -> SyntheticSet:
    toy = Toy(n)
    return SyntheticSet(**({"images": toy.pixels, "targets": toy.labels} | fields))


def network(seed: int = 0, norm: str = "instance") -> nn.Module:
    return create_model("convnet_d3", classes=CLASSES, resolution=8, stem=Stem(norm=norm), seed=seed)


@pytest.fixture
def context(tmp_path: Path) -> Context:
    teacher = network(9, "batch").eval().requires_grad_(False)
    teacher.classifier.weight.mul_(50)  # an untrained teacher would say the same of every view
    return Context(CPU, torch.float32, seed=1, scratch=tmp_path, teachers=(teacher,))


def trained(
    images: SyntheticSet,
    labels: Labels,
    context: Context,
    schedule: Schedule,
    kind: type[Accuracy] = Accuracy,
    **options,
) -> dict[str, Tensor]:
    student = network()
    kind(schedule=schedule, **options).evaluate(LabeledSet(images, labels), Toy(seed=1), student, context)
    return student.state_dict()


def furthest(a: dict[str, Tensor], b: dict[str, Tensor]) -> float:
    return max((a[key] - b[key]).abs().max().item() for key in a)


def hard_labels(schedule: Schedule, context: Context) -> Labels:
    return Hard(schedule=schedule).label(toy_set(), INFO, context, context.scratch)
