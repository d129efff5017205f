"""CIM: mosaics of real images whose cells, enlarged, have the features of the whole images in the teacher."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from benchmark.api import (
    Context,
    DatasetInfo,
    Distiller,
    Job,
    Precision,
    SyntheticSet,
    TeacherSpec,
    TrainData,
    Unit,
    Work,
)
from benchmark.errors import BenchmarkError
from benchmark.vision.augment import normalize
from benchmark.vision.dsa import Augmentation, Chain
from benchmark.vision.models import features_and_logits
from methods.parts.patches import enlarged_cells, mosaics_of
from methods.parts.real import class_losses, random_members, too_few
from methods.parts.recover import numbers
from methods.parts.units import whole_class_units

REPORT_EVERY = 50  # iterations; reading a number from the device makes the device wait


class CIM(Distiller):
    """``L = sum_j mean_d |F(a(x_j)) - F(a(up(s_j)))|``: cell s_j of the mosaics takes the place of the real image x_j.

    Of `candidates` random images of a class, x_j are the IPC k^2 on which the teacher's cross-entropy is lowest, k =
    `factor`, the easiest first. Image i of IPC is the k x k mosaic of x_i, x_(i + IPC), x_(i + 2 IPC), ..., each
    resized to S / k pixels (nearest pixel), plus a residual delta that is learned. In every iteration the mosaics are
    cut into their cells, which ``up`` resizes to S pixels, bilinearly. a is an augmentation of DSA that x_j and s_j
    share: a flip (where the dataset allows it), a shift by up to an eighth of the image, a cutout of half the side. F
    are features of the teacher in eval mode: its pooled ones, or the inputs of the layer `tap`. AdamW changes delta at
    a constant learning rate; its decay pulls delta to 0. There is no other term. Pixels are floats and are not clamped.

    The labels are those of the protocol. Protocol ``native`` has the labels and the loss of its student (MSE of the
    logits, views of whole mosaics and of cells).

    Differences from the authors' code: the loss is that of the code (L1, one teacher); its README has the squared norm
    and several observers. Candidates do not repeat where a class has fewer images than `candidates`, and there are at
    least IPC k^2 of them. The published code of the tables only evaluates; the loop is that of its script for CIFAR-10.
    """

    paper: ClassVar[str] = "Condensing Large-Scale Datasets Directly with Minimal Information Loss (CIM), ECCV 2026"

    teacher: str | None = None  # architecture of the network F; None: the dataset's teacher
    iterations: int = Field(default=200, ge=0)  # 0: the mosaics as they are, the control of the method
    learning_rate: float = Field(default=0.01, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)  # the weight decay of delta
    candidates: int = Field(default=300, ge=1)  # images per class from which the easiest are taken, at most
    factor: int = Field(default=2, ge=1)  # k, cells along a side of a mosaic
    tap: str | None = None  # layer of the teacher whose input is F (layer3 at 224 px); None: pooled features
    precision: Precision = "float32"

    def teachers(self) -> tuple[TeacherSpec, ...]:
        """Return the network that gives losses and features."""
        return (TeacherSpec(arch=self.teacher),)

    def supports(self, info: DatasetInfo, ipc: int) -> str | None:
        """Return a reason where a class has too few images, or where cells have no whole pixels."""
        if info.resolution % self.factor:
            return f"{self.factor} cells do not tile {info.resolution} px: choose another factor"
        return too_few(info, ipc, self.factor)

    def units(self, info: DatasetInfo, ipc: int) -> Sequence[Unit]:
        """Return one unit for each class."""
        return whole_class_units(info, ipc, 1)

    def work(self, job: Job) -> tuple[Work, ...]:
        """Return the candidates, and in each iteration the real images and the cells. With `tap`, an upper bound."""
        cells, arch = job.images * self.factor**2, self.teacher or ""
        candidates = job.members(max(self.candidates, job.ipc * self.factor**2))
        forward = Work("forward", candidates + self.iterations * cells, arch)
        return forward, Work("recover", self.iterations * cells, arch)

    def distill(self, data: TrainData, unit: Unit, context: Context) -> SyntheticSet:
        """Return the mosaics of the unit's class."""
        real = data.read(self._easiest(data, unit, context)).to(context.device)  # [IPC k^2, C, S, S] uint8
        start = mosaics_of(real.float() / 255, unit.ipc, self.factor)
        delta = torch.zeros_like(start, requires_grad=True)
        optimizer = torch.optim.AdamW([delta], lr=self.learning_rate, weight_decay=self.weight_decay)
        metadata: dict[str, float] = {}
        for iteration in range(self.iterations):
            augment = self.augmentation(len(real), unit, iteration, data.info, context)
            loss = self.loss(start + delta, real, augment, data.info, context)
            (delta.grad,) = torch.autograd.grad(loss, [delta])
            optimizer.step()
            is_last = iteration + 1 == self.iterations
            scalars = numbers({"loss": loss}) if is_last or iteration % REPORT_EVERY == 0 else {}
            metadata |= scalars
            context.progress(iteration + 1, self.iterations, **scalars)
        pixels = (start + delta).detach().float().cpu().contiguous()
        return SyntheticSet(pixels, unit.labels, metadata=metadata)

    def augmentation(
        self, n: int, unit: Unit, iteration: int, info: DatasetInfo, context: Context
    ) -> Callable[[Tensor], Tensor]:
        """Return a, which takes normalised images [n, C, S, S]; every image has its own parameters."""
        generator = context.generator("view", unit.index, iteration)
        samples = torch.rand(3, n, 3, generator=generator)
        parts = tuple(Augmentation(g, u) for g, u in zip(("flip", "crop", "cutout"), samples, strict=True))
        return Chain(parts if info.flip else parts[1:]).apply

    def loss(
        self, images: Tensor, real: Tensor, augment: Callable[[Tensor], Tensor], info: DatasetInfo, context: Context
    ) -> Tensor:
        """Return L for mosaics [IPC, C, S, S] with pixels on the scale [0, 1], and real images in the order of rank."""
        teacher = context.teachers[0]
        with torch.no_grad():
            target = self._features(teacher, augment(normalize(real, info)), context)
        result = self._features(teacher, augment(normalize(enlarged_cells(images, self.factor), info)), context)
        return (result - target).abs().mean(1).sum()

    def _features(self, teacher: nn.Module, images: Tensor, context: Context) -> Tensor:
        """Return F, float32 [n, D], of normalised images."""
        images = images.contiguous(memory_format=torch.channels_last)
        with context.autocast():
            if self.tap is None:
                return features_and_logits(teacher, images)[0].float()
            return layer_input(teacher, self.tap, images).flatten(1).float()

    def _easiest(self, data: TrainData, unit: Unit, context: Context) -> Tensor:
        """Return the indices [IPC k^2] of the candidates with the lowest cross-entropy, lowest first."""
        (label,) = unit.classes
        count, generator = unit.ipc * self.factor**2, context.generator("candidates", label)
        candidates = random_members(data, label, max(self.candidates, count), generator)
        return candidates[class_losses(data, candidates, label, context).argsort(stable=True)[:count]]


class _Reached(Exception):
    """Ends a forward pass at a layer; its argument is the input of the layer."""


def layer_input(network: nn.Module, name: str, images: Tensor) -> Tensor:
    """Return the input of a layer of a network; the pass ends there.

    Raises:
        BenchmarkError: the network has no such layer, or does not reach it.
    """

    def stop(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        raise _Reached(inputs[0])

    layers = dict(network.named_modules())
    if name not in layers:
        raise BenchmarkError(
            f"the teacher has no layer '{name}': its blocks are {', '.join(dict(network.named_children()))}"
        )
    handle = layers[name].register_forward_pre_hook(stop)
    try:
        network(images)
    except _Reached as reached:
        values: Tensor = reached.args[0]
        return values
    finally:
        handle.remove()
    raise BenchmarkError(f"a forward pass of the teacher does not reach its layer '{name}'")
