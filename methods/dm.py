"""DM: synthetic images whose mean embedding equals that of the real images, class by class."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn

from methods.parts.matching import Features, Matching, embedding


class DM(Matching):
    """``L = sum_c || mean_B psi(A(x)) - mean_S psi(A(s)) ||^2``, squares summed over features and classes.

    psi is the embedding (the flattened last feature map) of a ConvNet with new random weights in every iteration. A is
    a random DSA augmentation that the real and the synthetic images of a class share.

    Differences from the authors' code: random numbers do not depend on the clock. All classes of an iteration get
    the same kind of DSA operation, so that they pass through the network together; its parameters are sampled for each
    class, as in the code. A single class gets the same distribution of augmentations.
    """

    paper: ClassVar[str] = (
        "Zhao and Bilen: Dataset Condensation with Distribution Matching, WACV 2023, https://arxiv.org/abs/2110.04181"
    )

    def features(self, network: nn.Module, images: Tensor) -> Features:
        """Return the embedding."""
        model: Any = network
        return [(1.0, embedding(model, model.forward_features(images)))]
