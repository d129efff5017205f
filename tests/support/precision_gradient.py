"""How much bfloat16 changes the gradient of a recovery: the table in ``docs/numbers.md``.

Run it from the root of the repository: ``PYTHONPATH=.:tests/support python tests/support/precision_gradient.py``.
It trains a teacher on digits first, which takes a minute or two.
"""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmark.api import Context, TrainData, Unit
from benchmark.plan.recipes import resolve_method
from benchmark.vision import datasets
from benchmark.vision.augment import normalize
from benchmark.vision.models import create_model
from benchmark.vision.training import train_classifier
from methods.parts.recover import Recovery
from methods.parts.statistics import ClassStatistics

IPC = 10


def gradient(method: Recovery, images: Tensor, unit: Unit, data: TrainData, context: Context) -> Tensor:
    """Return the gradient of the whole loss for images [N, C, S, S], each taken as its own view."""
    goal = method.goal(data, unit, context)
    penalty = method.penalty(goal, unit, {}, context)
    leaf = images.clone().requires_grad_()
    assert penalty is not None
    with penalty:
        loss = method._total(method._terms(leaf, 0, unit.labels, goal, penalty, context))
    return torch.autograd.grad(loss, [leaf])[0]


def main() -> None:
    """Print the table."""
    folder = Path(tempfile.mkdtemp())
    config = datasets.load_dataset("digits")
    data = datasets.open_train(config, folder, folder / "cache")
    context = Context(torch.device("cpu"), torch.float32, 0, folder)
    teacher = create_model("test_resnet", classes=10, resolution=32, stem=config.stem)
    train_classifier(teacher, data, config.teacher, context)
    context = dataclasses.replace(context, teachers=(teacher.eval().requires_grad_(False),))
    context = dataclasses.replace(context, prepared=ClassStatistics().prepare(data, context))
    low = dataclasses.replace(context, precision=torch.bfloat16)
    unit = Unit(index=0, ipc=IPC, classes=tuple(range(10)), slots=tuple(range(IPC)))
    real = torch.cat([data.indices_of(label)[:IPC] for label in range(10)])
    noise = torch.randn(len(real), 3, 32, 32, generator=torch.Generator().manual_seed(1))
    for name in ("wmdd", "sre2l"):
        method = resolve_method(name, "digits", IPC, {})
        assert isinstance(method, Recovery)
        for kind, images in (("noise", noise), ("real images", normalize(data.read(real), data.info))):
            exact = gradient(method, images, unit, data, context)
            errors = [_error(gradient(method, images, unit, data, low), exact)]
            hooks = [
                module.register_forward_hook(lambda _module, _inputs, output: output.float())
                for module in teacher.modules()
                if isinstance(module, nn.Conv2d)
            ]
            errors.append(_error(gradient(method, images, unit, data, low), exact))
            for hook in hooks:
                hook.remove()
            print(f"| {name}, {kind} | {errors[0]:.1f} % | {errors[1]:.1f} % |")


def _error(gradient: Tensor, exact: Tensor) -> float:
    return 100 * float((gradient - exact).norm() / exact.norm())


if __name__ == "__main__":
    main()
