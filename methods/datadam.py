"""DataDAM: synthetic images on which random networks attend to the same regions as on the real images of the class."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from methods.parts.matching import Features, Matching, embedding

CODE = {"exponent": 1, "norm": "batch"}  # defaults under form code


class DataDAM(Matching):
    """``L = s (sum_l sum_c || mean_B a_l - mean_S a_l ||^2 + lambda sum_c || mean_B e - mean_S e ||^2)``.

    ``a_l = v / ||v||, v = sum over channels of |f_l|^p`` is the spatial attention of an image at ReLU l, for all ReLUs
    but the last. e is the flattened last feature map. Networks, real batches and DSA are those of DM.

    - ``form: paper``: exponent p = 4 and instance norm, as in the paper and the table of the authors' README.
    - ``form: code``: p = 1 and batch norm, as in the authors' code, whose ConvNet always has batch norm.

    Differences from the authors' code: the default is the form of the paper. The factor s = 100 is from the code.
    """

    paper: ClassVar[str] = (
        "Sajedi et al.: DataDAM, Efficient Dataset Distillation with Attention Matching, ICCV 2023, "
        "https://arxiv.org/abs/2310.00093"
    )

    form: Literal["paper", "code"] = "paper"  # it decides the defaults of exponent and norm
    batch_real: int = Field(default=64, ge=1)
    exponent: Literal[1, 2, 4] = 4  # p; 1 under code
    task_balance: float = Field(default=0.01, ge=0)  # lambda
    scale: float = Field(default=100.0, gt=0)  # s; it acts like a factor of the learning rate

    @model_validator(mode="before")
    @classmethod
    def _fill_by_form(cls, values: Any) -> Any:
        return CODE | values if values.get("form") == "code" else values

    def features(self, network: nn.Module, images: Tensor) -> Features:
        """Return the attention at all ReLUs but the last, and the embedding."""
        model: Any = network
        activations: list[Tensor] = []
        keep = partial(_keep, activations)
        relus = [module for module in network.modules() if isinstance(module, nn.ReLU)]
        handles = [relu.register_forward_hook(keep) for relu in relus[:-1]]
        features = embedding(model, model.forward_features(images))
        for handle in handles:
            handle.remove()
        maps = [(self.scale, attention(activation.float(), self.exponent)) for activation in activations]
        return [*maps, (self.scale * self.task_balance, features)]


def attention(maps: Tensor, exponent: int) -> Tensor:
    """Return ``v / ||v||, v = sum over channels of |f|^p`` of feature maps f [n, C, H, W], as [n, H W]."""
    return F.normalize(maps.abs().pow(exponent).sum(1).flatten(1), dim=1)


def _keep(activations: list[Tensor], module: nn.Module, inputs: Any, output: Tensor) -> None:
    activations.append(output)
