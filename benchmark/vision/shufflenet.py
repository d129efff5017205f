"""ShuffleNet V2, which timm does not have: torchvision's, with timm's interface."""

from __future__ import annotations

from torch import Tensor, nn
from torchvision.models import shufflenetv2

REPEATS, WIDTHS = [4, 8, 4], [24, 116, 232, 464, 1024]  # the values of width 1.0


class ShuffleNetV2(shufflenetv2.ShuffleNetV2):  # type: ignore[misc]
    """ShuffleNet V2 of width 1.0: stem, three stages of channel-shuffling units, 1x1 convolution, mean over pixels.

    It has timm's interface: `forward_features`, `forward_head`, `num_features`.

    Args:
        classes: number of outputs.
        channels: number of channels of the images.
        small: a stem for small images, with stride 1 and without max-pool, as ResNets have.
    """

    def __init__(self, *, classes: int, channels: int = 3, small: bool = False) -> None:
        super().__init__(REPEATS, WIDTHS, num_classes=classes)
        self.num_features = WIDTHS[-1]
        self.conv1[0] = nn.Conv2d(channels, WIDTHS[0], 3, stride=1 if small else 2, padding=1, bias=False)
        if small:
            self.maxpool = nn.Identity()

    def forward_features(self, x: Tensor) -> Tensor:
        """Return the last feature map, [N, 1024, s, s]."""
        for layer in (self.conv1, self.maxpool, self.stage2, self.stage3, self.stage4, self.conv5):
            x = layer(x)
        return x

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Return the logits [N, classes] of a feature map; with ``pre_logits``, its means over pixels [N, 1024]."""
        means = x.mean((2, 3))
        return means if pre_logits else self.fc(means)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits [N, classes] of images [N, C, H, W]."""
        return self.forward_head(self.forward_features(x))
