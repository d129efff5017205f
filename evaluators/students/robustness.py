"""Test accuracy on clean test images, and on attacked and corrupted ones.

It needs the optional library foolbox: ``pip install 'distillation-benchmark[robustness]'``.

Papers: Goodfellow et al., Explaining and Harnessing Adversarial Examples, ICLR 2015 (FGSM); Madry et al., Towards Deep
Learning Models Resistant to Adversarial Attacks, ICLR 2018 (PGD); Hendrycks & Dietterich, Benchmarking Neural Network
Robustness to Common Corruptions and Perturbations, ICLR 2019.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from benchmark.api import Column, Context, Job, LabeledSet, TestData
from benchmark.identity import seed_of
from evaluators.parts.corruptions import CORRUPTIONS
from evaluators.students.accuracy import Accuracy

BATCH = 256  # test images that are attacked together
INSTALL = "foolbox is not installed: pip install 'foolbox>=3.3.4'"


class Robustness(Accuracy):
    """Accuracy in percent on all test images, and on a random subset of them under attacks and corruptions.

    - ``subset_top1``: on the subset without attack, to compare the others with;
    - ``fgsm_top1``: at ``x + eps sign(grad_x L)``, L the student's cross-entropy;
    - ``pgd_top1``: after steps of ``step_size eps sign(grad_x L)`` from a random start, projected onto
      ``||x' - x||_inf <= eps`` and [0, 1];
    - ``corruption_top1``: the mean over six corruptions; ``NAME_top1`` is that of one of them.

    The subset and the random numbers are the same for every method and seed. Everything is computed in float32.
    """

    columns: ClassVar[tuple[Column, ...]] = (
        *Accuracy.columns,
        Column("fgsm_top1", "FGSM", "%", digits=1, part_of="subset_top1"),
        Column("pgd_top1", "PGD", "%", digits=1, part_of="subset_top1"),
        Column("corruption_top1", "corrupted", "%", digits=1, part_of="subset_top1"),
        Column("subset_top1", "top-1, subset", "%", digits=1),
        *(Column(f"{name}_top1", name.replace("_", " "), "%", digits=1) for name in CORRUPTIONS),
    )

    images: int = Field(500, ge=1)  # size of the subset of test images; all where there are fewer
    eps: float = Field(2 / 255, ge=0, le=1)  # largest change of a pixel in [0, 1]
    pgd_steps: int = Field(10, ge=1)
    step_size: float = Field(0.25, gt=0)  # the step size of PGD, as a share of eps

    def missing(self) -> str | None:
        """Return how to install foolbox where it is not installed."""
        return INSTALL if importlib.util.find_spec("foolbox") is None else None

    def work(self, job: Job) -> None:
        """Say nothing: the attacks decide how many images pass the student."""

    def evaluate(
        self, train: LabeledSet, test: TestData, student: nn.Module, context: Context
    ) -> dict[str, float | str | list[float]]:
        """Train and test the student as `Accuracy` does; then test it on attacked and corrupted images."""
        clean = super().evaluate(train, test, student, context)
        seed = seed_of("robustness", test.info.name)
        rows = torch.randperm(len(test), generator=torch.Generator().manual_seed(seed))[: self.images]
        student.eval().requires_grad_(False)
        parts = []
        for number, indices in enumerate(rows.split(BATCH)):
            pixels, labels = test.read(indices), test.labels[indices].to(context.device)
            hits = self._hits(student, pixels, labels, test, seed_of(seed, number))
            parts.append({name: correct.sum().item() for name, correct in hits.items()})
        scores = {name: 100 * sum(part[name] for part in parts) / len(rows) for name in parts[0]}
        mean = sum(scores[f"{name}_top1"] for name in CORRUPTIONS) / len(CORRUPTIONS)
        return {**clean, **scores, "corruption_top1": mean}

    def _hits(
        self, student: nn.Module, pixels: Tensor, labels: Tensor, test: TestData, seed: int
    ) -> Mapping[str, Tensor]:
        """Return by test name which images of a batch, uint8 [b, C, S, S], are classified correctly, bool [b] each."""
        os.environ.setdefault(
            "GIT_PYTHON_REFRESH", "quiet"
        )  # without it, foolbox cannot be imported where git is missing
        import foolbox
        from foolbox.attacks import LinfFastGradientAttack, LinfPGD

        device = labels.device
        scale = {"mean": list(test.info.mean), "std": list(test.info.std), "axis": -3}
        model: Any = foolbox.PyTorchModel(student, bounds=(0, 1), preprocessing=scale, device=device)
        clean = pixels.to(device).float() / 255
        attacks = {"fgsm": LinfFastGradientAttack(), "pgd": LinfPGD(steps=self.pgd_steps, rel_stepsize=self.step_size)}
        hits = {"subset_top1": _correct(model, clean, labels)}
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(seed)  # the seed of PGD's random start: foolbox takes no generator
            for name, attack in attacks.items():
                hits[f"{name}_top1"] = _correct(model, attack(model, clean, labels, epsilons=self.eps)[1], labels)
        for name, corrupt in CORRUPTIONS.items():
            corrupted = corrupt(pixels, torch.Generator().manual_seed(seed)).to(device).float() / 255
            hits[f"{name}_top1"] = _correct(model, corrupted, labels)
        return hits


def _correct(model: Callable[[Tensor], Tensor], images: Tensor, labels: Tensor) -> Tensor:
    """Return which images [b, C, S, S] in [0, 1] are classified as their labels [b], bool [b]."""
    with torch.no_grad():
        return model(images).argmax(1) == labels
