"""The names of the networks. No network is built here, so the names are listed without an import of torch."""

from __future__ import annotations

from benchmark.errors import unknown

MODELS = {  # our networks; every other name of timm works too
    "resnet18": "residual network, 11 M weights: the usual teacher and student",
    "resnet50": "residual network with bottlenecks, 24 M weights",
    "resnet101": "residual network with bottlenecks, 42 M weights",
    "vit_tiny": "vision transformer, 6 M weights",
    "vit_small": "vision transformer, 22 M weights",
    "mobilenetv2": "inverted residuals, 2 M weights",
    "efficientnet_b0": "inverted residuals with squeeze-and-excitation, 4 M weights",
    "shufflenet_v2": "channel-shuffling units of width 1.0, 1 M weights",
    "densenet121": "densely connected layers, 7 M weights",
    "convnet_d3": "three convolutions, the student of the pixel-matching papers at 32 px",
    "convnet_d4": "four convolutions, at 64 px",
    "convnet_d5": "five convolutions, at 128 px",
    "convnet_d6": "six convolutions, at 224 px",
    "test_resnet": "timm's smallest residual network, for digits and tests",
    "test_vit": "timm's smallest vision transformer",
    "test_efficientnet": "timm's smallest efficientnet",
    "test_resnet_zero_init": "test_resnet whose residual branches start at zero, as timm's do: for suite first_state",
}
TIMM_NAMES = {
    "mobilenetv2": "mobilenetv2_100",
    "vit_tiny": "vit_tiny_patch16_224",
    "vit_small": "vit_small_patch16_224",
    "test_resnet_zero_init": "test_resnet",
}


def is_known(arch: str) -> bool:
    """Return whether there is a network of this name, ours or timm's."""
    if arch in MODELS:
        return True
    import timm

    return bool(timm.is_model(arch))


def unknown_model(kind: str, name: str) -> str:
    """Return the message that there is no network of this name; the kind is what the name should be ("student")."""
    return f"{unknown(kind, name, MODELS)}, or any name of timm's; a network of your own: docs/outside.md"
