"""DSA: DC with one random augmentation for the real and the synthetic images of a class."""

from __future__ import annotations

from typing import ClassVar

from methods.parts.gradients import GradientMatching


class DSA(GradientMatching):
    """``L = sum_c sum_rows (1 - <s, t> / (|s| |t| + 1e-6))``, s, t rows of the gradients on A(S_c) and on A(real).

    See `GradientMatching`. A is one operation with one set of parameters for all images of a class, sampled again in
    every outer step. The network trains on synthetic images under DSA too: one operation for a batch, with parameters
    for each image. The images start from real ones.

    Differences from the authors' code: those of DC.
    """

    paper: ClassVar[str] = (
        "Zhao and Bilen: Dataset Condensation with Differentiable Siamese Augmentation, ICML 2021, "
        "https://arxiv.org/abs/2102.08259"
    )
    siamese: ClassVar[bool] = True
