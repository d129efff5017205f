"""Networks come by name, seeded, in the size of their images; published weights come by the libraries' own loading."""

import pytest
import timm
import torch
import torchvision
from torch import nn

from benchmark.errors import BenchmarkError
from benchmark.vision.architectures import MODELS
from benchmark.vision.models import (
    Stem,
    batch_norms,
    create_model,
    default_patch,
    features_and_logits,
    load_pretrained,
)

SMALL = Stem(resnet="small")
LARGE = {"resnet50", "resnet101", "vit_small"}
QUICK = sorted(set(MODELS) - LARGE)


def weights_of(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(("depth", "resolution", "classes", "count"), [
    (3, 32, 10, 320_010), (4, 64, 200, 857_160), (5, 128, 10, 615_690),
])  # fmt: skip
def test_convnets_have_as_many_weights_as_the_literatures(depth, resolution, classes, count):
    model = create_model(f"convnet_d{depth}", classes=classes, resolution=resolution)
    assert weights_of(model) == count
    features, logits = features_and_logits(model, torch.zeros(2, 3, resolution, resolution))
    assert features.shape == (2, 2048) and logits.shape == (2, classes)
    assert model.num_features == 2048


@pytest.mark.parametrize(("arch", "millions"), [
    ("resnet18", 11.7), ("resnet50", 25.6), ("mobilenetv2", 3.5), ("shufflenet_v2", 2.3), ("densenet121", 8.0),
])  # fmt: skip
def test_networks_for_large_images_are_the_published_ones(arch, millions):
    assert weights_of(create_model(arch, classes=1000, resolution=224)) / 1e6 == pytest.approx(millions, abs=0.05)


@pytest.mark.parametrize("resolution", [32, 64])
@pytest.mark.parametrize("arch", QUICK)
def test_every_network_gives_features_and_the_logits_of_its_forward_pass(arch, resolution):
    if arch == "convnet_d6" and resolution == 32:
        pytest.skip("nothing is left of 32 px after six poolings")
    model = create_model(arch, classes=7, resolution=resolution, stem=SMALL).eval()
    x = torch.randn(2, 3, resolution, resolution, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        features, logits = features_and_logits(model, x)
        assert features.shape == (2, model.num_features)
        assert logits.shape == (2, 7) and logits.std() > 0
        torch.testing.assert_close(logits, model(x))


LIBRARY = {
    "resnet18": "resnet18",
    "resnet50": "resnet50",
    "resnet101": "resnet101",
    "mobilenetv2": "mobilenet_v2",
    "efficientnet_b0": "efficientnet_b0",
    "shufflenet_v2": "shufflenet_v2_x1_0",
    "densenet121": "densenet121",
}


def first_state(model: nn.Module) -> dict[tuple[int, ...], list[tuple[float, float]]]:
    """Return mean and deviation of all parameters by shape, sorted."""
    state: dict[tuple[int, ...], list[tuple[float, float]]] = {}
    for parameter in model.parameters():
        numbers = parameter.detach().mean().item(), parameter.detach().std(correction=0).item()
        state.setdefault(tuple(parameter.shape), []).append(numbers)
    return {shape: sorted(numbers) for shape, numbers in state.items()}


@pytest.mark.parametrize("arch", LIBRARY)
def test_a_network_starts_as_torchvisions(arch):
    ours = first_state(create_model(arch, classes=1000, resolution=224))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = first_state(getattr(torchvision.models, LIBRARY[arch])())
    assert ours.keys() == theirs.keys()
    for shape, numbers in ours.items():
        deviations = sorted(deviation for _, deviation in numbers)
        wanted = sorted(deviation for _, deviation in theirs[shape])
        few = 4 / max(1, torch.Size(shape).numel()) ** 0.5  # four standard errors of a deviation, at least
        assert deviations == pytest.approx(wanted, rel=few, abs=1e-7), shape
        means, spread = [mean for mean, _ in numbers], max(wanted) or 1e-7
        assert means == pytest.approx([mean for mean, _ in theirs[shape]], abs=few * spread + 1e-7), shape


@pytest.mark.parametrize("arch", [name for name in QUICK if "vit" not in name and "zero_init" not in name])
def test_every_batch_norm_starts_at_one_and_zero(arch):
    norms = batch_norms(create_model(arch, classes=7, resolution=64))
    assert all((norm.weight == 1).all() and (norm.bias == 0).all() for norm in norms)


@pytest.mark.parametrize(
    ("arch", "name", "sizes"),
    [
        ("vit_tiny", "vit_tiny_patch16_224", {"img_size": 64, "patch_size": 8}),
        ("test_resnet_zero_init", "test_resnet", {}),
    ],
)
def test_other_networks_start_as_timms(arch, name, sizes):
    with torch.random.fork_rng():
        torch.manual_seed(3)
        theirs = timm.create_model(name, num_classes=10, **sizes)
    ours = create_model(arch, classes=10, resolution=64, seed=3)
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))


def test_the_branches_of_zero_init_start_at_zero():
    norms = batch_norms(create_model("test_resnet_zero_init", classes=10, resolution=32))
    assert sorted({norm.weight.detach().abs().max().item() for norm in norms}) == [0, 1]


@pytest.mark.parametrize(("arch", "theirs"), [
    ("shufflenet_v2", "shufflenet_v2_x1_0"), ("densenet121", "densenet121"),
])  # fmt: skip
def test_a_network_computes_what_torchvisions_does(arch, theirs):
    """With torchvision's weights, by their names or by their order; where shapes repeat, a wrong order would show."""
    library = getattr(torchvision.models, theirs)(num_classes=5).eval()
    ours = create_model(arch, classes=5, resolution=64).eval()
    names, values = list(ours.state_dict()), list(library.state_dict().values())
    ours.load_state_dict(dict(zip(names, values, strict=True)))
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(ours(x), library(x), atol=1e-4, rtol=1e-4)


def test_grey_images_are_taken_too():
    model = create_model("test_resnet", classes=3, resolution=32, channels=1, stem=SMALL)
    assert model(torch.zeros(2, 1, 32, 32)).shape == (2, 3)


def test_weights_are_a_function_of_the_seed_and_leave_the_global_generator_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, again, other = (create_model("test_resnet", classes=3, resolution=32, seed=s) for s in (1, 1, 2))
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))


def test_weights_lie_channels_last():
    model = create_model("resnet18", classes=3, resolution=32)
    assert model.conv1.weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(("arch", "side"), [
    ("resnet18", 4), ("mobilenetv2", 2), ("efficientnet_b0", 2), ("shufflenet_v2", 4), ("densenet121", 4),
])  # fmt: skip
def test_small_stems_keep_more_of_a_small_image(arch, side):
    x = torch.zeros(1, 3, 32, 32)
    small = create_model(arch, classes=3, resolution=32, stem=SMALL).eval()
    assert small.forward_features(x).shape[-1] == side
    assert create_model(arch, classes=3, resolution=32).eval().forward_features(x).shape[-1] == 1


@pytest.mark.parametrize("arch", ["resnet18", "shufflenet_v2", "densenet121"])
def test_small_stem_is_a_convolution_of_stride_one(arch):
    model = create_model(arch, classes=3, resolution=32, channels=1, stem=SMALL)
    conv = next(module for module in model.modules() if isinstance(module, nn.Conv2d))
    assert conv.in_channels == 1
    assert (conv.kernel_size, conv.stride, conv.padding) == ((3, 3), (1, 1), (1, 1))
    assert not any(isinstance(module, nn.MaxPool2d) for module in model.modules())


@pytest.mark.parametrize(("resolution", "patch"), [(224, 16), (128, 16), (64, 8), (32, 4), (28, 2)])
def test_patches_fit_the_image(resolution, patch):
    assert default_patch(resolution) == patch
    model = create_model("test_vit", classes=3, resolution=resolution)
    assert model.patch_embed.patch_size == (patch, patch)
    assert model(torch.zeros(1, 3, resolution, resolution)).shape == (1, 3)


@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_norm_of_convnets(norm):
    model = create_model("convnet_d3", classes=3, resolution=32, stem=Stem(norm=norm))
    assert len(batch_norms(model)) == (3 if norm == "batch" else 0)
    assert weights_of(model) == weights_of(create_model("convnet_d3", classes=3, resolution=32))


@pytest.mark.parametrize("arch", [
    "resnet18", "test_resnet", "mobilenetv2", "efficientnet_b0", "shufflenet_v2", "densenet121",
])  # fmt: skip
def test_batch_norms_come_in_the_order_of_the_forward_pass(arch):
    model = create_model(arch, classes=3, resolution=32).eval()
    met: list[nn.Module] = []
    for layer in batch_norms(model):
        layer.register_forward_hook(lambda module, args, out: met.append(module))
    model(torch.zeros(1, 3, 32, 32))
    assert met == batch_norms(model) and met


@pytest.mark.parametrize(("arch", "stem", "text"), [
    ("resnet19", SMALL, "unknown network 'resnet19'. Did you mean 'resnet18'"),
    ("convnet_d6", SMALL, "convnet_d6: halves an image 6 times, too often for 32 px"),
    ("vit_tiny", Stem(patch=5), "patches of 5 px do not tile images of 32 px"),
])  # fmt: skip
def test_what_cannot_be_built_is_said(arch, stem, text):
    with pytest.raises(BenchmarkError) as error:
        create_model(arch, classes=3, resolution=32, stem=stem)
    assert text in str(error.value)


def test_any_other_timm_name_works():
    model = create_model("resnet10t", classes=3, resolution=32)
    assert features_and_logits(model, torch.zeros(2, 3, 32, 32))[1].shape == (2, 3)


@pytest.fixture
def published(tmp_path):
    """Torchvision's ResNet-18 with other weights, where torchvision would have put its download."""
    theirs = torchvision.models.resnet18().eval()
    name = torchvision.models.ResNet18_Weights.IMAGENET1K_V1.url.rpartition("/")[2]
    (tmp_path / "checkpoints").mkdir()
    torch.save(theirs.state_dict(), tmp_path / "checkpoints" / name)
    before = torch.hub.get_dir()
    torch.hub.set_dir(str(tmp_path))
    yield theirs
    torch.hub.set_dir(before)


def test_published_weights_answer_as_in_the_library_they_come_from(published):
    ours = load_pretrained("resnet18", "torchvision:IMAGENET1K_V1", classes=1000, resolution=64).eval()
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(ours(x), published(x), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("weights", "classes", "text"), [
    ("torchvision:IMAGENET1K_V1", 10, "size mismatch for fc.weight"),
    ("torchvision:V9", 1000, "V9"),
    ("elsewhere:x", 1000, "no library 'elsewhere'"),
])  # fmt: skip
def test_weights_that_do_not_fit_are_refused(published, weights, classes, text):
    with pytest.raises(BenchmarkError, match="cannot load the weights") as error:
        load_pretrained("resnet18", weights, classes=classes, resolution=64)
    assert text in str(error.value)
