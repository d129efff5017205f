"""A toy dataset small enough for every test: three classes that differ in colour and in the pitch of their stripes."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from benchmark.api import Context, DatasetInfo, TrainData
from benchmark.plan.discovery import load_component
from benchmark.sources import ROOT, SUBFOLDERS
from benchmark.vision.models import batch_norms, create_model

COMPONENTS = tuple(f"{folder}." for folder in SUBFOLDERS[:2])  # as names of modules start
OURS = f"{ROOT}{os.sep}"
COUNTS = (12, 11, 13)
SIZE = 32


class ToyData(TrainData):
    def __init__(self, info: DatasetInfo, images: Tensor, labels: Tensor) -> None:
        self.info, self.images, self.labels = info, images, labels

    def read(self, indices: Tensor) -> Tensor:
        return self.images[indices]


@pytest.fixture(autouse=True)
def no_component_of_another_test() -> Iterator[None]:
    """Forget the components that a test wrote, and their folders: the next test may write others of the same names."""
    yield
    modules = {name: module for name, module in sys.modules.items() if f"{name}.".startswith(COMPONENTS)}
    for module in modules.values():
        if hasattr(module, "__path__"):
            module.__path__ = [folder for folder in module.__path__ if f"{folder}{os.sep}".startswith(OURS)]
    written = [name for name, module in modules.items() if not (module.__file__ or OURS).startswith(OURS)]
    for name in written:
        del sys.modules[name]
    if written:
        load_component.cache_clear()


@pytest.fixture(scope="module")
def short_training() -> Iterator[None]:
    """Let students and teachers of digits train for few epochs; for modules that test what is around the training."""
    import short  # which imports torchvision

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(short.datasets, "load_dataset", short.load_dataset)
        yield


@pytest.fixture
def toy_info() -> DatasetInfo:
    return DatasetInfo(
        name="toy",
        class_names=("red", "green", "blue"),
        train_counts=COUNTS,
        resolution=SIZE,
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
        fingerprint="toy",
    )


@pytest.fixture
def toy_data(toy_info: DatasetInfo) -> ToyData:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(3).repeat_interleave(torch.tensor(COUNTS))
    labels = labels[torch.randperm(len(labels), generator=generator)]
    stripes = torch.sin(torch.arange(SIZE) * (labels + 1).view(-1, 1) / 2)  # [N, S]
    images = torch.rand(len(labels), 3, SIZE, SIZE, generator=generator) * 0.4
    images += 0.2 * (1 + stripes).view(-1, 1, 1, SIZE)
    images[torch.arange(len(labels)), labels] += 0.2
    return ToyData(toy_info, (images * 255).to(torch.uint8), labels)


@pytest.fixture
def toy_teacher(toy_info: DatasetInfo) -> nn.Module:
    """An untrained network whose batch norms have seen something: frozen, in eval mode."""
    model = create_model("test_resnet", classes=toy_info.classes, resolution=SIZE, seed=1)
    generator = torch.Generator().manual_seed(2)
    for layer in batch_norms(model):
        layer.running_mean.normal_(0, 0.2, generator=generator)
        layer.running_var.uniform_(0.5, 1.5, generator=generator)
    return model.eval().requires_grad_(False)


@pytest.fixture
def toy_context(toy_teacher: nn.Module, tmp_path: Path) -> Context:
    return Context(torch.device("cpu"), torch.float32, seed=7, scratch=tmp_path, teachers=(toy_teacher,))
