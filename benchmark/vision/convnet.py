"""ConvNet-Dd, the student of the pixel-matching papers (DC, DM, MTT, DataDAM)."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

from torch import Tensor, nn

from benchmark.errors import BenchmarkError

WIDTH = 128


class ConvNet(nn.Module):
    """d blocks of (3x3 convolution of width 128, norm, ReLU, 2x2 average pooling), flattened into a linear layer.

    It has timm's interface: `forward_features`, `forward_head`, `num_features`.

    Args:
        depth: number of blocks; each halves the resolution.
        classes: number of outputs.
        resolution: height and width of the input.
        channels: number of channels of the input.
        norm: ``instance``, a group norm with as many groups as channels, or ``batch``.

    Raises:
        BenchmarkError: the image is smaller than one pixel after `depth` poolings.
    """

    def __init__(
        self, depth: int, *, classes: int, resolution: int, channels: int = 3, norm: Literal["instance", "batch"]
    ) -> None:
        super().__init__()
        side = resolution >> depth
        if side < 1:
            raise BenchmarkError(f"convnet_d{depth}: halves an image {depth} times, too often for {resolution} px")
        widths = [channels] + [WIDTH] * depth
        blocks = [_block(fan_in, fan_out, norm) for fan_in, fan_out in pairwise(widths)]
        self.features = nn.Sequential(*blocks)
        self.num_features = WIDTH * side * side
        self.classifier = nn.Linear(self.num_features, classes)

    def forward_features(self, x: Tensor) -> Tensor:
        """Return the last feature map, [N, 128, s, s]."""
        out: Tensor = self.features(x)
        return out

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Return the logits [N, classes] of a feature map; with ``pre_logits``, the flattened map [N, 128 s s]."""
        flat = x.flatten(1)
        return flat if pre_logits else self.classifier(flat)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits [N, classes] of images [N, C, H, W]."""
        return self.forward_head(self.forward_features(x))


def _block(fan_in: int, fan_out: int, norm: str) -> nn.Sequential:
    layer = nn.GroupNorm(fan_out, fan_out) if norm == "instance" else nn.BatchNorm2d(fan_out)
    return nn.Sequential(nn.Conv2d(fan_in, fan_out, 3, padding=1), layer, nn.ReLU(), nn.AvgPool2d(2))
