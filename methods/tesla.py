"""TESLA: MTT with a gradient whose memory does not grow with the number of steps."""

from __future__ import annotations

from typing import ClassVar, Literal

from methods.mtt import MTT


class TESLA(MTT):
    """MTT's loss, and ``dL/dx = (2 / |theta_0 - theta*|^2) sum_i [alpha (theta* - theta_0) + alpha^2 G]^T dg_i/dx``.

    g_i is the gradient of step i at theta_i, and G the sum of all g_i. theta_i and G count as constants, for alpha too.
    The paper calls this exact. It is the gradient of MTT for one step; for more steps, paths from an image through the
    later theta_i are missing (`methods.parts.unroll.detached`).

    Differences from the authors' code: those of MTT; the theta_i are computed again, not stored; labels are hard (the
    code can label the images by the target's weights in every iteration, for large sets of ImageNet-1K).
    """

    version: ClassVar[int] = 1
    paper: ClassVar[str] = (
        "Cui et al.: Scaling Up Dataset Distillation to ImageNet-1K with Constant Memory, ICML 2023, "
        "https://arxiv.org/abs/2211.10586"
    )
    most_classes: ClassVar[int] = 1000

    memory: Literal["constant", "unrolled", "tesla"] = "tesla"
