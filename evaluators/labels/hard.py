"""Hard labels: the student learns the class that each image stands for, and no teacher takes part."""

from __future__ import annotations

from pathlib import Path

from benchmark.api import Context, DatasetInfo, LabelRegime, Labels, SyntheticSet
from benchmark.vision.augment import Schedule


class Hard(LabelRegime):
    """The targets of the synthetic set as they are; only the views are decided here."""

    schedule: Schedule

    def label(self, images: SyntheticSet, info: DatasetInfo, context: Context, folder: Path) -> Labels:
        """Return labels that hold the schedule and the seed of the student's views."""
        return Labels("hard", views=self.schedule.model_dump(mode="json"), seed=context.seed)
