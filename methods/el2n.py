"""EL2N: real images with the smallest or the largest error of a network early in its training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field
from torch import Tensor

from methods.parts.coreset import Ranked


class EL2N(Ranked):
    """``s_i = sum_{e < E} |p_e(x_i) - onehot(y_i)|_2``, p_e the probabilities in the training pass of epoch e.

    The set holds the IPC images of each class with the smallest s (``easy_first``) or the largest (``hard_first``).
    Equations as in haizhongzheng/CCS; the paper averages over several networks at one early epoch. Differences from
    CCS: exactly IPC images of each class; easy images first by default, for a few hard images of a class are mostly
    mislabelled or odd; float32.
    """

    paper: ClassVar[str] = (
        "Paul, Ganguli and Dziugaite: Deep Learning on a Data Diet: Finding Important Examples Early in Training, "
        "NeurIPS 2021, https://arxiv.org/abs/2107.07075"
    )

    early_epochs: int = Field(default=10, ge=1)  # E; all epochs where the scoring run has fewer

    def difficulty(self, records: Mapping[str, Tensor]) -> Tensor:
        """Return the sum [n] of the errors of the first epochs."""
        return records["errors"][: self.early_epochs].double().sum(0)
