"""What label regimes share whose labels come from teachers: their fields, and the work of the teachers."""

from __future__ import annotations

from abc import abstractmethod
from typing import Self

from pydantic import model_validator

from benchmark.api import Job, LabelRegime, Precision, TeacherSpec, Work
from benchmark.vision.augment import Schedule
from evaluators.parts.stored import refuse_cells


class TeacherLabels(LabelRegime):
    """A label regime whose labels come from teachers; `labelled` says how many images each teacher labels."""

    schedule: Schedule
    precision: Precision = "float32"  # the precision of the teachers

    @property
    def stores_views(self) -> bool:
        """Whether the labels of each view are stored."""
        return self.labels_kind in ("per_epoch", "pool")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.stores_views:
            refuse_cells(self.schedule)
        return self

    def teachers(self) -> tuple[TeacherSpec, ...]:
        """Return the dataset's teacher."""
        return (TeacherSpec(),)

    @abstractmethod
    def labelled(self, n: int) -> int:
        """Return how many images each teacher labels for a set of n images; every view counts."""

    def work(self, job: Job) -> tuple[Work, ...]:
        """Return what every teacher labels."""
        return tuple(spec.work("forward", self.labelled(job.images)) for spec in self.teachers())
