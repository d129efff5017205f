"""A finished artifact from elsewhere, put into the store by ``python -m benchmark evaluate PATH``."""

from __future__ import annotations

from typing import ClassVar

from benchmark.api import Context, DatasetInfo, Distiller, SyntheticSet, TrainData, Unit
from benchmark.errors import BenchmarkError

REMEDY = "python -m benchmark evaluate PATH --dataset NAME --ipc N --method-name X puts it there"


class External(Distiller):
    """Images that somebody else has made: ``S`` is what the checksum names, whatever seed; nothing is computed here."""

    paper: ClassVar[str] = "whoever made the artifact"
    title: ClassVar[str] = "External"

    checksum: str = ""  # of images, targets and weights; "" names nothing

    def supports(self, info: DatasetInfo, ipc: int) -> str | None:
        """Return a reason where no artifact is named."""
        return None if self.checksum else f"no artifact is named by its checksum; {REMEDY}"

    def distill(self, data: TrainData, unit: Unit, context: Context) -> SyntheticSet:
        """Refuse: the engine asks only where the store does not hold the artifact.

        Raises:
            BenchmarkError: always.
        """
        raise BenchmarkError(f"the artifact with the checksum {self.checksum} is not in the store; {REMEDY}")
