"""A number that an evaluator or a measure declares; without torch, so that tables and plots can import it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Column:
    """A number that an evaluator or a measure returns, and how tables and plots show it.

    Attributes:
        name: the name of the number, as `Evaluator.evaluate` or `Measure.measure` returns it.
        heading: the text above the column.
        unit: ``%``, say; "" for a number without a unit.
        better: which direction is better; "" where neither is.
        digits: digits after the decimal point.
        floor: name of the number that random real images reach; "" for none.
        part_of: name of the number of which this is what is left; tables show the share too. "" for none.
    """

    name: str
    heading: str
    unit: str = ""
    better: Literal["higher", "lower", ""] = "higher"
    digits: int = 2
    floor: str = ""
    part_of: str = ""

    @property
    def kept(self) -> Column:
        """The column of what is left of `part_of`, in percent."""
        return Column(f"{self.name}.kept", f"{self.heading} kept", "%", self.better, 0)

    @property
    def title(self) -> str:
        """The heading with the unit, where the unit does not stand beside each number, as that of seconds and bytes."""
        return self.heading if self.unit in ("", "s", "B") else f"{self.heading}, {self.unit}"
