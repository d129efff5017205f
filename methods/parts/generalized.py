"""G-VBSM's statistics: means and variances of the inputs of batch norms and convolutions of several networks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmark.api import Context, Job, Preparation, TeacherSpec, TrainData, Work
from benchmark.vision.augment import CropScale, Schedule
from benchmark.vision.moments import InputRecorder, Moments, pooled
from benchmark.vision.training import Batch, crops_of
from methods.parts.statistics import Accumulated


def channel_moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and variance of every channel of [N, C, H, W] over images and pixels, float32 [C] each."""
    mean, variance = (moment.unsqueeze(0) for moment in Moments.apply(x))
    centre, spread = pooled(mean, variance, mean.new_full((1, len(x)), 1 / len(x)))
    return centre[0], spread[0]


def patch_moments(x: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Return mean and variance of every patch of side x side pixels over images, channels and pixels, [P] each.

    A map whose size is no multiple of `side` is first resized (bilinear) to the next multiple.
    """
    wide = in_patches(x, side)
    maps = torch.stack([wide.mean((0, 1)), wide.square().mean((0, 1))])  # [2, H, W]
    first, second = F.avg_pool2d(maps, side).flatten(1)
    return first, second - first.square()


def in_patches(x: Tensor, side: int) -> Tensor:
    """Return maps [N, C, H, W] in float32, resized (bilinear) so that height and width are multiples of `side`."""
    height, width = (-(-length // side) * side for length in x.shape[2:])
    wide = x.float()
    return wide if (height, width) == tuple(x.shape[2:]) else F.interpolate(wide, (height, width), mode="bilinear")


class LayerInputs(InputRecorder):
    """Records the statistics of the inputs of convolutions and batch norms.

    Attributes:
        layers: the convolutions and batch norms of all teachers by key, ``TEACHER.MODULE``, in order of definition.
        idle: keys of layers that are not recorded.
        seen: the statistics of the last forward passes: ``KEY.mean`` and ``KEY.var`` [C], and for convolutions also
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
        """Keep the statistics of the input x of a layer that is not idle."""
        if key in self.idle:
            return
        self.seen[f"{key}.mean"], self.seen[f"{key}.var"] = channel_moments(x)
        if isinstance(layer, nn.Conv2d):
            self.seen[f"{key}.patch_mean"], self.seen[f"{key}.patch_var"] = patch_moments(x, self.patch)


class GeneralStatistics(Preparation):
    """Statistics of the real images at every convolution of several teachers, by the names of `LayerInputs.seen`.

    They come from one pass over augmented training images and are exact by the law of total variance; the authors' code
    averages the variances within batches. Batch norms need none: their running statistics serve.
    """

    archs: tuple[str, ...]
    patch: int = 4
    crop_scale: CropScale = (0.08, 1.0)
    batch_size: int = 100

    def teachers(self) -> tuple[TeacherSpec, ...]:
        """Return the networks, each trained by the teacher recipe of the dataset."""
        return tuple(TeacherSpec(arch=arch) for arch in self.archs)

    def work(self, job: Job) -> tuple[Work, ...]:
        """Return one pass over the training images for each network."""
        return tuple(Work("forward", job.train_images, arch) for arch in self.archs)

    @torch.no_grad()
    def prepare(self, data: TrainData, context: Context) -> Mapping[str, Tensor]:
        """Return means and variances by name."""
        inputs, totals = LayerInputs(context.teachers, self.patch), dict[str, Accumulated]()
        inputs.idle = {
            key for layers in inputs.layers for key, module in layers.items() if isinstance(module, nn.BatchNorm2d)
        }
        for batch, moments in self._passed(inputs, data, context):
            for stem, mean, variance in moments:
                part = Accumulated(len(batch.images), mean, variance)
                totals[stem] = totals[stem].merge(part) if stem in totals else part
        means = {f"{stem}mean": total.mean.float() for stem, total in totals.items()}
        return means | {f"{stem}var": total.variance.float() for stem, total in totals.items()}

    def _passed(
        self, inputs: LayerInputs, data: TrainData, context: Context
    ) -> Iterator[tuple[Batch, Iterator[tuple[str, Tensor, Tensor]]]]:
        """Pass the training images once through all networks; yield each batch with its statistics.

        These are the start of a name, the mean and the variance, in float64.
        """
        schedule = Schedule(
            epochs=1, batch_size=self.batch_size, crop_scale=self.crop_scale, flip=data.info.flip, mix="none"
        )
        stream = crops_of(data, schedule, context.seed, context.device)
        with inputs:
            for step, batch in enumerate(stream, start=1):
                for teacher in context.teachers:
                    teacher(batch.images)
                seen, stems = inputs.seen, [name.removesuffix("mean") for name in inputs.seen if name.endswith("mean")]
                yield batch, ((stem, seen[f"{stem}mean"].double(), seen[f"{stem}var"].double()) for stem in stems)
                context.progress(step, len(stream))


class GeneralPenalty(LayerInputs):
    """``R = sum_h a_h sum_s |s*_h - s~_h|`` over the layers h of the current teacher and their statistics s.

    ``s~ = s + sg(e - s)`` with the moving average ``e <- alpha e + (1 - alpha) s``, which starts at its value in the
    memory, or else at the first s: s~ has the value of e and the gradient of s. a_h is `first_layer_weight` for the
    first layer and 1 for the others.

    Attributes:
        class_target: the statistics s^c of the classes of the images, by the same names; {} where they are not needed.
        class_share: b; each norm is ``(1 - b) |s*_h - s~_h| + b |s^c_h - s~_h|``. 0 unless a method sets it.
    """

    def __init__(
        self,
        teachers: Sequence[nn.Module],
        target: Mapping[str, Tensor],
        memory: dict[str, Tensor],
        *,
        patch: int,
        momentum: float,
        first_layer_weight: float,
        drop: Callable[[int, int], Tensor],
    ) -> None:
        """Set the target statistics.

        Args:
            teachers: iteration i uses teacher i mod K.
            target: s* of the convolutions, from `GeneralStatistics`.
            memory: the moving averages e by the names of the statistics; every call updates it.
            patch: side of the patches, in pixels.
            momentum: alpha.
            first_layer_weight: a_0.
            drop: takes an iteration and a number n, and returns which of n convolutions are left out, bool [n].
        """
        super().__init__(teachers, patch)
        self.memory, self.momentum, self.drop = memory, momentum, drop
        self.target = dict(target) | {
            f"{key}.{name}": getattr(module, f"running_{name}")
            for layers in self.layers
            for key, module in layers.items()
            if isinstance(module, nn.BatchNorm2d)
            for name in ("mean", "var")
        }
        self.weights = {next(iter(layers)): first_layer_weight for layers in self.layers if layers}
        self.class_target: Mapping[str, Tensor] = {}
        self.class_share = 0.0

    def begin(self, iteration: int) -> None:
        """Choose the convolutions that are left out of this iteration."""
        self.seen.clear()
        layers = self.layers[iteration % len(self.layers)]
        convolutions = [key for key, module in layers.items() if isinstance(module, nn.Conv2d)]
        drop_flags = self.drop(iteration, len(convolutions)).tolist()
        self.idle = {key for key, out in zip(convolutions, drop_flags, strict=True) if out}

    def __call__(self) -> Tensor:
        """Return R for the last forward pass."""
        if not self.seen:  # a network without batch norms, all its convolutions left out
            return next(iter(self.target.values())).new_zeros(())
        names, current = list(self.seen), torch.cat(list(self.seen.values()))
        sizes = [len(value) for value in self.seen.values()]
        values = current.detach()
        memory = torch.cat([self.memory.get(name, part) for name, part in zip(names, values.split(sizes), strict=True)])
        average = torch.lerp(values, memory, self.momentum)
        self.memory.update(zip(names, average.split(sizes), strict=True))
        matched = current + (average - values)
        norms = _norms(matched - torch.cat([self.target[name] for name in names]), sizes)
        if self.class_share:
            class_norms = _norms(matched - torch.cat([self.class_target[name] for name in names]), sizes)
            norms = (1 - self.class_share) * norms + self.class_share * class_norms
        weights = [self.weights.get(name.rpartition(".")[0], 1.0) for name in names]
        return (norms * norms.new_tensor(weights)).sum()


def _norms(gaps: Tensor, sizes: Sequence[int]) -> Tensor:
    return torch.stack([torch.linalg.vector_norm(gap) for gap in gaps.split(sizes)])
