"""Hard labels: the student learns the class of each image; there is no teacher."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from benchmark.api import Context, DatasetInfo, Job, LabelKind, LabelRegime, Labels, SyntheticSet, Work
from benchmark.vision.augment import Schedule


class Hard(LabelRegime):
    """The targets of the synthetic set, unchanged; the label regime only fixes the views.

    Targets are classes, but for sets that come with soft labels of their own (DATM learns some): these keep them.
    """

    labels_kind: ClassVar[LabelKind | None] = "hard"

    schedule: Schedule

    def work(self, job: Job) -> tuple[Work, ...]:
        """Return nothing: no image passes a network."""
        return ()

    def label(self, images: SyntheticSet, info: DatasetInfo, context: Context, folder: Path) -> Labels:
        """Return labels that hold only the schedule and the seed of the student's views."""
        return Labels("hard", views=self.schedule.model_dump(mode="json"), seed=context.seed)
