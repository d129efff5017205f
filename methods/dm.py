"""DM: synthetic images whose mean embedding, class by class, is that of the real ones."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn

from methods.parts.matching import Features, Matching, embedding


class DM(Matching):
    """``L = sum_c || mean_B psi(A(x)) - mean_S psi(A(s)) ||^2``, squares summed over features and classes.

    psi is the embedding (the flattened last feature map) of a ConvNet that is drawn afresh in every iteration, A a draw
    of DSA that the real and the synthetic images of a class share.

    Differences from the authors' code: own generators in place of the clock; one DSA group for all classes of an
    iteration (its parameters are drawn class by class as there), so that all pass through the network at once. A class
    meets the same distribution of draws, and classes do not see each other.
    """

    paper: ClassVar[str] = (
        "Zhao and Bilen: Dataset Condensation with Distribution Matching, WACV 2023, https://arxiv.org/abs/2110.04181"
    )
    title: ClassVar[str] = "DM"

    def features(self, network: nn.Module, images: Tensor) -> Features:
        """Return the embedding."""
        model: Any = network
        return [(1.0, embedding(model, model.forward_features(images)))]
