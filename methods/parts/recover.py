"""The recovery loop: images are optimised until a frozen teacher gives the outputs and statistics of real images.

All methods of the SRe2L family share it. They differ in the goal of the features (`Recovery.goal`), in the regulariser
(the field `regulariser`, or `Recovery.penalty`) and in the size of the crops (`Recovery.crop_range`).
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from benchmark.api import (
    Context,
    DatasetInfo,
    Distiller,
    Job,
    Precision,
    Preparation,
    SyntheticSet,
    TeacherSpec,
    TrainData,
    Unit,
    Work,
)
from benchmark.errors import BenchmarkError
from benchmark.synthetic import to_uint8
from benchmark.vision.augment import CropScale, denormalize, normalize, pixel_bounds
from benchmark.vision.boxes import crop_alike, sample_boxes
from benchmark.vision.jpeg import compressed
from benchmark.vision.models import features_and_logits
from benchmark.vision.moments import BatchNormInputs
from methods.parts.crops import resized
from methods.parts.objective import Goal, InTurn, Penalty, Regulariser
from methods.parts.patches import Patches, patch_factor, patch_images
from methods.parts.real import medium_indices, nearest_indices, random_indices, too_few
from methods.parts.recover_state import Beta, RecoveryState
from methods.parts.statistics import ClassStatistics
from methods.parts.transport import barycenter, start_positions
from methods.parts.units import whole_class_units, work_in_turns

Start = Literal["noise", "random_real", "nearest_real", "medium_real", "patches"]  # patches: mosaics of crops

REPORT_EVERY = 50  # iterations; reading a number from the device makes the device wait
SAVE_EVERY = 500  # iterations
SNAPSHOT_BYTES = 2**28  # the most bytes of all snapshots of a set
NO_CLASS_STATISTICS = "no per-class statistics of these teachers: regulariser pcbn and start nearest_real need them"
TWO_NAMES = "archs name the networks: leave out teacher"
NO_PATCHES = "start patches cannot be combined with per-class statistics, or with another preparation of the method"


class Recovery(Distiller):
    """``min over x of ce_weight CE(f(T(x)), y) + feature loss + lambda R(T(x))``, f the frozen teacher in eval mode.

    Adam changes normalised pixels; the learning rate falls to 0 along a cosine, without warm-up. Every iteration has
    ONE random view T for all images of a unit: a crop resized to the full size, a flip, a circular shift. Pixels are
    clamped to the valid range after each step. The set holds the last iterate, rounded to 8 bits and, where `jpeg` is
    not 0, compressed. Several teachers take turns, one per iteration; R is that of the teacher whose turn it is. With 0
    iterations the set is the start. The extras of the set hold ``snapshots`` [N, T, C, S, S] of the images, whose T
    iterations stand in the metadata, and ``atoms`` [N, D] where images are tied to atoms.
    """

    version: ClassVar[int] = 2

    teacher: str | None = None  # architecture of the network f; None: the dataset's teacher
    iterations: int = Field(default=2000, ge=0)
    learning_rate: float = Field(default=0.25, gt=0)
    betas: tuple[Beta, Beta] = (0.5, 0.9)
    batch_images: int = Field(default=100, ge=1)  # images of a unit, which are optimised together
    start: Start = "noise"
    crop_scale: CropScale = (0.08, 1.0)  # area of the crops
    jitter: int = Field(default=32, ge=0)  # largest circular shift, in pixels
    ce_weight: float = Field(default=1.0, ge=0)
    regulariser: Literal["bn", "pcbn", "none"] = "bn"  # match running statistics, per-class ones, or none
    regulariser_weight: float = Field(default=0.01, ge=0)  # lambda
    first_layer_weight: float = Field(default=1.0, ge=0)  # the weight of the first batch norm; the others have 1
    class_variance: Literal["exact", "batch"] = "exact"  # batch: without the variance of batch means, as in WMDD's code
    jpeg: int = Field(default=0, ge=0, le=100)  # quality of the images' JPEG compression, 75 in the codes; 0: none
    precision: Precision = "float32"  # the precision of the forward pass; bfloat16 changes WMDD's gradient by 6 to 7 %

    @property
    def needs_class_statistics(self) -> bool:
        """Whether the regulariser or the start needs statistics of each class."""
        return self.regulariser == "pcbn" or self.start == "nearest_real"

    def teachers(self) -> tuple[TeacherSpec, ...]:
        """Return the network from which images are recovered."""
        return (TeacherSpec(arch=self.teacher),)

    def supports(self, info: DatasetInfo, ipc: int) -> str | None:
        """If the images start from real images, return which class has too few of them."""
        if self.start == "patches":
            patches = self.preparation(info)
            return patches.too_few(info, ipc) if isinstance(patches, Patches) else NO_PATCHES
        return None if self.start == "noise" else too_few(info, ipc)

    def preparation(self, info: DatasetInfo) -> Preparation | None:
        """Return the class statistics or the patches where the regulariser or the start needs them."""
        if self.needs_class_statistics:
            return ClassStatistics(teacher=self.teacher)
        if self.start == "patches":
            return Patches(teacher=self.teacher, factor=patch_factor(info), crop_scale=self.crop_scale)
        return None

    def units(self, info: DatasetInfo, ipc: int) -> Sequence[Unit]:
        """Return units of as many whole classes as fit into `batch_images`, one at least."""
        return whole_class_units(info, ipc, self.batch_images)

    def work(self, job: Job) -> tuple[Work, ...]:
        """Return the iterations, and the scores of the start."""
        return work_in_turns(self.teachers(), self.iterations, job, scored=self.start == "medium_real")

    def goal(self, data: TrainData, unit: Unit, context: Context) -> Goal:
        """Return the further losses of the unit; none by default."""
        return Goal()

    def crop_range(self, iteration: int) -> tuple[float, float]:
        """Return the smallest and the largest area of the crop of an iteration; a curriculum overrides it."""
        return self.crop_scale

    def active(self, unit: Unit, iteration: int) -> list[int] | None:
        """Return which images of the unit take part in an iteration; None: all. The others do not change."""
        return None

    def begin_stage(self, images: Tensor, start: Tensor, iteration: int) -> Tensor | None:
        """Return the images of a stage that begins at an iteration, with a new optimiser; None where none begins.

        Args:
            images: [N, C, s, s], those that the iteration would have.
            start: [N, C, S, S], those before the first iteration, at the resolution of the dataset.
            iteration: from 0.
        """
        return None

    def squared(self) -> bool:
        """Return whether the regulariser sums squared norms; otherwise it averages norms."""
        return False

    def distill(self, data: TrainData, unit: Unit, context: Context) -> SyntheticSet:
        """Return the recovered images of the unit; an interrupted run resumes from its last save."""
        goal = self.goal(data, unit, context)
        low, high = pixel_bounds(data.info, context.device)
        start = self._start(data, goal, unit, context).to(context.device)
        state = RecoveryState.open(context, unit, start, self.learning_rate, self.betas)
        penalty = self.penalty(goal, unit, state.memory, context)
        snapshot_iterations = self._snapshot_iterations(data.info, unit.ipc)
        labels = unit.labels.to(context.device)
        terms: dict[str, Tensor] = {}
        with penalty or contextlib.nullcontext():
            for iteration in range(state.iteration, self.iterations):
                if (new_images := self.begin_stage(state.images.detach(), start, iteration)) is not None:
                    state.restart(new_images)
                rows = self.active(unit, iteration)
                images, targets = (state.images, labels) if rows is None else (state.images[rows], labels[rows])
                view = self._view(images, iteration, unit, data.info, context)
                terms = self._terms(view, iteration, targets, goal, penalty, context)
                rate = self.learning_rate * (1 + math.cos(math.pi * iteration / self.iterations)) / 2
                state.step(self._total(terms), rate, low, high)
                if state.iteration in snapshot_iterations:
                    state.snapshots.append(_pixels(state.images, data.info))
                if state.iteration % SAVE_EVERY == 0 and state.iteration < self.iterations:
                    state.save()
                scalars = numbers(terms) if iteration % REPORT_EVERY == 0 else {}
                context.progress(state.iteration, self.iterations, **scalars)
        return self._result(state, terms, goal, unit, data.info)

    def _terms(
        self, view: Tensor, iteration: int, labels: Tensor, goal: Goal, penalty: Penalty | None, context: Context
    ) -> dict[str, Tensor]:
        """Return the terms of the loss by name, each a scalar without its weight."""
        if penalty:
            penalty.begin(iteration)
        with context.autocast():
            features, logits = features_and_logits(context.teachers[iteration % len(context.teachers)], view)
        terms = {"ce": F.cross_entropy(logits.float(), labels)}
        if goal.loss:
            terms["feature"] = goal.loss(features.float())
        if goal.view_loss:
            terms["view"] = goal.view_loss(view)
        if penalty:
            terms["regulariser"] = penalty()
        return terms

    def _total(self, terms: dict[str, Tensor]) -> Tensor:
        """Return the weighted sum of the terms of the loss."""
        factors = {"ce": self.ce_weight, "feature": 1.0, "view": 1.0, "regulariser": self.regulariser_weight}
        return torch.stack([factors[name] * term for name, term in terms.items()]).sum()

    def _view(self, images: Tensor, iteration: int, unit: Unit, info: DatasetInfo, context: Context) -> Tensor:
        """Return the view of an iteration: all images [N, C, S, S] under one augmentation."""
        generator = context.generator("view", unit.index, iteration)
        box = sample_boxes(1, generator, scale=self.crop_range(iteration))
        flip = torch.rand(1, generator=generator) < (0.5 if info.flip else 0.0)
        down, right = torch.randint(self.jitter + 1, (2,), generator=generator).tolist()
        return crop_alike(images, box, flip, (down, right))

    def _start(self, data: TrainData, goal: Goal, unit: Unit, context: Context) -> Tensor:
        """Return the images before the first iteration, normalised, [N, C, S, S]."""
        info = data.info
        if self.start == "noise":
            shape = (len(unit.labels), info.channels, info.resolution, info.resolution)
            return torch.randn(shape, generator=context.generator("start", unit.index))
        if self.start == "random_real":
            return normalize(data.read(random_indices(data, unit.classes, unit.slots, context)), info)
        if self.start == "medium_real":
            return normalize(data.read(medium_indices(data, unit.classes, unit.slots, context)), info)
        if self.start == "patches":
            return normalize(patch_images(data, unit, context), info)
        atoms = _kmeans_atoms(data, unit, context) if goal.atoms is None else goal.atoms
        indices = [
            data.indices_of(label)[nearest_indices(class_features(data, label, context), near)[list(unit.slots)]]
            for label, near in zip(unit.classes, atoms, strict=True)
        ]
        return normalize(data.read(torch.cat(indices)), info)

    def penalty(self, goal: Goal, unit: Unit, memory: dict[str, Tensor], context: Context) -> Penalty | None:
        """Return R, by default of the teacher's batch norms; `memory` is saved and restored with the images."""
        if self.regulariser == "none":
            return None
        recorders = [BatchNormInputs(teacher) for teacher in context.teachers]
        if not any(recorder.layers for recorder in recorders):
            raise BenchmarkError(
                f"{self.name()}: the teacher has no BatchNorm layer whose statistics could be matched: "
                "choose another teacher, or regulariser: none"
            )
        turns = [self.batch_norm_penalty(part, goal, unit, context) if part.layers else None for part in recorders]
        return InTurn(turns, context.device)

    def batch_norm_penalty(self, inputs: BatchNormInputs, goal: Goal, unit: Unit, context: Context) -> Regulariser:
        """Return R of the batch norms of one teacher."""
        classes, slots = len(unit.classes), len(unit.slots)
        weights = torch.full((classes, slots), 1 / slots) if goal.weights is None else goal.weights
        if self.regulariser == "bn":
            weights, target = weights.view(1, -1) / classes, inputs.running()
        else:
            variance = "var" if self.class_variance == "exact" else "batch_var"
            mean, var = (context.prepared[name][list(unit.classes)] for name in ("mean", variance))
            target = mean.to(context.device), var.to(context.device)
        return Regulariser(
            inputs,
            target,
            weights.to(context.device),
            first_layer_weight=self.first_layer_weight,
            squared=self.squared(),
        )

    def _snapshot_iterations(self, info: DatasetInfo, ipc: int) -> list[int]:
        """Return the iterations after which a snapshot is kept: at most five, evenly spaced on a log scale."""
        set_bytes = info.classes * ipc * info.channels * info.resolution**2
        count = min(5, SNAPSHOT_BYTES // set_bytes) if self.iterations else 0
        return sorted({round(self.iterations ** (i / count)) for i in range(count)})

    def _result(
        self, state: RecoveryState, terms: dict[str, Tensor], goal: Goal, unit: Unit, info: DatasetInfo
    ) -> SyntheticSet:
        """Return the set of a finished loop, with its extras and metadata."""
        weights = None if goal.weights is None else (goal.weights * len(unit.slots)).flatten().float().cpu()
        extras = {"snapshots": torch.stack(state.snapshots, 1)} if state.snapshots else {}  # [N, T, C, S, S]
        extras |= {} if goal.atoms is None else {"atoms": goal.atoms.flatten(0, 1).float().cpu()}  # [N, D]
        iterations = self._snapshot_iterations(info, unit.ipc)
        metadata = {"losses": numbers(terms), "snapshot_iterations": iterations, **goal.metadata}
        return SyntheticSet(compressed(_pixels(state.images, info), self.jpeg), unit.labels, weights, extras, metadata)


def class_features(data: TrainData, label: int, context: Context) -> Tensor:
    """Return the real features of a class, float32 [n, D], from `ClassStatistics`, in the order of its images."""
    return context.prepared["features"][data.indices_of(label)].float()


def _kmeans_atoms(data: TrainData, unit: Unit, context: Context) -> list[Tensor]:
    """Return the k-means centres [IPC, D] of the features of each class of the unit."""
    atoms = []
    for label in unit.classes:
        features = class_features(data, label, context)
        start = start_positions(features, unit.ipc, "kmeans++", context.generator("atoms", label))
        atoms.append(barycenter(features, start, weights="learned").positions)
    return atoms


def _pixels(images: Tensor, info: DatasetInfo) -> Tensor:
    """Return normalised images as uint8 on the CPU, at the resolution of the dataset."""
    return to_uint8(denormalize(resized(images, info.resolution).detach(), info)).cpu().contiguous()


def numbers(terms: dict[str, Tensor]) -> dict[str, float]:
    """Return the terms as Python numbers; the device waits for it.

    Raises:
        BenchmarkError: a term is not finite.
    """
    values = {name: float(term.detach()) for name, term in terms.items()}
    if not all(map(math.isfinite, values.values())):
        raise BenchmarkError(f"the loss is not finite ({values}): lower learning_rate or the weights of the terms")
    return values
