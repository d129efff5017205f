"""Forgetting: real images that a network forgets never or most often while it trains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from torch import Tensor

from methods.parts.coreset import Ranked
from methods.parts.scoring import forgetting_events


class Forgetting(Ranked):
    """``s_i = sum_e [right_e(x_i) and not right_{e+1}(x_i)]``, right in the training pass of epoch e.

    The set holds the IPC images of each class with the smallest s (``easy_first``) or the largest (``hard_first``).
    Most images have the same s: these come in random order. An image that was never right has the largest s of all
    (``never: most``), as in the paper; in haizhongzheng/CCS and DeepCore it has s = 0, as the easiest ones
    (``never: least``). Differences from CCS: exactly IPC images of each class; easy images first by default; ties at
    random, not by index; float32.
    """

    paper: ClassVar[str] = (
        "Toneva et al.: An Empirical Study of Example Forgetting during Deep Neural Network Learning, ICLR 2019, "
        "https://arxiv.org/abs/1812.05159"
    )

    never: Literal["most", "least"] = "most"  # the score of an image that was right in no epoch

    def difficulty(self, records: Mapping[str, Tensor]) -> Tensor:
        """Return how often each image [n] was forgotten."""
        right = records["right"]
        events = forgetting_events(right)
        most = len(right) if self.never == "most" else 0  # events are at most half the epochs
        return events.where(right.any(0), most)
