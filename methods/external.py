"""A distilled set from elsewhere, which ``python -m benchmark evaluate PATH`` has put into the store."""

from __future__ import annotations

from typing import ClassVar

from benchmark.api import Context, DatasetInfo, Distiller, SyntheticSet, TrainData, Unit
from benchmark.errors import BenchmarkError

REMEDY = "python -m benchmark evaluate PATH --dataset NAME --ipc N --method-name X stores it"


class External(Distiller):
    """A set that somebody else has distilled: ``S`` is the set with this checksum, for every seed."""

    paper: ClassVar[str] = "as the authors of the set say"

    checksum: str = ""  # the checksum of images, targets and weights; "" names no set

    def supports(self, info: DatasetInfo, ipc: int) -> str | None:
        """Return a reason where no checksum is given."""
        return None if self.checksum else f"no checksum names a set; {REMEDY}"

    def distill(self, data: TrainData, unit: Unit, context: Context) -> SyntheticSet:
        """Refuse: the engine calls this only where the store does not hold the set.

        Raises:
            BenchmarkError: always.
        """
        raise BenchmarkError(f"the set with checksum {self.checksum} is not in the store; {REMEDY}")
