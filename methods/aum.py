"""AUM: real images whose class wins by the largest or the smallest margin, over a whole training run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from methods.parts.coreset import Ranked


class AUM(Ranked):
    """``AUM_i = sum_e (p_e,y(x_i) - max_{k != y} p_e,k(x_i))``, p_e the probabilities in the training pass of epoch e.

    The set holds the IPC images of each class with the largest AUM (``easy_first``) or the smallest (``hard_first``).
    Equations as in haizhongzheng/CCS; the paper finds mislabelled images by the mean margin of the logits. Differences
    from CCS: exactly IPC images of each class; easy images first by default; float32.
    """

    paper: ClassVar[str] = (
        "Pleiss et al.: Identifying Mislabeled Data using the Area Under the Margin Ranking, NeurIPS 2020, "
        "https://arxiv.org/abs/2001.10528; as a coreset in Zheng et al. (see ccs)"
    )

    def difficulty(self, records: Mapping[str, Tensor]) -> Tensor:
        """Return the negative area [n] under the margins."""
        return -records["margins"].double().sum(0)
