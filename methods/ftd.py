"""FTD: MTT with experts that stay in flat valleys of the loss, and the moving average of the images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field
from torch import Tensor

from benchmark.api import DatasetInfo, Preparation, SyntheticSet, Unit
from methods.mtt import MTT
from methods.parts.descent import Leaf
from methods.parts.flat_experts import FlatExperts


class FTD(MTT):
    """MTT's loss for experts with steps ``g' - alpha g_perp``; the set is ``a <- d a + (1 - d) x`` after the last step.

    See `flat_direction` for the step of the experts. x are the images after an iteration; a starts as the real images.

    Differences from the authors' code: those of MTT. The code tests the average with a network that has trained on x
    before, which is likely to raise its score; here every student is new, and sees the average only.
    """

    version: ClassVar[int] = 1
    paper: ClassVar[str] = (
        "Du et al.: Minimizing the Accumulated Trajectory Error to Improve Dataset Distillation, CVPR 2023, "
        "https://arxiv.org/abs/2211.11004"
    )

    radius: float = Field(default=0.01, ge=0)  # rho of the experts' step
    flatness: float = Field(default=0.3, ge=0)  # alpha of the experts' step
    ema: float = Field(default=0.999, ge=0, lt=1)  # d; 0: the set is the last iterate

    def preparation(self, info: DatasetInfo) -> Preparation | None:
        """Return the expert trajectories."""
        plain = super().preparation(info)
        fields = {} if plain is None else plain.model_dump()
        return FlatExperts(**fields, radius=self.radius, flatness=self.flatness)

    def leaves(self, learned: Sequence[Tensor]) -> list[Leaf]:
        """Return what descends; last the average, of which a step of 1 - d leads to the images."""
        return [*super().leaves(learned), Leaf(learned[0].detach().clone(), 1 - self.ema, momentum=0)]

    def directions(self, loss: Tensor, slopes: Sequence[Tensor], leaves: Sequence[Leaf]) -> Sequence[Tensor] | None:
        """Return the gradients, and the direction of the average, which follows the images one iteration later."""
        return [*slopes, leaves[-1].tensor - leaves[0].tensor.detach()]

    def finished(self, leaves: Sequence[Leaf], unit: Unit, info: DatasetInfo) -> SyntheticSet:
        """Return the average, after it has followed the images to their last iterate."""
        average = leaves[-1].tensor.lerp(leaves[0].tensor.detach(), 1 - self.ema)
        return super().finished([Leaf(average, 0), *leaves[1:]], unit, info)
