"""A small dataset in files, for the tests of reading: its images tell their class by their brightness."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmark.api import ImageData
from benchmark.vision.datasets import DatasetConfig, load_dataset

CLASSES = ("ant", "bee", "cat")


def toy(**changes: object) -> DatasetConfig:
    """Return a description of the data that `draw` lays down."""
    base = load_dataset("imagenette64").model_dump()
    own = {"name": "toy", "folder": "toy", "classes": 3, "class_names": {"ant": "Ant"}, "resize": 24, "resolution": 16}
    return DatasetConfig.model_validate({**base, **own, **changes})


def draw(path: Path, seed: int, size: tuple[int, int] = (40, 30), mode: str = "RGB") -> None:
    """Write an image that tells its seed by its brightness, under a little noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 20, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(noise + np.uint8(seed % 200)).convert(mode).save(path)


def lay_down(root: Path) -> Path:
    """Write "toy" below a data directory: 20 training and 4 test images per class."""
    for split, count in (("train", 20), ("val", 4)):
        for label, name in enumerate(CLASSES):
            for i in range(count):
                draw(root / "toy" / split / name / f"{split}{i:02d}.png", 60 * label + i + 100 * (split == "val"))
    return root


def whole(data: ImageData) -> torch.Tensor:
    """Return all images."""
    return data.read(torch.arange(len(data)))


def hashes(data: ImageData) -> list[str]:
    """Return one hash per image."""
    return [hashlib.sha256(image.numpy().tobytes()).hexdigest() for image in whole(data)]
