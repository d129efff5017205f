"""A small dataset in files, for tests: the brightness of an image shows its class."""

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
    """Return the description of the dataset that `lay_down` writes, with changes."""
    base = load_dataset("imagenette64").model_dump()
    own = {"name": "toy", "folder": "toy", "classes": 3, "class_names": {"ant": "Ant"}, "resize": 24, "resolution": 16}
    return DatasetConfig.model_validate({**base, **own, **changes})


def write_image(path: Path, seed: int, size: tuple[int, int] = (40, 30), mode: str = "RGB") -> None:
    """Write an image whose brightness shows its seed, with a little noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 20, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(noise + np.uint8(seed % 200)).convert(mode).save(path)


def lay_down(root: Path) -> Path:
    """Write the dataset "toy" below a data directory: 20 training and 4 test images per class."""
    for split, count in (("train", 20), ("val", 4)):
        for label, name in enumerate(CLASSES):
            for i in range(count):
                path = root / "toy" / split / name / f"{split}{i:02d}.png"
                write_image(path, 60 * label + i + 100 * (split == "val"))
    return root


def all_images(data: ImageData) -> torch.Tensor:
    """Return all images of a split."""
    return data.read(torch.arange(len(data)))


def hashes(data: ImageData) -> list[str]:
    """Return a hash of every image."""
    return [hashlib.sha256(image.numpy().tobytes()).hexdigest() for image in all_images(data)]
