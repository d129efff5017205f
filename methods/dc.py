"""DC: synthetic images whose gradients in a network's weights point as those of the real images do, class by class."""

from __future__ import annotations

from typing import ClassVar, Literal

from methods.parts.gradients import GradientMatching


class DC(GradientMatching):
    """``L = sum_c sum_rows (1 - <s, t> / (|s| |t| + 1e-6))``, s, t rows of the gradients on S_c and on real images.

    See `GradientMatching`. DC augments nothing, and its images start from normal noise.

    Differences from the authors' code: random numbers do not depend on the clock; 1000 iterations, not 1001; the
    gradient of each class is computed alone and added, with the same result in less memory.
    """

    paper: ClassVar[str] = (
        "Zhao, Mopuri and Bilen: Dataset Condensation with Gradient Matching, ICLR 2021, "
        "https://arxiv.org/abs/2006.05929"
    )
    siamese: ClassVar[bool] = False

    start: Literal["noise", "real"] = "noise"
