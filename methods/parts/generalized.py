"""G-VBSM's statistics: means and variances of what the batch norms and convolutions of several networks are given."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmark.api import Context, Preparation, TeacherSpec, TrainData
from benchmark.vision.augment import Schedule
from benchmark.vision.moments import InputRecorder, Moments, pooled
from benchmark.vision.training import Stream, from_data
from methods.parts.statistics import Accumulated


def channel_moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and variance of every channel over images and pixels, [N, C, H, W] -> [C] twice, float32."""
    mean, variance = (moment.unsqueeze(0) for moment in Moments.apply(x))
    centre, spread = pooled(mean, variance, mean.new_full((1, len(x)), 1 / len(x)))
    return centre[0], spread[0]


def patch_moments(x: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Return mean and variance of every patch of side x side pixels over images, channels and its pixels, [P] twice.

    A map that patches do not tile is scaled up, bilinearly, to the next size that they do.
    """
    height, width = (-(-length // side) * side for length in x.shape[2:])
    wide = x.float()
    if (height, width) != tuple(x.shape[2:]):
        wide = F.interpolate(wide, (height, width), mode="bilinear")
    maps = torch.stack([wide.mean((0, 1)), wide.square().mean((0, 1))])  # [2, H, W]
    first, second = F.avg_pool2d(maps, side).flatten(1)
    return first, second - first.square()


class LayerInputs(InputRecorder):
    """Records the statistics of the inputs of convolutions and batch norms.

    Attributes:
        layers: for each teacher its convolutions and batch norms by key, ``TEACHER.MODULE``, in order of definition.
        idle: keys of layers that are not looked at.
        seen: of the forward passes since it was last cleared: ``KEY.mean`` and ``KEY.var`` [C], and of convolutions
            ``KEY.patch_mean`` and ``KEY.patch_var`` [P].
    """

    def __init__(self, teachers: Sequence[nn.Module], patch: int) -> None:
        self.layers = [
            {
                f"{index}.{name}": module
                for name, module in teacher.named_modules()
                if isinstance(module, nn.Conv2d | nn.BatchNorm2d)
            }
            for index, teacher in enumerate(teachers)
        ]
        super().__init__({key: module for layers in self.layers for key, module in layers.items()})
        self.patch = patch
        self.idle: set[str] = set()

    def record(self, key: str, layer: nn.Module, x: Tensor) -> None:
        """Keep the statistics of a layer that is not idle."""
        if key in self.idle:
            return
        self.seen[f"{key}.mean"], self.seen[f"{key}.var"] = channel_moments(x)
        if isinstance(layer, nn.Conv2d):
            self.seen[f"{key}.patch_mean"], self.seen[f"{key}.patch_var"] = patch_moments(x, self.patch)


class GeneralStatistics(Preparation):
    """What the real images give to every convolution of several teachers: the names of `LayerInputs.seen`.

    One pass over augmented training images, exact by the law of total variance (the authors' code averages the variance
    within batches). The batch norms keep statistics of their own.
    """

    archs: tuple[str, ...]
    patch: int = 4
    crop_scale: tuple[float, float] = (0.08, 1.0)
    batch_size: int = 100

    def teachers(self) -> tuple[TeacherSpec, ...]:
        """Return the networks, trained by the dataset's recipe."""
        return tuple(TeacherSpec(arch=arch) for arch in self.archs)

    @torch.no_grad()
    def prepare(self, data: TrainData, context: Context) -> Mapping[str, Tensor]:
        """Return the statistics."""
        schedule = Schedule(
            epochs=1, batch_size=self.batch_size, crop_scale=self.crop_scale, flip=data.info.flip, mix="none"
        )
        stream = Stream(schedule, context.seed, len(data), from_data(data, context.device))
        inputs, totals = LayerInputs(context.teachers, self.patch), dict[str, Accumulated]()
        inputs.idle = {
            key for layers in inputs.layers for key, module in layers.items() if isinstance(module, nn.BatchNorm2d)
        }
        with inputs:
            for step, batch in enumerate(stream, start=1):
                for teacher in context.teachers:
                    teacher(batch.images)
                for name, mean in inputs.seen.items():
                    if name.endswith("mean"):
                        variance = inputs.seen[name.removesuffix("mean") + "var"]
                        part = Accumulated(len(batch.images), mean.double(), variance.double())
                        totals[name] = totals[name].merge(part) if name in totals else part
                context.progress(step, len(stream))
        means = {name: total.mean.float() for name, total in totals.items()}
        return means | {name.removesuffix("mean") + "var": total.variance.float() for name, total in totals.items()}


class GeneralPenalty(LayerInputs):
    """``R = sum_h a_h sum_s |s*_h - s~_h|`` over the layers h of the teacher whose turn it is, s its statistics.

    ``s~ = s + sg(e - s)``, with ``e <- alpha e + (1 - alpha) s`` from the first value on: the value is the moving
    average's, the gradient that of the current statistics. a is `first_layer_weight` for the first layer, else 1.
    """

    def __init__(
        self,
        teachers: Sequence[nn.Module],
        wanted: Mapping[str, Tensor],
        memory: dict[str, Tensor],
        *,
        patch: int,
        momentum: float,
        first_layer_weight: float,
        drop: Callable[[int, int], Tensor],
    ) -> None:
        """Say what is to be matched.

        Args:
            teachers: in the order of their turns.
            wanted: statistics of the convolutions, from `GeneralStatistics`.
            memory: the moving averages, by the names of the statistics; updated by every call.
            patch: side of the patches.
            momentum: alpha.
            first_layer_weight: a_0.
            drop: returns for an iteration and a number n which of n convolutions are left out, [n] bool.
        """
        super().__init__(teachers, patch)
        self.memory, self.momentum, self.drop = memory, momentum, drop
        self.wanted = dict(wanted) | {
            f"{key}.{name}": getattr(module, f"running_{name}")
            for layers in self.layers
            for key, module in layers.items()
            if isinstance(module, nn.BatchNorm2d)
            for name in ("mean", "var")
        }
        self.weights = {next(iter(layers)): first_layer_weight for layers in self.layers if layers}

    def begin(self, iteration: int) -> None:
        """Draw the convolutions that are left out this time."""
        self.seen.clear()
        layers = self.layers[iteration % len(self.layers)]
        convolutions = [key for key, module in layers.items() if isinstance(module, nn.Conv2d)]
        dropped = self.drop(iteration, len(convolutions)).tolist()
        self.idle = {key for key, out in zip(convolutions, dropped, strict=True) if out}

    def __call__(self) -> Tensor:
        """Return R for the last forward pass."""
        if not self.seen:  # a network without batch norms, all its convolutions left out
            return next(iter(self.wanted.values())).new_zeros(())
        names, found = list(self.seen), torch.cat(list(self.seen.values()))
        sizes = [len(value) for value in self.seen.values()]
        now = found.detach()
        before = torch.cat([self.memory.get(name, own) for name, own in zip(names, now.split(sizes), strict=True)])
        average = torch.lerp(now, before, self.momentum)
        self.memory.update(zip(names, average.split(sizes), strict=True))
        gaps = found + (average - now) - torch.cat([self.wanted[name] for name in names])
        norms = torch.stack([torch.linalg.vector_norm(gap) for gap in gaps.split(sizes)])
        weights = [self.weights.get(name.rpartition(".")[0], 1.0) for name in names]
        return (norms * norms.new_tensor(weights)).sum()
