"""A recorded batch norm gives what it gave, its moments are exact, and one pass computes the gradient of both."""

import pytest
import torch
from torch import nn

from benchmark.vision.moments import BatchNormInputs, Moments, NormedMoments


def images(dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return (torch.randn(3, 4, 5, 6, generator=torch.Generator().manual_seed(0), dtype=dtype) * 2 + 1).requires_grad_()


def norm(seed: int = 1) -> nn.BatchNorm2d:
    """Return a frozen batch norm with values of its own."""
    layer, generator = nn.BatchNorm2d(4), torch.Generator().manual_seed(seed)
    values = (layer.weight.data, layer.bias.data, layer.running_mean, layer.running_var)
    for value in values:
        value.copy_(torch.rand(4, generator=generator) + 0.5)
    return layer.eval().requires_grad_(False)


def recorded(model: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return output, means and variances of a recorded pass, and the gradient of a function of all three."""
    with BatchNormInputs(model) as inputs:
        output = model(x)
        mean, variance = inputs.moments()
        (gradient,) = torch.autograd.grad(output.square().mean() + mean.sin().sum() + variance.square().sum(), x)
    return output.detach(), mean.detach(), variance.detach(), gradient


def test_the_gradient_in_one_pass_is_exact():
    x, scale, shift = images(torch.float64), torch.rand(4, dtype=torch.float64), torch.rand(4, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: NormedMoments.apply(x, scale, shift), x)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_frozen_norm_gives_what_a_hook_would_see(layout):
    x = images().detach().contiguous(memory_format=layout).requires_grad_()
    model, hooked = nn.Sequential(norm(1), nn.ReLU(), norm(2)), []
    for layer in (model[0], model[2]):
        layer.register_forward_pre_hook(lambda _layer, inputs: hooked.append(Moments.apply(inputs[0])))
    output = model(x)
    means, variances = (torch.cat(values, 1) for values in zip(*hooked, strict=True))
    loss = output.square().mean() + means.sin().sum() + variances.square().sum()
    wanted = (output.detach(), means.detach(), variances.detach(), *torch.autograd.grad(loss, x))
    for mine, theirs in zip(recorded(model, x), wanted, strict=True):
        torch.testing.assert_close(mine, theirs)


CHANGES = {  # of a frozen norm, after which it is not replaced
    "frozen": lambda layer: None,
    "trained": lambda layer: layer.train(),
    "weight": lambda layer: layer.weight.requires_grad_(True),
    "bias": lambda layer: layer.bias.requires_grad_(True),
    "no statistics": lambda layer: vars(layer)["_buffers"].update(running_mean=None, running_var=None),
    "no weights": lambda layer: vars(layer)["_parameters"].update(weight=None, bias=None),
    "no bias": lambda layer: vars(layer)["_parameters"].update(bias=None),
    "subclass": lambda layer: setattr(layer, "__class__", type("NormAndActivation", (nn.BatchNorm2d,), {})),
}


@pytest.mark.parametrize("case", [*CHANGES, "bfloat16", "plain"])
def test_only_a_frozen_norm_in_float32_is_replaced(case):
    layer, x = norm(), images()
    CHANGES.get(case, CHANGES["frozen"])(layer)
    x = {"bfloat16": x.bfloat16(), "plain": x.detach()}.get(case, x)
    with BatchNormInputs(layer) as inputs:
        output = layer(x)
        mean, _ = inputs.moments()
        made_by = type(inputs.seen["0"][0].grad_fn).__name__
    assert made_by == {"frozen": "NormedMomentsBackward", "plain": "NoneType"}.get(case, "MomentsBackward")
    torch.testing.assert_close(mean, x.float().mean((2, 3)))
    if case != "trained":
        torch.testing.assert_close(output, layer(x), **{} if case == "frozen" else {"rtol": 0, "atol": 0})


def test_two_recorders_of_one_network_see_the_same():
    layer, x = norm(), images()
    with BatchNormInputs(layer) as outer:
        with BatchNormInputs(layer) as inner:
            output = layer(x)
            for mine, theirs in zip(outer.moments(), inner.moments(), strict=True):
                torch.testing.assert_close(mine, theirs)
        layer(2 * x)
        torch.testing.assert_close(outer.moments()[0], 2 * x.mean((2, 3)))
    torch.testing.assert_close(output, layer(x))
    assert "forward" not in vars(layer)


def test_a_forward_of_the_user_stays():
    layer, x = norm(), images()
    layer.forward = mine = lambda x: 3 * x
    with BatchNormInputs(layer):
        torch.testing.assert_close(layer(x), 3 * x)
    assert layer.forward is mine


def test_a_norm_is_itself_again_after_the_block():
    layer = norm()
    with pytest.raises(ZeroDivisionError), BatchNormInputs(layer) as inputs:
        layer(images())
        raise ZeroDivisionError
    assert "forward" not in vars(layer) and not inputs.seen
