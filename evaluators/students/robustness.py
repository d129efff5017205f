"""Test accuracy, and what is left of it when the test images are attacked or corrupted.

Needs the optional library foolbox: ``pip install 'distillation-benchmark[robustness]'``.

Papers: Goodfellow et al., Explaining and Harnessing Adversarial Examples, ICLR 2015 (FGSM); Madry et al., Towards Deep
Learning Models Resistant to Adversarial Attacks, ICLR 2018 (PGD); Hendrycks & Dietterich, Benchmarking Neural Network
Robustness to Common Corruptions and Perturbations, ICLR 2019.
"""

from __future__ import annotations

import importlib.util
import io
import math
import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from PIL import Image
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.transforms.v2 import functional as vision

from benchmark.api import Context, LabeledSet, TestData, as_array
from benchmark.identity import seed_of
from evaluators.students.accuracy import Accuracy

BATCH = 256
INSTALL = "foolbox is not installed: pip install 'foolbox>=3.3.4'"


class Robustness(Accuracy):
    """Accuracy on all test images, then on a few of them under attacks and corruptions, all in percent.

    - ``subset_top1``: on the chosen images as they are, the number that the others are compared with;
    - ``fgsm_top1``: at ``x + eps sign(grad_x L)``, L the student's cross-entropy;
    - ``pgd_top1``: after steps of ``step_size eps sign(grad_x L)`` from a random start, projected onto
      ``||x' - x||_inf <= eps`` and [0, 1];
    - ``corruption_top1``: the mean over six corruptions, each of which stands beside it by name.

    The images are the same for every method and seed, and so are the random numbers. All is computed in float32.
    """

    images: int = Field(500, ge=1)  # test images, drawn once per dataset; all where there are fewer
    eps: float = Field(2 / 255, ge=0, le=1)  # of pixels in [0, 1]
    pgd_steps: int = Field(10, ge=1)
    step_size: float = Field(0.25, gt=0)  # of PGD, in parts of eps

    def missing(self) -> str | None:
        """Return how to install foolbox where it is not."""
        return INSTALL if importlib.util.find_spec("foolbox") is None else None

    def evaluate(
        self, train: LabeledSet, test: TestData, student: nn.Module, context: Context
    ) -> dict[str, float | list[float]]:
        """Train the student and read the test split as `Accuracy` does; then attack what it says of some images."""
        found = super().evaluate(train, test, student, context)
        seed = seed_of("robustness", test.info.name)
        chosen = torch.randperm(len(test), generator=torch.Generator().manual_seed(seed))[: self.images]
        student.eval().requires_grad_(False)
        parts = []
        for number, indices in enumerate(chosen.split(BATCH)):
            pixels, labels = test.read(indices), test.labels[indices].to(context.device)
            hits = self._hits(student, pixels, labels, test, seed_of(seed, number))
            parts.append({name: right.sum().item() for name, right in hits.items()})
        scores = {name: 100 * sum(part[name] for part in parts) / len(chosen) for name in parts[0]}
        mean = sum(scores[f"{name}_top1"] for name in CORRUPTIONS) / len(CORRUPTIONS)
        return {**found, **scores, "corruption_top1": mean}

    def _hits(
        self, student: nn.Module, pixels: Tensor, labels: Tensor, test: TestData, seed: int
    ) -> Mapping[str, Tensor]:
        """Return which images of a batch, uint8 [b, C, S, S], are still classified rightly, by name of the test."""
        os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")  # else foolbox cannot be imported where git is missing
        import foolbox
        from foolbox.attacks import LinfFastGradientAttack, LinfPGD

        device = labels.device
        scale = {"mean": list(test.info.mean), "std": list(test.info.std), "axis": -3}
        model: Any = foolbox.PyTorchModel(student, bounds=(0, 1), preprocessing=scale, device=device)
        clean = pixels.to(device).float() / 255
        attacks = {"fgsm": LinfFastGradientAttack(), "pgd": LinfPGD(steps=self.pgd_steps, rel_stepsize=self.step_size)}
        hits = {"subset_top1": _right(model, clean, labels)}
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(seed)  # of PGD's random start, for which foolbox takes no generator
            for name, attack in attacks.items():
                hits[f"{name}_top1"] = _right(model, attack(model, clean, labels, epsilons=self.eps)[1], labels)
        for name, corrupt in CORRUPTIONS.items():
            corrupted = corrupt(pixels, torch.Generator().manual_seed(seed)).to(device).float() / 255
            hits[f"{name}_top1"] = _right(model, corrupted, labels)
        return hits


def _right(model: Callable[[Tensor], Tensor], images: Tensor, labels: Tensor) -> Tensor:
    """Return whether each image [b, C, S, S] in [0, 1] is given its label, bool [b]."""
    with torch.no_grad():
        return model(images).argmax(1) == labels


def _noise(pixels: Tensor, generator: torch.Generator) -> Tensor:
    noise = torch.randn(pixels.shape, generator=generator) * (0.1 * 255)
    return (pixels + noise).round().clamp(0, 255).byte()


def _blur(pixels: Tensor, _: torch.Generator) -> Tensor:
    sigma = pixels.shape[-1] / 64
    blurred: Tensor = vision.gaussian_blur(pixels, [2 * math.ceil(3 * sigma) + 1] * 2, [sigma] * 2)
    return blurred


def _brightness(pixels: Tensor, _: torch.Generator) -> Tensor:
    return (pixels.int() + 51).clamp(max=255).byte()


def _contrast(pixels: Tensor, _: torch.Generator) -> Tensor:
    grey: Tensor = vision.adjust_contrast(pixels, 0.4)
    return grey


def _pixelate(pixels: Tensor, _: torch.Generator) -> Tensor:
    halved = F.avg_pool2d(pixels.float(), 2)
    return F.interpolate(halved, pixels.shape[-2:], mode="nearest").round().byte()


def _jpeg(pixels: Tensor, _: torch.Generator) -> Tensor:
    files = [io.BytesIO() for _ in pixels]
    for image, file in zip(as_array(pixels), files, strict=True):
        Image.fromarray(image).save(file, "JPEG", quality=25)
    arrays = np.stack([np.asarray(Image.open(file)) for file in files])
    return torch.from_numpy(arrays).permute(0, 3, 1, 2).contiguous()


# Kinds of Hendrycks & Dietterich (2019), each at one middling strength that serves images of 32 to 224 px. They change
# uint8 images [b, C, S, S] on the CPU.
CORRUPTIONS: Mapping[str, Callable[[Tensor, torch.Generator], Tensor]] = {
    "gaussian_noise": _noise,  # deviation 0.1
    "gaussian_blur": _blur,  # deviation S / 64 px
    "brightness": _brightness,  # + 0.2
    "contrast": _contrast,  # 0.4 of it
    "pixelate": _pixelate,  # half the resolution
    "jpeg": _jpeg,  # quality 25
}
