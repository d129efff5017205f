"""DataDAM: synthetic images that draw a random network's attention to where the real ones of their class do."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from methods.parts.matching import Features, Matching, embedding


class DataDAM(Matching):
    """``L = s (sum_l sum_c || mean_B a_l - mean_S a_l ||^2 + lambda sum_c || mean_B e - mean_S e ||^2)``.

    ``a_l = v / ||v||, v = sum over channels of |f_l|^p`` is the spatial attention of an image at ReLU l, all but the
    last; e the flattened last feature map. Networks, real batches and DSA as in DM.

    Differences from the authors' code: its exponent is 1 where the paper has 4, and its "ConvNet" has batch norms where
    the paper's table says instance norm; the fields `exponent` and `norm` switch (``{exponent: 1, norm: batch}`` is the
    code), the paper is the default. The factor s = 100 is the code's.
    """

    paper: ClassVar[str] = (
        "Sajedi et al.: DataDAM, Efficient Dataset Distillation with Attention Matching, ICCV 2023, "
        "https://arxiv.org/abs/2310.00093"
    )
    title: ClassVar[str] = "DataDAM"

    batch_real: int = Field(default=64, ge=1)
    exponent: Literal[1, 2, 4] = 4  # p
    task_balance: float = Field(default=0.01, ge=0)  # lambda
    scale: float = Field(default=100.0, gt=0)  # s, in effect a factor of the learning rate

    def features(self, network: nn.Module, images: Tensor) -> Features:
        """Return the attention at every ReLU but the last, and the embedding."""
        model: Any = network
        activations: list[Tensor] = []
        keep = partial(_keep, activations)
        relus = [module for module in network.modules() if isinstance(module, nn.ReLU)]
        handles = [relu.register_forward_hook(keep) for relu in relus[:-1]]
        last = embedding(model, model.forward_features(images))
        for handle in handles:
            handle.remove()
        maps = [(self.scale, attention(activation.float(), self.exponent)) for activation in activations]
        return [*maps, (self.scale * self.task_balance, last)]


def attention(maps: Tensor, exponent: int) -> Tensor:
    """Return ``v / ||v||, v = sum over channels of |f|^p``, [n, H W], of feature maps f [n, C, H, W]."""
    return F.normalize(maps.abs().pow(exponent).sum(1).flatten(1), dim=1)


def _keep(activations: list[Tensor], module: nn.Module, inputs: Any, output: Tensor) -> None:
    activations.append(output)
