"""DELT: images of a class join the recovery one after another, so that some are optimised early and long, some late."""

from __future__ import annotations

import math
from typing import ClassVar

from pydantic import Field

from benchmark.api import Context, Job, Unit, Work
from benchmark.vision.moments import BatchNormInputs
from methods.parts.objective import Goal, Regulariser
from methods.parts.recover import Recovery, Start


class DELT(Recovery):
    """``L = CE(f(T(x_A)), y_A) + lambda R(T(x_A))``, A the images that take part: R as in SRe2L, crops as in CDA.

    The I iterations are M rounds (EarlyLate). The IPC images of a class are M groups of ``IPC // M`` images, the first
    ``IPC mod M`` groups with one more. Group g = 0, 1, ... joins in round g and stays to the end, so the last one gets
    one round. Images that wait have no gradient and do not change; they are not forwarded, and R does not see them.
    A unit holds whole classes, so its batch grows from round to round. With fewer than M images per class, late rounds
    bring none.

    The start are real images of which the teacher is neither sure nor unsure (``medium_real``): image 0 is at the
    median of its class and joins first. At iteration i the smallest area of a crop is
    ``s_0 + (s_1 - s_0) (1 + cos(pi i / I)) / 2`` with ``[s_0, s_1]`` = `crop_scale`.

    One Adam and one cosine run over all rounds, as in the code. So late images see only small learning rates and crops
    of all sizes; their first step has 1.58 times the learning rate, since Adam's correction of its averages is over.

    Differences from the authors' code: the start are whole images (its default folder hints at crops of RDED); units
    hold whole classes at every IPC; images have 8-bit pixels instead of JPEG (``jpeg: 75``). In the code a unit with
    late images alone has its empty rounds deleted, which here cannot happen. Its learning rate per round is set and
    then overwritten, so it has no effect.
    """

    paper: ClassVar[str] = (
        "Shen et al.: DELT: A Simple Diversity-driven EarlyLate Training for Dataset Distillation, CVPR 2025, "
        "https://arxiv.org/abs/2411.19946"
    )

    iterations: int = Field(default=4000, ge=0)
    round_iterations: int = Field(default=500, ge=1)  # the iterations of a round; M = iterations / this, rounded up
    start: Start = "medium_real"
    jitter: int = Field(default=0, ge=0)
    first_layer_weight: float = Field(default=10.0, ge=0)

    def work(self, job: Job) -> tuple[Work, ...]:
        """Return the scores of the start, and in each iteration the images that take part."""
        rounds = range(0, self.iterations, self.round_iterations)
        images_per_class = sum(
            self.joined(job.ipc, first) * min(self.round_iterations, self.iterations - first) for first in rounds
        )
        scored_images = job.members() if self.start == "medium_real" else 0
        recovered = len(job.classes) * images_per_class
        return Work("forward", scored_images, self.teacher or ""), Work("recover", recovered, self.teacher or "")

    def crop_range(self, iteration: int) -> tuple[float, float]:
        """Return the smallest and the largest area of the crop of an iteration."""
        smallest, largest = self.crop_scale
        return smallest + (largest - smallest) * (1 + math.cos(math.pi * iteration / self.iterations)) / 2, largest

    def group_sizes(self, ipc: int) -> list[int]:
        """Return how many images of a class join in each round."""
        rounds = math.ceil(self.iterations / self.round_iterations)
        return [ipc // rounds + (group < ipc % rounds) for group in range(rounds)]

    def joined(self, ipc: int, iteration: int) -> int:
        """Return how many images of a class take part in an iteration."""
        return sum(self.group_sizes(ipc)[: iteration // self.round_iterations + 1])

    def active(self, unit: Unit, iteration: int) -> list[int]:
        """Return the images of the unit that take part: of each class those whose round has come."""
        number = self.joined(unit.ipc, iteration)
        return [c * len(unit.slots) + s for c in range(len(unit.classes)) for s in range(number)]

    def batch_norm_penalty(self, inputs: BatchNormInputs, goal: Goal, unit: Unit, context: Context) -> Regulariser:
        """Return R of the images that take part."""
        penalty = super().batch_norm_penalty(inputs, goal, unit, context)
        by_class = self.regulariser == "pcbn"  # one row of weights per class, else one row for the unit
        penalty.columns = lambda iteration: (
            list(range(self.joined(unit.ipc, iteration))) if by_class else self.active(unit, iteration)
        )
        return penalty
