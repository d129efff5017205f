"""Networks by name: timm's, with stems for small images, ShuffleNet, and the ConvNets of papers on distillation.

All convolutional networks start as torchvision's do, which the papers use; vision transformers start as timm's, and so
does ``test_resnet_zero_init``, to show what that changes.
"""

from __future__ import annotations

import re
from typing import Any, Literal

import torch
from torch import Tensor, nn

from benchmark.api import Frozen
from benchmark.errors import BenchmarkError
from benchmark.vision.architectures import TIMM_NAMES, is_known, unknown_model
from benchmark.vision.convnet import ConvNet

_forwarded = {"images": 0}  # images that the networks of this process have taken in


class Stem(Frozen):
    """The first layers of a network: a stem for 224 px reduces small images to too few pixels."""

    resnet: Literal["imagenet", "small"] = "imagenet"  # small: stride 1 (ResNets, DenseNets: 3x3; no max-pool)
    patch: int | None = None  # side of the patches of a vision transformer; None: see `default_patch`
    norm: Literal["instance", "batch"] = "instance"  # norm of ConvNets


def create_model(
    arch: str, *, classes: int, resolution: int, channels: int = 3, stem: Stem | None = None, seed: int = 0
) -> nn.Module:
    """Return a network with random weights, channels-last, on the CPU; the global generator does not change.

    Args:
        arch: a name of `MODELS` or of timm.
        classes: number of outputs.
        resolution: height and width of the images.
        channels: number of channels of the images.
        stem: the first layers; None: for large images.
        seed: seed of the weights.

    Raises:
        BenchmarkError: there is no such network, or it cannot take images of this size.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model = _build(arch, stem or Stem(), classes=classes, resolution=resolution, channels=channels)
    # Every image passes the first convolution once, whichever method of the network is called.
    convolution = next((module for module in model.modules() if isinstance(module, nn.Conv2d)), model)
    convolution.register_forward_pre_hook(_count_images)
    return model.to(memory_format=torch.channels_last)


def load_pretrained(
    arch: str, weights: str, *, classes: int, resolution: int = 224, channels: int = 3, stem: Stem | None = None
) -> nn.Module:
    """Return a network with published weights, channels-last, on the CPU.

    Args:
        arch: a name of `MODELS` or of timm.
        weights: ``torchvision:NAME`` ("torchvision:IMAGENET1K_V1", residual networks only) or ``timm:TAG``
            ("timm:a1_in1k"); the library downloads them once into its cache.
        classes: number of outputs; the same as that of the weights.
        resolution: height and width of the images.
        channels: number of channels of the images.
        stem: the first layers; the same as those that the weights were trained with.

    Raises:
        BenchmarkError: there are no such weights, they do not fit the network, or they cannot be downloaded.
    """
    model = create_model(arch, classes=classes, resolution=resolution, channels=channels, stem=stem)
    try:
        model.load_state_dict(_published(arch, weights))
    except Exception as error:  # the libraries raise errors of many kinds
        raise BenchmarkError(
            f"network '{arch}': cannot load the weights '{weights}': {error}. Name them torchvision:NAME or timm:TAG; "
            "classes and stem must be those of the weights, and the weights must be in the cache or can be downloaded"
        ) from error
    return model


def features_and_logits(model: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the pooled features [N, D] before the last layer and the logits [N, classes] of normalised images."""
    network: Any = model
    maps = network.forward_features(x)
    return network.forward_head(maps, pre_logits=True), network.forward_head(maps)


def images_forwarded() -> int:
    """Return how many images passed through the networks of this process so far; an image counts at every pass."""
    return _forwarded["images"]


def batch_norms(model: nn.Module) -> list[nn.BatchNorm2d]:
    """Return the batch norms of a network in the order in which an image passes them."""
    return [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]


def default_patch(resolution: int) -> int:
    """Return the largest patch side, at most 16, that gives at least 8 x 8 patches: 16 at 224 px, 4 at 32 px."""
    return next((p for p in (16, 8, 4, 2) if resolution % p == 0 and resolution // p >= 8), 1)


def _count_images(_first: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    _forwarded["images"] += len(inputs[0])


def _build(arch: str, stem: Stem, *, classes: int, resolution: int, channels: int) -> nn.Module:
    if depth := re.fullmatch(r"convnet_d([3-6])", arch):
        return ConvNet(int(depth[1]), classes=classes, resolution=resolution, channels=channels, norm=stem.norm)
    if arch == "shufflenet_v2":
        from benchmark.vision.shufflenet import ShuffleNetV2  # imports torchvision's models

        return ShuffleNetV2(classes=classes, channels=channels, small=stem.resnet == "small")
    if not is_known(arch):
        raise BenchmarkError(unknown_model("network", arch))
    import timm

    name = TIMM_NAMES.get(arch, arch)
    options = _size_options(name, stem, resolution)
    model: nn.Module = timm.create_model(name, num_classes=classes, in_chans=channels, **options)
    if stem.resnet == "small":
        _shrink_stem(model, channels)
    if arch != "test_resnet_zero_init":
        _start_as_torchvision(model, name)
    return model


@torch.no_grad()
def _start_as_torchvision(model: Any, name: str) -> None:
    """Give a convolutional network of timm the start that torchvision's has: the papers use torchvision's.

    timm starts the last batch norm of every residual block at zero, so that a student of few steps hardly opens its
    residual branches. Weights of convolutions differ only in MobileNets and EfficientNets, and so do last layers.
    """
    for norm in batch_norms(model):
        norm.reset_parameters()
    import timm

    if not isinstance(model, timm.models.EfficientNet):  # the class of timm's MobileNetV2 too
        return
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    classifier = model.classifier
    if name.startswith("mobilenet"):
        nn.init.normal_(classifier.weight, 0, 0.01)
    else:
        nn.init.uniform_(classifier.weight, -(classifier.out_features**-0.5), classifier.out_features**-0.5)
    nn.init.zeros_(classifier.bias)


def _size_options(name: str, stem: Stem, resolution: int) -> dict[str, int]:
    """Return the options of timm that a network of fixed input size needs."""
    import timm

    if not timm.models.get_pretrained_cfg(name).fixed_input_size:
        return {}
    if not re.match(r"(test_)?(vit|deit)", name):
        return {"img_size": resolution}
    patch = stem.patch or default_patch(resolution)
    if resolution % patch:
        raise BenchmarkError(f"network '{name}': patches of {patch} px do not tile images of {resolution} px")
    return {"img_size": resolution, "patch_size": patch}


def _shrink_stem(model: Any, channels: int) -> None:
    """Change a convolutional stem so that it keeps the resolution; other networks do not change."""
    import timm

    if isinstance(model, timm.models.ResNet):
        model.conv1 = nn.Conv2d(channels, model.bn1.num_features, 3, padding=1, bias=False)
        nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")
        model.maxpool = nn.Identity()
    elif isinstance(model, timm.models.DenseNet):
        model.features.conv0 = nn.Conv2d(channels, model.features.conv0.out_channels, 3, padding=1, bias=False)
        nn.init.kaiming_normal_(model.features.conv0.weight)
        model.features.pool0 = nn.Identity()
    elif hasattr(model, "conv_stem"):
        model.conv_stem.stride = (1, 1)


def _published(arch: str, weights: str) -> dict[str, Tensor]:
    library, _, tag = weights.partition(":")
    if library == "torchvision":
        import torchvision

        return dict(torchvision.models.get_model_weights(arch)[tag].get_state_dict(progress=False))
    if library == "timm":
        import timm

        return dict(timm.create_model(f"{TIMM_NAMES.get(arch, arch)}.{tag}", pretrained=True).state_dict())
    raise ValueError(f"no library '{library}'")
